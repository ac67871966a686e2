"""
What the exchange with the gateway and the download of a video have in common: over ``requests``, bounded in
time, without cookies or ``.netrc``, and with an error told in a line that holds no password.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import threading
import time
import traceback
from http.cookiejar import DefaultCookiePolicy
from typing import TYPE_CHECKING, Any

import aiohttp
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from airflow_provider_luma import __version__
from airflow_provider_luma.api.text import one_line

if TYPE_CHECKING:
    import requests
    from requests import PreparedRequest

_CREDENTIALS = re.compile(r"\S*@")
_CONNECTION_IN_FRONT = re.compile(r"(<[^>]*>|\w+\([^)]*\)): ")


def user_agent(caller: str) -> str:
    """Return the User-Agent: which release asks, and from what process (``task``, ``triggerer``)."""
    return f"airflow-provider-luma/{__version__} ({caller}; pid {os.getpid()})"


class Alarm:
    """Shuts a socket down when time is up; knows whether it did."""

    def __init__(self, seconds: float, sock: Any) -> None:
        # TLS inside TLS has no socket of its own: the one below it is what blocks.
        self._sock = getattr(sock, "socket", sock)
        self._until = time.monotonic() + seconds
        self._off = threading.Event()
        self.rang = False
        threading.Thread(target=self._watch, name="luma-alarm", daemon=True).start()

    def put_off(self, seconds: float) -> None:
        """Ring so many seconds from now, and not before."""
        self._until = time.monotonic() + seconds

    def stop(self) -> None:
        """Time is not up: leave the socket alone."""
        self._off.set()

    def _watch(self) -> None:
        while (left := self._until - time.monotonic()) > 0:
            if self._off.wait(left):
                return
        self.rang = True
        with contextlib.suppress(OSError):
            socket.socket.shutdown(self._sock, socket.SHUT_RDWR)


class AdapterWithPools(HTTPAdapter):
    """An adapter with connection pools of one's own. ``requests``' own retries stay off."""

    def __init__(self, pools: dict[str, type[HTTPConnectionPool]], connections: int = 1) -> None:
        self._pools = pools
        super().__init__(pool_maxsize=connections, max_retries=0)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = self._pools

    def proxy_manager_for(self, proxy: str, **proxy_kwargs: Any) -> Any:
        manager = super().proxy_manager_for(proxy, **proxy_kwargs)
        manager.pool_classes_by_scheme = self._pools
        return manager


def pools_with(mix_in: type) -> dict[str, type[HTTPConnectionPool]]:
    """Return urllib3's connection pools with ``mix_in`` in front of their connections' own methods."""

    class Plain(mix_in, HTTPConnection):
        pass

    class Secure(mix_in, HTTPSConnection):
        pass

    class PlainPool(HTTPConnectionPool):
        ConnectionCls = Plain

    class SecurePool(HTTPSConnectionPool):
        ConnectionCls = Secure

    return {"http": PlainPool, "https": SecurePool}


def block_cookies(session: requests.Session) -> None:
    """Keep a session from storing or sending cookies."""
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))


def no_auth(request: PreparedRequest) -> PreparedRequest:
    """Authenticate nothing. Any ``auth`` at all keeps ``requests`` from looking into ``~/.netrc``."""
    return request


def forget_locals(error: BaseException) -> None:
    """
    Have the frames below forget their variables, before an error leaves that may be shown with them.

    A client holds the headers, with the key among them, in variables of its functions, and who reports errors
    (Sentry, say) may send variables along.
    """
    seen: set[int] = set()
    left: list[BaseException | None] = [error]
    while left:
        one = left.pop()
        if one is not None and id(one) not in seen:
            seen.add(id(one))
            traceback.clear_frames(one.__traceback__)
            left += [one.__cause__, one.__context__]


def plain_reason(error: BaseException) -> str:
    """Return the innermost cause of a client's error in one line: the outer ones only repeat the address."""
    seen = set()
    while id(error) not in seen:
        seen.add(id(error))
        reason = getattr(error, "reason", None)
        inner = reason if isinstance(reason, BaseException) else None
        inner = inner or next((arg for arg in error.args if isinstance(arg, BaseException)), None)
        if inner is None:
            break
        error = inner
    certificate = isinstance(error, (OSError, aiohttp.ClientSSLError))
    if isinstance(error, (ValueError, TypeError)) and not certificate:
        # An address that could not be read, a proxy's with its password perhaps.
        return type(error).__name__
    # A proxy's address may hold a password: whatever stands before an @ goes.
    text = one_line(_CREDENTIALS.sub("", str(error)[:1000]), 160)
    # urllib3 puts its connection in front: "HTTPSConnection(host='…', port=443): Failed to …".
    if (named := _CONNECTION_IN_FRONT.match(text)) is not None:
        text = text[named.end() :]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
