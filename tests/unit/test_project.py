"""The repository itself: what no tracked file may hold, and what must agree."""

from __future__ import annotations

import re
import subprocess

import pytest

from tests.places import REPOSITORY

#: Assembled from parts, so that this file does not name them.
REGISTRY_HOSTS = [
    "python" + "hosted.org",
    "py" + "pi.org/simple",
    "registry.npm" + "js.org",
    "deb.deb" + "ian.org",
]


def tracked() -> dict[str, str]:
    """Return the text files that git tracks, or would: what is ignored does not count."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=REPOSITORY,
        check=False,
        capture_output=True,
        text=True,
    )
    if listed.returncode != 0:
        pytest.skip("this is not a git checkout")
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
        for name in ("constraints.txt", "constraints-oldest.txt"):
            lines = [line for line in tracked()[name].splitlines() if line and not line.startswith("#")]
            odd = [line for line in lines if not re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.+!_-]+", line)]
            assert not odd, f"{name}: {odd}"


class TestTheWheel:
    def test_version_is_the_packages(self) -> None:
        from importlib.metadata import version

        from airflow_provider_luma import __version__

        assert version("airflow-provider-luma") == __version__
