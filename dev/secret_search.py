"""
Searches everything that an Airflow wrote in its home for words that must not be there.

Two searches in one, since each sees what the other cannot: the raw bytes of every file (logs, each
component's output, the SQLite database with its write-ahead log and its freed pages), and every cell of every
table, where what is encrypted with the Fernet key (connections, variables, trigger arguments) or compressed
is opened first.

A word is looked for as it is and as it looks inside base64, at each of the three places where it may begin.
A search that finds nothing proves nothing by itself: plant a second word and see it found.
"""

from __future__ import annotations

import base64
import contextlib
import re
import sqlite3
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography.fernet import Fernet, InvalidToken

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_FERNET_TOKEN = re.compile(rb"gAAAA[\w-]{60,}={0,2}", re.ASCII)


@dataclass(frozen=True)
class Find:
    """One place that holds the word."""

    #: A file below the home, or ``table.column``.
    place: str
    #: For a cell: its row's column ``conn_id``, ``key`` or such, whichever the table has; else empty.
    row: str = ""
    #: The word was reached by decrypting the cell: in the file it is not legible.
    encrypted: bool = False


def search_home(home: Path, word: str, *, database: Path, fernet_key: str) -> list[Find]:
    """
    Return every place in this Airflow home that holds the word; may be called while Airflow runs.

    :param database: the SQLite file, whose tables are also searched cell by cell.
    :param fernet_key: opens what Airflow encrypted.
    """
    return [*search_files(home, word), *search_database(database, word, fernet_key=fernet_key)]


def search_files(home: Path, word: str) -> Iterator[Find]:
    """Search the raw bytes of every file below a folder, each read whole."""
    forms = _forms(word)
    for path in sorted(home.rglob("*")):
        # Files such as SQLite's journal come and go.
        with contextlib.suppress(FileNotFoundError):
            if path.is_file() and _holds(path.read_bytes(), forms):
                yield Find(str(path.relative_to(home)))


def search_database(database: Path, word: str, *, fernet_key: str) -> Iterator[Find]:
    """Search every cell of every table; an encrypted one that cannot be opened is an error."""
    forms = _forms(word)
    fernet = Fernet(fernet_key)
    with contextlib.closing(
        sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True, timeout=30)
    ) as connection:
        # Text that is not UTF-8 must not stop the search.
        connection.text_factory = bytes
        tables = connection.execute("select name from sqlite_master where type = 'table'").fetchall()
        for table in (name.decode() for (name,) in tables):
            rows = connection.execute(f'select * from "{table}"')
            columns = [column[0] for column in rows.description]
            label = next(
                (name for name in ("conn_id", "task_id", "dag_id", "key", "id") if name in columns), None
            )
            for row in rows:
                for column, cell in zip(columns, row, strict=True):
                    content = cell if isinstance(cell, bytes) else str(cell).encode()
                    for opened, encrypted in _opened(content, fernet):
                        if _holds(opened, forms):
                            named = row[columns.index(label)] if label else b""
                            text = named.decode(errors="replace") if isinstance(named, bytes) else str(named)
                            yield Find(f"{table}.{column}", text, encrypted)
                            break


def _opened(content: bytes, fernet: Fernet) -> Iterator[tuple[bytes, bool]]:
    """Give a cell's content and what lies within, with whether it had to be decrypted."""
    yield content, False
    with contextlib.suppress(zlib.error):
        yield zlib.decompress(content), False
    for token in _FERNET_TOKEN.findall(content):
        try:
            yield fernet.decrypt(token), True
        except InvalidToken as error:
            raise ValueError(
                "a cell is encrypted with another Fernet key, so it cannot be searched"
            ) from error


def _forms(word: str) -> list[bytes]:
    raw = word.encode()
    if len(raw) < 12:
        raise ValueError("the word is too short to be told from chance inside base64")
    forms = [raw]
    for before in range(3):
        # Six bits a letter: the letters at both ends also depend on the neighbours, so they are left out.
        encoded = base64.b64encode(b"\0" * before + raw)
        first = -(-before * 8 // 6)
        last = (before + len(raw)) * 8 // 6
        forms += [encoded[first:last], encoded[first:last].translate(bytes.maketrans(b"+/", b"-_"))]
    return forms


def _holds(content: bytes, forms: list[bytes]) -> bool:
    return any(form in content for form in forms)
