"""
Fetch a video from the address that the gateway gave, without trusting that address.

An answer of the gateway, or a DAG author's template, names the host; a worker stands inside a company's
network. So what is guaranteed here is:

* the subscription key is not known here, so it cannot be sent;
* the network address that is really connected to is checked, after DNS, at every hop: loopback, private,
  link-local and other special networks are refused unless the connection allows them;
* a redirect leads to https only, and at most :data:`MAX_REDIRECTS` times;
* a download ends: connecting, silence, a trickle and endless bytes are all bounded.
"""

from __future__ import annotations

import ipaddress
import socket
import time
from contextlib import closing, contextmanager
from dataclasses import dataclass
from http.client import HTTPException
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

import requests
import urllib3
from requests.utils import select_proxy
from urllib3.util import connection as urllib3_connection

from airflow_provider_luma.api.models import is_web_address
from airflow_provider_luma.api.text import shown_url
from airflow_provider_luma.exceptions import LumaDownloadFailed, LumaUnsafeAddress, LumaVideoExpired
from airflow_provider_luma.hooks.connection import LumaSettings, is_loopback
from airflow_provider_luma.hooks.sockets import (
    AdapterWithPools,
    Alarm,
    block_cookies,
    no_auth,
    plain_reason,
    pools_with,
    user_agent,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

#: Redirects that are followed at most.
MAX_REDIRECTS = 5
#: Seconds without a byte after which a download is given up.
MAX_SILENCE = 60.0
#: Bytes a second, over a minute, below which a download counts as stuck.
LEAST_RATE = 1024
CHUNK = 1024 * 1024

#: Statuses by which a store says that an address no longer holds.
_EXPIRED = frozenset({403, 404, 410})
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
#: IPv6 prefixes of 96 bits behind which there is an IPv4 address: NAT64, IPv4-compatible, IPv4-translated.
_WRAPPING_IPV4 = [ipaddress.IPv6Network(prefix) for prefix in ("64:ff9b::/96", "::/96", "::ffff:0:0:0/96")]
#: Networks that Python takes for public and that are somebody's own: local NAT64, site-local.
_NOT_PUBLIC = [ipaddress.IPv6Network(prefix) for prefix in ("64:ff9b:1::/48", "fec0::/10")]


@dataclass(frozen=True)
class Incoming:
    """
    A download under way.

    :param chunks: the bytes, as they come.
    :param length: bytes that the server announced, or ``None``.
    :param content_type: what the server says it is.
    """

    chunks: Iterator[bytes]
    length: int | None
    content_type: str


@contextmanager
def download(url: str, settings: LumaSettings) -> Iterator[Incoming]:
    """
    Open ``url`` and give its bytes.

    :raises LumaUnsafeAddress: it leads to a network, or by a scheme, that is not allowed. Nothing was
        fetched.
    :raises LumaVideoExpired: the store no longer serves this address (403, 404, 410).
    :raises LumaDownloadFailed: anything else, also while the bytes are read. A retry is safe.
    """
    allowed = _allowed_networks(settings)
    patience = _Patience(settings)
    with _NoRedirects() as session:
        session.trust_env = settings.trust_env
        session.auth = no_auth
        block_cookies(session)
        session.headers.update({"User-Agent": user_agent("task"), "Accept-Encoding": "identity"})
        pools = pools_with(_checking(allowed, patience))
        for scheme in ("https://", "http://"):
            session.mount(scheme, AdapterWithPools(pools))
        try:
            with closing(_opened(session, url, settings, allowed, patience)) as response:
                length = response.headers.get("Content-Length", "")
                yield Incoming(
                    chunks=_chunks(response, patience),
                    length=int(length) if length.isdecimal() and len(length) < 19 else None,
                    content_type=response.headers.get("Content-Type", ""),
                )
        finally:
            patience.stop()


def is_public(address: str) -> bool:
    """Return whether a network address is one of the public internet, also where it is wrapped in IPv6."""
    ip = ipaddress.ip_address(address.split("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
        if any(ip in network for network in _NOT_PUBLIC):
            return False
        if inner is None and int(ip) > 1 and any(ip in network for network in _WRAPPING_IPV4):
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(str(inner))
    return ip.is_global and not ip.is_multicast


def _allowed_networks(settings: LumaSettings) -> Callable[[str], bool]:
    """Return which network addresses may be connected to, by what the connection says."""
    if settings.allow_private_addresses:
        return lambda _: True
    if is_loopback(urlsplit(settings.base_url).hostname or ""):
        # The emulator serves its videos from loopback; a connection to loopback trusts loopback.
        return lambda address: is_public(address) or is_loopback(address)
    return is_public


class _NoRedirects(requests.Session):
    """A session that leaves redirects to :func:`_opened`: ``requests`` would read a redirect's whole body."""

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        return None


class _Patience:
    """
    How long is waited for what comes next: the handshakes, the answer's head, more of the body.

    A time-out of the socket itself starts anew with every byte, so a trickle would never end.
    """

    def __init__(self, settings: LumaSettings) -> None:
        self._settings = settings
        self._alarm: Alarm | None = None

    def opened(self, sock: Any) -> None:
        self._set(Alarm(self._settings.connect_timeout, sock))

    def ready(self, sock: Any) -> None:
        self._set(Alarm(self._settings.timeout, sock))

    def more(self) -> None:
        if self._alarm is not None:
            self._alarm.put_off(MAX_SILENCE)

    def stop(self) -> None:
        self._set(None)

    def _set(self, alarm: Alarm | None) -> None:
        previous, self._alarm = self._alarm, alarm
        if previous is not None:
            previous.stop()


def _opened(
    session: requests.Session,
    url: str,
    settings: LumaSettings,
    allowed: Callable[[str], bool],
    patience: _Patience,
) -> requests.Response:
    """Return the answer at the end of the redirects."""
    for hop in range(MAX_REDIRECTS + 1):
        _check_address(url, settings, allowed, first=hop == 0)
        try:
            transport = session.merge_environment_settings(
                url, dict(settings.proxies), True, settings.verify, None
            )
            response = session.get(
                url,
                allow_redirects=False,
                timeout=(settings.connect_timeout, MAX_SILENCE),
                **transport,
            )
        except LumaDownloadFailed:
            raise
        except Exception as error:
            # The client raises many things, ValueErrors of a name that cannot be looked up among them.
            raise _failed(url, f"could not be opened: {plain_reason(error)}") from None
        if response.status_code not in _REDIRECTS:
            return _checked(response, url)
        try:
            url = urljoin(url, response.headers.get("Location", ""))
        except ValueError:
            raise LumaUnsafeAddress("The video's address redirects to one that cannot be read.") from None
        finally:
            response.close()
    raise _failed(url, f"was redirected more than {MAX_REDIRECTS} times")


def _check_address(url: str, settings: LumaSettings, allowed: Callable[[str], bool], *, first: bool) -> None:
    """Refuse what can be told from the address alone; the network is checked when connecting."""
    if not is_web_address(url):
        raise LumaUnsafeAddress("The video's address is not an http or https address without credentials.")
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme != "https" and not first and not (is_loopback(host) and allowed("127.0.0.1")):
        raise LumaUnsafeAddress(f"The video's address redirects to plain http: {shown_url(url)}.")
    if select_proxy(url, dict(settings.proxies)) is None and not settings.trust_env:
        return
    # Behind a proxy it is the proxy that connects; what can be told here is an address given as a number.
    literal = "127.0.0.1" if is_loopback(host) else _as_number(host)
    if literal is not None and not allowed(literal):
        raise _unsafe(host, [literal])


def _as_number(host: str) -> str | None:
    """Return the network address that a host is, if it is one and no name; ``0x7f.1`` is one too."""
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        pass
    try:
        return socket.inet_ntoa(socket.inet_aton(host))
    except (OSError, ValueError):
        return None


def _checked(response: requests.Response, url: str) -> requests.Response:
    status = response.status_code
    if status == 200:
        return response
    response.close()
    if status in _EXPIRED:
        raise LumaVideoExpired(
            f"The video's address is not served any more (HTTP {status}): {shown_url(url)}.",
            http_status=status,
        )
    raise _failed(url, f"answered HTTP {status}", http_status=status)


def _chunks(response: requests.Response, patience: _Patience) -> Iterator[bytes]:
    url = response.url
    began, received = time.monotonic(), 0
    try:
        # read1 gives what has come, so that a trickle is seen as one.
        patience.more()
        while chunk := response.raw.read1(CHUNK, decode_content=False):
            received += len(chunk)
            yield chunk
            patience.more()
            if (elapsed := time.monotonic() - began) > 60.0:
                if received < LEAST_RATE * elapsed:
                    raise _failed(url, f"gave only {received} bytes in {elapsed:.0f} s")
                began, received = time.monotonic(), 0
    except (requests.RequestException, urllib3.exceptions.HTTPError, HTTPException, OSError) as error:
        raise _failed(url, f"broke off: {plain_reason(error)}") from None


def _checking(allowed: Callable[[str], bool], patience: _Patience) -> type:
    """Return a mix-in for connections that connect only to network addresses that are allowed."""

    class Checking:
        def _new_conn(self) -> socket.socket:
            sock = self._connected()
            patience.opened(sock)
            return sock

        def connect(self) -> None:
            super().connect()  # type: ignore[misc]
            patience.ready(self.sock)  # type: ignore[attr-defined]

        def _connected(self) -> socket.socket:
            connection: Any = self
            if connection.proxy is not None:
                # The proxy's own address is the administrator's word.
                return super()._new_conn()  # type: ignore[misc,no-any-return]
            host, port = connection._dns_host, connection.port
            try:
                found = socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM)
            except socket.gaierror as error:
                raise urllib3.exceptions.NameResolutionError(host, connection, error) from error
            addresses = list(dict.fromkeys(str(info[4][0]) for info in found))
            good = [address for address in addresses if allowed(address)]
            if not good:
                raise _unsafe(host, addresses)
            last: OSError | None = None
            for address in good:
                try:
                    # By number: another look-up could bring another answer.
                    return urllib3_connection.create_connection(
                        (address, port),
                        connection.timeout,
                        source_address=connection.source_address,
                        socket_options=connection.socket_options,
                    )
                except OSError as error:
                    last = error
            raise urllib3.exceptions.NewConnectionError(connection, str(last))

    return Checking


def _unsafe(host: str, addresses: list[str]) -> LumaUnsafeAddress:
    return LumaUnsafeAddress(
        f"The video's host {host!r} leads into a network that is not public ({', '.join(addresses[:4])})."
    )


def _failed(url: str, what: str, http_status: int | None = None) -> LumaDownloadFailed:
    return LumaDownloadFailed(f"The download {what}: {shown_url(url)}.", http_status=http_status)
