"""The emulator comes and goes without a trace: loopback only, and nothing is left when it stops."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import requests
import trustme

from airflow_provider_luma.emulator import Emulator

PROJECT = Path(__file__).parents[3]


def is_open(emulator):
    port = int(emulator.url.rsplit(":", 1)[1])
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def emulator_threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("luma-emulator")]


def open_sockets():
    targets = {str(link.readlink()) for link in Path("/proc/self/fd").iterdir() if link.is_symlink()}
    return {target for target in targets if target.startswith("socket:")}


class TestAddress:
    @pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org", ""])
    def test_only_loopback_is_served(self, host):
        with pytest.raises(ValueError, match="loopback addresses only"):
            Emulator(host=host)

    def test_localhost_is_the_loopback_address(self):
        with Emulator(host="localhost") as emulator:
            assert emulator.url.startswith("http://127.0.0.1:")

    def test_ipv6_is_served_where_there_is_some(self):
        try:
            with Emulator(host="::1") as emulator:
                assert requests.get(f"{emulator.url}/_emulator/health", timeout=5).json()["ok"]
        except OSError:
            pytest.skip("This machine has no IPv6 loopback address")

    def test_a_taken_port_is_an_error(self):
        with Emulator() as first, pytest.raises(OSError, match="in use"):
            Emulator(port=int(first.url.rsplit(":", 1)[1])).start()


class TestStopping:
    @pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts sockets in /proc")
    def test_leaves_no_thread_and_no_socket(self):
        before = open_sockets()
        for _ in range(3):
            with Emulator() as emulator:
                emulator.other_host()
                requests.get(emulator.url, timeout=5)

        assert emulator_threads() == []
        assert not is_open(emulator)
        assert open_sockets() <= before

    @pytest.mark.parametrize(
        ("name", "options"),
        [
            ("hang", {}),
            ("lost-answer", {}),
            ("latency", {"seconds": 60}),
            ("drip", {"every": 60}),
            ("endless", {}),
            ("huge", {"size": 10_000_000_000}),
        ],
    )
    def test_ends_what_is_still_going_on(self, name, options):
        emulator = Emulator().start()
        emulator.misbehave("generate", name, **options)
        ended = threading.Event()

        def client():
            url, headers = (
                f"{emulator.url}/lumalabs-ai/v1/generate",
                {"Ocp-Apim-Subscription-Key": emulator.key},
            )
            try:
                answer = requests.post(url, json={"prompt": "x"}, headers=headers, timeout=30, stream=True)
                for _ in answer.iter_content(65536):
                    pass
            except requests.RequestException:
                ended.set()

        thread = threading.Thread(target=client)
        thread.start()
        emulator.wait_for(lambda e: e.in_flight.get("generate"))
        started = time.monotonic()
        emulator.stop()

        assert time.monotonic() - started < 2
        assert ended.wait(2)
        thread.join()
        assert emulator_threads() == []

    def test_an_idle_connection_does_not_delay_it(self):
        with requests.Session() as session:
            with Emulator() as emulator:
                session.get(emulator.url, timeout=5)
                started = time.monotonic()
            assert time.monotonic() - started < 1

    def test_twice_is_once(self):
        emulator = Emulator().start()
        emulator.stop()
        emulator.stop()

    def test_it_can_come_back_at_the_same_address_and_remembers(self):
        emulator = Emulator().start()
        url = emulator.url
        emulator.add("before", seconds=0)
        requests.get(url, timeout=5)
        emulator.stop()
        with pytest.raises(requests.ConnectionError):
            requests.get(url, timeout=5)

        with emulator:
            assert emulator.url == url
            assert emulator.video_url("before").startswith(url)
            assert list(emulator.generations) == ["before"]
            assert requests.get(url, timeout=5).ok


class TestWaiting:
    def test_wait_for_returns_what_became_true(self):
        with Emulator() as emulator:
            threading.Timer(0.1, emulator.add, args=("late",)).start()

            assert emulator.wait_for(lambda e: list(e.generations), timeout=5) == ["late"]

    def test_wait_for_gives_up_with_an_account(self):
        with Emulator() as emulator, pytest.raises(TimeoutError, match=r"Not true within 0\.05 s"):
            emulator.wait_for(lambda e: e.paid, timeout=0.05)


class TestTls:
    @pytest.fixture
    def certificate(self, tmp_path):
        authority = trustme.CA()
        issued = authority.issue_cert("127.0.0.1")
        issued.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
        issued.private_key_pem.write_to_path(tmp_path / "key.pem")
        authority.cert_pem.write_to_path(tmp_path / "ca.pem")
        return tmp_path

    def test_serves_the_given_certificate(self, certificate):
        with Emulator(tls=(certificate / "cert.pem", certificate / "key.pem")) as emulator:
            answer = requests.get(
                f"{emulator.url}/_emulator/health", verify=str(certificate / "ca.pem"), timeout=5
            )

            assert emulator.url.startswith("https://")
            assert answer.json()["url"] == emulator.url

    def test_an_untrusted_one_is_refused_by_the_client(self, certificate):
        with Emulator(tls=(certificate / "cert.pem", certificate / "key.pem")) as emulator:
            with pytest.raises(requests.exceptions.SSLError):
                requests.post(f"{emulator.url}/lumalabs-ai/v1/generate", json={}, timeout=5)
            assert emulator.requests == []

    @pytest.mark.parametrize("name", ["drop-after-reading", "drop-mid-answer", "hang"])
    def test_faults_work_over_it_too(self, certificate, name):
        with Emulator(tls=(certificate / "cert.pem", certificate / "key.pem")) as emulator:
            emulator.misbehave("generate", name)
            with pytest.raises(requests.RequestException):
                requests.post(
                    f"{emulator.url}/lumalabs-ai/v1/generate",
                    json={"prompt": "x"},
                    headers={"Ocp-Apim-Subscription-Key": emulator.key},
                    verify=str(certificate / "ca.pem"),
                    timeout=0.5,
                )
            assert emulator.paid == (name != "hang")


class TestImports:
    def test_it_needs_nothing_of_airflow_and_nothing_else_of_the_package(self):
        script = (
            "import sys, airflow_provider_luma.emulator.__main__\n"
            "print([name for name in sys.modules if name.split('.')[0] in ('airflow', 'av', 'PIL')\n"
            "  or name.startswith('airflow_provider_luma.')"
            " and not name.startswith('airflow_provider_luma.emulator')])"
        )
        done = subprocess.run(
            [sys.executable, "-c", script],
            capture_output=True,
            text=True,
            timeout=20,
            check=True,
            cwd=PROJECT,
        )

        assert done.stdout.strip() == "[]"
