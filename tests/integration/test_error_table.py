"""
Every error of a wait, in every mode, under every skip rule: one row an error, the class exact.

What must agree in poke, reschedule and deferred mode alike: the class, whether Airflow may retry, that
``soft_fail`` skips on time-out only, and that ``never_fail`` skips on any error. The windows are short
here; they are data, and their lengths are tested in ``tests/unit/api/test_polling.py``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_luma import exceptions as luma
from tests.integration.waiting import MODES, outcome_of, sensor_in

if TYPE_CHECKING:
    from airflow_provider_luma.emulator import Emulator


REQUEST_ID = "20dd7c76-a931-4ac2"
ANOTHERS = '{"requestId": "another", "status": "completed", "video_url": "https://cdn.example.com/v.mp4"}'


@dataclass(frozen=True)
class Row:
    """
    One way in which a wait ends without a video.

    :param error: the exact class.
    :param state: what Airflow makes of it without a skip rule: ``failed`` at once, or ``up_for_retry``.
    :param fault: how the gateway answers when it is asked, with the fault's options.
    :param generation: what becomes of the generation.
    :param connection: what is different about the connection.
    :param sensor: what is different about the sensor.
    """

    error: type[luma.LumaError]
    state: str
    fault: tuple[str, dict[str, Any]] | None = None
    generation: dict[str, Any] = field(default_factory=dict)
    connection: dict[str, Any] = field(default_factory=dict)
    sensor: dict[str, Any] = field(default_factory=dict)


ROWS = {
    "401": Row(luma.LumaKeyRefused, "failed", ("401", {})),
    "402": Row(luma.LumaCreditRefused, "failed", ("credit-402", {})),
    "403 insufficient balance": Row(luma.LumaCreditRefused, "failed", ("credit-403", {})),
    "403": Row(luma.LumaAccessRefused, "failed", ("403", {})),
    "403 HTML page": Row(luma.LumaFirewallRefused, "up_for_retry", ("html-403", {})),
    "400": Row(luma.LumaInputRefused, "failed", ("400", {})),
    "422": Row(luma.LumaInputRefused, "failed", ("status", {"code": 422})),
    "404": Row(luma.LumaAddressRefused, "failed", ("404", {})),
    "redirect": Row(luma.LumaAddressRefused, "failed", ("redirect", {})),
    "418": Row(luma.LumaRefused, "up_for_retry", ("status", {"code": 418})),
    "500": Row(luma.LumaGatewayError, "up_for_retry", ("500", {})),
    "connection dropped": Row(luma.LumaGatewayError, "up_for_retry", ("drop-after-reading", {})),
    "not JSON": Row(luma.LumaProtocolError, "up_for_retry", ("not-json", {})),
    "another's id": Row(luma.LumaProtocolError, "up_for_retry", ("status", {"code": 200, "body": ANOTHERS})),
    "nobody listens": Row(luma.LumaUnreachable, "up_for_retry", connection={"host": "http://127.0.0.1:9"}),
    "429 to the end": Row(
        luma.LumaWaitTimeout, "failed", ("429-seconds", {"seconds": 1}), sensor={"timeout": 0.4}
    ),
    "pending to the end": Row(
        luma.LumaWaitTimeout, "failed", generation={"seconds": 60}, sensor={"timeout": 0.4}
    ),
    "failed": Row(
        luma.LumaGenerationFailed, "up_for_retry", generation={"outcome": "failed", "reason": "no luck"}
    ),
    "moderated": Row(
        luma.LumaGenerationModerated,
        "failed",
        generation={"outcome": "failed", "reason": "Prompt is blacklisted"},
    ),
    "not found": Row(luma.LumaGenerationNotFound, "failed", generation={"outcome": "not-found"}),
    "completed without an address": Row(
        luma.LumaCompletedWithoutVideo, "up_for_retry", generation={"outcome": "no-address"}
    ),
    "an error without a status": Row(
        luma.LumaGenerationFailed, "up_for_retry", ("error-no-status", {"error": "boom"})
    ),
    "no id": Row(luma.LumaInvalidRequest, "failed", sensor={"request_id": "None"}),
    "no connection": Row(luma.LumaConnectionNotFound, "up_for_retry", sensor={"luma_conn_id": "nobodys"}),
}


@pytest.fixture(autouse=True)
def short_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten what would make a test wait for minutes."""
    polling = "airflow_provider_luma.api.polling"
    for window in ("NOT_FOUND_WINDOW", "NO_ADDRESS_WINDOW", "NO_STATUS_WINDOW", "NO_ANSWER_WINDOW"):
        monkeypatch.setattr(f"{polling}.{window}", 0.1)
    for interval in ("CONFIRMING_INTERVAL", "FIREWALL_INTERVAL"):
        monkeypatch.setattr(f"{polling}.{interval}", 0.1)


@pytest.mark.parametrize("rule", ["plain", "soft_fail", "never_fail"])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", ROWS)
def test_each_error_ends_alike_in_each_mode(
    name: str, mode: str, rule: str, emulator: Emulator, connect: Any, context: dict[str, Any]
) -> None:
    row = ROWS[name]
    connect(**row.connection)
    emulator.add(request_id=REQUEST_ID, **{"seconds": 0, **row.generation})
    if row.fault is not None:
        fault, options = row.fault
        emulator.misbehave("getStatus", fault, times=None, **options)
    fields: dict[str, Any] = {"request_id": REQUEST_ID, **row.sensor}
    if rule != "plain":
        fields[rule] = True

    outcome = outcome_of(sensor_in(mode, **fields), context)

    assert type(outcome.error) is row.error, outcome
    skips = rule == "never_fail" or (rule == "soft_fail" and row.error is luma.LumaWaitTimeout)
    assert outcome.state == ("skipped" if skips else row.state), outcome
    message = str(outcome.error)
    assert emulator.key not in message
    if row.error is not luma.LumaInvalidRequest:
        assert REQUEST_ID in message, "the reader must learn which generation it is about"
        assert "paid for" in message or "charge" in message, "and what it means for money"
    assert emulator.paid == 0
