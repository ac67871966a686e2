"""What Airflow's provider registry reads is right: by Airflow's own schema, and by what is really there."""

from __future__ import annotations

import importlib
import json
import tomllib
from pathlib import Path

import airflow
import jsonschema
import pytest

from airflow_provider_luma.get_provider_info import get_provider_info
from airflow_provider_luma.hooks.luma import LumaHook

ROOT = Path(__file__).parents[2]
INFO = get_provider_info()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
MODULES = [
    (kind, module)
    for kind in ("operators", "sensors", "hooks", "triggers", "transfers")
    for entry in INFO.get(kind, [])
    for module in ([entry["python-module"]] if "python-module" in entry else entry["python-modules"])
]


class TestTheSchema:
    def test_of_the_installed_airflow_is_met(self):
        schema = json.loads((Path(airflow.__file__).parent / "provider_info.schema.json").read_text())

        jsonschema.validate(INFO, schema)

    def test_is_not_met_by_anything(self):
        schema = json.loads((Path(airflow.__file__).parent / "provider_info.schema.json").read_text())

        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({**INFO, "connection-types": [{"hook-class-name": 7}]}, schema)


class TestWhatItNames:
    def test_the_distribution_or_every_cli_command_dies(self):
        assert INFO["package-name"] == PROJECT["name"] == "airflow-provider-luma"

    def test_the_entry_point_leads_here(self):
        (target,) = PROJECT["entry-points"]["apache_airflow_provider"].values()
        module, function = target.split(":")

        assert getattr(importlib.import_module(module), function)() == INFO

    @pytest.mark.parametrize(("kind", "module"), MODULES, ids=lambda value: value)
    def test_every_module_can_be_imported(self, kind, module):
        assert importlib.import_module(module).__name__ == module

    def test_every_decorator_is_there(self):
        for entry in INFO["task-decorators"]:
            module, name = entry["class-name"].rsplit(".", 1)

            assert callable(getattr(importlib.import_module(module), name))

    @pytest.mark.parametrize("folder", ["operators", "sensors", "hooks", "triggers", "transfers"])
    def test_no_room_with_something_in_it_is_left_out(self, folder):
        files = (ROOT / "airflow_provider_luma" / folder).glob("luma*.py")
        there = {f"airflow_provider_luma.{folder}.{file.stem}" for file in files}

        assert there == {module for kind, module in MODULES if kind == folder}

    def test_every_integration_is_declared(self):
        declared = {entry["integration-name"] for entry in INFO["integrations"]}
        used = {
            entry["integration-name"]
            for kind in ("operators", "sensors", "hooks", "triggers")
            for entry in INFO.get(kind, [])
        }

        assert used <= declared
        # The other end of a transfer may be another provider's.
        assert all(entry["source-integration-name"] in declared for entry in INFO.get("transfers", []))


class TestTheConnectionType:
    def test_is_the_hooks(self):
        (entry,) = INFO["connection-types"]
        module, _, name = entry["hook-class-name"].rpartition(".")

        assert getattr(importlib.import_module(module), name) is LumaHook
        assert entry["connection-type"] == LumaHook.conn_type == "luma"
        assert entry.get("hook-name", LumaHook.hook_name) == LumaHook.hook_name

    def test_the_form_is_the_same_in_old_and_new_airflow(self):
        (entry,) = INFO["connection-types"]
        new, old = entry["ui-field-behaviour"], LumaHook.get_ui_field_behaviour()

        assert new["hidden-fields"] == old["hidden_fields"] == ["login", "schema", "port"]
        assert new["relabeling"] == old["relabeling"]
        assert new["placeholders"] == old["placeholders"]

    def test_the_key_is_asked_for_in_the_masked_field(self):
        assert "key" in LumaHook.get_ui_field_behaviour()["relabeling"]["password"].lower()
