"""What Airflow's provider registry reads is right: by Airflow's own schema, and by what is really there."""

from __future__ import annotations

import dataclasses
import importlib
import json
import tomllib
from pathlib import Path

import airflow
import jsonschema
import pytest
from airflow.providers.common.compat.sdk import Connection

from airflow_provider_luma.api.gateways.appypie import DEFAULT_HOST, STATUS_ID_FIELDS
from airflow_provider_luma.exceptions import LumaConfigurationError
from airflow_provider_luma.get_provider_info import connection_fields, get_provider_info
from airflow_provider_luma.hooks.connection import LumaSettings, settings_from
from airflow_provider_luma.hooks.luma import LumaHook

ROOT = Path(__file__).parents[2]
INFO = get_provider_info()
FIELDS = connection_fields()
DEFAULTS = {field.name: field.default for field in dataclasses.fields(LumaSettings)}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
MODULES = [
    (kind, module)
    for kind in ("operators", "sensors", "hooks", "triggers", "transfers")
    for entry in INFO.get(kind, [])
    for module in ([entry["python-module"]] if "python-module" in entry else entry["python-modules"])
]


def settings_of(extra: dict[str, object]) -> LumaSettings:
    fields = {"conn_id": "luma", "conn_type": "luma", "password": "k" * 20, "extra": json.dumps(extra)}
    return settings_from(Connection(**fields), "luma")


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
        pattern = "[!_]*.py" if folder == "operators" else "luma*.py"
        files = (ROOT / "airflow_provider_luma" / folder).glob(pattern)
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

        assert new["hidden-fields"] == old["hidden_fields"] == ["login", "schema"]
        assert new["relabeling"] == old["relabeling"]
        assert new["placeholders"] == old["placeholders"]

    def test_the_base_url_that_is_shown_is_the_one_that_counts_when_it_is_empty(self):
        (entry,) = INFO["connection-types"]

        assert entry["ui-field-behaviour"]["placeholders"]["host"] == DEFAULT_HOST

    def test_the_key_is_asked_for_in_the_masked_field(self):
        assert "key" in LumaHook.get_ui_field_behaviour()["relabeling"]["password"].lower()


class TestTheFieldsOfTheForm:
    @pytest.mark.parametrize("name", FIELDS)
    def test_have_a_label_and_one_line_of_help(self, name):
        field = FIELDS[name]

        assert set(field) == {"label", "description", "schema"}
        assert 3 < len(field["label"]) <= 30
        assert 10 < len(field["description"]) <= 90, len(field["description"])
        assert field["description"].endswith(".")
        assert "null" in field["schema"]["type"], "a field that is left alone must be allowed to say nothing"

    @pytest.mark.parametrize("name", FIELDS)
    def test_say_what_empty_means_as_the_settings_have_it(self, name):
        help_text, default = FIELDS[name]["description"], DEFAULTS.get(name, False)
        if isinstance(default, bool) and name != "verify":
            assert FIELDS[name]["schema"].get("default", False) is default
        elif isinstance(default, (int, float)) and name != "verify":
            assert f"Empty: {default:g}." in help_text

    def test_offer_the_choices_that_the_settings_take(self):
        assert FIELDS["status_id_field"]["schema"]["enum"] == ["auto", *STATUS_ID_FIELDS]

    @pytest.mark.parametrize("name", [name for name in FIELDS if "maximum" in FIELDS[name]["schema"]])
    def test_have_the_bounds_of_the_settings(self, name):
        most = FIELDS[name]["schema"]["maximum"]

        least = FIELDS[name]["schema"]["minimum"]
        # Without a limit, no number is stored.
        assert getattr(settings_of({name: least}), name) == (least or None)
        assert getattr(settings_of({name: most}), name) == most
        with pytest.raises(LumaConfigurationError, match=name):
            settings_of({name: most + 1})

    def test_that_are_saved_untouched_change_nothing(self):
        """The form saves null for a field that nobody filled, and what it shows for the others."""
        saved = {name: field["schema"].get("default") for name, field in FIELDS.items()}

        assert settings_of(saved) == settings_of({})
