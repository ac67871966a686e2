"""
What the README and the docs tell a user to type, typed: each DAG, each script, each test, each command.

Where a page has a bucket there is a folder here, where it has the vendor's gateway there is the emulator, its
ports are free ones, and what adds a connection is followed by its test. Nothing else is changed.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.request import urlopen

import pytest

from airflow_provider_luma.emulator import Emulator
from dev.airflow_stack import free_port
from tests.pages import Block, blocks, commands, kind_of
from tests.places import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

KEY = "emulator-key"
#: The generation that pages name by its id.
REQUEST_ID = "20dd7c76-a931-4ac2-8adb-5c17468b0000"
#: Commands that end with another code than 0 here, where no Airflow runs.
EXIT_CODES = {("jobs", "check"): 1}

RUN_DAGS = """
import json, sys
from pathlib import Path
from tests.integration.dags import bag_of, dag_from

states = {}
for name in sys.argv[1:]:
    (dag_id,) = bag_of(Path(name)).dags
    states[Path(name).stem] = str(dag_from(Path(name), dag_id).test().state)
print("STATES " + json.dumps(states))
"""


@dataclass
class Home:
    """An Airflow home of its own, with a migrated database."""

    folder: Path

    @property
    def dags(self) -> Path:
        return self.folder / "dags"

    @property
    def environment(self) -> dict[str, str]:
        """The environment of a process that uses it; the rest is as in all tests."""
        return os.environ | {
            "AIRFLOW_HOME": str(self.folder),
            "AIRFLOW__CORE__DAGS_FOLDER": str(self.dags),
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{self.folder / 'airflow.db'}",
            "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(self.folder / "logs"),
            "PYTHONPATH": os.pathsep.join([str(self.dags), str(REPOSITORY)]),
        }

    def write(self, block: Block, name: str) -> Path:
        """Write a snippet into the DAGs folder; its bucket is a folder here."""
        path = self.dags / f"{name}.py"
        text = block.text.replace("s3://aws_default@my-bucket/", f"file://{self.folder}/my-bucket/")
        path.write_text(text)
        return path

    def run(self, *arguments: str, stdin: str | None = None, **environment: str) -> str:
        """Run Python in it, and return what that printed."""
        done = subprocess.run(
            [sys.executable, *arguments],
            env=self.environment | environment,
            cwd=self.folder,
            check=False,
            input=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=200,
        )
        assert done.returncode == 0, done.stdout[-5000:]
        return done.stdout


@pytest.fixture
def home(tmp_path: Path, airflow_database: Path) -> Home:
    home = Home(tmp_path / "airflow-home")
    home.dags.mkdir(parents=True)
    shutil.copy(airflow_database, home.folder / "airflow.db")
    return home


@pytest.fixture
def gateway() -> Iterator[Emulator]:
    """Give the gateway, with the one generation that pages name by its id."""
    with Emulator(key=KEY, seconds=0.3, videos="tiny") as emulator:
        emulator.add(request_id=REQUEST_ID, seconds=0)
        yield emulator


def connection_to(emulator: Emulator) -> dict[str, str]:
    connection = {
        "conn_type": "luma",
        "host": emulator.url,
        "password": emulator.key,
        "extra": {"typical_seconds": 1},
    }
    return {"AIRFLOW_CONN_LUMA_DEFAULT": json.dumps(connection)}


def file_name(block: Block) -> str:
    return re.sub(r"\W", "_", str(block).removesuffix(".md"))


class TestDags:
    def test_run_to_their_end(self, home: Home, gateway: Emulator) -> None:
        found = blocks("dag")
        files = {file_name(block): home.write(block, file_name(block)) for block in found}
        printed = home.run("-c", RUN_DAGS, *map(str, files.values()), **connection_to(gateway))
        (states,) = re.findall(r"^STATES (.*)$", printed, re.MULTILINE)
        assert json.loads(states) == dict.fromkeys(files, "success")
        assert len(files) >= 8
        prompts = [generation.prompt for generation in gateway.generations.values()]
        assert any(
            re.fullmatch(r"A giant floating jellyfish over a city skyline on \d{4}-\d\d-\d\d", prompt)
            for prompt in prompts
        ), prompts
        # Those that the pages say are kept, are.
        assert len(list((home.folder / "my-bucket" / "videos").glob("*.mp4"))) == 2
        assert len(list((home.folder / "my-bucket" / "animals").glob("*.mp4"))) == 2


class TestScripts:
    def test_run_to_their_end(self, home: Home, gateway: Emulator) -> None:
        found = blocks("script")
        assert found
        names = [home.write(block, file_name(block)).stem for block in found]
        printed = home.run("-c", "\n".join(f"import {name}" for name in names), **connection_to(gateway))
        assert "['completed']" in printed
        assert gateway.paid == 1


class TestTests:
    def test_pass(self, home: Home) -> None:
        """They import ``first_video`` of the quick start, which is in the DAGs folder as that says."""
        (first_video,) = blocks("dag", page="docs/quick-start.md")
        home.write(first_video, "first_video")
        (tests,) = blocks("pytest")
        path = home.write(tests, "test_first_video")
        printed = home.run(
            "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(home.dags), str(path)
        )
        assert "3 passed" in printed, printed[-5000:]


def pages_with_commands() -> list[str]:
    return sorted(
        {
            block.page
            for block in blocks("commands")
            if {"airflow", "emulator"} & {kind_of(command) for command in commands(block.text)}
        }
    )


@contextmanager
def emulator_by(words: list[str], port: int) -> Iterator[str]:
    """Run the command of a page that starts the emulator, and give its address."""
    process = subprocess.Popen(
        [sys.executable, *words[1:], "--parent-pid", str(os.getpid())], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.strip() == f"The Luma emulator serves http://127.0.0.1:{port}"
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.communicate(timeout=30)


def state_of(url: str) -> dict[str, Any]:
    with urlopen(f"{url}/_emulator/state", timeout=10) as answer:
        state: dict[str, Any] = json.load(answer)
        return state


def typed(
    page: str, home: Home, port: int
) -> tuple[list[str] | None, list[tuple[dict[str, str], list[str], int]]]:
    """Return the command of a page that starts an emulator, and those of airflow with their environment."""
    emulator, steps, exported = None, [], {}
    known = {"LUMA_SUBSCRIPTION_KEY": KEY, "PWD": str(home.folder.parent)}
    for block in blocks("commands", page=page):
        for command in commands(block.text):
            words = [
                re.sub(r"\$(\w+)", lambda found: known[found[1]], word).replace("8077", str(port))
                for word in command
            ]
            kind = kind_of(command)
            if kind == "export":
                exported |= [words[1].split("=", 1)]
                if "AIRFLOW_CONN_LUMA_DEFAULT" in exported:
                    fields = json.loads(exported["AIRFLOW_CONN_LUMA_DEFAULT"])
                    fields = {"host": f"http://127.0.0.1:{port}"} | fields | {"password": KEY}
                    exported["AIRFLOW_CONN_LUMA_DEFAULT"] = json.dumps(fields)
            elif kind == "emulator":
                emulator = words
            elif kind == "airflow":
                arguments = words[1:]
                if arguments[:2] == ["connections", "add"] and "--conn-host" not in arguments:
                    arguments += ["--conn-host", f"http://127.0.0.1:{port}"]
                steps.append((dict(exported), arguments, EXIT_CODES.get(tuple(arguments[:2]), 0)))
                if arguments[:2] == ["connections", "add"]:
                    allowed = exported | {"AIRFLOW__CORE__TEST_CONNECTION": "Enabled"}
                    steps.append((allowed, ["connections", "test", arguments[2]], 0))
    return emulator, steps


class TestCommands:
    @pytest.mark.parametrize("page", pages_with_commands())
    def test_do_what_the_page_says(self, page: str, home: Home) -> None:
        port = free_port()
        started, steps = typed(page, home, port)
        for block in blocks("dag", page=page):
            (dag_id,) = re.findall(r'^with DAG\("(\w+)"', block.text, re.MULTILINE)
            home.write(block, dag_id)
        standing = [sys.executable, "-m", "airflow_provider_luma.emulator", "--port", str(port)]
        environment = {}
        if page == "docs/connection.md":
            # The page presupposes a connection, and says of the test how it is allowed.
            connection = {"conn_type": "luma", "host": f"http://127.0.0.1:{port}", "password": KEY}
            environment["AIRFLOW_CONN_LUMA_DEFAULT"] = json.dumps(connection)
            environment["AIRFLOW__CORE__TEST_CONNECTION"] = "Enabled"
        with emulator_by(started or standing, port) as url:
            if steps:
                printed = home.run(
                    "-m", "tests.integration.airflow_commands", stdin=json.dumps(steps), **environment
                )
                if any(arguments[:2] == ["connections", "test"] for _, arguments, _ in steps):
                    assert "Connection success" in printed, printed[-3000:]
            state = state_of(url)
        if page == "docs/quick-start.md":
            assert state["paid"] == 1
            (video,) = (home.folder / "videos").glob("*.mp4")
            assert video.stat().st_size > 10_000
        else:
            assert state["paid"] == 0
