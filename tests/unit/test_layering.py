"""Imports run one way: operators, sensors, triggers, transfers -> hooks -> api -> exceptions."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "airflow_provider_luma"
NAME = PACKAGE.name

#: A room, and the rooms of this package that it may import from besides itself.
ALLOWED = {
    "exceptions": set(),
    "version_compat": set(),
    "get_provider_info": set(),
    "emulator": set(),
    "pytest_plugin": {"emulator"},
    "api": {"exceptions"},
    # The fields of the connection form have their home where Airflow reads them without an import.
    "hooks": {"api", "exceptions", "get_provider_info", "version_compat"},
    "steps": {"triggers", "hooks", "api", "exceptions", "version_compat"},
    "links": {"api", "exceptions", "version_compat"},
    "retry_policy": {"api", "exceptions", "version_compat"},
    "triggers": {"hooks", "api", "exceptions", "version_compat"},
    "operators": {"steps", "triggers", "links", "hooks", "api", "exceptions", "version_compat"},
    "decorators": {"operators", "api", "version_compat"},
    "sensors": {"steps", "triggers", "links", "hooks", "api", "exceptions", "version_compat"},
    "transfers": {"steps", "triggers", "links", "hooks", "api", "exceptions", "version_compat"},
}
FILES = sorted(PACKAGE.rglob("*.py"))

every_file = pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))


def room_of(file: Path) -> str:
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports_of(file: Path) -> list[tuple[int, str]]:
    """Return the line and the full name of everything that a file imports, wherever in it."""
    found = []
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file.name}:{node.lineno} imports relatively"
            found += [(node.lineno, f"{node.module}.{alias.name}") for alias in node.names]
    return found


def in_api(file: Path) -> bool:
    return room_of(file) == "api"


class TestImports:
    def test_there_is_something_to_look_at(self):
        assert {"api", "hooks", "operators", "sensors", "triggers", "exceptions"} <= {*map(room_of, FILES)}

    @every_file
    def test_run_one_way(self, file):
        room = room_of(file)
        if room == "__init__":
            return
        strays = [
            f"{file.relative_to(ROOT)}:{line} imports {name}"
            for line, name in imports_of(file)
            if name.startswith(f"{NAME}.")
            and name.split(".")[1] not in {room, "__version__", *ALLOWED.get(room, set())}
        ]

        assert room in ALLOWED, f"{room} is new: say here what it may import"
        assert not strays, "\n".join(strays)

    @pytest.mark.parametrize("file", [*filter(in_api, FILES)], ids=lambda file: file.name)
    def test_api_cannot_reach_the_outside(self, file):
        outside = {
            "socket", "ssl", "http", "urllib3", "requests", "aiohttp", "httpx", "tenacity", "time", "random",
            "secrets", "uuid", "asyncio", "threading", "subprocess", "os", "pathlib", "pendulum", "airflow",
        }  # fmt: skip
        strays = [f"line {line}: {name}" for line, name in imports_of(file) if name.split(".")[0] in outside]

        assert not strays, strays

    @pytest.mark.parametrize("file", [*filter(in_api, FILES)], ids=lambda file: file.name)
    def test_api_reads_no_clock_and_opens_no_file(self, file):
        clock = {"now", "today", "utcnow"}
        strays = [
            f"line {node.lineno}: {ast.unparse(node.func)}"
            for node in ast.walk(ast.parse(file.read_text()))
            if isinstance(node, ast.Call)
            and (
                (isinstance(node.func, ast.Attribute) and node.func.attr in clock)
                or (isinstance(node.func, ast.Name) and node.func.id in {"open", "print", "input"})
            )
        ]

        assert not strays, strays

    def test_the_metadata_imports_nothing(self):
        modules = {name.split(".")[0] for _, name in imports_of(PACKAGE / "get_provider_info.py")}

        assert modules <= {"__future__", "typing"}

    @every_file
    def test_nothing_but_the_emulators_own_files_and_the_plugin_import_the_emulator(self, file):
        if room_of(file) in {"emulator", "pytest_plugin"}:
            return
        strays = [line for line, name in imports_of(file) if name.startswith(f"{NAME}.emulator")]

        assert not strays, strays

    @every_file
    def test_nobody_but_their_registry_knows_a_gateway_by_name(self, file):
        if room_of(file) == "emulator" or file.parent.name == "gateways":
            return
        names = ("DEFAULT_GATEWAY", "GATEWAYS", "Gateway", "check", "lister", "look")
        registry = {f"{NAME}.api.gateways.{name}" for name in names}
        strays = [
            line
            for line, name in imports_of(file)
            if name.startswith(f"{NAME}.api.gateways.") and name not in registry
        ]

        assert not strays, strays

    @every_file
    def test_annotations_are_never_evaluated(self, file):
        text = file.read_text()

        assert not text.strip() or "import" not in text or "from __future__ import annotations" in text
