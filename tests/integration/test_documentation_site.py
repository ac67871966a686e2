"""The site that ``make docs`` builds: no warning, no link that leads nowhere, nothing from another host."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from html.parser import HTMLParser
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import pytest

from tests.places import REPOSITORY

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("sphinx") is None, reason="the extra docs is not installed"
)

#: Elements that load what they name, by the attribute that names it.
LOADS = {"img": "src", "script": "src", "link": "href", "iframe": "src", "source": "src"}
#: Pages without a text of their own.
GENERATED = {"genindex.html", "search.html", "py-modindex.html"}


class Page(HTMLParser):
    """What one page links to, loads, and can be linked to by."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.without_text: list[str] = []
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.anchors |= {str(given[name]) for name in ("id", "name") if given.get(name)}
        if tag == "a" and given.get("href"):
            self.links.append(str(given["href"]))
        if given.get(LOADS.get(tag, "")):
            self.loads.append(str(given[LOADS[tag]]))
        if tag == "img" and not given.get("alt"):
            self.without_text.append(str(given.get("src")))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the site as ``make docs`` does."""
    folder = tmp_path_factory.mktemp("site")
    makefile = (REPOSITORY / "Makefile").read_text()
    (command,) = [line for line in makefile.splitlines() if "-m sphinx" in line]
    options = command.split("-m sphinx ")[1].split(" -d ")[0].split()
    assert {"-n", "-W", "--keep-going"} <= set(options)
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", *options, "-d", str(folder / "trees"), "docs", str(folder / "html")],
        cwd=REPOSITORY,
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=250,
    )
    assert done.returncode == 0, done.stdout[-5000:]
    assert not done.stdout.strip(), done.stdout
    return folder / "html"


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Page]:
    return {path: Page(path) for path in sorted(site.rglob("*.html"))}


class TestTheSite:
    def test_has_every_page_of_docs(self, site: Path) -> None:
        sources = [path for kind in ("*.md", "*.rst") for path in (REPOSITORY / "docs").glob(kind)]
        assert len(sources) > 15
        assert [path.name for path in sources if not (site / f"{path.stem}.html").exists()] == []

    def test_has_no_link_that_leads_nowhere(self, pages: dict[Path, Page]) -> None:
        wrong = []
        for page in pages.values():
            for link in page.links:
                parts = urlsplit(link)
                if parts.scheme or parts.netloc:
                    continue
                path = (page.path.parent / unquote(parts.path)).resolve() if parts.path else page.path
                # A theme writes "#" for "up".
                if not path.exists() or (
                    parts.fragment and unquote(parts.fragment) not in pages[path].anchors
                ):
                    wrong.append(f"{page.path.name}: {link}")
        assert not wrong

    def test_reaches_every_page_from_the_first(self, site: Path, pages: dict[Path, Page]) -> None:
        links = {
            (site / unquote(urlsplit(link).path)).resolve()
            for link in pages[site / "index.html"].links
            if not urlsplit(link).scheme
        }
        tops = {path for path in pages if path.parent == site and path.name not in GENERATED}
        assert {path.name for path in tops - links} <= {"index.html"}

    def test_loads_nothing_from_elsewhere(self, pages: dict[Path, Page]) -> None:
        loads = [load for page in pages.values() for load in page.loads]
        assert loads
        assert not [load for load in loads if urlsplit(load).netloc]

    def test_says_what_its_pictures_show(self, pages: dict[Path, Page]) -> None:
        assert not {picture for page in pages.values() for picture in page.without_text}
