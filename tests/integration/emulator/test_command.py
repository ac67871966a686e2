"""``python -m airflow_provider_luma.emulator`` as people and other processes run it."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import requests

from airflow_provider_luma.emulator import FAULTS, Emulator
from airflow_provider_luma.emulator.__main__ import parse_fault

PROJECT = Path(__file__).parents[3]
COMMAND = [sys.executable, "-m", "airflow_provider_luma.emulator"]


@contextlib.contextmanager
def running(*options, **variables):
    process = subprocess.Popen(
        [*COMMAND, "--port", "0", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=PROJECT,
        env={**os.environ, **variables},
    )
    try:
        line = process.stdout.readline()
        match = re.search(r"http://127\.0\.0\.1:\d+", line)
        assert match, line + process.stderr.read()
        yield process, match[0]
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate(timeout=10)


def post(url, path, body, key):
    return requests.post(url + path, json=body, headers={"Ocp-Apim-Subscription-Key": key}, timeout=5)


class TestCommand:
    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_serves_until_a_signal_and_ends_cleanly(self, number):
        with running("--seconds", "0") as (process, url):
            made = post(url, "/lumalabs-ai/v1/generate", {"prompt": "x"}, "emulator-key").json()
            said = post(
                url, "/lumalabs-ai-polling/v1/getStatus", {"task_id": made["requestId"]}, "emulator-key"
            )
            process.send_signal(number)

            assert process.wait(5) == 0
            assert said.json()["status"] == "completed"
            assert process.stderr.read() == ""

    def test_takes_the_key_from_the_environment_and_never_prints_it(self):
        with running("--verbose", LUMA_EMULATOR_KEY="from-the-environment") as (process, url):
            answer = post(url, "/lumalabs-ai/v1/generate", {"prompt": "x"}, "from-the-environment")
            process.terminate()
            out, err = process.communicate(timeout=5)

        assert answer.status_code == 200
        assert "/lumalabs-ai/v1/generate" in err
        assert "from-the-environment" not in out + err

    def test_starts_with_the_faults_it_is_given(self):
        with running(
            "--fault", "generate=500,times=2",
            "--fault", 'getStatus=status,times=forever,code=418,headers={"X-A": "b, c"}',
        ) as (_, url):  # fmt: skip
            statuses = [
                post(url, "/lumalabs-ai/v1/generate", {"prompt": "x"}, "emulator-key").status_code
                for _ in range(3)
            ]
            teapot = post(url, "/lumalabs-ai-polling/v1/getStatus", {}, "emulator-key")

        assert statuses == [500, 500, 200]
        assert (teapot.status_code, teapot.headers["X-A"]) == (418, "b, c")

    def test_ends_with_its_parent(self):
        parent = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
        with running("--parent-pid", str(parent.pid)) as (process, _):
            parent.communicate(b"\n", timeout=5)

            assert process.wait(5) == 0

    def test_a_taken_port_is_one_clear_line(self):
        with Emulator() as taken:
            port = taken.url.rsplit(":", 1)[1]
            done = subprocess.run(
                [*COMMAND, "--port", port],
                capture_output=True,
                text=True,
                timeout=20,
                check=False,
                cwd=PROJECT,
            )

        assert (done.returncode, done.stdout) == (2, "")
        assert re.fullmatch(
            rf"The emulator could not start on 127\.0\.0\.1:{port}: .*in use.*\n", done.stderr
        )

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (["--host", "0.0.0.0"], "loopback addresses only"),
            (["--port", "0", "--fault", "generate=explode"], "There is no fault 'explode'"),
            (["--port", "0", "--fault", "explode"], "A fault is TARGET=NAME"),
            (["--port", "70000"], "could not start"),
        ],
    )
    def test_what_cannot_be_is_one_clear_line(self, options, message):
        done = subprocess.run(
            [*COMMAND, *options], capture_output=True, text=True, timeout=20, check=False, cwd=PROJECT
        )

        assert done.returncode == 2
        assert message in done.stderr
        assert done.stderr.count("\n") == 1

    def test_help_lists_every_fault(self):
        done = subprocess.run(
            [*COMMAND, "--help"], capture_output=True, text=True, timeout=20, check=True, cwd=PROJECT
        )

        assert [name for name in FAULTS if f"\n  {name} " not in done.stdout] == []


class TestFaultsInWords:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("generate=500", {"target": "generate", "name": "500"}),
            (
                "getStatus=word,word=done,video_url=true",
                {"target": "getStatus", "name": "word", "word": "done", "video_url": True},
            ),
            (
                "video=latency,seconds=0.5,times=forever",
                {"target": "video", "name": "latency", "seconds": 0.5, "times": None},
            ),
            (
                'generate=not-object,value=["a,b", {"c": 1}]',
                {"target": "generate", "name": "not-object", "value": ["a,b", {"c": 1}]},
            ),
            (
                "generate=redirect,location=http://x/?a=b",
                {"target": "generate", "name": "redirect", "location": "http://x/?a=b"},
            ),
        ],
    )
    def test_are_read(self, text, expected):
        assert parse_fault(text) == expected

    @pytest.mark.parametrize(
        "text", ["", "generate", "generate=", "generate=500,times", "generate=500,name=x"]
    )
    def test_other_forms_are_errors(self, text):
        with pytest.raises(ValueError, match=r"A fault is|An option of a fault"):
            parse_fault(text)
