"""
Every Airflow that people run: ``make compat`` installs the built wheel beside each one and tests it there.

For each pair of an Airflow and a Python that this Airflow supports, in an environment of its own: the wheel,
not the checkout; the dependencies as they were when that Airflow was current (a dated resolution stands in
for Airflow's constraint files); the unit and integration tests, with the example DAGs by ``dag.test()`` among
them; and the ``airflow providers`` commands. One row more has the lowest versions that the wheel's metadata
allows.

What was seen goes into ``benchmarks/results/compatibility.json``, row by row, and from there into the table
of ``docs/compatibility.md``. A pair whose Python is not on this machine is left as it was, with a word.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import time
import tomllib
import xml.etree.ElementTree as ET
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dev.places import CACHE, REPOSITORY
from dev.release import UV, packages

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ENVIRONMENTS = CACHE / "compat"
RESULTS = REPOSITORY / "benchmarks" / "results" / "compatibility.json"
PAGE = REPOSITORY / "docs" / "compatibility.md"
MATRIX = re.compile(r"(<!-- matrix -->\n).*?(<!-- end -->)", re.DOTALL)

#: Seconds after which the tests of one pair count as hanging.
TOO_LONG = 45 * 60

#: What a user may ask the command line about providers, and what must stand in the answer.
PROVIDER_COMMANDS = {
    ("list",): "airflow-provider-luma",
    ("get", "airflow-provider-luma", "--full"): "LumaVideoLink",
    ("hooks",): "airflow_provider_luma.hooks.luma.LumaHook",
    ("links",): "airflow_provider_luma.links.luma.LumaVideoLink",
}


@dataclass(frozen=True)
class Airflow:
    """One release of Airflow, with the day by which its dependencies are resolved (none: today's)."""

    version: str
    before: str | None
    #: Those that it supports itself, and we too.
    pythons: tuple[str, ...]
    lowest: bool = False
    #: Packages of which something newer than that day is needed.
    newer: tuple[str, ...] = ()


#: What our metadata demands in a newer version than there was by then: providers are released apart from
#: Airflow, and an older aiohttp has a hole that one odd answer would freeze a triggerer through.
_DEMANDED = ("apache-airflow-providers-common-compat", "aiohttp")

AIRFLOWS = (
    Airflow("2.11.0", "2025-07-15", ("3.11", "3.12"), lowest=True, newer=_DEMANDED),
    Airflow("2.11.2", "2026-04-01", ("3.11", "3.12")),
    Airflow("3.0.6", "2025-10-01", ("3.11", "3.12"), newer=_DEMANDED),
    Airflow("3.1.8", "2026-04-15", ("3.11", "3.12", "3.13")),
    Airflow("3.2.2", "2026-07-01", ("3.11", "3.12", "3.13")),
    Airflow("3.3.2", None, ("3.11", "3.12", "3.13")),
)


@dataclass
class Row:
    """What was seen of one pair."""

    airflow: str
    python: str
    lowest: bool
    at: str
    commit: str
    passed: int = 0
    failed: int = 0
    #: Reason to how many tests were skipped for it.
    skipped: dict[str, int] = field(default_factory=dict)
    commands: int = 0
    seconds: float = 0.0
    #: Of the packages that matter most.
    versions: dict[str, str] = field(default_factory=dict)
    #: What went wrong before or beside the tests.
    trouble: str | None = None

    @property
    def name(self) -> str:
        """Return what the Airflow is called in the table."""
        return f"{self.airflow} (lowest)" if self.lowest else self.airflow

    @property
    def good(self) -> bool:
        """Return whether everything that was tried has worked."""
        return self.trouble is None and not self.failed and self.passed > 0

    def __str__(self) -> str:
        return (
            f"Airflow {self.name}, Python {self.python}: {'good' if self.good else 'BAD'}, "
            f"{self.passed} passed, {self.failed} failed, {sum(self.skipped.values())} skipped, "
            f"{self.seconds:.0f} s. {self.trouble or ''}"
        )


class Failure(Exception):
    """A step did not work; the message carries what it printed last."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Test the pairs that were asked for; return 0 if each has passed."""
    parser = argparse.ArgumentParser(prog="make compat", description=__doc__.split("\n\n")[0].strip())
    add = parser.add_argument
    add("--airflow", action="append", help="only versions that start so, such as 3.1; or: lowest")
    add("--python", action="append", help="only these, such as 3.12")
    add("--tests", nargs="+", default=["tests/unit", "tests/integration"], help="files and folders")
    add("--jobs", type=int, default=1, help="how many pairs at a time")
    add("--no-record", action="store_true", help="leave results and page as they are")
    options = parser.parse_args(arguments)
    wheel, _ = packages(ENVIRONMENTS / "wheel")
    wanted = []
    for airflow, python in pairs(options.airflow, options.python):
        if interpreter := interpreter_for(python):
            wanted.append((airflow, python, interpreter))
        else:
            print(f"Airflow {airflow.version}, Python {python}: there is no Python {python} here", flush=True)
    rows = []
    with ThreadPoolExecutor(options.jobs) as pool:
        for row in pool.map(lambda pair: tested(*pair, wheel, options.tests), wanted):
            rows.append(row)
            print(row, flush=True)
            if not options.no_record:
                record(row)
    if not options.no_record:
        PAGE.write_text(written(PAGE.read_text(), read_rows()))
    print(f"{sum(row.good for row in rows)} passed, {sum(not row.good for row in rows)} failed")
    return 0 if rows and all(row.good for row in rows) else 1


def pairs(airflows: Sequence[str] | None, pythons: Sequence[str] | None) -> Iterator[tuple[Airflow, str]]:
    """Give the pairs that were asked for."""
    for airflow in AIRFLOWS:
        wanted = any(
            airflow.lowest if one == "lowest" else airflow.version.startswith(one) and not airflow.lowest
            for one in airflows or ("", "lowest")
        )
        for python in airflow.pythons if wanted else ():
            if not pythons or python in pythons:
                yield airflow, python


def interpreter_for(python: str) -> str | None:
    """Return a Python of that version: one on the path, or one that pyenv or uv has installed."""
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    uv = Path.home() / ".local" / "share" / "uv" / "python"
    installed = [*pyenv.glob(f"{python}.*/bin/python"), *uv.glob(f"cpython-{python}.*/bin/python3")]
    code = "import sys, ensurepip; print('%d.%d' % sys.version_info[:2])"
    for candidate in (sys.executable, shutil.which(f"python{python}"), *sorted(map(str, installed))):
        if candidate is not None:
            said = subprocess.run([candidate, "-c", code], capture_output=True, text=True, check=False)
            if said.stdout.strip() == python:
                return candidate
    return None


def tested(airflow: Airflow, python: str, interpreter: str, wheel: Path, tests: Sequence[str]) -> Row:
    """Install and test one pair; whatever goes wrong stands in the row."""
    began = time.monotonic()
    commit = run(["git", "rev-parse", "--short", "HEAD"], cwd=REPOSITORY).strip()
    written_here = [f":!{path.relative_to(REPOSITORY)}" for path in (RESULTS, PAGE)]
    if run(["git", "status", "--porcelain", "--", ".", *written_here], cwd=REPOSITORY).strip():
        commit += "-dirty"
    now = datetime.now(tz=UTC).date().isoformat()
    row = Row(airflow.version, python, airflow.lowest, now, commit)
    folder = ENVIRONMENTS / f"{airflow.version}{'-lowest' * airflow.lowest}-{python}"
    try:
        binary = installed(airflow, interpreter, wheel, folder)
        row.versions = versions_in(binary)
        if row.versions["apache-airflow"] != airflow.version:
            raise Failure(f"Airflow {row.versions['apache-airflow']} was installed")
        checkout = staged(folder, binary)
        row.commands = provider_commands(binary, folder)
        run_tests(binary, checkout, folder, tests, row)
    except Failure as failure:
        row.trouble = str(failure)[-2000:]
    row.seconds = round(time.monotonic() - began, 1)
    return row


def installed(airflow: Airflow, interpreter: str, wheel: Path, folder: Path) -> Path:
    """Make an environment with the wheel and that Airflow; return its ``bin``."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    run([UV, "venv", "--quiet", "--python", interpreter, str(folder / "venv")])
    dated = ["--exclude-newer", airflow.before] if airflow.before else []
    for package in airflow.newer:
        dated += ["--exclude-newer-package", f"{package}={datetime.now(tz=UTC).date().isoformat()}"]
    # The lowest version is taken of what is asked for here, not of what that asks for in turn.
    lowest = ["--resolution", "lowest-direct", *demanded()] if airflow.lowest else []
    python = folder / "venv" / "bin" / "python"
    wanted = [f"apache-airflow=={airflow.version}", f"{wheel}[emulator]"]
    # The tools of the tests in a step of their own: of them, not the lowest version is meant.
    install = [UV, "pip", "install", "--quiet", "--compile-bytecode", "--python", str(python)]
    run([*install, *dated, *lowest, *wanted])
    kept = folder / "constraints.txt"
    freeze = [UV, "pip", "freeze", "--exclude", "airflow-provider-luma", "--python", str(python)]
    kept.write_text(run(freeze))
    run([*install, *dated, "--constraint", str(kept), f"{wheel}[dev]"])
    return python.parent


def demanded() -> list[str]:
    """Return what the wheel and its extra ``emulator`` demand."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    return [*project["dependencies"], *project["optional-dependencies"]["emulator"]]


def staged(folder: Path, binary: Path) -> Path:
    """Return a copy of the checkout in which the package is the installed one."""
    checkout = folder / "checkout"
    for name in run(["git", "ls-files", "-z"], cwd=REPOSITORY).split("\0"):
        source = REPOSITORY / name
        if name and source.is_file() and not name.startswith("airflow_provider_luma/"):
            target = checkout / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
    code = "import airflow_provider_luma; print(airflow_provider_luma.__path__[0])"
    package = run([str(binary / "python"), "-c", code], cwd=folder).strip()
    if not Path(package).is_relative_to(folder / "venv"):
        raise Failure(f"the package that is installed is {package}")
    (checkout / "airflow_provider_luma").symlink_to(package)
    return checkout


def provider_commands(binary: Path, folder: Path) -> int:
    """Run the ``airflow providers`` commands; return how many there were."""
    home = folder / "home"
    environment = {**os.environ, "AIRFLOW_HOME": str(home), "AIRFLOW__CORE__LOAD_EXAMPLES": "False"}
    for arguments, expected in PROVIDER_COMMANDS.items():
        said = run(
            [str(binary / "python"), "-m", "airflow", "providers", *arguments, "--output", "yaml"],
            cwd=folder,
            env={**environment, "COLUMNS": "400"},
        )
        if expected not in said:
            raise Failure(f"airflow providers {' '.join(arguments)} does not say {expected}: {said[-600:]}")
    return len(PROVIDER_COMMANDS)


def run_tests(binary: Path, checkout: Path, folder: Path, tests: Sequence[str], row: Row) -> None:
    """Run the tests, and note in the row what has become of them."""
    report, output = folder / "report.xml", folder / "pytest.out"
    pytest = [str(binary / "python"), "-m", "pytest", "-p", "no:cacheprovider"]
    command = [*pytest, *tests, f"--junitxml={report}"]
    with output.open("w") as out:
        try:
            done = subprocess.run(
                command, cwd=checkout, stdout=out, stderr=subprocess.STDOUT, check=False, timeout=TOO_LONG
            )
        except subprocess.TimeoutExpired:
            raise Failure(f"pytest hung: {output.read_text()[-1500:]}") from None
    if not report.exists():
        raise Failure(f"pytest ended with {done.returncode}: {output.read_text()[-1500:]}")
    suite = ET.parse(report).getroot().find("testsuite")
    assert suite is not None
    row.skipped = reasons_in(suite)
    row.failed = int(suite.get("failures", 0)) + int(suite.get("errors", 0))
    row.passed = int(suite.get("tests", 0)) - row.failed - sum(row.skipped.values())
    if done.returncode and not row.failed:
        raise Failure(f"pytest ended with {done.returncode}: {output.read_text()[-1500:]}")
    if row.failed:
        print(output.read_text()[-10_000:], flush=True)
        row.trouble = f"see {output.relative_to(REPOSITORY)}"


def reasons_in(suite: ET.Element) -> dict[str, int]:
    """Return why tests were skipped, and how many for each reason."""
    found: Counter[str] = Counter()
    for one in suite.iter("skipped"):
        reason = one.get("message") or ""
        if reason == "collection skipped":  # a whole file: the reason is in a tuple beside its place
            reason = str(ast.literal_eval(one.text or "()")[-1]).removeprefix("Skipped: ")
        found[reason] += 1
    return dict(sorted(found.items()))


def versions_in(binary: Path) -> dict[str, str]:
    """Return the versions of what matters most."""
    names = (
        "apache-airflow", "apache-airflow-providers-common-compat", "apache-airflow-providers-http",
        "aiohttp", "requests", "tenacity",
    )  # fmt: skip
    code = f"import importlib.metadata as m, json; print(json.dumps({{n: m.version(n) for n in {names!r}}}))"
    versions: dict[str, str] = json.loads(run([str(binary / "python"), "-c", code]))
    return versions


def run(command: Sequence[str], **options: Any) -> str:
    """Run a command and return what it printed."""
    done = subprocess.run(command, check=False, capture_output=True, text=True, **options)
    if done.returncode:
        shown = " ".join(command)[:200]
        raise Failure(f"{shown} ended with {done.returncode}: {(done.stdout + done.stderr)[-1500:]}")
    return done.stdout


# The record and the page


def read_rows() -> list[Row]:
    """Return all rows that were recorded."""
    return [Row(**row) for row in json.loads(RESULTS.read_text())["rows"]] if RESULTS.exists() else []


def record(row: Row) -> None:
    """Put a row in the place of the one that was there for its pair."""

    def key(one: Row) -> tuple[list[int], list[int]]:
        return ([*map(int, one.airflow.split("."))], [*map(int, one.python.split("."))])

    others = [one for one in read_rows() if (one.airflow, one.python) != (row.airflow, row.python)]
    rows = sorted([*others, row], key=key)
    machine = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    results = {"machine": machine, "rows": [asdict(one) for one in rows]}
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")


def written(page: str, rows: Sequence[Row]) -> str:
    """Return the page with its table as the rows have it."""
    lines = [
        "| Airflow | Python | `providers-http` | `common-compat` | tests passed | skipped | seen on |",
        "|---|---|---|---|---|---|---|",
    ]
    known = {(row.airflow, row.python): row for row in rows}
    for airflow, python in pairs(None, None):
        row = known.get((airflow.version, python))
        if row is None:
            row = Row(airflow.version, python, airflow.lowest, at="", commit="")
            lines.append(f"| {row.name} | {python} | | | not run yet | | |")
            continue
        found = f"{row.passed:,}" if row.good else f"**{row.failed or 'all'} failed**"
        lines.append(
            f"| {row.name} | {row.python} "
            f"| {row.versions.get('apache-airflow-providers-http', '?')} "
            f"| {row.versions.get('apache-airflow-providers-common-compat', '?')} "
            f"| {found} | {sum(row.skipped.values())} | {row.at} |"
        )
    reasons: dict[str, list[str]] = {}
    for row in rows:
        for reason in row.skipped:
            names = reasons.setdefault(reason, [])
            if row.name not in names:
                names.append(row.name)
    lines += ["", "| skipped because | on Airflow |", "|---|---|"]
    lines += [f"| {reason} | {', '.join(names)} |" for reason, names in sorted(reasons.items())]
    table = "".join(f"{line}\n" for line in lines)
    return MATRIX.sub(lambda found: f"{found[1]}{table}{found[2]}", page)


if __name__ == "__main__":
    sys.exit(main())
