"""The transfer as a task, and what it works on."""

from __future__ import annotations

import hashlib
import inspect
import struct
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from airflow_provider_luma.emulator.video import tiny_video
from airflow_provider_luma.transfers.luma_to_object_storage import LumaToObjectStorageOperator

if TYPE_CHECKING:
    import pytest


MIB = 1024 * 1024


def keep(destination: object, **fields: Any) -> LumaToObjectStorageOperator:
    """Return the operator; a path becomes an address."""
    if isinstance(destination, Path):
        destination = f"file://{destination}"
    return LumaToObjectStorageOperator(**{"task_id": "keep", "destination": destination, **fields})


def execute(operator: LumaToObjectStorageOperator, context: dict[str, Any]) -> str:
    """Execute in a thread: Airflow 2 guards ``execute`` by something that only the main thread has."""
    returned: str = inspect.unwrap(type(operator).execute)(operator, context)
    return returned


def as_task(context: dict[str, Any], task_id: str) -> dict[str, Any]:
    """Return a context in which another task runs."""
    ti = SimpleNamespace(dag_id="d", run_id="r", task_id=task_id, map_index=-1, xcom_push=lambda **_: None)
    return {**context, "ti": ti}


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def said(error: pytest.ExceptionInfo[BaseException]) -> str:
    return str(error.value)


def film_of(size: int) -> bytes:
    """Return a video with so many bytes at its end that a player skips, no two KiB of them alike."""
    filler = b"".join(
        hashlib.sha256(number.to_bytes(4, "big")).digest() * 32 for number in range(size // 1024)
    )
    assert len(filler) == size
    return tiny_video() + struct.pack(">I4s", size + 8, b"free") + filler
