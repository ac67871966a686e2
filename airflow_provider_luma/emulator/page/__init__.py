"""
The emulator's page at ``/``: what was generated, with the videos playing, because people would rather
look than read.

Three files beside this one, self-contained: the page asks no other host for anything, and its policy would
not let it. It shows what the control API tells; neither is recorded as a request to the gateway.
"""

from __future__ import annotations

import ipaddress
from functools import cache
from importlib.resources import files
from urllib.parse import urlsplit

from aiohttp import hdrs, web

from airflow_provider_luma.emulator.models import KEY_HEADER

_FILES = {
    "/": ("index.html", "text/html"),
    "/_emulator/page.css": ("page.css", "text/css"),
    "/_emulator/page.js": ("page.js", "text/javascript"),
}
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "media-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
}
#: With every answer that is not the gateway's: no other site in the browser may embed it, or have it taken
#: for a script.
SAFETY = {
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


def is_meant_by(request: web.BaseRequest) -> bool:
    """Return whether a request is a person's for the page, and not one that strayed here with a key."""
    read = request.method in (hdrs.METH_GET, hdrs.METH_HEAD)
    return request.path == "/" and read and KEY_HEADER not in request.headers


def file_for(request: web.BaseRequest) -> web.Response | None:
    """Return the answer if the request is for one of the page's files."""
    if request.path not in _FILES or request.method not in (hdrs.METH_GET, hdrs.METH_HEAD):
        return None
    name, content_type = _FILES[request.path]
    return web.Response(body=_content(name), content_type=content_type, charset="utf-8", headers=_HEADERS)


def is_from_here(request: web.BaseRequest) -> bool:
    """
    Return whether a request to the page or the control API comes from this machine's own doing.

    A site in the browser of this machine's user can send requests here too, under its own name (DNS
    rebinding) or under ours with its own ``Origin``. It must neither read prompts nor arm faults.
    """
    origin = request.headers.get(hdrs.ORIGIN)
    own = f"{request.scheme}://{request.host}"
    try:
        host = urlsplit(own).hostname or ""
    except ValueError:
        return False
    return is_loopback(host) and (origin is None or origin.lower() == own.lower())


def is_loopback(host: str) -> bool:
    """Return whether a name or an address means this machine alone."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@cache
def _content(name: str) -> bytes:
    return files(__package__).joinpath(name).read_bytes()
