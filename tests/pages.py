"""The pages that users read, cut into their fenced blocks and links. Imports nothing of the package."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.places import REPOSITORY

if TYPE_CHECKING:
    from pathlib import Path

PAGES = sorted([*REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/**/*.md")])

_FENCE = re.compile(r"^( *)(`{3,})(\S*)[^\n]*\n(.*?)^\1\2 *$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#{1,6} +(.+?) *$", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """One fenced block of a page, without the indent of a list."""

    page: str
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def kind(self) -> str | None:
        """What is done with it, by the rules of this file; ``None`` if there is no rule for it."""
        if self.language == "python":
            if re.search(r"^def test_", self.text, re.MULTILINE):
                return "pytest"
            return "dag" if re.search(r"^with DAG\(", self.text, re.MULTILINE) else "script"
        if self.language in ("bash", "shell"):
            return "commands" if all(kind_of(command) for command in commands(self.text)) else None
        if self.language in ("http", "json", "ini"):
            return self.language
        if self.language == "text" and self.page == "docs/troubleshooting.md":
            return "message"
        if self.language == "text" and self.page == "docs/architecture.md":
            return "drawing"
        return None


def kind_of(command: list[str]) -> str | None:
    """Return what is done with a command; ``None`` if there is no rule for it."""
    if command[0] in ("airflow", "export", "make"):
        return command[0]
    if command[:2] == ["pip", "install"]:
        return "pip"
    if command[:3] == ["python", "-m", "airflow_provider_luma.emulator"]:
        return "emulator"
    return None


def commands(text: str) -> list[list[str]]:
    """Return the commands of a shell block, each in words, without comments."""
    lines = text.replace("\\\n", " ").splitlines()
    return [words for line in lines if (words := shlex.split(line, comments=True))]


def blocks(*kinds: str, page: str | None = None) -> list[Block]:
    """Return the blocks of some kinds (of all, if none is named), of one page or of all."""
    found = []
    for path in PAGES:
        name, text = path.relative_to(REPOSITORY).as_posix(), path.read_text()
        if page in (None, name):
            for match in _FENCE.finditer(text):
                body = re.sub(rf"^{match[1]}", "", match[4], flags=re.MULTILINE)
                found.append(Block(name, text.count("\n", 0, match.start()) + 1, match[3], body))
    return [block for block in found if not kinds or block.kind in kinds]


def links(page: Path) -> list[str]:
    """Return where a page's links and pictures lead, those in code left out."""
    return _LINK.findall(re.sub(r"`[^`\n]+`", "``", _FENCE.sub("", page.read_text())))


def anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub gives the headings of a page."""
    found: dict[str, int] = {}
    for heading in _HEADING.findall(_FENCE.sub("", page.read_text())):
        text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        anchor = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
        number = found[anchor] = found.get(anchor, -1) + 1
        if number:
            found[f"{anchor}-{number}"] = 0
    return set(found)
