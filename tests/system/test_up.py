"""``make up`` as a person runs it: ready to click when it says so, and gone without a trace after Ctrl-C."""

from __future__ import annotations

import os
import re
import select
import signal
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import psutil
import pytest
import requests

from airflow_provider_luma.emulator import Emulator
from dev.airflow_rest import AirflowRest
from dev.airflow_stack import AirflowStack, Interrupted, free_port, marked_processes
from tests.places import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

READY = "Ctrl-C stops everything."


def without_luma() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("LUMA_")}


class Playground:
    """A running ``python -m dev.up``."""

    def __init__(self, output: Path, port: int, **environment: str) -> None:
        self.output = output
        with output.open("wb") as sink:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "dev.up", "--port", str(port)],
                cwd=REPOSITORY,
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                env=without_luma() | environment,
            )

    def said(self) -> str:
        return self.output.read_text()

    def address(self, about: str) -> str:
        found = re.search(rf"^  {about} +\D*(http://127\.0\.0\.1:\d+)", self.said(), re.MULTILINE)
        assert found is not None, self.said()
        return found[1]

    def wait_until(self, words: str, timeout: float = 120) -> None:
        deadline = time.monotonic() + timeout
        while words not in self.said():
            assert self.process.poll() is None, self.said()
            assert time.monotonic() < deadline, self.said()
            time.sleep(0.2)

    def end(self, signum: int) -> int:
        self.process.send_signal(signum)
        return self.process.wait(60)


def processes() -> list[psutil.Process]:
    """Return the processes of its Airflow, whoever started it in this checkout."""
    home = f"{REPOSITORY}/.cache/up"
    return [found for found in marked_processes() if home_of(found) == home]


def home_of(process: psutil.Process) -> str | None:
    try:
        return process.environ().get("AIRFLOW_HOME")
    except psutil.Error:
        return None


@pytest.fixture
def playground(tmp_path: Path) -> Iterator[Playground]:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        running = Playground(tmp_path / "up.out", taken.getsockname()[1])
        yield running
        if running.process.poll() is None:
            running.end(signal.SIGTERM)


class TestUp:
    def test_is_ready_to_click_and_leaves_nothing_behind(self, playground: Playground) -> None:
        playground.wait_until(READY)
        ui, gateway = playground.address("Airflow"), playground.address("its page")
        assert "is not to be had" in playground.said()
        assert requests.get(ui, timeout=10).ok
        assert "Luma emulator" in requests.get(gateway, timeout=10).text

        api = AirflowRest(ui, check=lambda: None)
        api.login()
        assert api.call("GET", "importErrors")["total_entries"] == 0
        (connection,) = api.call("GET", "connections")["connections"]
        assert connection["connection_id"] == "luma_default"
        # As the UI of Airflow 3.3.2 does it, which refuses to test a connection without a port.
        tested = {name: connection[name] for name in ("connection_id", "conn_type", "host")}
        tested["port"] = connection["port"] or 0
        assert api.call("POST", "connections/test", tested)["status"] is True
        run_id = api.trigger("luma_text_to_video", {"prompt": "A door that opens by itself"})
        assert api.wait_for_run("luma_text_to_video", run_id).state == "success"
        state = requests.get(f"{gateway}/_emulator/state", timeout=10).json()
        assert [made["prompt"] for made in state["generations"]] == ["A door that opens by itself"]

        assert processes()
        assert playground.end(signal.SIGINT) == 0
        assert processes() == []
        assert playground.said().rstrip().endswith("Everything is stopped again.")
        for address in (ui, gateway):
            with pytest.raises(requests.ConnectionError):
                requests.get(address, timeout=5)

    def test_asks_for_a_password_where_generations_are_billed(self, tmp_path: Path) -> None:
        with Emulator() as real:
            key = {"LUMA_SUBSCRIPTION_KEY": real.key, "LUMA_HOST": real.url}
            playground = Playground(tmp_path / "up.out", free_port(), **key)
            try:
                playground.wait_until(READY)
                ui = playground.address("Airflow")
                found = re.search(r"user admin, password (\S+)", playground.said())
                assert found is not None, playground.said()
                assert "billed to your key" in playground.said()
                assert real.key not in playground.said()
                assert requests.get(f"{ui}/auth/token", timeout=10).status_code in (401, 403)
                api = AirflowRest(ui, password=found[1])
                api.login()
                assert api.call("GET", "connections")["total_entries"] == 1
            finally:
                playground.end(signal.SIGINT)
            assert real.paid == 0, "nothing is ordered before somebody asks for it"

    @pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGHUP])
    def test_that_is_ended_while_it_starts_leaves_nothing_behind(
        self, playground: Playground, signum: int
    ) -> None:
        playground.wait_until("is starting")
        deadline = time.monotonic() + 60
        while len(processes()) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.1)

        assert playground.end(signum) == 128 + signum
        assert processes() == []
        assert "everything that was started is stopped" in playground.said()

    def test_that_loses_its_terminal_without_a_signal_leaves_nothing_behind(self) -> None:
        """As under a ``make`` that is the terminal's own command: it does not pass SIGHUP on."""
        ours, theirs = os.openpty()
        running = subprocess.Popen(
            [sys.executable, "-m", "dev.up", "--port", str(free_port())],
            cwd=REPOSITORY,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=without_luma(),
            start_new_session=True,
        )
        os.close(theirs)
        try:
            said = b""
            while READY.encode() not in said:
                assert select.select([ours], [], [], 120)[0], said
                said += os.read(ours, 65536)
            assert processes()
            os.close(ours)
            running.wait(60)
            assert processes() == []
        finally:
            running.terminate()
            running.wait(60)

    def test_is_one_in_a_checkout(self, playground: Playground) -> None:
        playground.wait_until("is starting")
        done = subprocess.run(
            [sys.executable, "-m", "dev.up"],
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

        assert (done.returncode, done.stderr) == (1, "Another `make up` is running in this checkout.\n")


class TestTheStack:
    @pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
    def test_obeys_a_signal_that_came_where_python_drops_exceptions(
        self, tmp_path: Path, signum: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """In a finalizer here; in the hooks of a fork when a component is being started."""

        class Dropping:
            def __del__(self) -> None:
                signal.raise_signal(signum)

        dropped: list[object] = []
        monkeypatch.setattr(sys, "unraisablehook", lambda found: dropped.append(found.exc_type))
        stack = AirflowStack(tmp_path, dags=tmp_path)
        stack._signals.install()
        try:
            stack.check()
            Dropping()
            assert dropped == [Interrupted]
            with pytest.raises(Interrupted):
                stack.check()
        finally:
            stack._signals.restore()
