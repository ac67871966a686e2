"""The gateway on a real socket, a connection to it, and a stand-in for Airflow's task context."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_luma.emulator import Emulator

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

KEY = "key-0123456789-of-the-tests"


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    """The gateway; a generation takes 0.3 s."""
    with Emulator(key=KEY, seconds=0.3, videos="tiny") as gateway:
        yield gateway


@pytest.fixture
def connect(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return a function that (re)writes a connection; unknown keywords become extras."""

    def connect(*, conn_id: str = "luma_default", host: str | None = None, **fields: Any) -> None:
        password = fields.pop("password", KEY)
        connection = {
            "conn_type": "luma",
            "host": emulator.url_of(fields.get("gateway", "appypie")) if host is None else host,
            "password": password,
            # The emulator's generations take no minute.
            "extra": {"typical_seconds": 1, **fields},
        }
        monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps(connection))

    connect()
    return connect


class Killed(BaseException):
    """The process is gone: nothing of it runs on."""


@dataclass
class FakeTaskInstance:
    """What operators and sensors use of a task instance."""

    xcoms: dict[str, Any] = field(default_factory=dict)
    first_reschedule: Any = None
    start_date: Any = None
    max_tries: int = 0
    map_index: int = -1
    fail_push: BaseException | None = None

    def xcom_push(self, key: str, value: Any, **_: Any) -> None:
        if self.fail_push is not None:
            raise self.fail_push
        # As Airflow does: what cannot be JSON cannot be pushed.
        self.xcoms[key] = json.loads(json.dumps(value))

    def xcom_pull(self, task_ids: str, key: str, map_indexes: int) -> Any:
        return self.xcoms.get(key)

    def get_first_reschedule_date(self, context: Any) -> Any:
        return self.first_reschedule


@pytest.fixture
def logged(capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> Callable[[], str]:
    """Return a function that gives what was logged since the last call, on Airflow 2 and 3."""

    def logged() -> str:
        text = capsys.readouterr().out or caplog.text
        caplog.clear()
        return text

    return logged


@dataclass
class FakeStateStore:
    """Airflow 3.3's task state store: values survive tries, as JSON."""

    values: dict[str, Any] = field(default_factory=dict)
    retentions: list[Any] = field(default_factory=list)

    def get(self, key: str, default: Any = None) -> Any:
        return self.values.get(key, default)

    def set(self, key: str, value: Any, *, retention: Any = None) -> None:
        self.values[key] = json.loads(json.dumps(value))
        self.retentions.append(retention)

    def delete(self, key: str) -> None:
        self.values.pop(key, None)


@pytest.fixture
def store() -> FakeStateStore:
    return FakeStateStore()


@pytest.fixture
def ti() -> FakeTaskInstance:
    return FakeTaskInstance()


@pytest.fixture
def context(ti: FakeTaskInstance, store: FakeStateStore) -> dict[str, Any]:
    return {"ti": ti, "task_state_store": store}
