"""The repository itself: what no tracked file may hold, and what must agree."""

from __future__ import annotations

import re
import subprocess

import pytest
import yaml

from tests.places import IS_CHECKOUT, REPOSITORY

#: Assembled from parts, so that this file does not name them.
REGISTRY_HOSTS = [
    "python" + "hosted.org",
    "py" + "pi.org/simple",
    "registry.npm" + "js.org",
    "deb.deb" + "ian.org",
]


def tracked() -> dict[str, str]:
    """Return the text files that git tracks, or would: what is ignored does not count."""
    if not IS_CHECKOUT:
        pytest.skip("this is not a git checkout")
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=REPOSITORY,
        check=True,
        capture_output=True,
        text=True,
    )
    texts = {}
    for name in listed.stdout.splitlines():
        path = REPOSITORY / name
        if path.is_file():
            texts[name] = path.read_text(errors="replace")
    assert "pyproject.toml" in texts
    return texts


class TestTrackedFiles:
    def test_name_no_package_registrys_host(self) -> None:
        found = {name: host for name, text in tracked().items() for host in REGISTRY_HOSTS if host in text}
        assert not found, f"a package registry's host stands in {found}"

    def test_carry_no_download_addresses(self) -> None:
        names = [name for name in tracked() if re.search(r"(^|/)(uv\.lock|pylock\..*|poetry\.lock)$", name)]
        assert not names

    def test_pin_in_plain_lines(self) -> None:
        for name in ("constraints.txt", "constraints-moto.txt"):
            lines = [line for line in tracked()[name].splitlines() if line and not line.startswith("#")]
            odd = [line for line in lines if not re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.+!_-]+", line)]
            assert not odd, f"{name}: {odd}"


class TestTheWheel:
    def test_version_is_the_packages(self) -> None:
        from importlib.metadata import version

        from airflow_provider_luma import __version__

        assert version("airflow-provider-luma") == __version__

    def test_version_is_the_newest_of_the_change_log(self) -> None:
        from airflow_provider_luma import __version__

        changelog = (REPOSITORY / "CHANGELOG.md").read_text()
        heading = r"^## \[(\d+\.\d+\.\d+)\] - (unreleased|\d{4}-\d\d-\d\d)$"
        versions = re.findall(heading, changelog, re.MULTILINE)

        assert versions[0][0] == __version__
        assert len(versions) == len(re.findall(r"^## ", changelog, re.MULTILINE)), "an odd heading"
        numbers = [tuple(map(int, version.split("."))) for version, _ in versions]
        assert numbers == sorted(numbers, reverse=True)
        assert [date for _, date in versions[1:] if date == "unreleased"] == []


class TestTheTools:
    def test_of_every_habit_are_targets_that_help_lists(self) -> None:
        makefile = (REPOSITORY / "Makefile").read_text()
        targets = set(re.findall(r"^([a-z-]+):.*## ", makefile, re.MULTILINE))
        habits = "demo up test lint fix docs bench compat release-check screenshots crash takeover many clean"

        assert not set(habits.split()) - targets

    def test_check_before_a_commit_what_ci_checks(self) -> None:
        hooks = yaml.safe_load((REPOSITORY / ".pre-commit-config.yaml").read_text())["repos"]

        assert [hook["entry"] for repo in hooks for hook in repo["hooks"]] == ["make lint"]
        assert "make lint" in (REPOSITORY / ".ci" / "run").read_text()

    def test_ask_who_files_an_issue_whether_something_was_paid_for(self) -> None:
        folder = REPOSITORY / ".github" / "ISSUE_TEMPLATE"
        forms = {name: yaml.safe_load((folder / f"{name}.yml").read_text()) for name in ("bug", "idea")}

        assert forms["bug"]["body"][0]["id"] == "money"
        assert all({"name", "description", "body"} <= set(form) for form in forms.values())
