"""
What is asked of the gateway and what it says of it: frozen data, checked when it is made.

A :class:`GenerationRequest` that exists can be sent as it is; a :class:`Generation` is one look at one
generation. Values that came out of Jinja templates arrive as text: :meth:`GenerationRequest.from_rendered`
and
:func:`rendered_request_id` turn them into what was meant, or into an error that says what was probably
missing.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from typing import Any
from urllib.parse import urlsplit

from airflow_provider_luma.api.text import one_line
from airflow_provider_luma.exceptions import LumaInvalidRequest

#: Characters of a prompt at most. The vendor's page names no limit; Luma's own API takes 5,000 (its OpenAPI
#: description, seen in the ``lumaai`` SDK 1.21.0). What is longer than this is a mistake, not a prompt.
MAX_PROMPT_LENGTH = 20_000

#: Characters of a request id at most. The vendor's example is a UUID of 36.
MAX_REQUEST_ID_LENGTH = 256

#: Characters of an image's or a video's address at most.
MAX_URL_LENGTH = 8_192

DEFAULT_ASPECT_RATIO = "16:9"
_ASPECT_RATIO = re.compile(r"[1-9][0-9]{0,4}:[1-9][0-9]{0,4}")

#: How templates render what is not there: Jinja's undefined, and Python's None (a missing XCom).
_ABSENT = {"", "None"}
_TRUE = {"true", "1", "yes"}
_FALSE = {"false", "0", "no"}


class GenerationStatus(StrEnum):
    """
    What one look says about a generation.

    The gateway's words are many and undocumented (see :mod:`airflow_provider_luma.api.gateways`); these five
    classes are what a pipeline needs to tell apart.
    """

    #: Queued or running: look again later.
    PENDING = "pending"
    #: Complete. There may be no video address yet: see :attr:`Generation.video_url`.
    COMPLETED = "completed"
    #: Ended without a video: failed, cancelled, expired or rejected.
    FAILED = "failed"
    #: The gateway does not know the id: new ones take a moment to appear, others never will.
    NOT_FOUND = "not_found"
    #: A word or an answer that nobody has seen yet. Never a success, never a reason to generate again.
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class GenerationRequest:
    """
    One video to generate.

    :param prompt: what to show. Required, not blank, at most :data:`MAX_PROMPT_LENGTH` characters.
    :param aspect_ratio: ``W:H`` with positive integers; default ``16:9``. The vendor names 16:9, 4:3, 1:1,
        9:16, 3:4, 21:9, 9:21 "and more", so the form is checked and not the membership.
    :param loop: whether the video shall end where it began; default ``False``.
    :param image_url: http(s) address of the first frame, for image to video; default ``None``. The vendor
        must be able to fetch it. With one, ``aspect_ratio`` and ``loop`` must be left at their defaults: the
        vendor documents neither there, and a setting that is silently ignored would be paid for.
    :raises LumaInvalidRequest: names the field. Nothing was sent, nothing is charged.

    Source: the vendor's pages "Luma Dream Machine (T2V) API Docs" and, for image to video, its second page.
    """

    prompt: str
    aspect_ratio: str = DEFAULT_ASPECT_RATIO
    loop: bool = False
    image_url: str | None = None

    def __post_init__(self) -> None:
        _check_prompt(self.prompt)
        if not isinstance(self.aspect_ratio, str) or not _ASPECT_RATIO.fullmatch(self.aspect_ratio):
            raise LumaInvalidRequest(
                f"aspect_ratio must be 'W:H' with positive integers, such as '16:9', "
                f"not {one_line(repr(self.aspect_ratio), 80)}."
            )
        if not isinstance(self.loop, bool):
            raise LumaInvalidRequest(f"loop must be a bool, not {one_line(repr(self.loop), 80)}.")
        if self.image_url is not None and not is_web_address(self.image_url):
            raise LumaInvalidRequest("image_url must be an http or https address, without user or password.")
        if self.image_url is not None and (self.aspect_ratio, self.loop) != (DEFAULT_ASPECT_RATIO, False):
            raise LumaInvalidRequest(
                "aspect_ratio and loop have no effect on image to video, as far as the vendor says: leave "
                "them out together with image_url."
            )

    @classmethod
    def from_rendered(
        cls,
        prompt: Any,
        *,
        aspect_ratio: Any = DEFAULT_ASPECT_RATIO,
        loop: Any = False,
        image_url: Any = None,
    ) -> GenerationRequest:
        """
        Return the request that rendered template values mean.

        ``loop`` takes true/false/1/0/yes/no in any case; an ``image_url`` or ``aspect_ratio`` that rendered
        to nothing or to ``None`` is absent (the default applies); a ``prompt`` that did is an error.

        :raises LumaInvalidRequest: names the field and what was probably missing upstream.
        """
        if is_absent(prompt):
            raise LumaInvalidRequest(
                f"prompt is {one_line(repr(prompt), 20)}: the template or the upstream task that should give "
                "it probably gave nothing."
            )
        return cls(
            prompt=prompt,
            aspect_ratio=DEFAULT_ASPECT_RATIO if is_absent(aspect_ratio) else _stripped(aspect_ratio),
            loop=rendered_bool("loop", loop),
            image_url=None if is_absent(image_url) else _stripped(image_url),
        )

    @classmethod
    def of(cls, asked: Any, **defaults: Any) -> GenerationRequest:
        """
        Return the request that a prompt means, or a mapping of this class's fields.

        :param asked: a text, or a mapping with a ``prompt``.
        :param defaults: for the fields that ``asked`` does not name.
        :raises LumaInvalidRequest: names the field; also for a field that there is not: a misspelt one would
            be paid for and have no effect.
        """
        if isinstance(asked, str) or is_absent(asked):
            asked = {"prompt": asked}
        if not isinstance(asked, Mapping):
            raise LumaInvalidRequest(
                f"A request must be a prompt, or a dict with one, not {one_line(repr(asked), 80)}."
            )
        known = [field.name for field in fields(cls)]
        unknown = [one_line(str(name), 40) for name in asked if name not in known]
        if unknown:
            raise LumaInvalidRequest(
                f"A request has no field {unknown[0]!r}. The fields are {', '.join(known)}."
            )
        return cls.from_rendered(**{"prompt": None, **defaults, **asked})

    def fingerprint(self) -> str:
        """
        Return a SHA-256, in hexadecimal, of all that makes this request another one than the next.

        Only what differs from its default goes in: a release that adds a field must not turn the requests of
        an earlier one into others, which would be submitted again.
        """
        default = {field.name: field.default for field in fields(self)}
        asked = {name: value for name, value in asdict(self).items() if value != default[name]}
        return hashlib.sha256(json.dumps(asked, sort_keys=True, ensure_ascii=True).encode()).hexdigest()


@dataclass(frozen=True)
class Generation:
    """
    What one look at a generation showed.

    :param request_id: the id that was asked about.
    :param status: the class of the gateway's word.
    :param raw_status: the gateway's own word, stripped and bounded; empty if it gave none.
    :param video_url: http(s) address of the video, where there is one that can be used.
    :param reason: the gateway's explanation of a failure, in one bounded line.
    :param moderated: whether the reason says that the content was refused.
    """

    request_id: str
    status: GenerationStatus
    raw_status: str
    video_url: str | None = None
    reason: str | None = None
    moderated: bool = False


def is_absent(value: Any) -> bool:
    """Return whether a rendered template value stands for nothing: ``None``, ``''`` or ``'None'``."""
    return value is None or (isinstance(value, str) and value.strip() in _ABSENT)


def is_web_address(url: Any) -> bool:
    """Return whether ``url`` is an http(s) address with a host and without credentials."""
    if not isinstance(url, str) or not 0 < len(url) <= MAX_URL_LENGTH:
        return False
    if any(char.isspace() or not char.isprintable() for char in url):
        return False
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return False
    return (
        parts.scheme in {"http", "https"}
        and bool(parts.hostname)
        and parts.username is None
        and parts.password is None
    )


def usable_request_id(value: Any) -> str | None:
    """
    Return the request id that a value from outside holds, or ``None`` if it cannot be one.

    Text (stripped) or an integer, of at most :data:`MAX_REQUEST_ID_LENGTH` printable characters without
    white space: an id is put into logs, JSON bodies and templates.
    """
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 10**40:
        value = str(value)
    if not isinstance(value, str) or len(value) > MAX_REQUEST_ID_LENGTH + 64:
        return None
    value = value.strip()
    if not 0 < len(value) <= MAX_REQUEST_ID_LENGTH:
        return None
    if any(char.isspace() or not char.isprintable() for char in value):
        return None
    return str(value)


def rendered_request_id(value: Any) -> str:
    """
    Return the request id that a rendered template value means.

    :raises LumaInvalidRequest: when it is absent (a missing XCom renders to ``'None'``) or cannot be an id.
    """
    if is_absent(value):
        raise LumaInvalidRequest(
            f"request_id is {one_line(repr(value), 20)}: the upstream task that should push it (XCom "
            "'requestId' of LumaGenerateOperator) probably did not run, was cleared, or has another task id.",
            money="Nothing was sent. If a generation was submitted, "
            "it is paid for: its id is in that task's log.",
        )
    request_id = usable_request_id(value)
    if request_id is None:
        raise LumaInvalidRequest(
            f"request_id {one_line(repr(value), 80)} cannot be an id: it must be text of at most "
            f"{MAX_REQUEST_ID_LENGTH} printable characters without white space.",
            money="Nothing was sent.",
        )
    return request_id


def rendered_bool(name: str, value: Any) -> bool:
    """
    Return what a rendered template value means as a switch: true/false/1/0/yes/no in any case, absent: false.

    :raises LumaInvalidRequest: names the field.
    """
    if isinstance(value, bool):
        return value
    word = str(value).strip().lower()
    if word in _TRUE:
        return True
    if word in _FALSE or is_absent(value):
        return False
    raise LumaInvalidRequest(
        f"{name} must be true or false (or 1, 0, yes, no), not {one_line(repr(value), 80)}."
    )


def _check_prompt(prompt: Any) -> None:
    if not isinstance(prompt, str):
        raise LumaInvalidRequest(f"prompt must be text, not {type(prompt).__name__}.")
    if not prompt.strip():
        raise LumaInvalidRequest("prompt is blank.")
    if len(prompt) > MAX_PROMPT_LENGTH:
        raise LumaInvalidRequest(
            f"prompt has {len(prompt):,} characters, at most {MAX_PROMPT_LENGTH:,} are sent."
        )
    try:
        prompt.encode()
    except UnicodeEncodeError:
        raise LumaInvalidRequest(
            "prompt holds half of a character (a lone surrogate) and cannot be sent."
        ) from None


def _stripped(value: Any) -> Any:
    return value.strip() if isinstance(value, str) else value
