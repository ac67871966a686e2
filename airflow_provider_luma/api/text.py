"""
Text from outside, made fit for a log line or an error message: one line, bounded, printable.

Answers of the gateway and prompts of DAG authors may hold line breaks, control characters, lone surrogates
or megabytes. None of that reaches a log as it is.
"""

from __future__ import annotations

import re
from urllib.parse import urlsplit

#: Characters that a quoted piece of an answer has at most.
EXCERPT_LENGTH = 200

#: Characters that a quoted prompt has at most: prompts may be confidential.
PROMPT_EXCERPT_LENGTH = 60

_BEFORE_LAST_AT = re.compile(r"([\w+.-]*)://([^\s\"'<>]*)@")
_QUERY = re.compile(r"(?<=[^\s?#\"'<>])\?[^\s\"'<>]*=[^\s\"'<>]*")
#: Characters of a text that are looked at.
_LOOKED_AT = 4000


def one_line(text: str, limit: int = EXCERPT_LENGTH) -> str:
    """
    Return ``text`` as one printable line of at most ``limit`` characters.

    White space is folded, what cannot be printed (control characters, lone surrogates) becomes ``�``, and a
    cut is shown by ``…``. The work is bounded too: of a very long text only the start is looked at.
    """
    start = text[: limit * 4]
    folded = " ".join(start.split())
    printable = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in folded)
    if len(printable) > limit or len(text) > len(start):
        return printable[: limit - 1] + "…"
    return printable


def quoted_prompt(prompt: str) -> str:
    """Return the start of a prompt for a log line: prompts may be confidential, so never the whole."""
    return one_line(prompt, PROMPT_EXCERPT_LENGTH)


def shown_url(url: str) -> str:
    """Return ``url`` without user, password, query and fragment, which may hold credentials or signatures."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return "(an address that cannot be read)"
    host = f"[{host}]" if ":" in host else host
    hidden = "?…" if parts.query or parts.fragment else ""
    return one_line(f"{parts.scheme}://{host}{port}{parts.path}") + hidden


def without_credentials(text: str) -> str:
    """
    Return ``text`` with what may be secret in the addresses in it left out: users, passwords, queries.

    Of a very long text, only the start is returned.
    """
    return _QUERY.sub("?…", _BEFORE_LAST_AT.sub(_without_user, text[:_LOOKED_AT]))


def _without_user(found: re.Match[str]) -> str:
    scheme, before = found.groups()
    first, slash, _ = before.partition("/")
    # A storage's address has a connection's id there, and a path may hold an @ of its own.
    harmless = ":" not in first and (slash or scheme.lower() not in ("http", "https", "ftp"))
    return found[0] if harmless else f"{scheme}://…@"
