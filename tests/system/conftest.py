"""
One real Airflow for all system tests, in front of one emulated gateway, with the repository's example DAGs.

The gateway lives in the test's own process, so that a test can ask it what it saw; Airflow's components are
processes of their own. They start with the first test that needs them and are gone, children included, after
the last.
"""

from __future__ import annotations

import json
import secrets
import shutil
import socket
from typing import TYPE_CHECKING

import pytest

from airflow_provider_luma.emulator import Emulator
from dev.airflow_stack import AirflowStack
from dev.crash_site import CrashSite
from tests.places import CACHE, REPOSITORY
from tests.system.metrics import MetricsServer
from tests.system.watchful import PRICE, Watchful, watchful_airflow

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Long enough for a look into the database while a task waits, also on a slow machine.
SECONDS_PER_GENERATION = 5


@pytest.fixture(scope="session")
def subscription_key() -> str:
    """Return the secret: random, so that wherever it is found, it was leaked."""
    return secrets.token_hex(16)


@pytest.fixture(scope="session")
def wrong_key() -> str:
    """Return a key that the gateway does not know, which is somebody's secret all the same."""
    return secrets.token_hex(16)


@pytest.fixture(scope="session")
def gateway(subscription_key: str) -> Iterator[Emulator]:
    """Give the emulated gateway."""
    with Emulator(key=subscription_key, seconds=SECONDS_PER_GENERATION) as emulator:
        yield emulator


@pytest.fixture(scope="session")
def metrics() -> Iterator[MetricsServer]:
    """Give what the Airflow of these tests sends its metrics to."""
    with MetricsServer() as server:
        yield server


def add_good_connection(stack: AirflowStack, gateway: Emulator, door: str | None = None) -> None:
    """Have the connection ``luma_default`` lead to the gateway, with its key; to another door, if named."""
    prices = {"currency": "USD", "text_to_video": PRICE}
    extra: dict[str, object] = {"typical_seconds": SECONDS_PER_GENERATION, "price_table": prices}
    host = gateway.url
    if door is not None:
        extra["gateway"], host = door, gateway.url_of(door)
    fields = {"host": host, "password": gateway.key, "extra": json.dumps(extra)}
    stack.api.add_connection("luma_default", "luma", replace=True, **fields)


@pytest.fixture(scope="session")
def airflow(
    gateway: Emulator,
    subscription_key: str,
    wrong_key: str,
    metrics: MetricsServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[AirflowStack]:
    """Give a healthy Airflow with one good connection, ``luma_default``, and two bad ones."""
    folder = tmp_path_factory.mktemp("airflow")
    dags = folder / "dags"
    shutil.copytree(REPOSITORY / "dags", dags, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("luma_keep.py", "luma_many.py"):
        shutil.copy(REPOSITORY / "tests" / "system" / "dags" / name, dags)
    stack = AirflowStack(
        folder / "home",
        dags=dags,
        env={
            "LUMA_DEMO_VIDEOS": str(folder / "videos"),
            "LUMA_DEADLINE_MINUTES": "0.05",
            "AIRFLOW__CORE__TEST_CONNECTION": "Enabled",
            **metrics.settings,
        },
        migrated_copies=CACHE,
        grace=5,
    )
    with stack, socket.socket() as nobody:
        # Bound but not listening: whoever connects is refused, and nobody else can take the port.
        nobody.bind(("127.0.0.1", 0))
        unreachable = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        add_good_connection(stack, gateway)
        stack.api.add_connection("luma_wrong_key", "luma", host=gateway.url, password=wrong_key)
        stack.api.add_connection("luma_unreachable", "luma", host=unreachable, password=subscription_key)
        stack.api.wait_for_dag("luma_text_to_video")
        yield stack


@pytest.fixture(scope="session")
def watchful(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watchful]:
    """Give an Airflow that logs all it can, in which all examples have run."""
    with watchful_airflow(tmp_path_factory.mktemp("watchful")) as watchful:
        watchful.run_everything()
        yield watchful


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CrashSite]:
    """Give another Airflow, which recovers from crashes within seconds, with DAGs to be killed."""
    with CrashSite(tmp_path_factory.mktemp("crash"), parallelism=16) as site:
        yield site


@pytest.fixture(autouse=True)
def stop_the_site_after_its_last_user(request: pytest.FixtureRequest) -> Iterator[None]:
    """Stop it as soon as nobody needs it, so that it does not idle beside the other Airflow."""
    yield
    users = [item for item in request.session.items if "site" in getattr(item, "fixturenames", ())]
    if users and request.node is users[-1]:
        request.getfixturevalue("site").close()
