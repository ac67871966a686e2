"""What a user installs: the wheel holds the package and nothing else, and works alone, without an extra."""

from __future__ import annotations

import os
import re
import subprocess
import tarfile
import zipfile
from pathlib import Path

import pytest

from airflow_provider_luma import __version__
from dev.release import installed_alone, packages
from tests.pages import blocks
from tests.places import REPOSITORY

PACKAGE = "airflow_provider_luma"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Give a fresh wheel and sdist."""
    return packages(tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="module")
def alone(built: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the Python of a fresh environment that has the wheel, without extras, and what it needs."""
    return installed_alone(built[0], tmp_path_factory.mktemp("alone"))


def tracked(folder: str) -> set[str]:
    listed = subprocess.run(
        ["git", "ls-files", folder], cwd=REPOSITORY, check=True, capture_output=True, text=True
    )
    return set(listed.stdout.split())


class TestTheWheel:
    def test_holds_the_package_and_nothing_else(self, built: tuple[Path, Path]) -> None:
        with zipfile.ZipFile(built[0]) as wheel:
            names = set(wheel.namelist())
        metadata = {name for name in names if name.startswith(f"{PACKAGE}-{__version__}.dist-info/")}

        assert names - metadata == tracked(PACKAGE)
        assert {Path(name).name for name in metadata} == {
            "METADATA",
            "WHEEL",
            "RECORD",
            "entry_points.txt",
            "LICENSE",
        }

    def test_asks_for_nothing_heavy_unless_told_to(self, built: tuple[Path, Path]) -> None:
        with zipfile.ZipFile(built[0]) as wheel:
            metadata = wheel.read(f"{PACKAGE}-{__version__}.dist-info/METADATA").decode()
        required = re.findall(r"^Requires-Dist: ([\w.-]+)[^;\n]*$", metadata, re.MULTILINE)

        assert "apache-airflow" in required
        assert not {"av", "pillow", "pytest", "hypothesis", "sphinx", "playwright"} & set(required)

    def test_imports_everything_without_an_extra(self, alone: Path, tmp_path: Path) -> None:
        modules = [
            name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
            for name in sorted(tracked(PACKAGE))
            # These two are imported by pytest and by OpenLineage, where there is one.
            if name.endswith(".py") and not name.endswith(("/pytest_plugin.py", "/openlineage.py"))
        ]
        code = f"import importlib\nfor name in {modules!r}: importlib.import_module(name)"
        done = subprocess.run(
            [alone, "-W", "ignore", "-c", code],
            cwd=tmp_path,
            env={"AIRFLOW_HOME": str(tmp_path), "PATH": ""},
            check=False,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr[-2000:]

    def test_runs_the_emulator_which_says_what_its_videos_need(self, alone: Path, tmp_path: Path) -> None:
        code = """
import urllib.error, urllib.request
from airflow_provider_luma.emulator import Emulator
with Emulator(seconds=0) as emulator:
    url = emulator.video_url(emulator.add(seconds=0))
    assert b"Luma emulator" in urllib.request.urlopen(emulator.url).read()
    try:
        urllib.request.urlopen(url)
    except urllib.error.HTTPError as error:
        print(error.code, error.read().decode())
"""
        done = subprocess.run(
            [alone, "-c", code], cwd=tmp_path, check=False, capture_output=True, text=True, env={"PATH": ""}
        )
        assert done.returncode == 0, done.stderr[-2000:]
        assert done.stdout.startswith("501 "), done.stdout
        assert "airflow-provider-luma[emulator]" in done.stdout


class TestAUsersProject:
    """A DAG and its tests, as the pages have them, in a folder of their own beside the installed wheel."""

    def test_is_tested_with_the_plugin_and_nothing_is_paid(
        self, built: tuple[Path, Path], tmp_path: Path
    ) -> None:
        python = installed_alone(built[0], tmp_path, "emulator", "pytest")
        project = tmp_path / "project"
        project.mkdir()
        (dag,) = blocks("dag", page="docs/quick-start.md")
        (tests,) = blocks("pytest", page="docs/testing.md")
        (project / "pytest.ini").write_text("[pytest]\n")
        (project / "first_video.py").write_text(dag.text)
        (project / "test_first_video.py").write_text(tests.text)
        environment = {
            "PATH": os.environ["PATH"],
            "AIRFLOW_HOME": str(tmp_path / "airflow"),
            "AIRFLOW__CORE__DAGS_FOLDER": str(project),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        }

        def run(*command: str) -> str:
            done = subprocess.run(
                [str(python), "-m", *command],
                cwd=project,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=250,
                check=False,
            )
            assert done.returncode == 0, done.stdout[-5000:]
            return done.stdout

        run("airflow", "db", "migrate")
        assert "3 passed" in run("pytest", "-q")


class TestTheSourceDistribution:
    def test_holds_what_builds_and_tests_it(self, built: tuple[Path, Path]) -> None:
        with tarfile.open(built[1]) as source:
            names = {name.partition("/")[2] for name in source.getnames()}

        assert tracked(PACKAGE) <= names
        assert {"pyproject.toml", "README.md", "CHANGELOG.md", "LICENSE"} <= names
        assert tracked("tests") <= names
        assert not [name for name in names if name.startswith((".git/", ".cache", ".venv", "demo-videos"))]
