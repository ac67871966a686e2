"""
What all gateways' answers have in common: how an id, a generation and an address are read out of them.

An answer may hold anything: every reading here ends in a value of ours, never in an exception of a parser.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_luma.api.exchange import (
    MODERATION,
    Answer,
    Call,
    Fault,
    HttpCall,
    Miss,
    explanations,
    json_body,
    json_object,
    miss,
    no_address,
    reason_of,
    refusal,
    unusable,
)
from airflow_provider_luma.api.models import (
    Cause,
    Generation,
    GenerationStatus,
    is_web_address,
    usable_request_id,
)
from airflow_provider_luma.api.text import one_line
from airflow_provider_luma.exceptions import LumaInvalidRequest

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from airflow_provider_luma.api.models import GenerationRequest


#: Headers of every call besides the key. Compression is not asked for: answers are a hundred bytes long, and
#: a small compressed answer that grows without end when it is read is not worth the risk.
JSON_HEADERS: Mapping[str, str] = {
    "Content-Type": "application/json",
    "Cache-Control": "no-cache",
    "Accept": "application/json",
    "Accept-Encoding": "identity",
}
#: Words for a status that public clients of Appy Pie and Pixazo have seen, in lower case.
WORDS: Mapping[str, GenerationStatus] = {
    **dict.fromkeys(
        (
            "queued",
            "dreaming",
            "processing",
            "pending",
            "submitted",
            "starting",
            "running",
            "in_progress",
            "preparing",
        ),
        GenerationStatus.PENDING,
    ),
    **dict.fromkeys(
        ("completed", "succeeded", "succeed", "success", "done", "ready"), GenerationStatus.COMPLETED
    ),
    **dict.fromkeys(
        ("failed", "error", "cancelled", "canceled", "expired", "rejected"), GenerationStatus.FAILED
    ),
}


def one_of(what: str, value: str | None, known: Iterable[str], title: str) -> None:
    """
    See whether a word of a request is one that a gateway takes; ``None`` leaves it to the gateway.

    :raises LumaInvalidRequest: it is not, with those that are.
    """
    if value is not None and value not in known:
        raise LumaInvalidRequest(f"{what} {value!r} is none that {title} takes: {', '.join(known)}.")


def prompt_between(least: int, most: int, request: GenerationRequest, title: str) -> None:
    """
    Hold a prompt against a gateway's limits.

    :raises LumaInvalidRequest: it is shorter or longer.
    """
    length = len(request.prompt)
    if length > most or len(request.prompt.strip()) < least:
        raise LumaInvalidRequest(f"prompt has {length:,} characters; {title} takes {least} to {most:,}.")


def body_with(fields: dict[str, Any], extra: Mapping[str, Any] | None) -> bytes:
    """
    Return a body as it is sent: a request's fields, and those of its ``extra_body``.

    :param fields: of the request; what it leaves to the gateway is ``None``, is not sent, and is not to be
        slipped in past the limits and the prices either.
    :raises LumaInvalidRequest: a field stands in both.
    """
    return json_body(_joined(fields, extra or {}, ""))


def _joined(fields: Mapping[str, Any], extra: Mapping[str, Any], at: str) -> dict[str, Any]:
    joined: dict[str, Any] = {}
    for name, value in fields.items():
        more = extra.get(name, {})
        if name in extra and not (isinstance(value, dict) and isinstance(more, dict)):
            raise LumaInvalidRequest(
                f"extra_body cannot hold {one_line(at + name, 60)!r}: the request's own parameters say that."
            )
        if isinstance(value, dict):
            joined[name] = _joined(value, more, f"{at}{name}.") or None
        else:
            joined[name] = value
    own = {name: value for name, value in joined.items() if value is not None}
    return own | {name: value for name, value in extra.items() if name not in fields}


def asked_at(path: str, status_id_field: str) -> dict[str, HttpCall]:
    """Return the one call of a gateway where an id is a part of the address: there is no field to choose."""
    return {status_id_field: HttpCall(Call.STATUS, path, None, method="GET")}


def accepted_id(answer: Answer | Miss, names: Iterable[str]) -> str | Miss:
    """
    Return the request id of an accepted submit, or the fault.

    :param names: under which an answer may give it, in the order in which they are believed.
    """
    if isinstance(answer, Miss):
        return answer
    if not 200 <= answer.status < 300:
        return refusal(answer)
    body = json_object(answer)
    if body is None:
        return unusable(answer, f"answered HTTP {answer.status} without a JSON object")
    first, *_ = names = tuple(names)
    for name in names:
        request_id = usable_request_id(body.get(name))
        if request_id is not None and not answer.gives_away(request_id):
            return request_id
    return unusable(answer, f"answered HTTP {answer.status} without a usable {first}")


def status_body(
    answer: Answer | Miss, request_id: str, id_names: Iterable[str]
) -> tuple[dict[str, Any], Answer] | Generation | Miss:
    """
    Return the JSON object of an answer about a generation, and that answer; or what it is instead: "not
    found", or a fault.

    A 404 that explains itself in JSON is the gateway's own word. Any other is that of some other server, or
    of a management layer, which says ``statusCode``.
    """
    if isinstance(answer, Miss):
        return answer
    body = json_object(answer)
    reason = None if body is None or "statusCode" in body else reason_of(body, answer)
    if answer.status == 404 and reason is not None:
        return Generation(request_id, GenerationStatus.NOT_FOUND, "", reason=reason)
    if not 200 <= answer.status < 300:
        return refusal(answer)
    if body is None:
        return miss(Fault.UNUSABLE, answer, f"answered HTTP {answer.status} without a JSON object")
    return another(body, answer, request_id, id_names) or (body, answer)


def another(body: dict[str, Any], answer: Answer, request_id: str, id_names: Iterable[str]) -> Miss | None:
    """Return the fault of an answer that names another generation than the one that was asked about."""
    named = (usable_request_id(body.get(name)) for name in id_names)
    if any(found not in (None, request_id) for found in named):
        return miss(Fault.UNUSABLE, answer, "answered about another request id than the one asked about")
    return None


def told(answer: Answer | Miss) -> tuple[dict[str, Any], Answer] | Miss:
    """Return the JSON object of an answer to a question about the account, and that answer; or the fault."""
    if isinstance(answer, Miss):
        return answer
    if answer.status != 200:
        return refusal(answer)
    return json_object(answer) or {}, answer


def seen(
    body: dict[str, Any],
    answer: Answer,
    request_id: str,
    *,
    word: Any,
    words: Mapping[str, GenerationStatus],
    url: Any,
    cause: Cause | None = None,
    refunded: bool = False,
) -> Generation:
    """
    Return what an answer says of a generation.

    :param word: where the gateway gives the status; what is no text is no word.
    :param words: what its words mean, in lower case.
    :param url: where it gives the video's address. It counts only once the generation is complete: a video
        that is still being made may have one already.
    :param cause: of a failure; ``None`` goes by the reason's words.
    :param refunded: whether the gateway charges nothing for what has failed.
    """
    said = one_line(answer.without_secret(word), 60) if isinstance(word, str) else ""
    status = words.get(said.casefold(), GenerationStatus.UNKNOWN)
    video_url = address_of(url, answer) if status is GenerationStatus.COMPLETED else None
    failed = status is GenerationStatus.FAILED
    return Generation(
        request_id=request_id,
        status=status,
        raw_status=said,
        video_url=video_url,
        reason=why_no_video(status, video_url, url, body, answer),
        cause=cause if cause is not None and failed else cause_of(status, body, answer),
        refunded=refunded and failed,
    )


def why_no_video(
    status: GenerationStatus, video_url: str | None, url: Any, body: dict[str, Any], answer: Answer
) -> str | None:
    """Return what an answer says of why there is no video, where there should be one, or will be none."""
    if status is GenerationStatus.COMPLETED:
        return None if video_url is not None else no_address(url, answer)
    return None if status is GenerationStatus.PENDING else reason_of(body, answer)


def first_address(candidates: Iterable[Any]) -> Any:
    """Return the first of what stands in several places that is an address; if none is, the first of all."""
    found = [one for one in candidates if one]
    return next((one for one in found if isinstance(one, str) and is_web_address(one.strip())), None) or next(
        iter(found), None
    )


def cause_of(status: GenerationStatus, body: dict[str, Any], answer: Answer) -> Cause:
    """Return why a generation has failed, by the words of the explanation."""
    failed = status is GenerationStatus.FAILED
    refused = failed and any(MODERATION.search(text) for text in explanations(body, answer))
    return Cause.CONTENT if refused else Cause.OTHER


def address_of(url: Any, answer: Answer) -> str | None:
    """Return the address of a video, or ``None`` if it cannot be used or would pass the key on."""
    address = url.strip() if isinstance(url, str) else ""
    return address if is_web_address(address) and not answer.gives_away(address) else None
