"""
The ways to wait that are measured side by side, each as a trigger that an Airflow triggerer can run.

All look every five seconds, with the same POST. What the others stand for:

- ``http_event_trigger`` and ``http_sensor_trigger``: what providers-http brings;
- ``session_per_look``: a trigger as it is written by hand: a loop that looks the connection up, opens an
  ``aiohttp`` session, asks, and sleeps;
- ``session_per_trigger``: the same, with the look-up and the session before the loop;
- ``sleep_only``: does nothing but sleep. Its memory is Airflow's own for a trigger.

Nothing of Airflow is imported here: the process that starts a benchmark has no Airflow of its own, and must
not make itself a home for one.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from benchmarks.gateway import NOT_FOUND_WHILE_PENDING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

INTERVAL = 5.0
LUMA_CONN_ID = "luma_bench"
HTTP_CONN_ID = "http_bench"
KEY = "a-key-of-the-benchmarks"
#: The DAG run, and the task of it, whose instances wait in the real triggerer.
DAG_ID, RUN_ID, TASK_ID = "waiting", "bench", "wait"


def _ours(request_id: str) -> tuple[str, dict[str, Any]]:
    now = time.time()
    return "airflow_provider_luma.triggers.luma.LumaStatusTrigger", {
        "request_id": request_id,
        "luma_conn_id": LUMA_CONN_ID,
        "deadline": now + 3600,
        "started_at": now,
        "poke_interval": INTERVAL,
        # As the look that a worker made before the deferral has left them.
        "status_id_field": "task_id",
        "answered": True,
        "looks": 1,
    }


def _http(request_id: str, prefix: str = "") -> dict[str, Any]:
    from airflow_provider_luma.api.gateways.appypie import HEADERS, STATUS_PATH

    return {
        "http_conn_id": HTTP_CONN_ID,
        "method": "POST",
        "endpoint": f"{prefix}{STATUS_PATH}",
        "data": json.dumps({"task_id": request_id}),
        "headers": dict(HEADERS),
    }


def _http_event_trigger(request_id: str) -> tuple[str, dict[str, Any]]:
    return "airflow.providers.http.triggers.http.HttpEventTrigger", {
        **_http(request_id),
        "response_check_path": "benchmarks.response_check.is_completed",
        "poll_interval": INTERVAL,
    }


def _http_sensor_trigger(request_id: str) -> tuple[str, dict[str, Any]]:
    # It knows no "not yet" but 404, and fires on any answer that is not an error.
    return "airflow.providers.http.triggers.http.HttpSensorTrigger", {
        **_http(request_id, NOT_FOUND_WHILE_PENDING),
        "poke_interval": INTERVAL,
    }


def _by_hand(name: str) -> Callable[[str], tuple[str, dict[str, Any]]]:
    return lambda request_id: (f"benchmarks.peers.{name}", {"request_id": request_id})


@dataclass(frozen=True)
class Design:
    """
    One way to wait.

    :param title: for tables.
    :param trigger: returns the class path and arguments of a trigger that waits for a request id.
    """

    title: str
    trigger: Callable[[str], tuple[str, dict[str, Any]]]


DESIGNS: Mapping[str, Design] = {
    "ours": Design("`LumaStatusTrigger`", _ours),
    "http_event_trigger": Design("`HttpEventTrigger`", _http_event_trigger),
    "http_sensor_trigger": Design("`HttpSensorTrigger`", _http_sensor_trigger),
    "session_per_look": Design("by hand, a session per look", _by_hand("SessionPerLook")),
    "session_per_trigger": Design("by hand, a session per trigger", _by_hand("SessionPerTrigger")),
    "sleep_only": Design("a trigger that only sleeps", _by_hand("SleepOnly")),
}


def connections(url: str, authority: str, extra: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """
    Return the connections of all designs, by id.

    :param url: where the gateway listens.
    :param authority: path of the certificate of who has signed the gateway's.
    :param extra: further extras of the connection of type ``luma``.
    """
    return {
        LUMA_CONN_ID: {
            "conn_type": "luma",
            "host": url,
            "password": KEY,
            "extra": {"verify": authority, **extra},
        },
        HTTP_CONN_ID: {"conn_type": "http", "host": url, "extra": {"Ocp-Apim-Subscription-Key": KEY}},
    }
