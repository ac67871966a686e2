"""The one event with which a wait ends: written here, stored as JSON, read by whichever release is there."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_luma.api.events import EVENT_VERSION, event_of, generation_of
from airflow_provider_luma.api.models import Generation, GenerationStatus
from airflow_provider_luma.api.polling import Done, GaveUp, Wait
from airflow_provider_luma.exceptions import (
    LumaCompletedWithoutVideo,
    LumaConfigurationError,
    LumaError,
    LumaGatewayError,
    LumaGenerationFailed,
    LumaGenerationModerated,
    LumaGenerationNotFound,
    LumaKeyRefused,
    LumaProtocolError,
    LumaWaitTimeout,
)

ID = "20dd7c76"
VIDEO = "https://storage.cdn-luma.com/a.mp4"


def stored(event):
    """Return the event as it comes back out of Airflow's database."""
    return json.loads(json.dumps(event))


def a_wait() -> Wait:
    return Wait(ID, started_at=1000.0, deadline=4600.0, looks=7)


def completed_event():
    done = Done(Generation(ID, GenerationStatus.COMPLETED, "completed", VIDEO))
    return stored(event_of(a_wait(), done, 1090.0))


class TestACompletedWait:
    def test_brings_the_video_through_the_database(self):
        assert generation_of(completed_event(), ID) == {
            "request_id": ID,
            "status": "completed",
            "raw_status": "completed",
            "video_url": VIDEO,
            "seconds_waited": 90.0,
            "looks": 7,
        }

    def test_has_the_shape_that_the_design_names(self):
        event = completed_event()

        assert set(event) == {"v", "outcome", "request_id", "generation", "error"}
        assert (event["v"], event["outcome"], event["error"]) == (1, "completed", None)


class TestAWaitThatGaveUp:
    @pytest.mark.parametrize(
        ("error", "outcome"),
        [
            (LumaGenerationFailed("It failed.", request_id=ID), "failed"),
            (LumaGenerationModerated("It was refused.", request_id=ID), "failed"),
            (LumaCompletedWithoutVideo("It has no address.", request_id=ID), "failed"),
            (LumaWaitTimeout("Time is out.", request_id=ID), "timeout"),
            (LumaGenerationNotFound("Nobody knows it.", request_id=ID), "error"),
            (LumaKeyRefused("No.", request_id=ID), "error"),
            (LumaGatewayError("Broke.", request_id=ID), "error"),
        ],
        ids=lambda value: type(value).__name__ if isinstance(value, LumaError) else None,
    )
    def test_ends_in_the_same_error_with_the_same_words_on_the_other_side(self, error, outcome):
        event = stored(event_of(a_wait(), GaveUp(error), 1090.0))

        assert event["outcome"] == outcome
        assert event["generation"] is None
        with pytest.raises(LumaError) as raised:
            generation_of(event, ID)
        assert type(raised.value) is type(error)
        assert str(raised.value) == str(error)
        assert raised.value.request_id == ID

    def test_what_was_last_seen_travels_along(self):
        seen = Generation(ID, GenerationStatus.FAILED, "failed", reason="no")
        event = stored(event_of(a_wait(), GaveUp(LumaGenerationFailed("no"), seen), 1090.0))

        assert event["generation"]["raw_status"] == "failed"

    def test_a_wait_that_could_not_look_is_an_error(self):
        event = stored(
            event_of(a_wait(), GaveUp(LumaConfigurationError("There is no such connection.")), 1090.0)
        )

        assert event["outcome"] == "error"
        with pytest.raises(LumaConfigurationError, match="no such connection"):
            generation_of(event, ID)


class TestWhatIsNotKnownIsAnError:
    @pytest.mark.parametrize(
        "change",
        [
            {"v": 2},
            {"v": None},
            {"v": "1"},
            {"outcome": "success"},
            {"outcome": None},
            {"outcome": ["completed"]},
            {"request_id": "another"},
            {"request_id": None},
            {"generation": None},
            {"generation": "completed"},
            {"generation": {}},
            {"generation": {"status": "completed", "video_url": None}},
            {"generation": {"status": "completed", "video_url": "file:///etc/passwd"}},
            {"generation": {"status": "completed", "video_url": {"url": VIDEO}}},
            {"outcome": "failed", "error": None},
            {"outcome": "timeout", "error": "late"},
            {"outcome": "error", "error": []},
        ],
        ids=repr,
    )
    def test_never_a_success(self, change):
        with pytest.raises(LumaProtocolError) as raised:
            generation_of({**completed_event(), **change}, ID)

        assert "Clear this task to resume the wait for free" in str(raised.value)
        assert "\n" not in str(raised.value)

    @pytest.mark.parametrize("event", [None, "completed", [], 1, True, {}], ids=repr)
    def test_no_event_at_all_is_an_error(self, event):
        with pytest.raises(LumaProtocolError):
            generation_of(event, ID)

    def test_an_error_of_a_kind_of_a_later_release_is_an_error_with_its_words(self):
        event = {**completed_event(), "outcome": "error", "error": {"kind": "new", "message": "Said later."}}

        with pytest.raises(LumaProtocolError, match="Said later"):
            generation_of(event, ID)

    @pytest.mark.parametrize("field", ["seconds_waited", "looks"])
    @pytest.mark.parametrize("value", ["long", [1], {"s": 1}, float("inf")], ids=repr)
    def test_a_strange_number_is_our_error_and_nobody_elses(self, field, value):
        """The video is there and is paid for: a crash of the reading would hide it."""
        event = completed_event()
        event["generation"][field] = value

        try:
            generation = generation_of(event, ID)
        except LumaError:
            return
        assert generation["video_url"] == VIDEO

    json_values = st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
        lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=5), children),
        max_leaves=6,
    )

    @settings(max_examples=150, deadline=None)
    @given(
        st.fixed_dictionaries(
            {},
            optional={
                "v": st.just(1) | json_values,
                "outcome": st.sampled_from(["completed", "failed", "timeout", "error"]) | json_values,
                "request_id": st.just(ID) | json_values,
                "generation": st.fixed_dictionaries(
                    {}, optional={"video_url": st.just(VIDEO) | json_values, "status": json_values}
                )
                | json_values,
                "error": st.fixed_dictionaries({}, optional={"kind": st.text(), "message": json_values})
                | json_values,
            },
        )
    )
    def test_any_event_is_a_video_or_an_error_of_ours(self, event):
        try:
            generation = generation_of(event, ID)
        except LumaError:
            return
        assert event["outcome"] == "completed"
        assert generation["video_url"] == VIDEO


@pytest.mark.parametrize(
    ("event", "why"),
    [
        ({"v": 99}, "it is of no version that this release knows"),
        ({"v": EVENT_VERSION, "request_id": "other"}, "it is about another request"),
        ({"v": EVENT_VERSION, "request_id": "r", "outcome": "completed"}, "without an address of a video"),
        ({"v": EVENT_VERSION, "request_id": "r", "outcome": "sold"}, "its outcome is not known"),
    ],
)
def test_an_event_that_cannot_be_used_is_shown_with_the_id_and_what_to_do(event, why):
    with pytest.raises(LumaProtocolError) as raised:
        generation_of(event, "r")
    assert why in str(raised.value)
    assert repr(event) in str(raised.value)
    assert raised.value.request_id == "r"
    assert "paid for" in str(raised.value)
    assert str(raised.value).endswith("Clear this task to resume the wait for free; do not submit again.")
