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
from dataclasses import dataclass, fields
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
_WORD = re.compile(r"[A-Za-z0-9][\w.:-]{0,99}", re.ASCII)
#: Optional words of a request: name, form, and an example for an error.
_FORMS = (
    ("model", _WORD, "'ray-2'"),
    ("duration", re.compile(r"[1-9][0-9]{0,3}s"), "'5s'"),
    ("resolution", re.compile(r"[1-9][0-9]{1,4}p|[1-9][0-9]?k"), "'720p' or '4k'"),
)
#: Characters of ``extra_body`` as JSON at most.
MAX_EXTRA_BODY = 64 * 1024
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
    One video to generate: the union of what the gateways take.

    What a connection's gateway cannot honour is an error before anything is sent; see
    :mod:`airflow_provider_luma.api.gateways`.

    :param prompt: what to show. Required, not blank, at most :data:`MAX_PROMPT_LENGTH` characters.
    :param aspect_ratio: ``W:H`` with positive integers; default ``16:9``. The vendor names 16:9, 4:3, 1:1,
        9:16, 3:4, 21:9, 9:21 "and more", so the form is checked and not the membership.
    :param loop: whether the video shall end where it began; default ``False``.
    :param image_url: http(s) address of the first frame, for image to video; default ``None``. The vendor
        must be able to fetch it.
    :param model: the gateway's word for a model; default ``None``: the gateway's own choice.
    :param duration: seconds with an ``s``, such as ``5s``; default ``None``: the gateway's own.
    :param resolution: lines with a ``p``, such as ``720p``, or ``4k``; default ``None``: the gateway's own.
    :param start_frame: request id of an earlier generation that this one goes on from, or the address of an
        image, which is the same as an ``image_url``; default ``None``.
    :param end_frame: http(s) address of the last frame, or the request id of an earlier generation that this
        one leads to; default ``None``.
    :param concepts: words of the gateway's own for camera and style; default: none.
    :param extra_body: further fields of the request's body, as JSON has them, sent as they are: for what the
        gateway takes and this release does not know. It cannot replace a field of the request; at most
        :data:`MAX_EXTRA_BODY` characters.
    :raises LumaInvalidRequest: names the field. Nothing was sent, nothing is charged.

    Sources: those of the modules in :mod:`airflow_provider_luma.api.gateways`, each for its own.
    """

    prompt: str
    aspect_ratio: str = DEFAULT_ASPECT_RATIO
    loop: bool = False
    image_url: str | None = None
    model: str | None = None
    duration: str | None = None
    resolution: str | None = None
    start_frame: str | None = None
    end_frame: str | None = None
    concepts: tuple[str, ...] = ()
    extra_body: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        if self.image_url is None and is_web_address(self.start_frame):
            # One name for one thing: two requests for the same video must be equal.
            object.__setattr__(self, "image_url", self.start_frame)
            object.__setattr__(self, "start_frame", None)
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
        for name, form, example in _FORMS:
            value = getattr(self, name)
            if value is not None and not (isinstance(value, str) and form.fullmatch(value)):
                raise LumaInvalidRequest(
                    f"{name} must be such as {example}, not {one_line(repr(value), 80)}."
                )
        if self.start_frame is not None and self.image_url is not None:
            raise LumaInvalidRequest("start_frame and image_url are both the first frame: leave one out.")
        for name, frame in (("start_frame", self.start_frame), ("end_frame", self.end_frame)):
            if frame is not None and not _is_frame(frame):
                raise LumaInvalidRequest(
                    f"{name} must be an http or https address, without user or password, or the request id "
                    "of an earlier generation."
                )
        if not isinstance(self.concepts, tuple) or not all(
            isinstance(one, str) and _WORD.fullmatch(one) for one in self.concepts
        ):
            raise LumaInvalidRequest("concepts must be words such as 'dolly_zoom'.")
        if self.extra_body is not None:
            object.__setattr__(self, "extra_body", _checked_extra_body(self.extra_body))

    @classmethod
    def from_rendered(
        cls,
        prompt: Any,
        *,
        aspect_ratio: Any = DEFAULT_ASPECT_RATIO,
        loop: Any = False,
        image_url: Any = None,
        model: Any = None,
        duration: Any = None,
        resolution: Any = None,
        start_frame: Any = None,
        end_frame: Any = None,
        concepts: Any = None,
        extra_body: Any = None,
    ) -> GenerationRequest:
        """
        Return the request that rendered template values mean.

        ``loop`` takes true/false/1/0/yes/no in any case; an ``image_url`` or ``aspect_ratio`` that rendered
        to nothing or to ``None`` is absent (the default applies), as is everything else that did; a
        ``prompt`` that did is an error. A ``duration`` may be a number of seconds, ``concepts`` a text with
        commas or of a JSON list, ``extra_body`` a text of a JSON object.

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
            model=None if is_absent(model) else _stripped(model),
            duration=None if is_absent(duration) else _rendered_seconds(duration),
            resolution=None if is_absent(resolution) else _stripped(resolution),
            start_frame=None if is_absent(start_frame) else _stripped(start_frame),
            end_frame=None if is_absent(end_frame) else _stripped(end_frame),
            concepts=() if is_absent(concepts) else _rendered_list("concepts", concepts),
            extra_body=None if is_absent(extra_body) else _rendered_object("extra_body", extra_body),
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
        asked = {name: getattr(self, name) for name in default if getattr(self, name) != default[name]}
        return hashlib.sha256(json.dumps(asked, sort_keys=True, ensure_ascii=True).encode()).hexdigest()


class Cause(StrEnum):
    """Why a generation has failed, as far as that says whether the same request can succeed."""

    #: Its content was refused. It will be again.
    CONTENT = "content"
    #: The prompt, or what a frame is made of, cannot be used. It will not be the next time.
    INPUT = "input"
    #: The account's budget is used up.
    BUDGET = "budget"
    #: Anything else, or nothing was said.
    OTHER = "other"


@dataclass(frozen=True)
class Generation:
    """
    What one look at a generation showed.

    :param request_id: the id that was asked about.
    :param status: the class of the gateway's word.
    :param raw_status: the gateway's own word, stripped and bounded; empty if it gave none.
    :param video_url: http(s) address of the video, where there is one that can be used.
    :param reason: the gateway's explanation of a failure, in one bounded line.
    :param cause: what that explanation comes to.
    :param refunded: whether the gateway documents that it charges nothing for what has failed.
    """

    request_id: str
    status: GenerationStatus
    raw_status: str
    video_url: str | None = None
    reason: str | None = None
    cause: Cause = Cause.OTHER
    refunded: bool = False


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
    # Of two dots, an address would be made that leads elsewhere.
    if not 0 < len(value) <= MAX_REQUEST_ID_LENGTH or value in (".", ".."):
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


def _is_frame(frame: Any) -> bool:
    if isinstance(frame, str) and "://" in frame:
        return is_web_address(frame)
    return isinstance(frame, str) and usable_request_id(frame) == frame


def _checked_extra_body(extra_body: Any) -> dict[str, Any] | None:
    """Return the fields as JSON has them, which is how they are sent; ``None`` if there are none."""
    if not isinstance(extra_body, Mapping) or not all(isinstance(name, str) for name in extra_body):
        raise LumaInvalidRequest("extra_body must be an object of fields.")
    try:
        text = json.dumps(dict(extra_body), allow_nan=False, ensure_ascii=False)
        text.encode()
        fields = json.loads(text)
    except (TypeError, ValueError, RecursionError):
        raise LumaInvalidRequest("extra_body must hold what JSON has, and nothing else.") from None
    if len(text) > MAX_EXTRA_BODY:
        raise LumaInvalidRequest(
            f"extra_body has {len(text):,} characters, at most {MAX_EXTRA_BODY:,} are sent."
        )
    return fields or None


def _rendered_seconds(value: Any) -> Any:
    """Return a duration as the gateways spell it: ``5`` and ``'5'`` are ``'5s'``."""
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value}s"
    value = _stripped(value)
    return f"{value}s" if isinstance(value, str) and value.isdecimal() else value


def _rendered_list(name: str, value: Any) -> tuple[Any, ...]:
    if isinstance(value, str):
        value = _json_of(value) if value.lstrip().startswith("[") else value.split(",")
    if not isinstance(value, (list, tuple)):
        raise LumaInvalidRequest(f"{name} must be a list, or text with commas.")
    return tuple(_stripped(one) for one in value)


def _rendered_object(name: str, value: Any) -> Any:
    found = _json_of(value) if isinstance(value, str) else value
    if not isinstance(found, Mapping):
        raise LumaInvalidRequest(f"{name} must be an object of fields, or its JSON as text.")
    return dict(found)


def _json_of(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _stripped(value: Any) -> Any:
    return value.strip() if isinstance(value, str) else value
