"""What the pages say of the code: parameters, faults, errors and their messages, public modules."""

from __future__ import annotations

import ast
import inspect
import re

import pytest

from airflow_provider_luma import exceptions
from airflow_provider_luma.api.exchange import Call, Miss
from airflow_provider_luma.api.retry import SENDING_RULES, error_for
from airflow_provider_luma.exceptions import LumaError
from dev.docs_tables import PAGES, TABLE, written
from tests.pages import Block, blocks
from tests.places import REPOSITORY

FAMILY = {
    name: found
    for name, found in inspect.getmembers(exceptions, inspect.isclass)
    if issubclass(found, LumaError) and found.__module__ == exceptions.__name__
}
TROUBLESHOOTING = (REPOSITORY / "docs" / "troubleshooting.md").read_text()
OURS, AIRFLOWS = TROUBLESHOOTING.split("## What Airflow says")
SECTIONS = dict(re.findall(r"^### (\w+)\n(.*?)(?=^##|\Z)", OURS, re.MULTILINE | re.DOTALL))
#: What stands for something that varies.
GAP = "…"


def texts_in(source: str) -> list[str]:
    """Return every text in a file; what is filled in is a gap."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.JoinedStr):
            found.append("".join(v.value if isinstance(v, ast.Constant) else GAP for v in node.values))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.append(node.value)
    return found


@pytest.fixture(scope="module")
def texts() -> list[str]:
    """Return every text of the package, and what the messages are that are put together of several."""
    found = [
        text
        for path in (REPOSITORY / "airflow_provider_luma").rglob("*.py")
        for text in texts_in(path.read_text())
    ]
    put_together = [
        str(error_for(call, Miss(fault, text), now=0.0, tries=2, conn_id="a"))
        for text in found
        if text.startswith(("could not be reached", "answered", "did not answer"))
        for fault in SENDING_RULES
        for call in Call
    ]
    put_together += [f"The download {text}" for text in found if text.startswith("could not be opened")]
    put_together += [
        f"Nothing was sent by this try: {text}." for text in found if text.startswith("an earlier try")
    ]
    return found + put_together


def said(message: str, texts: list[str]) -> bool:
    """Return whether every part of a message, between its gaps, stands in one text, in that order."""
    parts = [re.escape(part.strip()) for part in message.split(GAP) if part.strip()]
    pattern = re.compile(".*".join(parts), re.DOTALL)
    return any(pattern.search(text) for text in texts)


class TestTables:
    @pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
    def test_are_what_the_code_says(self, page) -> None:
        text = page.read_text()
        assert TABLE.search(text)
        assert text == written(text), "run make docs-tables"


class TestTroubleshooting:
    @pytest.mark.parametrize("name", FAMILY)
    def test_has_every_error(self, name: str) -> None:
        section = SECTIONS[name]
        assert "```text" in section
        assert "**Paid:**" in section
        assert "**Do:**" in section

    def test_has_no_error_that_there_is_not(self) -> None:
        assert set(SECTIONS) == set(FAMILY)

    @pytest.mark.parametrize(
        "block",
        [block for block in blocks("message") if block.text in OURS],
        ids=str,
    )
    def test_quotes_what_is_said(self, block: Block, texts: list[str]) -> None:
        assert not [line for line in block.text.splitlines() if not said(line, texts)]

    def test_quotes_what_airflow_says(self) -> None:
        from airflow.jobs import scheduler_job_runner

        (block,) = re.findall(r"```text\n(.*?)```", AIRFLOWS, re.DOTALL)
        source = [text.replace("%s", GAP) for text in texts_in(inspect.getsource(scheduler_job_runner))]
        if not any("finished with state" in text for text in source):
            pytest.skip("this Airflow says it in other words")
        assert said(block.strip(), source)


class TestMoney:
    def test_has_every_error_that_is_not_a_base(self) -> None:
        """The one table of what an ending costs."""
        money = (REPOSITORY / "docs" / "money.md").read_text()
        missing = {name for name in FAMILY if f"`{name}`" not in money}
        assert missing <= {"LumaError"}, missing


class TestExamples:
    def test_are_all_on_their_page(self) -> None:
        page = (REPOSITORY / "docs" / "examples.md").read_text()
        files = [path.name for path in (REPOSITORY / "dags").glob("*.py")]
        assert files
        assert [name for name in files if f"(../dags/{name})" not in page] == []


class TestTheApiReference:
    def test_has_everything_of_the_readmes_table(self) -> None:
        reference = "".join(path.read_text() for path in (REPOSITORY / "docs").glob("api*.rst"))
        rows = re.findall(
            r"^\| \[`@?([\w.]+)`.*?\]\((\S+?)\.py\)", (REPOSITORY / "README.md").read_text(), re.MULTILINE
        )
        assert len(rows) >= 10
        for name, path in rows:
            module = path.replace("/", ".").removesuffix(".__init__")
            assert module in reference, module
            if not reference.count(f"automodule:: {module}\n") and "." not in name:
                assert re.search(rf"\b{name}$", reference, re.MULTILINE), name


class TestTheDrawnHouse:
    def test_has_every_room(self) -> None:
        (drawing,) = blocks("drawing")
        package = REPOSITORY / "airflow_provider_luma"
        rooms = {path.stem for path in package.iterdir() if not path.name.startswith(("__", "py."))}

        assert "api" in rooms
        assert not rooms - set(re.findall(r"\w+", drawing.text))

    def test_names_files_that_are_there(self) -> None:
        page = (REPOSITORY / "docs" / "architecture.md").read_text()
        named = re.findall(r"`([\w/]+\.py)`", page)
        folders = (REPOSITORY, REPOSITORY / "airflow_provider_luma")

        assert len(named) > 10
        assert [name for name in named if not any((folder / name).exists() for folder in folders)] == []


class TestThePictures:
    def test_are_all_shown_somewhere(self) -> None:
        folder = REPOSITORY / "docs" / "images"
        pages = "\n".join(page.read_text() for page in (REPOSITORY / "docs").glob("*.md"))
        unused = [picture.name for picture in folder.iterdir() if f"(images/{picture.name})" not in pages]

        assert not unused
