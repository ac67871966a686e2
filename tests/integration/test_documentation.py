"""What the README and the docs tell a user to type, typed."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from airflow_provider_luma import __version__
from tests.places import AIRFLOW_HOME, REPOSITORY

if TYPE_CHECKING:
    from pathlib import Path

    from airflow_provider_luma.emulator import Emulator

PAGES = sorted([*REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/**/*.md")])
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def blocks(page: str, language: str) -> list[str]:
    """Return the fenced blocks of a page in a language, without the indent of a list."""
    found = re.findall(
        rf"^( *)```{language}\n(.*?)^ *```$", (REPOSITORY / page).read_text(), re.MULTILINE | re.DOTALL
    )
    return [re.sub(rf"^{indent}", "", text, flags=re.MULTILINE) for indent, text in found]


def airflow(*arguments: str, **environment: str) -> str:
    """Run the airflow command line in the tests' own home and return what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "airflow", *arguments],
        env={**os.environ, **environment},
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    return done.stdout


def rows(printed: str) -> list[dict[str, str]]:
    """Return the table that a command printed as JSON; Airflow 2.11 prints its warnings in front."""
    found: list[dict[str, str]] = json.loads(printed[printed.index("[{") :])
    return found


class TestLinks:
    @pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
    def test_inside_the_project_lead_somewhere(self, page: Path) -> None:
        for target in LINK.findall(page.read_text()):
            if not target.startswith(("http://", "https://", "#", "mailto:")):
                assert (page.parent / target.split("#")[0]).exists(), f"{page.name}: {target}"


class TestTheReadmesCommands:
    def test_are_targets_of_make(self) -> None:
        makefile = (REPOSITORY / "Makefile").read_text()
        commands = [line for block in blocks("README.md", "bash") for line in block.splitlines()]
        targets = [line.split()[1] for line in commands if line.startswith("make ")]
        assert targets == ["demo", "test"]
        assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in targets)

    @pytest.mark.usefixtures("airflow_database")
    def test_add_and_test_the_connection(self, emulator: Emulator) -> None:
        (add,) = [block for block in blocks("README.md", "bash") if "connections add" in block]
        words = add.strip().replace('"$LUMA_SUBSCRIPTION_KEY"', emulator.key).split()
        assert words[0] == "airflow"
        airflow(*words[1:], "--conn-host", emulator.url)
        try:
            (test,) = blocks("docs/connection.md", "bash")
            said = airflow(*test.split()[1:], AIRFLOW__CORE__TEST_CONNECTION="Enabled")
            assert "success" in said, said
            assert emulator.paid == 0
        finally:
            airflow("connections", "delete", "luma_default")

    def test_export_a_connection_that_can_be_read(self) -> None:
        (export,) = [block for block in blocks("README.md", "bash") if block.startswith("export")]
        value = export.split("=", 1)[1].strip().strip("'")
        assert json.loads(value)["conn_type"] == "luma"


@pytest.mark.usefixtures("connect", "airflow_database")
class TestTheReadmesDag:
    def test_ends_with_the_videos_address(self, emulator: Emulator) -> None:
        (source,) = blocks("README.md", "python")
        folder = AIRFLOW_HOME / "readme"
        folder.mkdir(exist_ok=True)
        (folder / "readme_dag.py").write_text(source)
        code = f"""
import sys
sys.path.insert(0, {str(REPOSITORY)!r})
from tests.integration.dags import dag_from
run = dag_from({str(folder / "readme_dag.py")!r}, "nightly_jellyfish").test()
assert run.state == "success", run.state
"""
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "AIRFLOW__CORE__DAGS_FOLDER": str(folder)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stdout[-3000:]
        (generation,) = emulator.generations.values()
        assert re.fullmatch(
            r"A giant floating jellyfish over a city skyline on \d{4}-\d\d-\d\d", generation.prompt
        )


class TestEveryDagOfTheDocs:
    @pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
    def test_can_be_loaded(self, page: Path, tmp_path: Path) -> None:
        from tests.integration.dags import bag_of

        for number, source in enumerate(blocks(str(page.relative_to(REPOSITORY)), "python")):
            file = tmp_path / f"dag_{number}.py"
            file.write_text(source)
            bag = bag_of(file)
            assert not bag.import_errors, bag.import_errors
            assert bag.dags, source


@pytest.mark.usefixtures("airflow_database")
class TestAirflowKnowsTheProvider:
    def test_in_its_list_with_its_version(self) -> None:
        providers = {row["package_name"]: row for row in rows(airflow("providers", "list", "-o", "json"))}
        assert providers["airflow-provider-luma"]["version"] == __version__

    def test_in_its_hooks(self) -> None:
        hooks = {row["connection_type"]: row for row in rows(airflow("providers", "hooks", "-o", "json"))}
        assert hooks["luma"]["class"] == "airflow_provider_luma.hooks.luma.LumaHook"
        assert hooks["luma"]["hook_name"] == "Luma Dream Machine"

    def test_by_its_name(self) -> None:
        assert __version__ in airflow("providers", "get", "airflow-provider-luma")


class TestTheChangelog:
    def test_has_this_version_on_top(self) -> None:
        versions = re.findall(r"^## \[([^\]]+)\]", (REPOSITORY / "CHANGELOG.md").read_text(), re.MULTILINE)
        assert versions[0] == __version__
