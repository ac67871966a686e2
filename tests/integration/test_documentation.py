"""What the README and the docs say: every link leads somewhere, every block is taken care of."""

from __future__ import annotations

import configparser
import json
import os
import re
import subprocess
import sys
import tomllib
from typing import TYPE_CHECKING

import pytest

from airflow_provider_luma import __version__
from airflow_provider_luma.api.cost import PriceTable
from tests.pages import PAGES, anchors, blocks, commands, kind_of, links
from tests.places import REPOSITORY

if TYPE_CHECKING:
    from pathlib import Path

AIRFLOW_SETTING = re.compile(r"`\[(\w+)\] (\w+)`|AIRFLOW__([A-Z_]+?)__([A-Z_]+)\b")


def named(page: Path) -> str:
    return page.relative_to(REPOSITORY).as_posix()


def airflow(*arguments: str) -> str:
    """Run the airflow command line in the tests' own home and return what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "airflow", *arguments],
        env=os.environ,
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


@pytest.mark.parametrize("page", PAGES, ids=named)
class TestLinks:
    def test_inside_the_project_lead_somewhere(self, page: Path) -> None:
        for target in links(page):
            if not target.startswith(("http://", "https://", "#", "mailto:")):
                assert (page.parent / target.split("#")[0]).exists(), target

    def test_lead_to_headings_that_there_are(self, page: Path) -> None:
        for target in links(page):
            path, _, anchor = target.partition("#")
            if anchor and not path.startswith(("http://", "https://")):
                other = (page.parent / path).resolve() if path else page
                assert anchor in anchors(other), f"{target}: {sorted(anchors(other))}"


@pytest.mark.parametrize("page", PAGES, ids=named)
class TestEveryBlock:
    def test_is_run_or_read_by_a_test(self, page: Path) -> None:
        """A block of a kind that is not known here would be a snippet that nobody has run."""
        unknown = [f"{block}: {block.text}" for block in blocks(page=named(page)) if block.kind is None]
        assert not unknown, f"see Block.kind in tests/pages.py: {unknown}"


class TestCommands:
    @pytest.mark.parametrize("block", blocks("commands"), ids=str)
    def test_of_make_are_its_targets(self, block) -> None:
        makefile = (REPOSITORY / "Makefile").read_text()
        for command in commands(block.text):
            if kind_of(command) == "make":
                assert re.search(rf"^{command[1]}:", makefile, re.MULTILINE), command

    @pytest.mark.parametrize("page", PAGES, ids=named)
    def test_of_make_within_the_text_are_its_targets(self, page: Path) -> None:
        makefile = (REPOSITORY / "Makefile").read_text()
        for target in re.findall(r"`make ([a-z-]+)", page.read_text()):
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), target

    @pytest.mark.parametrize("block", blocks("commands"), ids=str)
    def test_of_pip_name_this_project_and_its_extras(self, block) -> None:
        project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
        for command in commands(block.text):
            if kind_of(command) == "pip":
                words = command[2:]
                while "-c" in words:
                    at = words.index("-c")
                    assert (REPOSITORY / words[at + 1]).exists()
                    del words[at : at + 2]
                (what,) = words
                name, extras = re.fullmatch(r"([\w.-]+)(?:\[([\w,-]+)\])?", what).groups()
                assert name in (".", project["name"])
                assert set((extras or "").split(",")) <= {"", *project["optional-dependencies"]}


class TestWhatIsRead:
    @pytest.mark.parametrize("block", blocks("http"), ids=str)
    def test_requests(self, block) -> None:
        head, _, body = block.text.partition("\n\n")
        first, *headers = head.splitlines()
        assert re.fullmatch(r"(GET|PUT|POST|DELETE) /\S+ HTTP/1\.1", first)
        assert all(re.fullmatch(r"[\w-]+: .+", header) for header in headers)
        if body.strip():
            assert isinstance(json.loads(body), dict)

    @pytest.mark.parametrize("block", blocks("json"), ids=str)
    def test_connections_of_a_secrets_backend(self, block, tmp_path: Path) -> None:
        from airflow.secrets.local_filesystem import LocalFilesystemBackend

        from airflow_provider_luma.hooks.connection import settings_from

        file = tmp_path / "connections.json"
        file.write_text(block.text)
        backend = LocalFilesystemBackend(connections_file_path=str(file))
        for conn_id in json.loads(block.text):
            written = json.loads(block.text)[conn_id]["extra"]
            settings = settings_from(backend.get_connection(conn_id), conn_id)
            assert settings.key
            if "max_concurrent_requests" in written:
                assert settings.max_concurrent_requests == 64
            if "price_table" in written:
                assert settings.price_table == PriceTable.of(written["price_table"])

    @pytest.mark.parametrize(
        "block",
        [block for block in blocks("commands") if "AIRFLOW_CONN_LUMA_DEFAULT" in block.text],
        ids=str,
    )
    def test_connections_in_the_environment(self, block) -> None:
        exported = dict(
            command[1].split("=", 1) for command in commands(block.text) if kind_of(command) == "export"
        )
        assert json.loads(exported["AIRFLOW_CONN_LUMA_DEFAULT"])["conn_type"] == "luma"

    @pytest.mark.parametrize("block", blocks("ini"), ids=str)
    def test_files_of_settings(self, block) -> None:
        parser = configparser.ConfigParser()
        parser.read_string(block.text)
        for section in parser.sections():
            for option, value in parser[section].items():
                assert option in options(section), f"[{section}] {option}"
                if option.endswith("_kwargs"):
                    assert isinstance(json.loads(value), dict)


def options(section: str) -> set[str]:
    """Return the names of a section's settings in the Airflow at hand."""
    from airflow.configuration import conf

    return set(conf.configuration_description.get(section, {}).get("options", {}))


class TestSettingsOfAirflow:
    @pytest.mark.parametrize("page", PAGES, ids=named)
    def test_that_a_page_names_are_there(self, page: Path) -> None:
        if "min_heartbeat_interval" not in options("workers"):
            pytest.skip("the pages name the settings of Airflow 3")
        settings = [
            [group.lower() for group in match.groups() if group]
            for match in AIRFLOW_SETTING.finditer(page.read_text())
        ]
        if not options("state_store") and any("state_store" in " ".join(names) for names in settings):
            pytest.skip("this page names settings of Airflow 3.3")
        for section, option in settings:
            assert option in options(section), f"[{section}] {option}"


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
