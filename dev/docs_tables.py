"""
The tables of the documentation that the code has already: ``make docs-tables`` writes them into the pages.

The parameters of ``docs/operators.md`` are described in the docstrings, the faults of ``docs/testing.md`` in
the emulator's table, what a gateway takes and can (``docs/gateways.md``) in its module. The pages repeat them
for those who read them on GitHub, and a test fails where they do not agree.
"""

from __future__ import annotations

import importlib
import inspect
import os
import re
import tempfile
from dataclasses import fields
from pathlib import Path

#: In the column of the defaults, where there is none.
NO_DEFAULT = "\N{EN DASH}"
DOCS = Path(__file__).resolve().parent.parent / "docs"
PAGES = [DOCS / "operators.md", DOCS / "testing.md", DOCS / "gateways.md"]
TABLE = re.compile(r"(<!-- (parameters|faults|gateways)(?:: ([\w.]+))? -->\n).*?(<!-- end -->)", re.DOTALL)
FIELD = re.compile(r"^:param (\w+): (.*?)(?=^:|^\S|\Z)", re.MULTILINE | re.DOTALL)


def described(member: object) -> dict[str, str]:
    """Return what a docstring says of each parameter, as Markdown in one line."""
    return {
        name: markdown(" ".join(text.split()))
        for name, text in FIELD.findall(inspect.cleandoc(member.__doc__ or ""))
    }


def markdown(text: str) -> str:
    """Return a line of reStructuredText as Markdown."""
    # What the column says already.
    text = re.sub(r"; default (``[^`]*``|\d+)(?=[.;]|$)", "", text)
    text = re.sub(r"; default (``[^`]*``: )", r"; \1", text)
    text = re.sub(r":\w+:`~?(?:[\w.]+\.)?(\w+)`", r"`\1`", text)
    return text.replace("``", "`").replace("|", r"\|")


def defaults(member: type) -> dict[str, str]:
    """Return the parameters of a class with their defaults, in the signature's order."""
    signature = inspect.signature(member.__init__)
    return {
        name: "" if parameter.default is parameter.empty else shown(name, parameter.default)
        for name, parameter in signature.parameters.items()
        if name != "self" and parameter.kind is not parameter.VAR_KEYWORD
    }


def shown(name: str, default: object) -> str:
    """Return a default as a table shows it."""
    if name == "deferrable":
        return "Airflow's"
    if isinstance(default, float) and default.is_integer():
        default = int(default)
    return f"`{default!r}`".replace("'", '"')


def table(path: str) -> str:
    """Return the table of a class's parameters; what takes no default is required."""
    module, name = path.rsplit(".", 1)
    member = getattr(importlib.import_module(module), name)
    known, texts = defaults(member), described(member)
    missing = known.keys() - texts.keys()
    if missing:
        raise ValueError(f"{path}: the docstring does not describe {', '.join(sorted(missing))}")
    rows = ["| parameter | default | meaning |", "|---|---|---|"]
    rows += [f"| `{name}` | {known.get(name) or NO_DEFAULT} | {text} |" for name, text in texts.items()]
    return "\n".join(rows) + "\n"


def faults() -> str:
    """Return the table of the emulator's faults."""
    from airflow_provider_luma.emulator import FAULTS, TARGETS

    rows = ["| fault | what it does | of its own | aimed at | paid |", "|---|---|---|---|---|"]
    for fault in FAULTS.values():
        options = ", ".join(f"`{option}`" for option in fault.options)
        targets = "any" if fault.targets == TARGETS else ", ".join(f"`{target}`" for target in fault.targets)
        cells = [f"`{fault.name}`", fault.summary, options, targets, "yes" if fault.paid else "no"]
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows) + "\n"


def gateways() -> str:
    """Return the table of what each gateway takes and can."""
    from airflow_provider_luma.api.gateways import GATEWAYS
    from airflow_provider_luma.api.gateways.capabilities import Capability
    from airflow_provider_luma.api.models import GenerationRequest

    doors = GATEWAYS.values()
    rows = [
        f"| | {' | '.join(f'`{door.NAME}`' for door in doors)} |",
        f"|---{'|---' * len(doors)}|",
        f"| what it is | {' | '.join(door.TITLE for door in doors)} |",
        f"| host, unless another is named | {' | '.join(f'`{door.DEFAULT_HOST}`' for door in doors)} |",
        f"| models, default first | {' | '.join(', '.join(door.MODELS) or 'unnamed' for door in doors)} |",
    ]
    names = [field.name for field in fields(GenerationRequest)]
    notes = {"start_frame": ", an earlier generation"}
    rows += [
        _marked(f"`{name}`{notes.get(name, '')}", [name in door.PARAMETERS for door in doors])
        for name in names
    ]
    rows += [_marked(one.value, [one in door.CAPABILITIES for door in doors]) for one in Capability]
    return "\n".join(rows) + "\n"


def _marked(what: str, has: list[bool]) -> str:
    return f"| {what} | {' | '.join('yes' if one else NO_DEFAULT for one in has)} |"


def written(page: str) -> str:
    """Return the page with its tables as the code has them."""
    made = {"parameters": table, "faults": lambda _: faults(), "gateways": lambda _: gateways()}
    return TABLE.sub(lambda found: f"{found[1]}{made[found[2]](found[3])}{found[4]}", page)


if __name__ == "__main__":
    # Importing Airflow writes into its home.
    with tempfile.TemporaryDirectory() as home:
        os.environ["AIRFLOW_HOME"] = home
        for page in PAGES:
            page.write_text(written(page.read_text()))
