"""
One HTTP exchange with the gateway, blocking or asynchronous: sent safely, bounded, and told apart.

What both shells guarantee:

* the key is put into the header at send time only, for the connection's own origin only; redirects are never
  followed, so it never travels to another host; cookies and ``.netrc`` are not used;
* an exchange ends: connecting within the connect timeout, the whole answer within the timeout after that,
  however slowly it drips; at most :data:`~airflow_provider_luma.api.exchange.MAX_ANSWER_BYTES` are read;
* the outcome is an :class:`~airflow_provider_luma.api.exchange.Answer` or a
  :class:`~airflow_provider_luma.api.exchange.Miss` that says whether a connection ever stood. The line is
  the end of the TCP, proxy and TLS handshake: before it nothing of the request can have been delivered.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import ssl
import threading
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import aiohttp
import certifi
import requests
from requests.utils import select_proxy
from urllib3.util.ssltransport import SSLTransport

from airflow_provider_luma.api.exchange import MAX_ANSWER_BYTES, Answer, Fault, HttpCall, Miss, decoded
from airflow_provider_luma.api.text import one_line
from airflow_provider_luma.exceptions import LumaConfigurationError
from airflow_provider_luma.hooks.connection import is_loopback
from airflow_provider_luma.hooks.sockets import (
    AdapterWithPools,
    Alarm,
    block_cookies,
    forget_locals,
    no_auth,
    plain_reason,
    pools_with,
    user_agent,
)

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

    from requests import PreparedRequest, Response

    from airflow_provider_luma.hooks.connection import LumaSettings

_CHUNK = 64 * 1024


class Watch(threading.local):
    """
    What is known of the exchange that the current thread has under way.

    Outside :meth:`exchange` (a session that a user sends with) it does nothing. Inside, it learns of the
    socket from the connection classes below, ends what takes too long by shutting the socket
    down (a time-out of the socket itself starts anew with every byte), and knows whether the handshakes are
    over.
    """

    def __init__(self, connect_timeout: float, timeout: float) -> None:
        self._connect_timeout = connect_timeout
        self._timeout = timeout
        self._alarm: Alarm | None = None
        self._under_way = False
        #: Whether the handshakes are over: from here on, the request may have been delivered.
        self.connected = False

    @property
    def expired(self) -> bool:
        """Whether the exchange was ended because time was up."""
        return self._alarm is not None and self._alarm.rang

    @contextlib.contextmanager
    def exchange(self) -> Iterator[None]:
        """Watch one exchange."""
        self.connected = False
        self._under_way = True
        try:
            yield
        finally:
            self._under_way = False
            self._set_alarm(None)

    def opened(self, sock: Any) -> None:
        """TCP stands; the proxy's and TLS's handshakes have the connect timeout."""
        if self._under_way:
            self._set_alarm(Alarm(self._connect_timeout, sock))

    def ready(self, sock: Any) -> None:
        """The handshakes are over; nothing of the request has been sent yet."""
        if self._under_way and not self.connected:
            # A socket that was shut down goes through the motions of connecting all the same, TLS left out.
            if self.expired:
                raise TimeoutError(f"not connected within {self._connect_timeout:g} s")
            if isinstance(sock, (ssl.SSLSocket, SSLTransport)) and sock.version() is None:
                raise ConnectionError("the TLS handshake did not take place")
            self._set_alarm(Alarm(self._timeout, sock))
            self.connected = True

    def _set_alarm(self, alarm: Alarm | None) -> None:
        previous, self._alarm = self._alarm, alarm
        if previous is not None:
            previous.stop()


class LumaSession(requests.Session):
    """
    A ``requests`` session that carries the key safely.

    The key is added when a request to the connection's own origin is sent, and taken off again, so that it
    stands in no header, repr or traceback before or after. Redirects are never followed.

    :param settings: the connection's settings.
    :param caller: ``task`` or ``triggerer``, for the User-Agent.
    """

    def __init__(self, settings: LumaSettings, caller: str) -> None:
        super().__init__()
        _check_files(settings)
        self._settings = settings
        self.trust_env = settings.trust_env
        self.proxies.update(settings.proxies)
        self.verify = settings.verify
        self.cert = settings.cert
        self.headers.update(settings.gateway.HEADERS)
        self.headers["User-Agent"] = user_agent(caller)
        block_cookies(self)
        self.auth = no_auth
        self.watch = Watch(settings.connect_timeout, settings.timeout)
        pools = pools_with(_reporting_to(self.watch))
        for scheme in ("https://", "http://"):
            self.mount(scheme, AdapterWithPools(pools, settings.max_concurrent_requests))

    def send(self, request: PreparedRequest, **kwargs: Any) -> Response:
        """Send, with the key if the request goes to the connection's own origin; never follow a redirect."""
        kwargs["allow_redirects"] = False
        if kwargs.get("timeout") is None:
            kwargs["timeout"] = (self._settings.connect_timeout, self._settings.timeout)
        if "proxies" not in kwargs:
            kwargs["proxies"] = self.merge_environment_settings(request.url, {}, None, None, None)["proxies"]
        gateway = self._settings.gateway
        request.headers.pop(gateway.KEY_HEADER, None)
        if _origin(request.url or "") == _origin(self._settings.base_url):
            request.headers[gateway.KEY_HEADER] = gateway.key_header(self._settings.key)
        try:
            return super().send(request, **kwargs)
        except BaseException as error:
            forget_locals(error)
            raise
        finally:
            request.headers.pop(gateway.KEY_HEADER, None)

    def merge_environment_settings(self, url: Any, proxies: Any, stream: Any, verify: Any, cert: Any) -> Any:
        """Take proxies from the environment, but for a gateway on loopback: that is nobody else's."""
        own = {**self.proxies, **(proxies or {})}
        merged = super().merge_environment_settings(url, proxies, stream, verify, cert)
        if is_loopback(urlsplit(str(url)).hostname or ""):
            merged["proxies"] = own
        return merged

    def get_redirect_target(self, resp: Response) -> str | None:
        """Return ``None``: the session does not even compute where a redirect leads."""
        return None

    def exchange(self, call: HttpCall) -> Answer | Miss:
        """
        Send one call and return what it came to.

        After the call, ``self.watch.connected`` says whether a connection stood, also when an exception
        that is not of HTTP (a task's time-out, a signal) went through.
        """
        with self.watch.exchange():
            request = requests.Request(call.method, self._settings.base_url + call.path, data=call.body)
            response = None
            try:
                prepared = self.prepare_request(request)
                transport = self.merge_environment_settings(
                    prepared.url, dict(self._settings.proxies), True, self.verify, self.cert
                )
                response = self.send(prepared, **transport)
                raw = bytearray()
                while len(raw) <= MAX_ANSWER_BYTES and (
                    chunk := response.raw.read(_CHUNK, decode_content=False)
                ):
                    raw += chunk
                headers = {name.lower(): value for name, value in response.headers.items()}
                return answer_from(response.status_code, headers, bytes(raw), self._settings)
            except Exception as error:
                # The clients raise many things; what counts is whether the request can have been delivered.
                return self._miss(error)
            except BaseException as interruption:
                forget_locals(interruption)
                raise
            finally:
                if response is not None:
                    response.close()

    def _miss(self, error: Exception) -> Miss:
        if not self.watch.connected:
            return _not_delivered(self._settings, error)
        if self.watch.expired:
            return Miss(Fault.LOST, f"did not answer in full within {self._settings.timeout:g} s")
        return Miss(Fault.LOST, f"was reached, and the connection broke: {plain_reason(error)}")


class _Progress:
    """How far one asynchronous exchange has come, and until when its next step may take."""

    def __init__(self, settings: LumaSettings, bound: asyncio.Timeout) -> None:
        self._settings = settings
        self._bound = bound
        #: Whether the handshakes are over: from here on, the request may have been delivered.
        self.connected = False

    def opening(self) -> None:
        """A connection is being made: TCP, proxy and TLS have the connect timeout."""
        self._end_after(self._settings.connect_timeout)

    def ready(self) -> None:
        """The connection stands, new or kept alive; nothing of the request has been sent yet."""
        self.connected = True
        self._end_after(self._settings.timeout)

    def _end_after(self, seconds: float) -> None:
        self._bound.reschedule(asyncio.get_running_loop().time() + seconds)


class AsyncLumaSession:
    """
    The same over ``aiohttp``, for one event loop.

    Open it inside the loop with :meth:`open`; :meth:`close` it there too.
    """

    def __init__(self, settings: LumaSettings, client: aiohttp.ClientSession, proxy: str | None) -> None:
        self._settings = settings
        self._client = client
        self._proxy = proxy

    @classmethod
    async def open(cls, settings: LumaSettings, caller: str) -> AsyncLumaSession:
        """Return a session; certificates are read in a thread, not in the loop."""
        resolved = _transport(settings, caller)
        tls = await asyncio.to_thread(_tls_context, settings, resolved["verify"], resolved["cert"])
        client = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=settings.max_concurrent_requests, ssl=tls),
            # The bounds are ours: aiohttp's own do not tell connecting from answering.
            timeout=aiohttp.ClientTimeout(total=None),
            headers={**settings.gateway.HEADERS, "User-Agent": user_agent(caller)},
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trace_configs=[_tracing()],
        )
        return cls(settings, client, select_proxy(settings.base_url, resolved["proxies"]))

    async def exchange(self, call: HttpCall) -> Answer | Miss:
        """Send one call and return what it came to."""
        settings = self._settings
        bound = asyncio.timeout(None)
        progress = _Progress(settings, bound)
        try:
            async with (
                bound,
                self._client.request(
                    call.method,
                    settings.base_url + call.path,
                    data=call.body,
                    headers={settings.gateway.KEY_HEADER: settings.gateway.key_header(settings.key)},
                    allow_redirects=False,
                    proxy=self._proxy,
                    trace_request_ctx=progress,
                ) as response,
            ):
                raw = await _read_bounded(response)
                headers = {name.lower(): value for name, value in response.headers.items()}
                return answer_from(response.status, headers, raw, settings)
        except TimeoutError as error:
            if not progress.connected:
                return _not_delivered(settings, error)
            return Miss(Fault.LOST, f"did not answer in full within {settings.timeout:g} s")
        except (aiohttp.ClientError, OSError, ValueError) as error:
            if not progress.connected:
                return _not_delivered(settings, error)
            return Miss(Fault.LOST, f"was reached, and the connection broke: {plain_reason(error)}")
        except BaseException as interruption:
            forget_locals(interruption)
            raise

    async def close(self) -> None:
        """Close every socket."""
        await self._client.close()


def _tracing() -> aiohttp.TraceConfig:
    """Return hooks into a request that tell its :class:`_Progress` when a connection is begun and stands."""
    config = aiohttp.TraceConfig()

    async def opening(_session: Any, context: Any, _params: Any) -> None:
        context.trace_request_ctx.opening()

    async def ready(_session: Any, context: Any, _params: Any) -> None:
        context.trace_request_ctx.ready()

    config.on_connection_create_start.append(opening)
    config.on_connection_create_end.append(ready)
    config.on_connection_reuseconn.append(ready)
    return config


def answer_from(status: int, headers: dict[str, str], raw: bytes, settings: LumaSettings) -> Answer:
    """Return the answer, decoded within bounds."""
    body, cut = decoded(raw, headers.get("content-encoding"))
    return Answer(status, headers, body, cut, secret=settings.key, base_url=settings.base_url)


def _not_delivered(settings: LumaSettings, error: Exception) -> Miss:
    return Miss(Fault.NOT_DELIVERED, f"could not be reached at {settings.base_url}: {plain_reason(error)}")


async def _read_bounded(response: aiohttp.ClientResponse) -> bytes:
    if response.content_length is not None and response.content_length <= MAX_ANSWER_BYTES:
        return await response.read()
    raw = bytearray()
    while chunk := await response.content.read(_CHUNK):
        raw += chunk
        if len(raw) > MAX_ANSWER_BYTES:
            response.close()
            break
    return bytes(raw)


def _reporting_to(watch: Watch) -> type:
    """Return a mix-in for connections that report to ``watch``: a socket opened, the handshakes over."""

    class Reporting:
        def _new_conn(self) -> socket.socket:
            sock: socket.socket = super()._new_conn()  # type: ignore[misc]
            watch.opened(sock)
            return sock

        def connect(self) -> None:
            super().connect()  # type: ignore[misc]
            watch.ready(self.sock)  # type: ignore[attr-defined]

        def request(self, *args: Any, **kwargs: Any) -> None:
            if self.sock is not None:  # type: ignore[attr-defined]
                # Kept alive from an earlier exchange: there was no connect().
                watch.ready(self.sock)  # type: ignore[attr-defined]
            super().request(*args, **kwargs)  # type: ignore[misc]

    return Reporting


def _transport(settings: LumaSettings, caller: str) -> dict[str, Any]:
    """Return proxies, CA bundle and certificate as the blocking session chooses them."""
    with LumaSession(settings, caller) as session:
        return dict(
            session.merge_environment_settings(
                settings.base_url, dict(settings.proxies), True, settings.verify, settings.cert
            )
        )


def _tls_context(settings: LumaSettings, verify: bool | str, cert: Any) -> ssl.SSLContext | bool:
    if not settings.base_url.startswith("https"):
        return True
    bundle = verify if isinstance(verify, str) else certifi.where()
    try:
        folder = os.path.isdir(bundle)
        context = ssl.create_default_context(
            capath=bundle if folder else None, cafile=None if folder else bundle
        )
        if verify is False:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if cert:
            context.load_cert_chain(*([cert] if isinstance(cert, str) else cert))
    except (OSError, ssl.SSLError) as error:
        raise LumaConfigurationError(
            f"Connection {settings.conn_id!r}: its certificates cannot be used: {plain_reason(error)}.",
            next_step="Check the extras verify and cert.",
        ) from None
    return context


def _check_files(settings: LumaSettings) -> None:
    """Say at once which file is missing; on the way out it would look like a gateway that is down."""
    named: dict[str, list[str]] = {
        "verify": [settings.verify] if isinstance(settings.verify, str) else [],
        "cert": [settings.cert] if isinstance(settings.cert, str) else list(settings.cert or ()),
    }
    for extra, paths in named.items():
        for path in paths:
            if not os.path.exists(path):
                raise LumaConfigurationError(
                    f"Connection {settings.conn_id!r}: extra {extra!r} names a file that is not here: "
                    f"{one_line(path)}.",
                    next_step="Put the file onto every worker and triggerer, or mend the extra.",
                )


def _origin(url: str) -> tuple[str, str, int | None]:
    try:
        parts = urlsplit(url)
        port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    except ValueError:
        return ("", "", None)
    return (parts.scheme, (parts.hostname or "").lower(), port)
