"""
An Airflow connection of type ``luma`` becomes settings that are checked once and cannot be misread.

A wrong value is an error that names its field and says that nothing was sent. Nothing here looks a connection
up or sends anything.
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
import logging
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from airflow_provider_luma.api.cost import PriceTable
from airflow_provider_luma.api.gateways import DEFAULT_GATEWAY, GATEWAYS, Gateway
from airflow_provider_luma.api.polling import TYPICAL_SECONDS
from airflow_provider_luma.api.text import one_line
from airflow_provider_luma.exceptions import LumaConfigurationError
from airflow_provider_luma.get_provider_info import connection_fields

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow.providers.common.compat.sdk import Connection

log = logging.getLogger(__name__)

#: Between two absolute paths; a path may hold a comma itself.
_BETWEEN_PATHS = re.compile(r",\s*(?=/)|,\s*$")

DEFAULT_TIMEOUT = 30.0
DEFAULT_CONNECT_TIMEOUT = 10.0
DEFAULT_MAX_CONCURRENT_REQUESTS = 16
MAX_TIMEOUT = 600.0
MAX_TYPICAL_SECONDS = 86_400.0


@dataclass(frozen=True)
class LumaSettings:
    """
    What a connection says, checked.

    :param conn_id: the connection's id, for messages.
    :param base_url: scheme, host, port and path prefix, without a slash at the end.
    :param key: the subscription key. In no repr.
    :param timeout: seconds for an answer, from the moment the connection stands.
    :param connect_timeout: seconds to connect, proxy and TLS included.
    :param status_id_field: ``auto``, ``task_id`` or ``requestId``.
    :param max_concurrent_requests: requests under way at once, per process.
    :param requests_per_second: requests started per second at most, per process; ``None``: no limit.
    :param typical_seconds: how long a generation usually takes; the default schedule follows from it.
    :param retry_generate_on_503: whether a 503 counts as refused before any work.
    :param allow_private_addresses: whether a video may be fetched from a network that is not public.
    :param verify: whether TLS certificates are checked, or the path of a CA bundle.
    :param cert: path of a client certificate, or its pair with the key's path.
    :param proxies: as in ``requests``: scheme (or ``scheme://host``) to proxy address.
    :param trust_env: whether proxy and CA environment variables count.
    :param price_table: what a generation costs; ``None``: not known.
    :param price_trouble: why it is not known although something is named. No wait needs a price, so that
        this is an error of a submit alone.
    :param gateway: the door to the models that ``base_url`` is.
    """

    conn_id: str
    base_url: str
    key: str = field(repr=False)
    timeout: float = DEFAULT_TIMEOUT
    connect_timeout: float = DEFAULT_CONNECT_TIMEOUT
    status_id_field: str = "auto"
    max_concurrent_requests: int = DEFAULT_MAX_CONCURRENT_REQUESTS
    requests_per_second: float | None = None
    typical_seconds: float = TYPICAL_SECONDS
    retry_generate_on_503: bool = False
    allow_private_addresses: bool = False
    verify: bool | str = True
    cert: str | tuple[str, str] | None = field(default=None, repr=False)
    proxies: Mapping[str, str] = field(default_factory=dict, repr=False)
    trust_env: bool = True
    price_table: PriceTable | None = None
    price_trouble: str | None = None
    gateway: Gateway = field(default=GATEWAYS[DEFAULT_GATEWAY], repr=False)

    @property
    def account(self) -> str:
        """
        What tells, in a record, whether a request would go where an earlier one went: the gateway's name, and
        a digest of host and key from which neither can be told.
        """
        digest = hashlib.sha256(f"{self.base_url} {self.key}".encode()).hexdigest()
        return f"{self.gateway.NAME}:{digest[:16]}"


def settings_from(connection: Connection, conn_id: str) -> LumaSettings:
    """
    Return the settings of ``connection``.

    :raises LumaConfigurationError: names the connection and the field. Nothing was sent.
    """
    extras = _Extras(conn_id, connection.extra)
    unknown = sorted(set(extras.values) - set(connection_fields()))
    if unknown:
        log.warning(
            "Connection %s: extras that this provider does not know are ignored and never sent: %s",
            conn_id,
            one_line(", ".join(unknown)),
        )
    allow_http = extras.boolean("allow_http", False)
    status_id_field = extras.text("status_id_field") or "auto"
    gateway = extras.gateway()
    if status_id_field not in ("auto", *gateway.STATUS_ID_FIELDS):
        choices = " or ".join(", ".join(("auto", *gateway.STATUS_ID_FIELDS)).rsplit(", ", 1))
        raise extras.wrong(
            "status_id_field", f"must be {choices} where gateway is {gateway.NAME}", status_id_field
        )
    concurrent = extras.number("max_concurrent_requests", DEFAULT_MAX_CONCURRENT_REQUESTS, 1, 1000)
    if concurrent != int(concurrent):
        raise extras.wrong("max_concurrent_requests", "must be a whole number", concurrent)
    prices, price_trouble = extras.price_table()
    per_second = extras.number("requests_per_second", 0.0, 0.0, 100_000.0)
    return LumaSettings(
        conn_id=conn_id,
        base_url=_base_url(connection, conn_id, allow_http, gateway),
        key=_key(connection, conn_id),
        timeout=extras.number("timeout", DEFAULT_TIMEOUT, 0.001, MAX_TIMEOUT),
        connect_timeout=extras.number("connect_timeout", DEFAULT_CONNECT_TIMEOUT, 0.001, MAX_TIMEOUT),
        status_id_field=status_id_field,
        max_concurrent_requests=int(concurrent),
        requests_per_second=per_second or None,
        typical_seconds=extras.number("typical_seconds", TYPICAL_SECONDS, 0.1, MAX_TYPICAL_SECONDS),
        retry_generate_on_503=extras.boolean("retry_generate_on_503", False),
        allow_private_addresses=extras.boolean("allow_private_addresses", False),
        verify=extras.verify(),
        cert=extras.cert(),
        proxies=extras.proxies(),
        trust_env=extras.boolean("trust_env", True),
        price_table=prices,
        price_trouble=price_trouble,
        gateway=gateway,
    )


def is_loopback(host: str) -> bool:
    """Return whether ``host``, a name or an address as it stands in a URL, is this very machine."""
    if host.rstrip(".").lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _key(connection: Connection, conn_id: str) -> str:
    key = (connection.password or "").strip()
    if not key:
        raise LumaConfigurationError(
            f"Connection {conn_id!r} has no subscription key.",
            next_step="Put the key into the connection's password field, "
            "where Airflow masks and encrypts it.",
        )
    if not key.isascii() or not key.isprintable() or " " in key:
        raise LumaConfigurationError(
            f"The subscription key of connection {conn_id!r} holds characters that no header can carry.",
            next_step="Put the key, and nothing else, into the connection's password field.",
        )
    return key


def _base_url(connection: Connection, conn_id: str, allow_http: bool, gateway: Gateway) -> str:
    host = (connection.host or "").strip() or gateway.DEFAULT_HOST
    if "://" not in host:
        host = f"https://{host}"

    def wrong(why: str) -> LumaConfigurationError:
        return LumaConfigurationError(
            f"Connection {conn_id!r}: host {why}.",
            next_step="Set the connection's host to the gateway's base address; empty means "
            f"{gateway.DEFAULT_HOST}.",
        )

    try:
        parts = urlsplit(host)
        port = parts.port or connection.port
    except ValueError:
        raise wrong("cannot be read as an address") from None
    if parts.scheme not in ("http", "https"):
        raise wrong(f"has the scheme {one_line(parts.scheme, 20)!r}; it must be https")
    if not parts.hostname or any(char.isspace() or not char.isprintable() for char in host):
        raise wrong("names no host")
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        raise wrong("must hold no user, password, query or fragment")
    if parts.scheme == "http" and not allow_http and not is_loopback(parts.hostname):
        raise LumaConfigurationError(
            f"Connection {conn_id!r}: plain http would send the key unencrypted over the network.",
            next_step="Use https, or set the extra allow_http to true if that network is trusted.",
        )
    for other in GATEWAYS.values():
        if other is not gateway and parts.hostname == urlsplit(other.DEFAULT_HOST).hostname:
            raise LumaConfigurationError(
                f"Connection {conn_id!r}: {parts.hostname} is the host of {other.TITLE}, and the extra "
                f"gateway is {gateway.NAME!r}. The key would go to a stranger.",
                next_step=f"Make the extra gateway {other.NAME!r}, or leave the host empty.",
            )
    name = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{name}{f':{port}' if port else ''}{parts.path.rstrip('/')}"


class _Extras:
    """The connection's extras, read field by field; a bad value is an error that names the field."""

    def __init__(self, conn_id: str, extra: str | None) -> None:
        self.conn_id = conn_id
        try:
            # Not extra_dejson: on Airflow 3 that asks the supervisor, synchronously, to mask what is in it.
            values = json.loads(extra) if extra and extra.strip() else {}
        except (ValueError, RecursionError):
            values = None
        if not isinstance(values, dict):
            raise LumaConfigurationError(
                f"Connection {conn_id!r}: its extra is not a JSON object.",
                next_step="Mend the connection's extra field.",
            )
        self.values: dict[str, Any] = values

    def wrong(self, name: str, why: str, value: object) -> LumaConfigurationError:
        return LumaConfigurationError(
            f"Connection {self.conn_id!r}: extra {name!r} {why}, not {one_line(repr(value), 80)}.",
            next_step="Mend the connection's extra field.",
        )

    def text(self, name: str) -> str | None:
        value = self.values.get(name)
        if value is not None and not isinstance(value, str):
            raise self.wrong(name, "must be text", value)
        return (value or "").strip() or None

    def gateway(self) -> Gateway:
        name = self.text("gateway") or DEFAULT_GATEWAY
        if name not in GATEWAYS:
            raise self.wrong("gateway", f"must be one of {', '.join(GATEWAYS)}", name)
        return GATEWAYS[name]

    def boolean(self, name: str, default: bool) -> bool:
        value = self.values.get(name)
        if value is None or value == "":
            return default
        if isinstance(value, bool):
            return value
        word = str(value).strip().lower()
        if word in ("true", "1", "yes", "on"):
            return True
        if word in ("false", "0", "no", "off"):
            return False
        raise self.wrong(name, "must be true or false", value)

    def number(self, name: str, default: float, least: float, most: float) -> float:
        value = self.values.get(name)
        if value is None or value == "":
            return default
        try:
            number = float("nan") if isinstance(value, bool) else float(value)
        except (TypeError, ValueError, OverflowError):
            number = float("nan")
        if not least <= number <= most:
            raise self.wrong(name, f"must be a number from {least:g} to {most:g}", value)
        return number

    def verify(self) -> bool | str:
        value = self.values.get("verify")
        if isinstance(value, str) and value.strip().lower() not in (
            "",
            "true",
            "false",
            "1",
            "0",
            "yes",
            "no",
        ):
            return value.strip()
        return self.boolean("verify", True)

    def cert(self) -> str | tuple[str, str] | None:
        value = self.values.get("cert")
        if value is None or value == "":
            return None
        if isinstance(value, str):
            # The form shows a pair with a comma in it, and gives it back so.
            value = [path.strip() for path in _BETWEEN_PATHS.split(value)]
            if len(value) == 1:
                return value[0] or None
        if isinstance(value, list) and len(value) == 2 and all(isinstance(p, str) and p for p in value):
            return (value[0], value[1])
        raise self.wrong("cert", "must be a path, or a certificate's and a key's path", value)

    def price_table(self) -> tuple[PriceTable | None, str | None]:
        """Return the table, and what is wrong with what is named as one."""
        try:
            value = self.parsed("price_table")
            # A form stores an empty object where nothing was entered.
            return (None if value is None or value == {} else PriceTable.of(value)), None
        except LumaConfigurationError as error:
            return None, error.what
        except ValueError as error:
            return None, self.wrong("price_table", str(error), value).what

    def parsed(self, name: str) -> Any:
        """Return a value that may stand there as JSON or as its text; ``None`` if there is none."""
        value = self.values.get(name)
        if not isinstance(value, str):
            return value
        try:
            return json.loads(value) if value.strip() else None
        except (ValueError, RecursionError):
            # The text may hold a password: it is not shown.
            raise self.wrong(name, "must be a JSON object", "text that is none") from None

    def proxies(self) -> dict[str, str]:
        value = self.parsed("proxies")
        if value is None:
            return {}
        if not isinstance(value, dict) or not all(
            isinstance(scheme, str) and isinstance(proxy, str) for scheme, proxy in value.items()
        ):
            raise self.wrong("proxies", "must be an object of scheme to proxy address", type(value))
        for scheme, proxy in value.items():
            if not _is_proxy_address(proxy):
                # The address may hold a password: it is not shown.
                raise self.wrong(
                    "proxies",
                    "must hold addresses such as http://proxy:3128 (with user and password percent-encoded)",
                    {scheme: "…"},
                )
        return dict(value)


def _is_proxy_address(proxy: str) -> bool:
    try:
        parts = urlsplit(proxy)
        return (
            parts.scheme in ("http", "https")
            and bool(parts.hostname)
            and (parts.port is None or parts.port > 0)
            and parts.path in ("", "/")
            and not parts.query
            and not parts.fragment
            and proxy.isprintable()
            and not any(char.isspace() for char in proxy)
        )
    except ValueError:
        return False
