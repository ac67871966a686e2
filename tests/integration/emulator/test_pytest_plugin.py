"""The fixture ``luma_emulator`` as a user's tests have it, and what its assertions say."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
import requests

from airflow_provider_luma.emulator.testing import LumaEmulator
from tests.places import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HEADERS = {"Ocp-Apim-Subscription-Key": "emulator-key"}


@pytest.fixture
def gateway(monkeypatch: pytest.MonkeyPatch) -> Iterator[LumaEmulator]:
    with LumaEmulator(monkeypatch.setenv) as emulator:
        yield emulator


def submit(gateway: LumaEmulator, prompt: str, **fields: Any) -> requests.Response:
    return requests.post(
        f"{gateway.url}/lumalabs-ai/v1/generate",
        json={"prompt": prompt, **fields},
        headers=HEADERS,
        timeout=10,
    )


class TestItsAssertions:
    def test_about_what_was_paid(self, gateway: LumaEmulator) -> None:
        gateway.assert_paid(0)
        submit(gateway, "a fox")
        gateway.assert_paid()

        with pytest.raises(AssertionError, match="1 generations were paid for, not 2"):
            gateway.assert_paid(2)

    def test_count_what_is_paid_though_its_answer_is_lost(self, gateway: LumaEmulator) -> None:
        gateway.misbehave("generate", "drop-after-reading")
        with pytest.raises(requests.ConnectionError):
            submit(gateway, "a fox")

        gateway.assert_paid()
        with pytest.raises(AssertionError, match="Submits: 1 drop-after-reading") as failed:
            gateway.assert_paid(0)
        assert "'a fox', paid, 0 looks" in str(failed.value)

    def test_about_a_second_charge(self, gateway: LumaEmulator) -> None:
        submit(gateway, "a fox")
        submit(gateway, "a fox", aspect_ratio="9:16")
        gateway.add(prompt="a fox")
        gateway.assert_no_second_charge()
        submit(gateway, "a fox")

        with pytest.raises(AssertionError, match="Paid for more than once: 'a fox'"):
            gateway.assert_no_second_charge()

    def test_about_a_prompt(self, gateway: LumaEmulator) -> None:
        submit(gateway, "a fox", aspect_ratio="9:16")
        submit(gateway, "an owl")
        gateway.add(prompt="a bear")

        assert gateway.assert_generated("a fox", aspect_ratio="9:16").prompt == "a fox"
        for prompt, fields in (("a fox", {"loop": True}), ("a bear", {}), ("a", {})):
            with pytest.raises(AssertionError, match="0 generations, not one"):
                gateway.assert_generated(prompt, **fields)
        submit(gateway, "an owl")
        with pytest.raises(AssertionError, match="2 generations, not one"):
            gateway.assert_generated("an owl")

    def test_about_silence(self, gateway: LumaEmulator) -> None:
        gateway.assert_nothing_sent()
        requests.get(f"{gateway.url}/elsewhere", timeout=10)

        with pytest.raises(AssertionError, match="1 requests were sent, the first to /elsewhere"):
            gateway.assert_nothing_sent()

    def test_say_no_more_than_a_person_reads(self, gateway: LumaEmulator) -> None:
        for _ in range(500):
            gateway.add(prompt="a fox " * 100)

        with pytest.raises(AssertionError, match="and 480 more") as failed:
            gateway.assert_paid(1)
        assert len(str(failed.value)) < 5000


class TestItsConnections:
    def test_lead_to_it_with_the_extras_that_were_asked_for(self, gateway: LumaEmulator) -> None:
        gateway.connect("luma_films", requests_per_second=2)
        connection = json.loads(os.environ["AIRFLOW_CONN_LUMA_FILMS"])

        assert (connection["host"], connection["password"]) == (gateway.url, gateway.key)
        assert connection["extra"] == {"typical_seconds": 1, "requests_per_second": 2}


#: Tests as a user has them, one of which must fail.
USERS = """
import json, os

import pytest
import requests


def get(luma_emulator, request_id):
    return requests.post(
        f"{luma_emulator.url}/lumalabs-ai-polling/v1/getStatus",
        json={"task_id": request_id},
        headers={"Ocp-Apim-Subscription-Key": luma_emulator.key},
        timeout=10,
    ).json()


def test_the_connection_leads_there(luma_emulator):
    assert json.loads(os.environ["AIRFLOW_CONN_LUMA_DEFAULT"])["host"] == luma_emulator.url
    luma_emulator.assert_nothing_sent()


def test_it_is_a_new_one_each_time(luma_emulator):
    assert luma_emulator.generations == {}


def test_nothing_is_left_of_it():
    assert "AIRFLOW_CONN_LUMA_DEFAULT" not in os.environ


@pytest.mark.luma_emulator(seconds=60, conn_id="luma_films", extra={"requests_per_second": 2})
class TestMarked:
    def test_is_made_as_the_marker_says(self, luma_emulator):
        assert json.loads(os.environ["AIRFLOW_CONN_LUMA_FILMS"])["extra"]["requests_per_second"] == 2
        assert get(luma_emulator, luma_emulator.add())["status"] == "processing"

    @pytest.mark.luma_emulator(seconds=0)
    def test_the_nearest_counts(self, luma_emulator):
        assert "AIRFLOW_CONN_LUMA_FILMS" in os.environ
        assert get(luma_emulator, luma_emulator.add())["status"] == "completed"


def test_that_shall_fail(luma_emulator):
    luma_emulator.assert_paid()


@pytest.mark.luma_emulator("luma_films")
def test_with_a_marker_that_is_wrong(luma_emulator):
    pass


@pytest.mark.luma_emulator(second=1)
def test_with_an_option_that_is_none(luma_emulator):
    pass
"""


@pytest.fixture(scope="module")
def printed(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What pytest prints of them."""
    folder = tmp_path_factory.mktemp("users")
    (folder / "test_dags.py").write_text(USERS)
    return pytest_in(folder, "-q", "--strict-markers")


class TestThePlugin:
    def test_gives_the_fixture_without_being_asked_for(self, printed: str) -> None:
        assert "1 failed, 5 passed, 2 errors" in printed, printed

    def test_tells_what_went_wrong(self, printed: str) -> None:
        assert "0 generations were paid for, not 1." in printed
        assert "Generations: none." in printed
        assert "takes keywords only, not ('luma_films',)" in printed
        assert "unexpected keyword argument 'second'" in printed

    def test_is_listed_with_its_marker(self, tmp_path: Path) -> None:
        assert "luma_emulator(conn_id='luma_default', extra={}, **options)" in pytest_in(
            tmp_path, "--markers"
        )
        fixtures = pytest_in(tmp_path, "--fixtures")
        assert "Give a Luma gateway on loopback" in fixtures

    def test_imports_nothing_heavy_until_it_is_used(self, tmp_path: Path) -> None:
        (tmp_path / "test_other.py").write_text(
            "import sys\n\n\ndef test_other():\n"
            "    heavy = {'aiohttp', 'airflow', 'av', 'airflow_provider_luma.emulator'} & set(sys.modules)\n"
            "    assert not heavy, heavy\n"
        )
        assert "1 passed" in pytest_in(tmp_path, "-q")


def pytest_in(folder: Path, *arguments: str) -> str:
    """Return what pytest prints in a project of its own, with the plugins that it finds by itself."""
    (folder / "pytest.ini").write_text("[pytest]\n")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=False,
    )
    return done.stdout
