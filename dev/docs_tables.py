"""
The tables of the documentation that the code has already: ``make docs-tables`` writes them into the pages.

The parameters of ``docs/operators.md`` are described in the docstrings, the faults of ``docs/testing.md`` in
the emulator's table. The pages repeat them for those who read them on GitHub, and a test fails where they do
not agree.
"""

from __future__ import annotations

import importlib
import inspect
import os
import re
import tempfile
from pathlib import Path

#: In the column of the defaults, where there is none.
NO_DEFAULT = "\N{EN DASH}"
DOCS = Path(__file__).resolve().parent.parent / "docs"
PAGES = [DOCS / "operators.md", DOCS / "testing.md"]
TABLE = re.compile(r"(<!-- (parameters|faults)(?:: ([\w.]+))? -->\n).*?(<!-- end -->)", re.DOTALL)
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


def written(page: str) -> str:
    """Return the page with its tables as the code has them."""
    return TABLE.sub(
        lambda found: f"{found[1]}{table(found[3]) if found[2] == 'parameters' else faults()}{found[4]}", page
    )


if __name__ == "__main__":
    # Importing Airflow writes into its home.
    with tempfile.TemporaryDirectory() as home:
        os.environ["AIRFLOW_HOME"] = home
        for page in PAGES:
            page.write_text(written(page.read_text()))
