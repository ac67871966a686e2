"""
One family of errors, each of which says what it means for money.

``str(error)`` holds up to four sentences, in this order: what happened, to which request id (or prompt, where
no id is known), what that means for money, what to do next. The class says whether Airflow may try again:

* an :class:`~airflow.exceptions.AirflowFailException` among the bases: never, a retry cannot mend it or
  might pay a second time;
* an :class:`~airflow.exceptions.AirflowSensorTimeout` among the bases: a wait ran out of time, and Airflow
  fails a sensor on it without a retry;
* otherwise Airflow's ``retries`` apply, and a retry costs nothing that was not paid already.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, ClassVar, TypedDict

from airflow.providers.common.compat.sdk import (
    AirflowException,
    AirflowFailException,
    AirflowSensorTimeout,
)

if TYPE_CHECKING:
    from collections.abc import Iterator


class ErrorSummary(TypedDict):
    """Why there is no video, in an event or a batch's result: the error's kind and its whole message."""

    kind: str
    message: str


class LumaError(AirflowException):
    """
    Base of every error that this provider raises on purpose.

    :param what: what happened, a sentence or two.
    :param request_id: the generation that it happened to, where one is known.
    :param http_status: the HTTP status of the answer that led to it, if there was one.
    :param retry_after: seconds for which the gateway asked to be left alone, if it did.
    :param money: what it means for money; ``None`` takes the class's own sentence.
    :param next_step: what to do about it; ``None`` takes the class's own sentence.
    :param prompt: the start of the prompt, where that is all by which to find the generation.
    :type money: str | None
    :type next_step: str | None
    """

    #: The name of this ending in a trigger's event. Stable: rows of an older release are read by a newer one.
    kind: ClassVar[str] = "error"
    money: ClassVar[str] = ""
    next_step: ClassVar[str] = ""

    def __init__(
        self,
        what: str,
        *,
        request_id: str | None = None,
        http_status: int | None = None,
        retry_after: float | None = None,
        money: str | None = None,
        next_step: str | None = None,
        prompt: str | None = None,
    ) -> None:
        super().__init__(what)
        self.what = what
        self.request_id = request_id
        self.http_status = http_status
        self.retry_after = retry_after
        self.prompt = prompt
        self._money = type(self).money if money is None else money
        self._next_step = type(self).next_step if next_step is None else next_step

    def __str__(self) -> str:
        subject = ""
        if self.request_id and self.request_id not in self.what:
            subject = f"Request id: {self.request_id}."
        elif self.prompt and not self.request_id:
            subject = f"The prompt: {self.prompt!r}."
        return " ".join(filter(None, (self.what, subject, self._money, self._next_step)))

    @property
    def summary(self) -> ErrorSummary:
        """What is handed on of it where an exception cannot be."""
        return {"kind": self.kind, "message": str(self)}

    @classmethod
    def of_kind(cls, kind: str, message: str, *, request_id: str | None) -> LumaError:
        """Return the error that a trigger's event names; ``message`` is complete and is not added to."""
        known = {found.kind: found for found in _family(LumaError)}
        error = known.get(kind, LumaProtocolError)
        return error(message, request_id=request_id, money="", next_step="")


def _family(root: type[LumaError]) -> list[type[LumaError]]:
    """Return ``root`` and every class below it."""
    return [root, *(member for child in root.__subclasses__() for member in _family(child))]


class LumaConfigurationError(LumaError, AirflowFailException):
    """The connection cannot be used as it stands. Nothing was sent."""

    kind = "configuration"
    money = "Nothing was sent and nothing is charged."


class LumaConnectionNotFound(LumaError):
    """
    Airflow gives no connection of that id: there is none, or it could not be looked up just now.

    Airflow does not tell one from the other: where its database or a secrets backend is away, it says that
    there is no such connection. So its ``retries`` apply.
    """

    kind = "connection_not_found"
    money = "Nothing was sent just now, and nothing is charged for it; what was paid for before stays so."

    def about(self, request_id: str | None, money: str) -> LumaConnectionNotFound:
        """Return the same error where something has been paid for."""
        return LumaConnectionNotFound(
            self.what, request_id=request_id, money=money, next_step=self._next_step
        )

    @classmethod
    @contextmanager
    def of_a_wait(cls, request_id: str) -> Iterator[None]:
        """Have such an error name the generation that is waited for."""
        try:
            yield
        except cls as error:
            if error.request_id is not None:
                raise
            raise error.about(
                request_id,
                "The generation is paid for and not affected; a retry or a clear goes on with it for free.",
            ) from None


class LumaInvalidRequest(LumaError, AirflowFailException, ValueError):
    """An argument cannot be what was meant. The message names the field. Nothing was sent."""

    kind = "invalid_request"
    money = "Nothing was sent and nothing is charged."


class LumaMaxCostExceeded(LumaError, AirflowFailException):
    """What the task would submit is estimated to cost more than its ``max_cost``. Nothing was sent."""

    kind = "max_cost_exceeded"
    money = "This try has sent nothing, and nothing is charged for it."
    next_step = "Ask for less, or raise max_cost; then clear this task."


class LumaUnreachable(LumaError):
    """No connection to the gateway came about, so the request cannot have reached it."""

    kind = "unreachable"


class LumaGatewayError(LumaError):
    """The gateway was reached and did not manage to answer: 5xx, 408, 409, or the connection broke."""

    kind = "gateway"


class LumaProtocolError(LumaError):
    """The gateway answered with something that this provider cannot make sense of."""

    kind = "protocol"


class LumaRefused(LumaError):
    """The gateway refused the request before any work: nothing was generated, nothing is charged."""

    kind = "refused"
    next_step = "A retry is safe."


class LumaKeyRefused(LumaRefused, AirflowFailException):
    """401: the subscription key is missing, wrong or revoked."""

    kind = "refused_key"
    next_step = (
        "Set the subscription key of the Airflow connection (its password field), then clear this task."
    )


class LumaAccessRefused(LumaRefused, AirflowFailException):
    """403: the key is known, but its subscription may not use this API."""

    kind = "refused_access"
    next_step = "Check at the vendor that the subscription covers this API, then clear this task."


class LumaCreditRefused(LumaRefused, AirflowFailException):
    """402, or a 403 that says so: the account is out of credit."""

    kind = "refused_credit"
    next_step = "Add credit to the account at the vendor, then clear this task."


class LumaInputRefused(LumaRefused, AirflowFailException):
    """400, 413, 422: the gateway does not take this request, and will not take it the next time."""

    kind = "refused_input"
    next_step = "Mend the request's fields, then clear this task."


class LumaAddressRefused(LumaRefused, AirflowFailException):
    """404 or a redirect: the connection's host is not the gateway's address."""

    kind = "refused_address"
    next_step = "Check the host of the Airflow connection, then clear this task."


class LumaFirewallRefused(LumaRefused):
    """403 with an HTML page: a firewall in front of the gateway turned the request away."""

    kind = "refused_firewall"
    next_step = "A retry is safe; if it goes on, ask the vendor whether this machine's address is blocked."


class LumaRateRefused(LumaRefused):
    """429, or a 403 with ``Retry-After``: too many requests. ``retry_after`` has the seconds, if given."""

    kind = "refused_rate"
    next_step = "A retry is safe; limit how many tasks run at once with an Airflow pool."


class LumaSubmitInterrupted(LumaError):
    """The task was told to stop, or its time was up, before anything was delivered."""

    kind = "submit_interrupted"
    money = "Nothing was generated, nothing is charged."
    next_step = "A retry is safe."


class LumaLookInterrupted(LumaError):
    """The task was told to stop before it had asked what has become of a generation."""

    kind = "look_interrupted"
    money = "The generation itself is not affected: it may be running and is paid for."
    next_step = "A retry asks again for free."


class LumaSubmitOutcomeUnknown(LumaError, AirflowFailException):
    """
    The request to generate may have reached the gateway, and its answer did not come back.

    A generation may be running and be billed. Airflow does not retry it, because a second try might pay for
    a second video.
    """

    kind = "submit_outcome_unknown"
    money = "A generation may be running and may be billed, so this task is not retried."
    next_step = (
        "Look at the vendor's dashboard: if the generation is there, put its id into a LumaStatusSensor; if "
        "it is not, submit again."
    )


class LumaSubmitOutcomeUnknownResubmit(LumaError):
    """The same, where the user has asked for ``on_unknown_outcome="resubmit"``: Airflow may send it again."""

    kind = "submit_outcome_unknown_resubmit"
    money = "A generation may be running and may be billed. A retry sends it again: POSSIBLE SECOND CHARGE."
    next_step = "Look at the vendor's dashboard if the charges matter."


class LumaSubmitOutcomeUnsettled(LumaError):
    """The same, where the user has asked for ``on_unknown_outcome="reconcile"``: Airflow may settle it."""

    kind = "submit_outcome_unsettled"
    money = "A generation may be running and may be billed, though the gateway's list shows none so far."
    next_step = (
        "A retry asks the list again: it takes up what is there, and submits only what is still not listed."
    )


class LumaGenerationFailed(LumaError):
    """The gateway says that the generation failed; the message carries its reason."""

    kind = "generation_failed"
    money = "The request was accepted and may have been charged; ask the vendor about refunds."
    next_step = (
        "Waiting again will not change it; run the task that submits again for a new, newly paid generation."
    )


class LumaGenerationModerated(LumaGenerationFailed, AirflowFailException):
    """The generation was refused for its content. The same prompt will be refused again."""

    kind = "generation_moderated"
    next_step = "Change the prompt or the image; the same request will be refused again."


class LumaGenerationInputUnusable(LumaGenerationFailed, AirflowFailException):
    """The gateway could not use what the request is made of: an image too large or broken, say."""

    kind = "generation_input_unusable"
    next_step = "Mend the request's fields or frames; the same request will fail again."


class LumaGenerationBudgetExhausted(LumaGenerationFailed, AirflowFailException):
    """The account's budget was used up before the generation was made."""

    kind = "generation_budget_exhausted"
    next_step = "Raise the budget at the vendor; then run the task that submits again."


class LumaGenerationNotFound(LumaError, AirflowFailException):
    """The gateway does not know the request id, and the grace for a new one is over."""

    kind = "generation_not_found"
    money = "If the id is right, the generation may be running and is paid for."
    next_step = (
        "Check that the id and the connection belong together, and the connection's status_id_field; then "
        "clear this task, which resumes the wait for free."
    )


class LumaCompletedWithoutVideo(LumaError):
    """The gateway says that the generation is complete but gives no usable address of a video."""

    kind = "completed_without_video"
    money = "The video is paid for."
    next_step = (
        "Clear this task to look again for free; if it stays so, ask the vendor for the video by its id."
    )


class LumaDownloadFailed(LumaError):
    """The video could not be fetched or stored. Nothing is kept under its name."""

    kind = "download"
    money = "The video is paid for."
    next_step = "A retry or a clear of this task fetches it again for free; do not submit again."


class LumaNotTheVideo(LumaDownloadFailed):
    """What is served is not a video, or larger than allowed: another download at once would not help."""

    kind = "not_the_video"


class LumaVideoExpired(LumaDownloadFailed):
    """The address of the video is not served any more."""

    kind = "video_expired"
    next_step = (
        "With a request_id, a retry asks the gateway for a new address; if it stays so, ask the vendor for "
        "the video by its id."
    )


class LumaUnsafeAddress(LumaDownloadFailed, AirflowFailException):
    """The address of the video leads where a worker should not go: not https, or not a public network."""

    kind = "unsafe_address"
    next_step = (
        "If that is meant, set the connection's extra allow_private_addresses; then clear this task, which "
        "fetches the video for free."
    )


class LumaTargetExists(LumaError, AirflowFailException):
    """There is another file where the video should be kept."""

    kind = "target_exists"
    money = "The video is paid for, and has not been fetched."
    next_step = "Choose another destination or set overwrite, then clear this task; do not submit again."


class LumaVideoNotDelivered(LumaError, AirflowFailException):
    """
    A task that submits and waits has failed after it submitted, and has no record that a retry would find.

    Airflow does not retry it, because a second try would pay for a second video.
    """

    kind = "video_not_delivered"
    money = "The generation is paid for, and this task has no record of it, so it is not retried."
    next_step = "Wait for it with a LumaStatusSensor and this id; do not clear this task, which submits anew."


class LumaBatchFailed(LumaError):
    """Too many requests of a batch have no video. A retry goes on with those that it can mend, unpaid."""

    kind = "batch_failed"
    money = "What was accepted is paid for; the XCom results says which."
    next_step = "A retry submits only what was never submitted, and goes on waiting for and keeping the rest."


class LumaBatchFailedForGood(LumaBatchFailed, AirflowFailException):
    """The same, of what no retry can mend: failed, refused or unknown outcomes."""

    kind = "batch_failed_for_good"
    next_step = (
        "A retry would change nothing. A clear of this task submits the failed and the refused ones anew, "
        "which is a new charge, leaves the unknown ones alone, and takes up the others for free."
    )


class LumaWaitTimeout(LumaError, AirflowSensorTimeout):
    """The wait ran out of time. The generation may still be running, and may still complete."""

    kind = "wait_timeout"
    money = "The generation is paid for and may still be running."
    next_step = (
        "Clear this task to resume the wait for free, or give it a longer timeout; do not submit again."
    )
