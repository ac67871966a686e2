"""
How both shells travel: through a real proxy and a private CA, in bounded time, with the key at the gateway
and nowhere else.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import pickle
import socket
import ssl
import threading
import time
import traceback
from typing import TYPE_CHECKING

import pytest
import requests
import trustme
from airflow.providers.common.compat.sdk import BaseHook, Connection
from airflow.providers.http.hooks.http import HttpHook

from airflow_provider_luma.api import retry
from airflow_provider_luma.api.models import GenerationRequest, GenerationStatus
from airflow_provider_luma.emulator import Emulator
from airflow_provider_luma.exceptions import LumaConfigurationError, LumaConnectionNotFound, LumaError
from airflow_provider_luma.hooks.luma import LumaAsyncHook, LumaHook
from tests.integration.shells import both_shells

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

KEY_HEADER = "Ocp-Apim-Subscription-Key"
REQUEST = GenerationRequest("A giant floating jellyfish gliding over a city skyline")
#: A name that nothing but the proxy of these tests can resolve.
NAME = "gateway.luma.test"


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch):
    monkeypatch.setattr(retry, "BACKOFF_BASE", 0.002)
    monkeypatch.setattr(retry, "LONG_PAUSE", 0.01)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def bundle(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("ca") / "ca.pem"
    authority.cert_pem.write_to_path(path)
    return path


@pytest.fixture
def secure(authority: trustme.CA) -> Iterator[Emulator]:
    """A gateway behind TLS, with a certificate of a private CA."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1", NAME).configure_cert(context)
    with Emulator(key="the-key-of-the-secure-gateway", seconds=0, videos="tiny", tls=context) as gateway:
        yield gateway


def port_of(url: str) -> int:
    return int(url.rpartition(":")[2])


@pytest.fixture(scope="module")
def proxy_url() -> Iterator[str]:
    """A real forward proxy (proxy.py), which alone knows where :data:`NAME` is."""
    import proxy
    from proxy.http.proxy import HttpProxyBasePlugin

    class Resolver(HttpProxyBasePlugin):
        def resolve_dns(self, host: str, port: int) -> tuple[str | None, tuple[str, int] | None]:
            return ("127.0.0.1" if host == NAME else None), None

    arguments = ["--hostname", "127.0.0.1", "--port", "0", "--num-acceptors", "1", "--num-workers", "1",
                 "--threaded", "--log-level", "ERROR"]  # fmt: skip
    with proxy.Proxy(arguments, plugins=[Resolver]) as running:
        yield f"http://127.0.0.1:{running.flags.port}"


class Tunnel:
    """A proxy of a few lines that keeps what it was told, to look for what it should not have been."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self.told = b""
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._socket.accept()
                threading.Thread(target=self._one, args=(client,), daemon=True).start()

    def _one(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError):
            head = b""
            while b"\r\n\r\n" not in head:
                head += client.recv(4096)
            self.told += head
            host, _, port = head.split()[1].decode().rpartition(":")
            with socket.create_connection((host, int(port))) as server:
                client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
                other = threading.Thread(target=self._pump, args=(server, client), daemon=True)
                other.start()
                self._pump(client, server)
                other.join()

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                self.told += data
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)

    def __enter__(self) -> Tunnel:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


class TestPrivateCA:
    def test_generate(self, secure, bundle, connect):
        connect(host=secure.url, password=secure.key, verify=str(bundle))
        with LumaHook() as hook:
            assert hook.generate(REQUEST) in secure.generations

    @both_shells
    def test_get_status(self, secure, bundle, connect, get_status):
        connect(host=secure.url, password=secure.key, verify=str(bundle))

        assert get_status(secure.add()).status is GenerationStatus.COMPLETED

    @both_shells
    @pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
    def test_the_environments_bundle_counts(self, secure, bundle, connect, monkeypatch, variable, get_status):
        monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)
        monkeypatch.setenv(variable, str(bundle))
        connect(host=secure.url, password=secure.key)

        assert get_status(secure.add()).status is GenerationStatus.COMPLETED

    @both_shells
    def test_verify_false_is_for_those_who_ask_for_it(self, secure, connect, get_status):
        connect(host=secure.url, password=secure.key, verify=False)

        assert get_status(secure.add()).status is GenerationStatus.COMPLETED

    @both_shells
    @pytest.mark.parametrize("extra", ["verify", "cert"])
    def test_a_file_that_is_not_there_is_named(self, secure, connect, get_status, tmp_path, extra):
        connect(host=secure.url, password=secure.key, **{extra: str(tmp_path / "missing.pem")})
        error = get_status("20dd7c76")

        assert isinstance(error, LumaConfigurationError), error
        assert extra in str(error)
        assert "missing.pem" in str(error)

    @both_shells
    def test_a_client_certificate_is_shown(self, authority, bundle, connect, get_status, tmp_path):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1").configure_cert(context)
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(bundle)
        mine = authority.issue_cert("client.example")
        certificate, key = tmp_path / "client.pem", tmp_path / "client.key"
        mine.cert_chain_pems[0].write_to_path(certificate)
        mine.private_key_pem.write_to_path(key)
        with Emulator(key="the-key", seconds=0, videos="tiny", tls=context) as gateway:
            connect(
                host=gateway.url, password="the-key", verify=str(bundle), cert=[str(certificate), str(key)]
            )

            assert get_status(gateway.add()).status is GenerationStatus.COMPLETED


class TestRealProxy:
    """The gateway's name is known to the proxy alone, so what arrives went through it."""

    def test_generate(self, secure, bundle, connect, proxy_url):
        connect(host=f"https://{NAME}:{port_of(secure.url)}", password=secure.key, verify=str(bundle),
                proxies={"https": proxy_url})  # fmt: skip
        with LumaHook() as hook:
            assert hook.generate(REQUEST) in secure.generations

    @both_shells
    def test_get_status(self, secure, bundle, connect, proxy_url, get_status):
        connect(host=f"https://{NAME}:{port_of(secure.url)}", password=secure.key, verify=str(bundle),
                proxies={"https": proxy_url})  # fmt: skip

        assert get_status(secure.add()).status is GenerationStatus.COMPLETED

    @both_shells
    def test_the_environments_proxy_counts(self, secure, bundle, connect, proxy_url, monkeypatch, get_status):
        monkeypatch.setenv("HTTPS_PROXY", proxy_url)
        connect(host=f"https://{NAME}:{port_of(secure.url)}", password=secure.key, verify=str(bundle))

        assert get_status(secure.add()).status is GenerationStatus.COMPLETED

    @both_shells
    def test_the_environments_exceptions_count(self, secure, bundle, connect, monkeypatch, get_status):
        monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        connect(host=secure.url, password=secure.key, verify=str(bundle))

        assert get_status(secure.add()).status is GenerationStatus.COMPLETED

    @both_shells
    def test_trust_env_false_ignores_the_environment(self, secure, bundle, connect, monkeypatch, get_status):
        monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", "nowhere.pem")
        connect(host=secure.url, password=secure.key, verify=str(bundle), trust_env=False)

        assert get_status(secure.add()).status is GenerationStatus.COMPLETED

    @both_shells
    def test_the_proxy_never_sees_the_key(self, secure, bundle, connect, get_status):
        with Tunnel() as tunnel:
            connect(host=secure.url, password=secure.key, verify=str(bundle), proxies={"https": tunnel.url})
            seen = get_status(secure.add())

            assert seen.status is GenerationStatus.COMPLETED
            assert tunnel.told.startswith(b"CONNECT 127.0.0.1:")
            assert secure.key.encode() not in tunnel.told
            assert KEY_HEADER.lower().encode() not in tunnel.told.lower()

    @both_shells
    def test_a_gateway_on_loopback_is_not_asked_for_through_a_proxy_in_clear(
        self, emulator, connect, monkeypatch, get_status
    ):
        """Plain http is for loopback alone: by a proxy of the environment the key would leave in clear."""
        told = b""
        server = socket.create_server(("127.0.0.1", 0))

        def listen() -> None:
            nonlocal told
            with contextlib.suppress(OSError):
                while True:
                    client, _ = server.accept()
                    with client:
                        client.settimeout(1)
                        told += client.recv(65536)
                        client.sendall(
                            b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                        )

        threading.Thread(target=listen, daemon=True).start()
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{server.getsockname()[1]}")
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{server.getsockname()[1]}")
        monkeypatch.delenv("NO_PROXY", raising=False)
        connect(timeout=2)
        get_status(emulator.add())
        with contextlib.suppress(OSError):
            server.shutdown(socket.SHUT_RDWR)
        server.close()

        assert emulator.key.encode() not in told, "the key went to a proxy, unencrypted"


class TestTimeouts:
    @both_shells
    @pytest.mark.parametrize("fault", ["hang", "drip", "endless"])
    def test_an_answer_has_the_connections_timeout_however_it_comes(
        self, emulator, connect, monkeypatch, fault, get_status
    ):
        """``timeout``: seconds for an answer; ``connect_timeout`` is for connecting, which takes none."""
        connect(timeout=0.3, connect_timeout=5, status_id_field="task_id")
        options = {} if fault == "hang" else {"every": 0.1}
        emulator.misbehave("getStatus", fault, times=None, **options)
        monkeypatch.setattr(retry, "MAX_TRIES", 1)
        started = time.monotonic()
        error = get_status(emulator.add())
        took = time.monotonic() - started

        assert isinstance(error, LumaError), error
        assert 0.25 < took < 2, f"it took {took:.1f} s with a time-out of 0.3 s"

    @both_shells
    def test_a_slow_answer_within_it_is_taken(self, emulator, connect, get_status):
        connect(timeout=5, connect_timeout=0.2)
        emulator.misbehave("getStatus", "latency", seconds=0.6)

        seen = get_status(emulator.add())

        assert not isinstance(seen, LumaError), seen
        assert emulator.count("getStatus") == 1


class TestTheKeyIsAtTheGatewayAndNowhereElse:
    @both_shells
    def test_it_arrives_once(self, emulator, connect, get_status):
        get_status(emulator.add())
        (call,) = emulator.calls("getStatus")

        assert call.headers.getall(KEY_HEADER) == [emulator.key]
        assert call.headers["Content-Type"] == "application/json"
        assert call.headers["Cache-Control"] == "no-cache"
        assert emulator.key not in call.path
        assert emulator.key.encode() not in call.body

    def test_it_is_in_nothing_that_a_session_shows(self, emulator, connect):
        hook = LumaHook()
        with hook.get_conn() as session:
            response = session.post(f"{emulator.url}/lumalabs-ai-polling/v1/getStatus", json={"task_id": "x"})

            assert response.status_code == 200, "the key was not sent at all"
            for thing in (session.headers, session.auth, session.params, session.cookies, session, hook,
                          response.request.headers, response.headers, response, response.request,
                          hook.settings, hook.__dict__):  # fmt: skip
                assert emulator.key not in repr(thing), type(thing)

    def test_it_is_in_no_pickle_of_a_session(self, emulator, connect):
        with LumaHook().get_conn() as session:
            session.post(f"{emulator.url}/lumalabs-ai-polling/v1/getStatus", json={"task_id": "x"})
            try:
                frozen = pickle.dumps(session)
            except Exception:
                return  # what cannot be pickled shows nothing

        assert emulator.key.encode() not in frozen

    def test_it_is_in_no_exception_of_a_session(self, emulator, connect):
        emulator.misbehave("getStatus", "drop-after-reading", times=None)
        with LumaHook().get_conn() as session, pytest.raises(requests.RequestException) as broken:
            session.post(f"{emulator.url}/lumalabs-ai-polling/v1/getStatus", json={"task_id": "x"})

        assert emulator.count("getStatus") == 1
        assert broken.value.request is not None
        assert emulator.key not in str(broken.value.request.headers)
        assert emulator.key not in "".join(traceback.format_exception(broken.value))

    @both_shells
    @pytest.mark.parametrize(
        ("key", "echo"),
        [
            ("plain0123456789abcdef", "plain0123456789abcdef"),
            # PHP's json_encode writes a slash so.
            ("with/slash+and=0123456789", "with\\/slash+and=0123456789"),
            ("plain0123456789abcdef", "\\u0070lain0123456789abcdef"),
        ],
        ids=["as it is", "with JSON's slash", "with JSON's escape"],
    )
    @pytest.mark.parametrize("code", [401, 418])
    def test_a_gateway_that_repeats_it_does_not_put_it_into_an_error(
        self, emulator, connect, key, echo, code, get_status
    ):
        emulator.key = key
        connect(password=key)
        emulator.misbehave(
            "getStatus", "status", code=code, body=f'{{"error": "no such key: {echo}"}}', times=None
        )

        error = get_status("20dd7c76")

        assert "no such key" in str(error), "the gateway's words are not quoted, so this test tells nothing"
        assert key not in str(error)

    @both_shells
    def test_it_is_in_no_log_line(self, emulator, connect, caplog, capsys, get_status):
        emulator.misbehave("getStatus", "500", times=1)
        emulator.misbehave("getStatus", "odd-headers", times=1)
        with caplog.at_level(logging.DEBUG):
            get_status(emulator.add())
            with LumaHook() as hook:
                hook.generate(REQUEST)
            logging.getLogger("airflow_provider_luma").debug("planted-word")
        out = capsys.readouterr()
        logged = caplog.text + out.out + out.err

        assert "planted-word" in logged, "nothing was captured"
        assert emulator.key not in logged


class TestOtherHosts:
    @pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
    @pytest.mark.parametrize("allow", [{}, {"allow_redirects": True}], ids=["default", "asked for"])
    def test_get_conn_does_not_follow_redirects(self, emulator, connect, code, allow):
        emulator.misbehave("getStatus", "redirect", code=code)
        with LumaHook().get_conn() as session:
            response = session.post(f"{emulator.url}/lumalabs-ai-polling/v1/getStatus", json={}, **allow)

        assert response.status_code == code
        assert emulator.other_host().requests == []

    @pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
    def test_run_does_not_follow_redirects(self, emulator, connect, code):
        emulator.misbehave("getStatus", "redirect", code=code)

        response = LumaHook().run("lumalabs-ai-polling/v1/getStatus", data=json.dumps({"task_id": "x"}))

        assert response.status_code == code
        assert emulator.other_host().requests == []

    @pytest.mark.parametrize(
        "spelling",
        ["http://{other}/x", "http://{own}@{other}/x", "http://{other}/?u={own}", "HTTP://{other}/x"],
    )
    def test_get_conn_does_not_send_the_key_to_another_origin(self, emulator, connect, spelling):
        other = emulator.other_host()
        own = emulator.url.removeprefix("http://")
        url = spelling.format(own=own, other=other.url.removeprefix("http://"))
        with LumaHook().get_conn() as session:
            session.post(url, headers={KEY_HEADER: emulator.key})

        (request,) = other.requests
        assert KEY_HEADER not in request.headers
        assert emulator.key not in str(dict(request.headers))

    def test_run_cannot_be_led_to_another_host(self, emulator, connect):
        other = emulator.other_host()
        for endpoint in (other.url, f"@{other.url.removeprefix('http://')}/x",
                         f"//{other.url.removeprefix('http://')}/x", f".{other.url}"):  # fmt: skip
            with contextlib.suppress(requests.RequestException, LumaError):
                LumaHook().run(endpoint)

        assert other.requests == []
        assert emulator.requests, "nothing was sent at all"

    def test_run_sends_the_key_to_the_gateway(self, emulator, connect):
        response = LumaHook().run("/lumalabs-ai-polling/v1/getStatus", data=json.dumps({"task_id": "x"}))

        assert response.json()["status"] == "NOT_FOUND"

    def test_run_raises_as_http_hooks_do_and_shows_no_key(self, emulator, connect):
        emulator.misbehave("getStatus", "401")
        with pytest.raises(requests.HTTPError) as refused:
            LumaHook().run("/lumalabs-ai-polling/v1/getStatus", data=json.dumps({"task_id": "x"}))

        assert emulator.key not in str(refused.value)
        assert emulator.count("getStatus") == 1


class TestSessionsOfOthers:
    """``get_conn`` is public: what it gives must bear what sessions are used for."""

    def status(self, session: requests.Session, emulator: Emulator) -> int:
        body = {"task_id": "x"}
        return session.post(f"{emulator.url}/lumalabs-ai-polling/v1/getStatus", json=body).status_code

    def test_a_second_connection_has_the_whole_timeout_too(self, emulator, connect):
        connect(timeout=5, connect_timeout=0.2)
        emulator.misbehave("getStatus", "odd-headers", times=1)  # it closes the connection
        emulator.misbehave("getStatus", "latency", seconds=0.6)
        with LumaHook().get_conn() as session:
            self.status(session, emulator)

            assert self.status(session, emulator) == 200

    def test_a_kept_connection_has_the_whole_timeout_each_time(self, emulator, connect):
        connect(timeout=1)
        emulator.misbehave("getStatus", "latency", seconds=0.6, times=None)
        with LumaHook().get_conn() as session:
            assert [self.status(session, emulator) for _ in range(3)] == [200, 200, 200]

    def test_run_takes_a_timeout_of_its_own(self, emulator, connect):
        connect(timeout=0.3)
        emulator.misbehave("getStatus", "latency", seconds=0.8)

        response = LumaHook().run(
            "/lumalabs-ai-polling/v1/getStatus",
            data=json.dumps({"task_id": "x"}),
            extra_options={"timeout": 5},
        )

        assert response.status_code == 200


class TestConnections:
    def test_generate_never_uses_a_kept_connection(self, emulator, connect):
        """A connection that went stale in between would look like a lost answer."""
        with LumaHook() as hook:
            first = hook.generate(REQUEST)
            hook.get_status(first)
            second = hook.generate(REQUEST)

        ports = [call.client_port for call in emulator.requests]
        assert first != second
        assert len(set(ports)) == 3, ports

    def test_generate_bears_a_gateway_that_was_restarted(self, emulator, connect):
        with LumaHook() as hook:
            first = hook.generate(REQUEST)
            hook.get_status(first)
            emulator.stop()
            emulator.start()
            second = hook.generate(REQUEST)

        assert emulator.paid == 2
        assert {first, second} == set(emulator.generations)

    def test_looks_share_one(self, emulator, connect):
        request_id = emulator.add()
        with LumaHook() as hook:
            for _ in range(5):
                hook.look(request_id)

        assert len({call.client_port for call in emulator.calls("getStatus")}) == 1

    def test_asynchronous_looks_share_one(self, emulator, connect):
        request_id = emulator.add()

        async def look() -> None:
            async with LumaAsyncHook() as hook:
                for _ in range(5):
                    await hook.look(request_id)

        asyncio.run(look())
        assert len({call.client_port for call in emulator.calls("getStatus")}) == 1

    def test_cookies_are_not_kept(self, emulator, connect):
        emulator.misbehave("getStatus", "status", code=200, body={"status": "queued"}, times=None,
                           headers={"Set-Cookie": "session=abc; Path=/"})  # fmt: skip

        async def look() -> None:
            async with LumaAsyncHook() as hook:
                for _ in range(2):
                    await hook.look("x")

        with LumaHook() as hook:
            for _ in range(2):
                hook.look("x")
        asyncio.run(look())

        assert len(emulator.requests) == 4
        assert [dict(call.headers).get("Cookie") for call in emulator.requests] == [None] * 4

    @both_shells
    def test_netrc_is_not_read(self, emulator, connect, monkeypatch, tmp_path, get_status):
        netrc = tmp_path / "netrc"
        netrc.write_text("machine 127.0.0.1 login someone password swordfish\n")
        monkeypatch.setenv("NETRC", str(netrc))
        get_status(emulator.add())

        assert "Authorization" not in emulator.requests[0].headers

    @both_shells
    def test_who_asks_is_said(self, emulator, connect, get_status):
        import os

        get_status(emulator.add())
        agent = emulator.requests[0].headers["User-Agent"]

        assert agent.startswith("airflow-provider-luma/")
        assert str(os.getpid()) in agent


class TestTheConnectionOfAirflow:
    @both_shells
    def test_extras_are_never_sent(self, emulator, connect, get_status):
        connect(**{"X-Secret": "swordfish", "subscription_key": "swordfish", "check_response": False})
        get_status(emulator.add())
        (call,) = emulator.requests

        assert "swordfish" not in str(dict(call.headers))
        assert "X-Secret" not in call.headers

    @both_shells
    def test_a_login_does_not_turn_the_key_into_basic_auth(self, emulator, monkeypatch, get_status):
        connection = {"conn_type": "luma", "host": emulator.url, "login": "someone", "password": emulator.key}
        monkeypatch.setenv("AIRFLOW_CONN_LUMA_DEFAULT", json.dumps(connection))
        get_status(emulator.add())
        (call,) = emulator.requests

        assert "Authorization" not in call.headers
        assert call.headers[KEY_HEADER] == emulator.key

    def test_it_is_looked_up_once_per_hook(self, emulator, connect):
        looked_up = []

        class Counting(LumaHook):
            @classmethod
            def get_connection(cls, conn_id: str) -> Connection:
                looked_up.append(conn_id)
                return super().get_connection(conn_id)

        with Counting() as hook:
            request_id = hook.generate(REQUEST)
            hook.get_status(request_id)
            hook.wait_for_completion(request_id, timeout=30, poke_interval=0.1)
            hook.get_conn().close()
            hook.run("/lumalabs-ai-polling/v1/getStatus", data=json.dumps({"task_id": "x"}))
            hook.test_connection()

        assert looked_up == ["luma_default"]

    def test_it_is_not_looked_up_before_it_is_needed(self):
        LumaHook("nobody_has_this")
        LumaAsyncHook("nobody_has_this")

    @both_shells
    def test_one_that_does_not_exist_is_a_clear_word(self, monkeypatch, airflow_database, get_status):
        monkeypatch.delenv("AIRFLOW_CONN_LUMA_DEFAULT", raising=False)
        error = get_status("20dd7c76")

        assert isinstance(error, LumaConnectionNotFound), error
        assert error.request_id == "20dd7c76"
        assert "luma_default" in str(error)
        assert "connections add" in str(error)

    @both_shells
    def test_one_without_a_key_is_a_clear_word(self, emulator, connect, get_status):
        connect(password="")
        error = get_status("20dd7c76")

        assert isinstance(error, LumaConfigurationError), error
        assert "no subscription key" in str(error)
        assert emulator.requests == []

    @both_shells
    def test_plain_http_off_loopback_sends_nothing(self, connect, get_status):
        connect(host="http://gateway.example")
        error = get_status("20dd7c76")

        assert isinstance(error, LumaConfigurationError), error
        assert "unencrypted" in str(error)

    def test_the_hook_is_an_http_hook(self):
        assert isinstance(LumaHook(), HttpHook)
        assert isinstance(LumaAsyncHook(), BaseHook)


class TestTheTestButton:
    def test_a_good_connection(self, emulator, connect):
        ok, words = LumaHook().test_connection()

        assert ok, words
        assert "Nothing was generated" in words
        assert emulator.count("generate") == 0

    @pytest.mark.parametrize(
        "fault", ["401", "403", "500", "not-json", "drop-after-reading", "html-403", "429"]
    )
    def test_a_bad_one_says_why(self, emulator, connect, fault):
        emulator.misbehave("getStatus", fault, times=None)
        ok, words = LumaHook().test_connection()

        assert not ok
        assert len(words) > 20
        assert emulator.key not in words

    def test_a_wrong_key(self, emulator, connect):
        connect(password="a-wrong-key-0123")
        ok, words = LumaHook().test_connection()

        assert (ok, "key" in words, "a-wrong-key-0123" in words) == (False, True, False)
