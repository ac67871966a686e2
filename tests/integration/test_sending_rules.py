"""
The sending rules on real sockets: for each row of the gateway's table the exact error, and how many requests
the gateway counted.

``generate`` through :class:`LumaHook` alone; ``getStatus`` through both shells. Pauses are short because the
constants of the backoff are, which are data; nothing else is changed, and no client is patched.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
import trustme

from airflow_provider_luma.api import retry
from airflow_provider_luma.api.models import GenerationRequest, GenerationStatus
from airflow_provider_luma.api.retry import FEW_TRIES, MAX_TRIES
from airflow_provider_luma.emulator import Emulator
from airflow_provider_luma.exceptions import (
    LumaAccessRefused,
    LumaAddressRefused,
    LumaCreditRefused,
    LumaError,
    LumaFirewallRefused,
    LumaGatewayError,
    LumaInputRefused,
    LumaKeyRefused,
    LumaProtocolError,
    LumaRateRefused,
    LumaRefused,
    LumaSubmitOutcomeUnknown,
    LumaUnreachable,
)
from airflow_provider_luma.hooks.luma import LumaHook
from tests.integration.shells import both_shells

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

REQUEST = GenerationRequest("A giant floating jellyfish gliding over a city skyline")

#: Seconds for an answer: plenty where one comes, few where none does.
PLENTY, FEW_SECONDS = 10.0, 0.15


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch):
    monkeypatch.setattr(retry, "BACKOFF_BASE", 0.002)
    monkeypatch.setattr(retry, "BACKOFF_CAP", 0.01)
    monkeypatch.setattr(retry, "LONG_PAUSE", 0.01)


def generated(**hook_options: Any) -> tuple[str | LumaError, int]:
    """Submit once; return the id or the error, and how often the hook was about to send."""
    sends: list[None] = []
    with LumaHook(**hook_options) as hook:
        try:
            return hook.generate(REQUEST, before_send=lambda: sends.append(None)), len(sends)
        except LumaError as error:
            return error, len(sends)


@dataclass(frozen=True)
class Row:
    """A fault of the emulator, and what each call comes to: the error, and the requests counted."""

    name: str
    fault: str
    generate: tuple[type[LumaError], int]
    get_status: tuple[type[LumaError], int]
    options: dict[str, Any] = field(default_factory=dict)
    timeout: float = PLENTY


def status(code: int, generate: tuple[type[LumaError], int], get_status: tuple[type[LumaError], int]) -> Row:
    return Row(str(code), "status", generate, get_status, {"code": code})


ONCE = 1
UNKNOWN = (LumaSubmitOutcomeUnknown, ONCE)
BROKE = (LumaGatewayError, MAX_TRIES)
REFUSED_NOW = (LumaRateRefused, MAX_TRIES)

ROWS = [
    # read timeout, connection reset or closed after the body went out
    Row("never answered", "hang", UNKNOWN, BROKE, timeout=FEW_SECONDS),
    Row("reset before the body was read", "drop-before-reading", UNKNOWN, BROKE),
    Row("reset after the body was read", "drop-after-reading", UNKNOWN, BROKE),
    Row("closed after the body was read", "drop-after-reading", UNKNOWN, BROKE, {"how": "close"}),
    Row("closed in the middle of the answer", "drop-mid-answer", UNKNOWN, BROKE),
    Row("reset in the middle of the answer", "drop-mid-answer", UNKNOWN, BROKE, {"how": "reset"}),
    Row("one byte at a time", "drip", UNKNOWN, BROKE, {"every": 0.02}, FEW_SECONDS),
    Row("without an end", "endless", UNKNOWN, BROKE, {"every": 0.02}, FEW_SECONDS),
    # 2xx with no usable requestId
    Row("empty", "empty", UNKNOWN, (LumaProtocolError, FEW_TRIES)),
    Row("204", "empty", UNKNOWN, (LumaProtocolError, FEW_TRIES), {"code": 204}),
    Row("not JSON", "not-json", UNKNOWN, (LumaProtocolError, FEW_TRIES)),
    Row("not an object", "not-object", UNKNOWN, (LumaProtocolError, FEW_TRIES)),
    Row("half a JSON", "truncated-json", UNKNOWN, (LumaProtocolError, FEW_TRIES)),
    Row("50 MB", "huge", UNKNOWN, (LumaProtocolError, FEW_TRIES)),
    Row("a bomb", "bomb", UNKNOWN, (LumaProtocolError, FEW_TRIES), {"size": 20_000_000}),
    # 4xx
    Row("400", "400", (LumaInputRefused, ONCE), (LumaInputRefused, ONCE)),
    status(413, (LumaInputRefused, ONCE), (LumaInputRefused, ONCE)),
    status(422, (LumaInputRefused, ONCE), (LumaInputRefused, ONCE)),
    Row("401", "401", (LumaKeyRefused, ONCE), (LumaKeyRefused, FEW_TRIES)),
    Row("401 of the API manager", "apim-401", (LumaKeyRefused, ONCE), (LumaKeyRefused, FEW_TRIES)),
    Row("402", "credit-402", (LumaCreditRefused, ONCE), (LumaCreditRefused, ONCE)),
    Row("403 balance", "credit-403", (LumaCreditRefused, ONCE), (LumaCreditRefused, ONCE)),
    Row("403 with Retry-After", "quota-403", REFUSED_NOW, REFUSED_NOW, {"seconds": 0}),
    Row("403 with Retry-After of an hour", "quota-403", (LumaRateRefused, ONCE), (LumaRateRefused, ONCE)),
    Row("403 HTML", "html-403", (LumaFirewallRefused, ONCE), (LumaFirewallRefused, FEW_TRIES)),
    Row("403", "403", (LumaAccessRefused, ONCE), (LumaAccessRefused, FEW_TRIES)),
    Row("404", "404", (LumaAddressRefused, ONCE), (LumaAddressRefused, ONCE)),
    status(408, UNKNOWN, BROKE),
    status(409, UNKNOWN, BROKE),
    Row("429 of the API manager", "apim-429", REFUSED_NOW, REFUSED_NOW, {"seconds": 0}),
    Row("429 in seconds", "429-seconds", REFUSED_NOW, REFUSED_NOW, {"seconds": 0}),
    Row("429 with a date", "429-date", REFUSED_NOW, REFUSED_NOW, {"seconds": -30}),
    Row("429 bare", "429-bare", REFUSED_NOW, REFUSED_NOW),
    Row("429 garbage", "429-absurd", REFUSED_NOW, REFUSED_NOW, {"value": "soon"}),
    Row("429 negative", "429-absurd", REFUSED_NOW, REFUSED_NOW, {"value": "-5"}),
    Row("429 absurd", "429-absurd", (LumaRateRefused, ONCE), (LumaRateRefused, ONCE)),
    status(405, (LumaRefused, ONCE), (LumaRefused, ONCE)),
    status(410, (LumaRefused, ONCE), (LumaRefused, ONCE)),
    status(451, (LumaRefused, ONCE), (LumaRefused, ONCE)),
    # 407 says that a proxy delivered nothing
    status(407, (LumaUnreachable, MAX_TRIES), (LumaUnreachable, MAX_TRIES)),
    # 3xx, 5xx
    *[
        Row(f"redirect {code}", "redirect", (LumaAddressRefused, ONCE), (LumaAddressRefused, ONCE),
            {"code": code})
        for code in (301, 302, 303, 307, 308)
    ],
    status(304, UNKNOWN, BROKE),
    *[Row(str(code), str(code), UNKNOWN, BROKE) for code in (500, 502, 503, 504)],
    *[status(code, UNKNOWN, BROKE) for code in (501, 505, 520, 524)],
]  # fmt: skip

every_row = pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)


@pytest.fixture
def gateway(emulator, connect) -> Emulator:
    """A gateway that is asked with one id field, so that one look is one request."""
    connect(timeout=PLENTY, status_id_field="task_id")
    return emulator


class TestGenerate:
    def test_is_sent_once_when_all_is_well(self, gateway):
        request_id, sends = generated()

        assert request_id in gateway.generations
        assert (gateway.count("generate"), gateway.paid, sends) == (1, 1, 1)

    @every_row
    def test_each_row(self, gateway, connect, row):
        connect(timeout=row.timeout, status_id_field="task_id")
        gateway.misbehave("generate", row.fault, times=None, **row.options)
        kind, posts = row.generate

        error, sends = generated()

        assert type(error) is kind, error
        assert (gateway.count("generate"), sends) == (posts, posts), str(error)
        assert gateway.paid <= 1
        if kind is LumaSubmitOutcomeUnknown:
            assert "may be billed" in str(error)
        else:
            assert gateway.paid == 0
            assert "nothing is charged" in str(error)

    @pytest.mark.parametrize("fault", ["429-bare", "quota-403", "apim-429"])
    def test_refused_before_any_work_then_accepted_is_one_generation(self, gateway, fault):
        options = {} if fault == "429-bare" else {"seconds": 0}
        gateway.misbehave("generate", fault, times=2, **options)

        request_id, _ = generated()

        assert request_id in gateway.generations
        assert (gateway.count("generate"), gateway.paid) == (3, 1)

    def test_a_refusal_followed_by_a_lost_answer_is_unknown(self, gateway, connect):
        connect(timeout=0.3)
        gateway.misbehave("generate", "429-bare")
        gateway.misbehave("generate", "lost-answer")

        error, _ = generated()

        assert type(error) is LumaSubmitOutcomeUnknown
        assert (gateway.count("generate"), gateway.paid) == (2, 1)

    @pytest.mark.parametrize(
        ("value", "said"), [("99999999", 3600.0), ("999", 999.0), ("9" * 20, 3600.0)], ids=["8", "3", "20"]
    )
    def test_a_pause_too_long_for_a_worker_stands_in_the_error(self, gateway, value, said):
        gateway.misbehave("generate", "429-absurd", value=value)
        started = time.monotonic()

        error, _ = generated()

        assert isinstance(error, LumaRateRefused), f"it did not refuse but sent again at once: {error}"
        assert error.retry_after == said
        assert "pause" in str(error)
        assert (gateway.count("generate"), time.monotonic() - started < 5) == (1, True)

    @pytest.mark.parametrize(
        "how", ["lost-answer", "drop-after-reading", "drop-mid-answer", "not-json", "500"]
    )
    def test_a_generation_that_runs_although_its_answer_was_lost_is_paid_once(self, gateway, connect, how):
        connect(timeout=0.3)
        gateway.misbehave("generate", how, paid=True)

        error, _ = generated()

        assert type(error) is LumaSubmitOutcomeUnknown
        assert gateway.paid == 1


class TestTheSwitchFor503:
    def test_off_it_is_unknown(self, gateway):
        gateway.misbehave("generate", "503")

        assert type(generated()[0]) is LumaSubmitOutcomeUnknown
        assert gateway.count("generate") == 1

    def test_on_it_is_sent_again(self, gateway, connect):
        connect(timeout=PLENTY, retry_generate_on_503=True)
        gateway.misbehave("generate", "503", times=2)

        assert generated()[0] in gateway.generations
        assert (gateway.count("generate"), gateway.paid) == (3, 1)

    def test_on_it_ends_as_an_error_that_a_retry_can_mend(self, gateway, connect):
        connect(timeout=PLENTY, retry_generate_on_503=True)
        gateway.misbehave("generate", "503", times=None)
        error, _ = generated()

        assert type(error) is LumaGatewayError
        assert gateway.count("generate") == MAX_TRIES

    @pytest.mark.parametrize("code", ["500", "502", "504"])
    def test_on_it_changes_nothing_else(self, gateway, connect, code):
        connect(timeout=PLENTY, retry_generate_on_503=True)
        gateway.misbehave("generate", code)

        assert type(generated()[0]) is LumaSubmitOutcomeUnknown
        assert gateway.count("generate") == 1


class TestGetStatus:
    @both_shells
    @every_row
    def test_each_row(self, gateway, connect, row, get_status):
        # Short for connecting too: what aiohttp waits for at most is the sum of both.
        connect(timeout=row.timeout, connect_timeout=row.timeout, status_id_field="task_id")
        request_id = gateway.add()
        gateway.misbehave("getStatus", row.fault, times=None, **row.options)
        kind, posts = row.get_status

        error = get_status(request_id)

        assert type(error) is kind, error
        assert gateway.count("getStatus") == posts, str(error)
        assert request_id in str(error)
        assert "do not submit again" in str(error)
        assert gateway.count("generate") == 0

    @both_shells
    @pytest.mark.parametrize("fault", ["500", "drop-after-reading", "429-bare", "not-json", "401", "403"])
    def test_it_is_asked_again_and_answered(self, gateway, fault, get_status):
        request_id = gateway.add(seconds=0)
        gateway.misbehave("getStatus", fault, times=2)

        assert get_status(request_id).status is GenerationStatus.COMPLETED
        assert gateway.count("getStatus") == 3

    @both_shells
    @pytest.mark.parametrize("accepted", ["task_id", "requestId"])
    def test_either_id_field_is_found(self, emulator, connect, accepted, get_status):
        connect(timeout=PLENTY)
        emulator.status_id_field = accepted
        request_id = emulator.add(seconds=0)

        assert get_status(request_id).status is GenerationStatus.COMPLETED
        assert emulator.count("getStatus") == (1 if accepted == "task_id" else 2)

    @both_shells
    @pytest.mark.parametrize(("fault", "kind"), [("400", LumaInputRefused), ("404", LumaAddressRefused)])
    def test_400_and_404_are_tried_with_the_other_field_once(
        self, emulator, connect, fault, kind, get_status
    ):
        connect(timeout=PLENTY)
        request_id = emulator.add()
        emulator.misbehave("getStatus", fault, times=None)

        assert type(get_status(request_id)) is kind
        assert [next(iter(call.json)) for call in emulator.calls("getStatus")] == ["task_id", "requestId"]


class TestRedirectsAreNeverFollowed:
    """The key header would travel to the other host."""

    @pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
    def test_generate(self, gateway, code):
        gateway.misbehave("generate", "redirect", code=code)
        generated()

        assert gateway.other_host().requests == []

    @both_shells
    @pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
    def test_get_status(self, gateway, code, get_status):
        gateway.misbehave("getStatus", "redirect", code=code)
        get_status(gateway.add())

        assert gateway.other_host().requests == []

    def test_the_other_host_would_have_recorded_it(self, gateway):
        """The two tests above can fail: what goes to the other host is seen there."""
        with socket.create_connection(
            ("127.0.0.1", int(gateway.other_host().url.rpartition(":")[2]))
        ) as sock:
            sock.sendall(b"GET /x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            sock.recv(100)

        assert len(gateway.other_host().requests) == 1


class Listener:
    """A socket on loopback that does one thing with each connection, and counts them."""

    def __init__(self, handle: Callable[[socket.socket], None], backlog: int = 50) -> None:
        self._handle = handle
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=backlog)
        self.port = self._socket.getsockname()[1]
        self.connections = 0
        self.received = b""
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                self.connections += 1
                threading.Thread(target=self._one, args=(connection,), daemon=True).start()

    def _one(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.settimeout(3)
            self._handle(connection)

    def read(self, connection: socket.socket) -> None:
        self.received += connection.recv(65536)

    def __enter__(self) -> Listener:
        return self

    def __exit__(self, *_: object) -> None:
        # Closing alone does not wake a thread in accept().
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


def reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def keep_silent(connection: socket.socket) -> None:
    while connection.recv(65536):
        pass


@dataclass
class Nowhere:
    """A connection that cannot come about: its host, its extras, and who counts the attempts."""

    host: str
    extras: dict[str, Any] = field(default_factory=dict)
    listener: Listener | None = None
    gateway: Emulator | None = None


@contextlib.contextmanager
def unknown_name() -> Iterator[Nowhere]:
    yield Nowhere("https://gateway.luma.invalid")


@contextlib.contextmanager
def nobody_listens() -> Iterator[Nowhere]:
    with socket.socket() as taken:
        # Bound and not listening: nobody else can take the port while the test runs.
        taken.bind(("127.0.0.1", 0))
        yield Nowhere(f"http://127.0.0.1:{taken.getsockname()[1]}")


@contextlib.contextmanager
def full_backlog() -> Iterator[Nowhere]:
    with contextlib.ExitStack() as stack:
        full = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        time.sleep(0.05)
        yield Nowhere(f"http://127.0.0.1:{full.getsockname()[1]}", {"connect_timeout": 0.15})


@contextlib.contextmanager
def tls_that_is_never_answered() -> Iterator[Nowhere]:
    with Listener(keep_silent) as listener:
        yield Nowhere(f"https://127.0.0.1:{listener.port}", {"connect_timeout": 0.15}, listener)


@contextlib.contextmanager
def tls_with_no_time_for_it() -> Iterator[Nowhere]:
    """TCP stands, and the time to connect is up while the client is still reading its certificates."""
    with Listener(keep_silent) as listener:
        yield Nowhere(f"https://127.0.0.1:{listener.port}", {"connect_timeout": 0.02})


@contextlib.contextmanager
def tls_that_is_reset_at_once() -> Iterator[Nowhere]:
    """As a load balancer does that has nobody to hand on to: gone before the client has said hello."""
    with Listener(reset) as listener:
        yield Nowhere(f"https://127.0.0.1:{listener.port}", {}, listener)


@contextlib.contextmanager
def tls_that_is_closed_at_once() -> Iterator[Nowhere]:
    with Listener(lambda connection: None) as listener:
        yield Nowhere(f"https://127.0.0.1:{listener.port}", {}, listener)


@contextlib.contextmanager
def tls_that_is_reset() -> Iterator[Nowhere]:
    def hello_and_reset(connection: socket.socket) -> None:
        connection.recv(65536)
        reset(connection)

    with Listener(hello_and_reset) as listener:
        yield Nowhere(f"https://127.0.0.1:{listener.port}", {}, listener)


@contextlib.contextmanager
def tls_that_is_no_tls() -> Iterator[Nowhere]:
    def plain(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")

    with Listener(plain) as listener:
        yield Nowhere(f"https://127.0.0.1:{listener.port}", {}, listener)


@contextlib.contextmanager
def untrusted_certificate() -> Iterator[Nowhere]:
    with Emulator(tls=_tls("127.0.0.1"), videos="tiny") as gateway:
        yield Nowhere(gateway.url, {}, gateway=gateway)


@contextlib.contextmanager
def certificate_of_another_host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nowhere]:
    authority = trustme.CA()
    bundle = tmp_path_factory.mktemp("ca") / "ca.pem"
    authority.cert_pem.write_to_path(bundle)
    with Emulator(tls=_tls("gateway.example", authority), videos="tiny") as gateway:
        yield Nowhere(gateway.url, {"verify": str(bundle)}, gateway=gateway)


def _tls(name: str, authority: trustme.CA | None = None) -> Any:
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    (authority or trustme.CA()).issue_cert(name).configure_cert(context)
    return context


@contextlib.contextmanager
def proxy_that_answers(line: bytes) -> Iterator[Nowhere]:
    def refuse(connection: socket.socket) -> None:
        listener.read(connection)
        connection.sendall(b"HTTP/1.1 " + line + b"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    with Listener(refuse) as listener, Emulator(tls=_tls("127.0.0.1"), videos="tiny") as gateway:
        extras = {"proxies": {"https": f"http://127.0.0.1:{listener.port}"}}
        yield Nowhere(gateway.url, extras, listener, gateway)


@contextlib.contextmanager
def proxy_that_resets() -> Iterator[Nowhere]:
    def refuse(connection: socket.socket) -> None:
        listener.read(connection)
        reset(connection)

    with Listener(refuse) as listener, Emulator(tls=_tls("127.0.0.1"), videos="tiny") as gateway:
        extras = {"proxies": {"https": f"http://127.0.0.1:{listener.port}"}}
        yield Nowhere(gateway.url, extras, listener, gateway)


@contextlib.contextmanager
def proxy_that_keeps_silent() -> Iterator[Nowhere]:
    with Listener(keep_silent) as listener, Emulator(tls=_tls("127.0.0.1"), videos="tiny") as gateway:
        extras = {
            "proxies": {"https": f"http://127.0.0.1:{listener.port}"},
            "connect_timeout": 0.15,
            "timeout": 0.3,
        }
        yield Nowhere(gateway.url, extras, listener, gateway)


@contextlib.contextmanager
def proxy_that_is_not_there() -> Iterator[Nowhere]:
    with nobody_listens() as nobody:
        yield Nowhere("https://gateway.example", {"proxies": {"https": nobody.host}})


NOTHING_DELIVERED = {
    "DNS failure": unknown_name,
    "connection refused": nobody_listens,
    "connect timeout": full_backlog,
    "TLS: no handshake": tls_that_is_never_answered,
    "TLS: time is up before the handshake": tls_with_no_time_for_it,
    "TLS: reset before the handshake": tls_that_is_reset_at_once,
    "TLS: closed before the handshake": tls_that_is_closed_at_once,
    "TLS: handshake reset": tls_that_is_reset,
    "TLS: not TLS": tls_that_is_no_tls,
    "TLS: untrusted certificate": untrusted_certificate,
    "TLS: certificate of another host": certificate_of_another_host,
    "proxy: CONNECT answered 407": lambda: proxy_that_answers(b"407 Proxy Authentication Required"),
    "proxy: CONNECT answered 403": lambda: proxy_that_answers(b"403 Forbidden"),
    "proxy: CONNECT answered 502": lambda: proxy_that_answers(b"502 Bad Gateway"),
    "proxy: CONNECT reset": proxy_that_resets,
    "proxy: CONNECT unanswered": proxy_that_keeps_silent,
    "proxy: not there": proxy_that_is_not_there,
}


@pytest.fixture(params=NOTHING_DELIVERED.values(), ids=NOTHING_DELIVERED.keys())
def nowhere(request, connect, tmp_path_factory) -> Iterator[Nowhere]:
    make = request.param
    arguments = (tmp_path_factory,) if make is certificate_of_another_host else ()
    with make(*arguments) as place:
        connect(host=place.host, **{"timeout": 5, "connect_timeout": 2, "trust_env": False, **place.extras})
        yield place


class TestNothingWasDelivered:
    """DNS, refused, connect time-out, TLS, a proxy that refuses: sent again, bounded, and never billed."""

    def test_generate_is_sent_again_and_says_that_nothing_is_charged(self, nowhere):
        error, sends = generated()

        assert type(error) is LumaUnreachable, error
        assert sends == MAX_TRIES
        assert "nothing is charged" in str(error)
        assert nowhere.listener is None or nowhere.listener.connections == MAX_TRIES
        assert nowhere.gateway is None or nowhere.gateway.requests == []

    @both_shells
    def test_get_status_is_sent_again(self, nowhere, get_status):
        error = get_status("20dd7c76")

        assert type(error) is LumaUnreachable, error
        assert "could not be reached" in str(error)
        assert "paid for" in str(error)
        assert str(error).isprintable()
        assert len(str(error)) < 700
        assert nowhere.listener is None or nowhere.listener.connections >= MAX_TRIES
        assert nowhere.gateway is None or nowhere.gateway.requests == []

    def test_then_it_comes_up_and_one_generation_is_made(self, emulator, connect):
        """The gateway is down for two tries and up for the third."""
        port = int(emulator.url.rpartition(":")[2])
        emulator.stop()
        connect(host=f"http://127.0.0.1:{port}", timeout=5)
        tries = []

        def come_up_at_the_third() -> None:
            tries.append(None)
            if len(tries) == 3:
                emulator.start()

        with LumaHook() as hook:
            request_id = hook.generate(REQUEST, before_send=come_up_at_the_third)

        assert request_id in emulator.generations
        assert (emulator.count("generate"), emulator.paid, len(tries)) == (1, 1, 3)


class TestAProxysPassword:
    @both_shells
    def test_is_in_no_error(self, connect, get_status):
        with proxy_that_answers(b"407 Proxy Authentication Required") as place:
            address = place.extras["proxies"]["https"].replace("http://", "http://someone:swordfish@")
            connect(host=place.host, timeout=5, proxies={"https": address})
            error = get_status("20dd7c76")

        assert place.listener is not None
        assert b"Proxy-Authorization: Basic" in place.listener.received, "the password was not used at all"
        assert type(error) is LumaUnreachable
        assert "swordfish" not in str(error)
        assert "swordfish" not in repr(error)

    @both_shells
    def test_is_in_no_error_when_the_proxy_is_not_there(self, connect, get_status):
        with nobody_listens() as nobody:
            address = nobody.host.replace("http://", "http://someone:swordfish@")
            connect(host="https://gateway.example", timeout=5, proxies={"https": address})

            assert "swordfish" not in str(get_status("20dd7c76"))

    @both_shells
    @pytest.mark.parametrize(
        "address",
        [
            "http://someone:sword@fish@127.0.0.1:1",
            "http://someone:sword/fish@127.0.0.1:1",
            "http://someone:sword#fish@127.0.0.1:1",
            "http://someone:sword fish@127.0.0.1:1",
            "http://someone:swordfish@127.0.0.1:port",
            "http://someone:swordfish@",
            "someone:swordfish@127.0.0.1:1",
            "ftp://someone:swordfish@127.0.0.1:1",
            "socks5://someone:swordfish@127.0.0.1:1",
        ],
    )
    def test_is_in_no_error_about_an_address_that_cannot_be_used(self, connect, get_status, address):
        """Unquoted, as people paste them: a URL parser repeats what it does not understand."""
        connect(host="https://gateway.example", timeout=2, connect_timeout=2, proxies={"https": address})
        error = get_status("20dd7c76")

        assert isinstance(error, LumaError)
        assert "fish" not in str(error)
        assert "sword" not in str(error).replace("password", "")


class Interrupted(BaseException):
    """As Airflow's time-out of a task, which is no ``Exception``."""


class TestInterruptions:
    """``execution_timeout`` fires between any two lines."""

    def test_before_the_post_it_is_what_it_is(self, gateway):
        def interrupt() -> None:
            raise Interrupted

        with LumaHook() as hook, pytest.raises(Interrupted):
            hook.generate(REQUEST, before_send=interrupt)

        assert gateway.count("generate") == 0

    def test_while_nothing_has_connected_it_is_what_it_is(self, connect):
        """As in the test below, but there is nobody who could have received anything."""
        with tls_that_is_never_answered() as place:
            connect(host=place.host, timeout=5, connect_timeout=5)
            with (
                LumaHook() as hook,
                interrupted_when(lambda: place.listener.connections),
                pytest.raises(Interrupted),
            ):
                hook.generate(REQUEST)

    def test_while_the_answer_is_awaited_it_is_unknown(self, gateway, connect):
        connect(timeout=10)
        gateway.misbehave("generate", "lost-answer")

        with (
            LumaHook() as hook,
            interrupted_when(lambda: gateway.paid),
            pytest.raises(LumaSubmitOutcomeUnknown) as unknown,
        ):
            hook.generate(REQUEST)

        assert "Interrupted" in str(unknown.value)
        assert gateway.count("generate") == 1

    def test_while_waiting_to_send_again_after_a_refusal_it_is_what_it_is(self, gateway):
        gateway.misbehave("generate", "429-seconds", seconds=20)

        with (
            LumaHook() as hook,
            interrupted_when(lambda: gateway.count("generate") and gateway.in_flight["generate"] == 0),
            pytest.raises(Interrupted),
        ):
            hook.generate(REQUEST)

        assert gateway.paid == 0

    def test_after_the_answer_while_the_id_is_logged_it_says_the_id(self, gateway):
        """
        A log line goes over a socket to the supervisor, so this is where a time-out may well fire.

        A plain time-out would be retried by Airflow, and the retry would pay again.
        """

        class Log:
            def __init__(self, log: Any) -> None:
                self._log = log

            def __getattr__(self, name: str) -> Any:
                return getattr(self._log, name)

            def info(self, message: str, *_: object) -> None:
                raise Interrupted

        with LumaHook() as hook:
            hook._log = Log(hook.log)
            with pytest.raises(BaseException) as raised:
                hook.generate(REQUEST)

        assert gateway.paid == 1
        assert isinstance(raised.value, LumaSubmitOutcomeUnknown), (
            f"{type(raised.value).__name__} left generate() although request "
            f"{next(iter(gateway.generations))} was accepted: Airflow would retry and pay again"
        )
        assert raised.value.request_id in gateway.generations


@contextlib.contextmanager
def interrupted_when(condition: Callable[[], Any]) -> Iterator[None]:
    """Raise :class:`Interrupted` in the main thread, by a signal as Airflow does, once it is time."""
    import signal

    def interrupt(*_: object) -> None:
        raise Interrupted

    over = threading.Event()

    def watch() -> None:
        deadline = time.monotonic() + 5
        while not condition() and time.monotonic() < deadline:
            time.sleep(0.005)
        time.sleep(0.05)
        if not over.is_set():
            signal.pthread_kill(threading.main_thread().ident, signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, interrupt)
    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()
        signal.signal(signal.SIGUSR1, before)


class TestPollingPauses:
    """ "A worker never sleeps longer than a few minutes" for a Retry-After."""

    @pytest.mark.parametrize("seconds", [200, 3600])
    def test_a_worker_that_waits_does_not_sleep_for_an_hour(self, gateway, monkeypatch, seconds):
        import airflow_provider_luma.hooks.luma as module

        request_id = gateway.add(seconds=0)
        gateway.misbehave("getStatus", "429-seconds", seconds=seconds)
        slept: list[float] = []

        class Time:
            monotonic = staticmethod(time.monotonic)
            time = staticmethod(time.time)
            sleep = staticmethod(slept.append)

        monkeypatch.setattr(module, "time", Time)
        with LumaHook() as hook, contextlib.suppress(LumaRateRefused):
            hook.wait_for_completion(request_id, timeout=7200)

        assert max(slept, default=0) <= 300, f"it slept {max(slept):.0f} s, holding its worker"
