"""One family of errors: what each class means for Airflow's retries, and what each message says."""

from __future__ import annotations

import inspect
import pickle

import pytest
from airflow.providers.common.compat.sdk import (
    AirflowException,
    AirflowFailException,
    AirflowSensorTimeout,
)

from airflow_provider_luma import exceptions
from airflow_provider_luma.exceptions import (
    LumaAccessRefused,
    LumaAddressRefused,
    LumaCompletedWithoutVideo,
    LumaCreditRefused,
    LumaError,
    LumaFirewallRefused,
    LumaGenerationFailed,
    LumaGenerationModerated,
    LumaGenerationNotFound,
    LumaInputRefused,
    LumaKeyRefused,
    LumaProtocolError,
    LumaRateRefused,
    LumaRefused,
    LumaSubmitOutcomeUnknown,
    LumaWaitTimeout,
)

FAMILY = [
    found
    for _, found in inspect.getmembers(exceptions, inspect.isclass)
    if issubclass(found, LumaError) and found.__module__ == exceptions.__name__
]

#: Rule 8: bad key, moderation, bad input, no credit, unknown outcome, and what else a retry cannot mend.
NO_RETRY = {
    "LumaAccessRefused",
    "LumaBatchFailedForGood",
    "LumaVideoNotDelivered",
    "LumaAddressRefused",
    "LumaConfigurationError",
    "LumaMaxCostExceeded",
    "LumaCreditRefused",
    "LumaGenerationBudgetExhausted",
    "LumaGenerationInputUnusable",
    "LumaGenerationModerated",
    "LumaGenerationNotFound",
    "LumaInputRefused",
    "LumaInvalidRequest",
    "LumaKeyRefused",
    "LumaSubmitOutcomeUnknown",
    "LumaTargetExists",
    "LumaUnsafeAddress",
}
#: A retry may mend these; it costs nothing, but for the one that the user has asked for by name.
RETRY = {
    "LumaBatchFailed",
    "LumaCompletedWithoutVideo",
    "LumaConnectionNotFound",
    "LumaDownloadFailed",
    "LumaError",
    "LumaFirewallRefused",
    "LumaGatewayError",
    "LumaGenerationFailed",
    "LumaNotTheVideo",
    "LumaProtocolError",
    "LumaRateRefused",
    "LumaRefused",
    "LumaLookInterrupted",
    "LumaSubmitInterrupted",
    "LumaSubmitOutcomeUnknownResubmit",
    "LumaSubmitOutcomeUnsettled",
    "LumaUnreachable",
    "LumaVideoExpired",
}
REFUSALS = {
    LumaAccessRefused,
    LumaAddressRefused,
    LumaCreditRefused,
    LumaFirewallRefused,
    LumaInputRefused,
    LumaKeyRefused,
    LumaRateRefused,
    LumaRefused,
}

every_class = pytest.mark.parametrize("error", FAMILY, ids=lambda error: error.__name__)


class TestTheFamily:
    def test_every_member_is_known_to_this_test(self):
        known = NO_RETRY | RETRY | {"LumaWaitTimeout"}
        names = {error.__name__ for error in FAMILY}

        assert names <= known, f"say whether Airflow may retry {names - known}"

    @every_class
    def test_soft_fail_sees_every_member(self, error):
        assert issubclass(error, AirflowException)

    @every_class
    def test_airflow_retries_what_a_retry_can_mend_and_nothing_else(self, error):
        assert issubclass(error, AirflowFailException) is (error.__name__ in NO_RETRY)

    @every_class
    def test_only_the_time_out_is_a_sensors_time_out(self, error):
        assert issubclass(error, AirflowSensorTimeout) is (error is LumaWaitTimeout)

    @every_class
    def test_a_refusal_is_caught_as_one(self, error):
        assert issubclass(error, LumaRefused) is (error in REFUSALS)

    def test_an_unknown_outcome_is_no_refusal(self):
        assert not issubclass(LumaSubmitOutcomeUnknown, LumaRefused)
        assert not issubclass(LumaRefused, LumaSubmitOutcomeUnknown)

    def test_a_moderated_generation_is_a_failed_one(self):
        assert issubclass(LumaGenerationModerated, LumaGenerationFailed)

    def test_every_member_has_a_name_of_its_own_in_events(self):
        kinds = {error: error.kind for error in FAMILY}

        assert len(set(kinds.values())) == len(FAMILY), kinds


class TestMessages:
    @every_class
    def test_order_what_id_money_next(self, error):
        raised = error("It broke.", request_id="id-1", money="It is paid for.", next_step="Call somebody.")

        assert str(raised) == "It broke. Request id: id-1. It is paid for. Call somebody."

    @every_class
    def test_the_id_stands_in_it_once(self, error):
        raised = error("Generation id-1 broke.", request_id="id-1")

        assert str(raised).count("id-1") == 1

    @every_class
    def test_the_prompt_stands_where_no_id_is_known(self, error):
        assert "The prompt: 'A jellyfish'." in str(error("It broke.", prompt="A jellyfish"))
        assert "jellyfish" not in str(error("It broke.", request_id="a-1", prompt="A jellyfish"))

    @every_class
    def test_no_id_no_empty_sentence(self, error):
        text = str(error("It broke."))

        assert text.startswith("It broke.")
        assert "None" not in text
        assert "  " not in text

    @every_class
    def test_what_the_class_says_ends_in_full_sentences(self, error):
        for sentence in (error.money, error.next_step):
            assert not sentence or sentence.endswith("."), sentence

    def test_an_unknown_outcome_says_that_it_may_be_billed_and_what_a_retry_does(self):
        text = str(LumaSubmitOutcomeUnknown("The answer was lost."))

        assert "may be running" in text
        assert "billed" in text
        assert "not retried" in text
        assert "submit again" in text

    @pytest.mark.parametrize(
        "error",
        [LumaGenerationNotFound, LumaCompletedWithoutVideo, LumaWaitTimeout],
        ids=lambda e: e.__name__,
    )
    def test_a_wait_that_gave_up_says_that_resuming_is_free(self, error):
        text = str(error("It took too long.", request_id="id-1"))

        assert "paid for" in text
        assert "clear this task" in text.lower()
        assert "free" in text

    def test_a_time_out_does_not_send_anybody_to_pay_again(self):
        assert "do not submit again" in str(LumaWaitTimeout("Time is out.", request_id="id-1"))

    @pytest.mark.parametrize("error", sorted(REFUSALS, key=lambda e: e.__name__), ids=lambda e: e.__name__)
    def test_a_refusal_says_what_to_do(self, error):
        assert error.next_step


class TestTravelling:
    """Errors cross processes: supervisor, triggerer, logs."""

    @every_class
    def test_pickling_keeps_everything(self, error):
        raised = error("It broke.", request_id="id-1", http_status=429, retry_after=17.0, money="Paid.")
        back = pickle.loads(pickle.dumps(raised))

        assert type(back) is error
        assert str(back) == str(raised)
        assert (back.request_id, back.http_status, back.retry_after) == ("id-1", 429, 17.0)

    @every_class
    def test_an_event_brings_back_the_same_class_and_words(self, error):
        raised = error("It broke.", request_id="id-1")
        back = LumaError.of_kind(raised.kind, str(raised), request_id="id-1")

        assert type(back) is error
        assert str(back) == str(raised)

    @pytest.mark.parametrize("kind", ["", "None", "luma", "Error", "success", "completed"])
    def test_a_kind_that_nobody_knows_is_a_protocol_error(self, kind):
        back = LumaError.of_kind(kind, "Said by a later release.", request_id="id-1")

        assert type(back) is LumaProtocolError
        assert "Said by a later release." in str(back)
