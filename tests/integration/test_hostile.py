"""
A gateway that lies, input that nobody meant: the expected word for each, nothing lost, nothing paid twice.

Two tables, :data:`LIES` and :data:`INPUT`; ``docs/reliability.md`` shows what came of each. Answers without
form are in ``test_any_answer.py``, storage hosts in ``transfer/``.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_luma.exceptions import (
    LumaBatchFailedForGood,
    LumaCompletedWithoutVideo,
    LumaError,
    LumaGenerationFailed,
    LumaInvalidRequest,
    LumaNotTheVideo,
    LumaSubmitOutcomeUnknown,
    LumaUnsafeAddress,
)
from airflow_provider_luma.operators.luma import LumaGenerateBatchOperator, LumaGenerateOperator
from tests.integration.waiting import run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from airflow_provider_luma.emulator import Emulator
    from tests.integration.conftest import FakeTaskInstance

pytestmark = pytest.mark.usefixtures("connect")

#: Where each case leaves what came of it, if the environment says so: it is what the page is made of.
RESULTS = os.environ.get("LUMA_HOSTILE_RESULTS")
#: Characters that the message of any error has at most, whatever it was made of.
MOST_SAID = 2000
MEGABYTE = 1024 * 1024


def planned(**plan: Any) -> Callable[[Emulator], None]:
    return lambda emulator: emulator.next(**plan)


def misbehaving(target: str, name: str, **options: Any) -> Callable[[Emulator], None]:
    return lambda emulator: emulator.misbehave(target, name, **options)


@dataclass(frozen=True)
class Lie:
    """
    One thing that a gateway might do.

    :ivar what: for a person, and the page.
    :ivar prepare: has the emulator do it to the next generation.
    :ivar error: how a task that submits, waits and keeps ends; ``None``: with its video.
    :ivar word: what the error says.
    :ivar unsaid: what it does not say.
    :ivar knows_id: whether the id is known, and so must be named.
    """

    what: str
    prepare: Callable[[Emulator], None]
    error: type[LumaError] | None
    word: str = ""
    unsaid: str = "\x00"
    knows_id: bool = True


def no_address(what: str, video_url: str, word: str, unsaid: str = "\x00") -> Lie:
    word = f"no usable video address: the address is '{word}"
    return Lie(
        f"a video at {what}", planned(video_url=video_url), LumaCompletedWithoutVideo, word, unsaid=unsaid
    )


def network(what: str, video_url: str) -> Lie:
    word = "leads into a network that is not public"
    return Lie(f"a video at {what}", planned(video_url=video_url), LumaUnsafeAddress, word)


def no_id(what: str, request_id: str) -> Lie:
    return Lie(
        f"an id {what}",
        planned(request_id=request_id),
        LumaSubmitOutcomeUnknown,
        "without a usable requestId",
        knows_id=False,
    )


LIES = [
    no_id("with control characters", "a-1\x1b[31m\x07"),
    no_id("with a line break and a header", "a-1\r\nX-Injected: yes"),
    no_id("with spaces", "a 1"),
    no_id("of half a megabyte", "a" * (MEGABYTE // 2)),
    Lie(
        "an id of two megabytes",
        planned(request_id="a" * 2 * MEGABYTE),
        LumaSubmitOutcomeUnknown,
        "without a JSON object",
        knows_id=False,
    ),
    no_address("`file:`", "file:///etc/passwd", "file:///etc/passwd'"),
    no_address("`javascript:`", "javascript:alert(1)", "javascript:alert(1)'"),
    no_address("`data:`", "data:video/mp4;base64,AAAA", "data:video/mp4;base64,AAAA'"),
    no_address("`ftp:`", "ftp://127.0.0.1/video.mp4", "ftp://127.0.0.1/video.mp4'"),
    no_address(
        "an address with credentials", "http://somebody:hunter2@127.0.0.1/v.mp4", "…@127", unsaid="hunter2"
    ),
    no_address(
        "what holds credentials and is no address", "somebody:hunter2@host/v", "…@host", unsaid="hunter2"
    ),
    no_address(
        "what holds a signature and is no address", "//host/v.mp4#sig=hunter2", "//host/v", unsaid="hunter2"
    ),
    no_address(
        "an address with a line break and a header", "http://127.0.0.1/v.mp4\r\nX-Injected: yes", "http://"
    ),
    network("a cloud's metadata address", "http://169.254.169.254/latest/meta-data/"),
    network("the same by IPv6", "http://[fd00:ec2::254]/latest/meta-data/"),
    network("the same as a number", "http://2852039166/latest/meta-data/"),
    network("a network behind the worker", "http://10.0.0.1/video.mp4"),
    Lie(
        "a decompression bomb as the answer to a submit",
        misbehaving("generate", "bomb"),
        LumaSubmitOutcomeUnknown,
        "without a JSON object",
        knows_id=False,
    ),
    Lie("a decompression bomb as a status", misbehaving("getStatus", "bomb"), None),
    Lie("a decompression bomb as a video", misbehaving("video", "bomb", times=None), LumaNotTheVideo),
    Lie("50 MB as a status", misbehaving("getStatus", "huge"), None),
    Lie("header lines that few servers send", misbehaving("getStatus", "odd-headers"), None),
    Lie("a status word of a megabyte", misbehaving("getStatus", "word", word="x" * MEGABYTE), None),
    Lie(
        "a status word with line breaks and colours",
        misbehaving("getStatus", "word", word="processing\r\n\x1b[31mERROR paid"),
        None,
    ),
    Lie(
        "a reason of half a megabyte, with line breaks",
        planned(outcome="failed", reason="no\r\n" * (MEGABYTE // 8)),
        LumaGenerationFailed,
        "no no no",
        unsaid="\r",
    ),
    Lie(
        "the status of another request, as its answer says",
        misbehaving(
            "getStatus",
            "status",
            code=200,
            body={"requestId": "another", "status": "completed", "video_url": "http://127.0.0.1/v.mp4"},
        ),
        None,
    ),
]


@dataclass(frozen=True)
class Given:
    """
    One thing that the author of a DAG, or a template, might give as a prompt.

    :ivar word: what the error says, before anything is sent; empty where it is sent as it is.
    """

    what: str
    prompt: Any = field(repr=False)
    word: str = ""


INPUT = [
    Given("quotes and backslashes", 'He said: "it\'s \\"fine\\"" \\ and `so` on'),
    Given("line breaks, tabs, NUL", "first\r\nsecond\tthird\x00"),
    Given("emoji, combining and right-to-left characters", "👩‍👩‍👧 e\u0301 \u202eevil\u202c שלום"),
    Given("what would be a header", "fox\r\nOcp-Apim-Subscription-Key: another"),
    Given("what would be a command, a query, a page", "$(rm -rf /); '; DROP TABLE x; -- <script>"),
    Given("20,000 characters, the most that is sent", "x" * 20_000),
    Given("a megabyte", "x" * MEGABYTE, "at most 20,000"),
    Given("nothing but white space", " \n ", "the template or the upstream task"),
    Given("an empty text", "", "the template or the upstream task"),
    Given("a template that rendered to None", None, "the template or the upstream task"),
    Given("the text that a missing XCom renders to", "None", "the template or the upstream task"),
    Given("half of a character", "fox \ud83e", "half of a character"),
    Given("a number", 7, "must be text"),
    Given("a list", ["fox"], "must be text"),
]


@pytest.fixture(autouse=True)
def short_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten what would make a test wait for minutes."""
    monkeypatch.setattr("airflow_provider_luma.api.polling.NO_ADDRESS_WINDOW", 0.1)
    monkeypatch.setattr("airflow_provider_luma.api.polling.CONFIRMING_INTERVAL", 0.1)


@pytest.fixture(scope="module")
def came_of() -> Iterator[list[dict[str, Any]]]:
    """Collect what came of each case, for the page."""
    rows: list[dict[str, Any]] = []
    yield rows
    if RESULTS:
        Path(RESULTS).write_text(json.dumps(rows, indent=1, ensure_ascii=False) + "\n")


def make(tmp_path: Path, **fields: Any) -> LumaGenerateOperator:
    return LumaGenerateOperator(
        **{
            "task_id": "make",
            "wait_for_completion": True,
            "deferrable": True,
            "poke_interval": 0.1,
            "timeout": 30,
            "destination": f"file://{tmp_path}/",
            **fields,
        }
    )


def ending(came: dict[str, Any], error: LumaError | None, emulator: Emulator) -> dict[str, Any]:
    name = "its video" if error is None else type(error).__name__
    submits = emulator.count("generate") + emulator.count("generateRequestFromImage")
    return {**came, "ending": name, "submits": submits, "paid": emulator.paid}


class TestAGatewayThatLies:
    @pytest.mark.parametrize("lie", LIES, ids=lambda lie: lie.what)
    def test_has_its_word_and_nothing_is_lost(
        self,
        lie: Lie,
        emulator: Emulator,
        context: dict[str, Any],
        ti: FakeTaskInstance,
        tmp_path: Path,
        came_of: list[dict[str, Any]],
    ) -> None:
        lie.prepare(emulator)
        error: LumaError | None = None
        try:
            run(make(tmp_path, prompt="A jellyfish"), context)
        except LumaError as raised:
            error = raised
        came_of.append(ending({"from": "gateway", "what": lie.what}, error, emulator))
        assert (emulator.count("generate"), emulator.paid) == (1, 1)
        (generation,) = emulator.generations.values()
        kept = [file for file in tmp_path.iterdir() if file.suffix == ".mp4"]
        if lie.error is None:
            assert error is None, error
            assert [file.read_bytes() for file in kept] == [emulator.video_bytes(generation.request_id)]
            return
        assert type(error) is lie.error, error
        assert kept == []
        said = str(error)
        assert lie.word in said
        assert lie.unsaid not in said
        assert len(said) < MOST_SAID
        assert said.isprintable(), "one line, nothing that a terminal obeys"
        if lie.knows_id:
            assert generation.request_id in said
            assert ti.xcoms["requestId"] == generation.request_id
        else:
            assert "'A jellyfish'" in said, "all by which to find it"

    @pytest.mark.parametrize("deferrable", [False, True], ids=["blocking", "deferred"])
    def test_about_an_id_in_a_batch_costs_one_request_and_not_two_videos(
        self,
        deferrable: bool,
        emulator: Emulator,
        connect: Callable[..., None],
        context: dict[str, Any],
        ti: FakeTaskInstance,
        tmp_path: Path,
        came_of: list[dict[str, Any]],
    ) -> None:
        """The gateway gives the second request the first one's id."""
        connect(max_concurrent_requests=1)
        emulator.next(request_id="first")
        emulator.misbehave("generate", "wrong-id", after=1, request_id="first")
        operator = LumaGenerateBatchOperator(
            task_id="many",
            requests=["A fox", "An owl", "A hen"],
            deferrable=deferrable,
            poke_interval=0.1,
            timeout=30,
            destination=f"file://{tmp_path}/",
        )
        with pytest.raises(LumaBatchFailedForGood, match="first, which is request 0's") as raised:
            run(operator, context)
        if deferrable:
            came_of.append(
                ending(
                    {"from": "gateway", "what": "another request's id, in a batch"}, raised.value, emulator
                )
            )
        assert "'An owl'" in str(raised.value)
        assert [one["status"] for one in ti.xcoms["results"]] == ["completed", "unknown", "completed"]
        assert (emulator.count("generate"), emulator.paid) == (3, 3)
        assert len([*tmp_path.glob("*.mp4")]) == 2


class TestWhatADagsAuthorGives:
    @pytest.mark.parametrize("given", INPUT, ids=lambda given: given.what)
    def test_arrives_as_it_is_or_is_an_error_before_anything_is_sent(
        self,
        given: Given,
        emulator: Emulator,
        context: dict[str, Any],
        tmp_path: Path,
        came_of: list[dict[str, Any]],
    ) -> None:
        error: LumaError | None = None
        try:
            run(make(tmp_path, prompt=given.prompt), context)
        except LumaError as raised:
            error = raised
        came_of.append(ending({"from": "author", "what": given.what}, error, emulator))
        if not given.word:
            assert error is None, error
            (call,) = emulator.calls("generate")
            assert call.json["prompt"] == given.prompt
            assert call.headers.getall("Ocp-Apim-Subscription-Key") == [emulator.key]
            assert len([*tmp_path.glob("*.mp4")]) == 1
            return
        assert type(error) is LumaInvalidRequest
        assert given.word in str(error)
        assert "nothing is charged" in str(error)
        assert str(error).isprintable()
        assert emulator.requests == []
