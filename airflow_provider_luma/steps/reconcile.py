"""
``on_unknown_outcome="reconcile"``: settle by the gateway's list what is not known of a submit.

What the list says is :mod:`airflow_provider_luma.api.reconcile`; what a task does with it is here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_luma.api.reconcile import CLOCKS_APART, Doubt, Unsettled
from airflow_provider_luma.exceptions import LumaConfigurationError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow_provider_luma.api.models import GenerationRequest
    from airflow_provider_luma.api.submission import OutcomeUnknown
    from airflow_provider_luma.hooks.luma import LumaHook
    from airflow_provider_luma.steps.submit import Policy

#: How often a request is sent at most, the list having said in between that it was not accepted.
MAX_SENDS = 2


def check_policy(policy: Policy, hook: LumaHook) -> None:
    """
    See, before anything is sent, whether the gateway can do what ``on_unknown_outcome`` asks for.

    :raises LumaConfigurationError: it is "reconcile", and the connection's gateway has no list.
    """
    if policy == "reconcile" and not hook.can_reconcile():
        raise LumaConfigurationError(
            f"on_unknown_outcome='reconcile' needs a gateway that lists its generations, and "
            f"{hook.settings.gateway.TITLE} does not (connection {hook.luma_conn_id!r}).",
            next_step="Leave it at 'fail', or use a connection to a gateway that does.",
        )


def doubt_of(
    hook: LumaHook, request: GenerationRequest | None, decisions: Sequence[OutcomeUnknown]
) -> Doubt | Unsettled:
    """
    Return what to look for in the list, by what earlier tries left of one request and of its equals.

    :param request: ``None`` if it is not the same twice.
    :return: or why the list cannot settle it.
    """
    times = [decision.at for decision in decisions if decision.at is not None]
    if request is None:
        return Unsettled("what it asked for is not known any more, as a function makes it")
    if len(times) < len(decisions):
        return Unsettled("its record does not say when")
    if any(decision.account != hook.settings.account for decision in decisions):
        return Unsettled("it was sent with another key, or to another host, than the connection has now")
    settings = hook.settings
    # Whoever sent it may be alive, if not for long.
    until = max(times) + settings.connect_timeout + settings.timeout
    return Doubt(request, min(times), until, slack=CLOCKS_APART, wanted=len(decisions))


def why_not(verdict: Unsettled) -> str:
    """Return why a list does not settle it, for an error."""
    ids = f": {', '.join(verdict.request_ids[:5])}" if verdict.request_ids else ""
    more = f" and {len(verdict.request_ids) - 5} more" if len(verdict.request_ids) > 5 else ""
    return f"It cannot be settled by the gateway's list: {verdict.why}{ids}{more}."
