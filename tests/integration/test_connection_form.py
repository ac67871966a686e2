"""What the form of the UI is made from, as this Airflow's own server gives it to the page."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from typing import Any

import airflow
import pytest

from airflow_provider_luma.get_provider_info import connection_fields
from airflow_provider_luma.version_compat import AIRFLOW_3
from tests.places import AIRFLOW_HOME, REPOSITORY

ASKED_OF_3 = """
import json
from airflow.api_fastapi.core_api.services.ui.connections import HookMetaService
(meta,) = [one for one in HookMetaService.hook_meta_data() if one.connection_type == "luma"]
print(json.dumps(meta.model_dump(mode="json")))
"""
#: Airflow 2 makes its form of WTForms' fields; this gives them in the words of Airflow 3.
ASKED_OF_2 = """
import json
from airflow.providers_manager import ProvidersManager
manager = ProvidersManager()
behaviour = manager.field_behaviours["luma"]
def schema(field):
    kind = {"BooleanField": "boolean", "IntegerField": "integer"}.get(field.field_class.__name__, "string")
    choices = [v.values for v in field.kwargs.get("validators", []) if hasattr(v, "values")]
    enum = {"enum": choices[0]} if choices else {}
    return {"type": [kind, "null"], "title": field.kwargs["label"], **enum}
fields = {
    name.removeprefix("extra__luma__"): {
        "value": one.field.kwargs.get("default"), "description": one.field.kwargs["description"],
        "schema": schema(one.field),
    }
    for name, one in manager.connection_form_widgets.items() if name.startswith("extra__luma__")
}
standard = {
    name: {
        "hidden": name in behaviour["hidden_fields"],
        "title": behaviour["relabeling"].get(name),
        "placeholder": behaviour["placeholders"].get(name),
    }
    for name in ("host", "login", "password", "port")
}
name = manager.hooks["luma"].hook_name
print(json.dumps({"hook_name": name, "extra_fields": fields, "standard_fields": standard}))
"""
CODE = f"""
import importlib.util
exec({ASKED_OF_3!r} if importlib.util.find_spec("airflow.api_fastapi") else {ASKED_OF_2!r})
"""

#: Airflow 2's form would change the others by being looked at.
UNSAFE_ON_2 = ("verify", "cert", "proxies", "price_table", "trust_env")
FIELDS = [name for name in connection_fields() if AIRFLOW_3 or name not in UNSAFE_ON_2]

pytestmark = pytest.mark.skipif(
    airflow.__version__.startswith("3.0.") and importlib.util.find_spec("wtforms") is None,
    reason="Airflow 3.0 makes no connection forms without apache-airflow-providers-fab",
)


@pytest.fixture(scope="module")
def form() -> dict[str, Any]:
    """Ask a process of its own: without FAB, Airflow puts stand-ins for it into its modules."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", CODE],
        env={"AIRFLOW_HOME": str(AIRFLOW_HOME), "PYTHONPATH": str(REPOSITORY), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


class TestTheForm:
    def test_has_the_name_that_people_look_for(self, form: dict[str, Any]) -> None:
        assert form["hook_name"] == "Luma Dream Machine"

    def test_asks_for_key_and_address_and_hides_what_does_not_apply(self, form: dict[str, Any]) -> None:
        fields = form["standard_fields"]

        assert fields["password"]["title"] == "Subscription key"
        assert fields["host"]["title"] == "Base URL"
        assert fields["host"]["placeholder"] == "https://gateway.appypie.com"
        assert fields["login"]["hidden"] is True
        assert not fields["port"]["hidden"]

    def test_has_a_field_for_every_setting(self, form: dict[str, Any]) -> None:
        assert list(form["extra_fields"]) == FIELDS

    @pytest.mark.parametrize("name", FIELDS)
    def test_has_labels_help_and_the_kind_of_each(self, form: dict[str, Any], name: str) -> None:
        shown, meant = form["extra_fields"][name], connection_fields()[name]
        kinds = shown["schema"]["type"]

        assert shown["schema"]["title"] == meant["label"]
        assert shown["description"] == meant["description"]
        assert shown["schema"].get("enum") == meant["schema"].get("enum")
        # Older forms know no number with a fraction and no object: there it is text.
        assert kinds in (meant["schema"]["type"], ["string", "null"])
        assert ("boolean" in kinds) is ("boolean" in meant["schema"]["type"])

    def test_shows_a_switch_on_where_nothing_means_yes(self, form: dict[str, Any]) -> None:
        on = [name for name, field in form["extra_fields"].items() if field["value"] is True]

        assert on == [name for name in FIELDS if name == "trust_env"]
