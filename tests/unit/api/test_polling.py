"""What one look means for a wait: every window of the design's rule 3, by a clock that the test holds."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_luma.api.exchange import Fault, Miss
from airflow_provider_luma.api.models import Cause, Generation, GenerationStatus
from airflow_provider_luma.api.polling import (
    CONFIRMING_INTERVAL,
    CONFIRMING_LOOKS,
    DEFAULT_POKE_INTERVAL,
    DURATIONS_KEPT,
    DURATIONS_NEEDED,
    FIREWALL_INTERVAL,
    MIN_FIRST_PAUSE,
    MOST_NOTES,
    Done,
    Durations,
    GaveUp,
    Pending,
    Schedule,
    Wait,
)
from airflow_provider_luma.exceptions import (
    LumaAccessRefused,
    LumaAddressRefused,
    LumaCompletedWithoutVideo,
    LumaCreditRefused,
    LumaError,
    LumaGatewayError,
    LumaGenerationFailed,
    LumaGenerationModerated,
    LumaGenerationNotFound,
    LumaInputRefused,
    LumaKeyRefused,
    LumaRefused,
    LumaUnreachable,
    LumaWaitTimeout,
)

ID = "20dd7c76-a931"
VIDEO = "https://storage.cdn-luma.com/a.mp4"
START = 1_800_000_000.0


def saw(status: GenerationStatus, word: str | None = None, **fields: object) -> Generation:
    return Generation(ID, status, status.value if word is None else word, **fields)


PENDING = saw(GenerationStatus.PENDING, "queued")
READY = saw(GenerationStatus.COMPLETED, "completed", video_url=VIDEO)
NO_ADDRESS = saw(GenerationStatus.COMPLETED, "completed")
FAILED = saw(GenerationStatus.FAILED, "failed", reason="The model gave up")
MODERATED = saw(GenerationStatus.FAILED, "rejected", reason="moderation", cause=Cause.CONTENT)
NOT_FOUND = saw(GenerationStatus.NOT_FOUND, "NOT_FOUND")
NO_STATUS = saw(GenerationStatus.UNKNOWN, "", reason="Something went wrong")
EMPTY = saw(GenerationStatus.UNKNOWN, "")
NEW_WORD = saw(GenerationStatus.UNKNOWN, "finalizing")
LOST = Miss(Fault.LOST, "was reached, and the connection broke: reset")
UNREACHABLE = Miss(Fault.NOT_DELIVERED, "could not be reached: refused")


@dataclass
class Clock:
    """A wait, and a clock that only this test moves."""

    timeout: float = 3600.0
    poke_interval: float | None = None
    now: float = START
    wait: Wait = field(init=False)

    def __post_init__(self) -> None:
        self.wait = Wait(ID, START, START + self.timeout, self.poke_interval)

    def at(self, seconds: float, seen: Generation | Miss) -> Pending | Done | GaveUp:
        """Look, so many seconds after the first look of the wait."""
        self.now = START + seconds
        return self.wait.after(seen, self.now)

    def restarted(self) -> Clock:
        """Continue as another process does, with what a trigger's row holds."""
        other = Clock(self.timeout, self.poke_interval)
        other.wait = Wait(
            ID,
            self.wait.started_at,
            self.wait.deadline,
            self.poke_interval,
            answered=self.wait.answered,
            looks=self.wait.looks,
            last_status=self.wait.last_status,
        )
        return other

    def until_over(
        self, seen: Generation | Miss, *, every: float = 5.0, start: float = 0.0
    ) -> tuple[float, object]:
        """See the same for ever; return after how many seconds it was over, and with what."""
        seconds = start
        while True:
            decision = self.at(seconds, seen)
            if not isinstance(decision, Pending):
                return seconds, decision
            seconds += every
            assert seconds < self.timeout + 100 * every, "the wait never ends"


def error_of(decision: object) -> LumaError:
    assert isinstance(decision, GaveUp), decision
    return decision.error


class TestOneLook:
    def test_a_video_ends_the_wait(self):
        assert Clock().at(0, READY) == Done(READY)

    def test_pending_waits_the_interval(self):
        assert Clock(poke_interval=7).at(0, PENDING) == Pending(7)
        assert Clock(poke_interval=17.0).at(0, PENDING) == Pending(17.0)

    def test_failed_ends_the_wait_with_the_reason(self):
        error = error_of(Clock().at(0, FAILED))

        assert type(error) is LumaGenerationFailed
        assert "The model gave up" in str(error)
        assert ID in str(error)

    def test_moderated_is_told_apart(self):
        assert type(error_of(Clock().at(0, MODERATED))) is LumaGenerationModerated

    def test_unknown_words_never_end_the_wait(self):
        clock = Clock(timeout=3000)
        seconds, decision = clock.until_over(NEW_WORD)

        assert seconds == 3000
        assert type(error_of(decision)) is LumaWaitTimeout
        assert "finalizing" in str(error_of(decision))

    def test_looks_are_counted(self):
        clock = Clock()
        for seconds in range(4):
            clock.at(seconds, LOST if seconds % 2 else PENDING)

        assert clock.wait.looks == 4


class TestStateFirstDeadlineSecond:
    @pytest.mark.parametrize("late", [0, 1, 1e6])
    def test_a_video_that_is_ready_is_a_success_however_late_the_look(self, late):
        assert Clock(timeout=60).at(60 + late, READY) == Done(READY)

    def test_a_failure_at_the_deadline_is_told_as_a_failure(self):
        assert type(error_of(Clock(timeout=60).at(61, FAILED))) is LumaGenerationFailed

    @pytest.mark.parametrize(
        "seen", [PENDING, NEW_WORD, EMPTY, NOT_FOUND, NO_ADDRESS, NO_STATUS, LOST, UNREACHABLE]
    )
    def test_anything_open_at_the_deadline_is_a_time_out(self, seen):
        error = error_of(Clock(timeout=10).at(10, seen))

        assert type(error) is LumaWaitTimeout
        assert "may still be running" in str(error)
        assert "resume the wait for free" in str(error)
        assert ID in str(error)

    def test_just_before_the_deadline_it_looks_once_more_at_the_deadline(self):
        decision = Clock(timeout=60).at(58, PENDING)

        assert decision == Pending(2.0)

    def test_no_pause_goes_past_the_deadline(self):
        assert Clock(timeout=60, poke_interval=600.0).at(0, PENDING) == Pending(60.0)

    def test_a_time_out_says_how_long_and_how_often_it_looked(self):
        clock = Clock(timeout=60)
        clock.at(0, PENDING)
        text = str(error_of(clock.at(60, PENDING)))

        assert "60 s" in text
        assert "2 looks" in text
        assert "'queued'" in text


#: What is complained of, how long it is borne from the first look on, and what it ends in.
WINDOWS = [
    pytest.param(NOT_FOUND, 60, LumaGenerationNotFound, id="not found"),
    pytest.param(Miss(Fault.ADDRESS, "answered HTTP 404", 404), 60, LumaAddressRefused, id="404"),
    pytest.param(NO_ADDRESS, 120, LumaCompletedWithoutVideo, id="completed without address"),
    pytest.param(NO_STATUS, 120, LumaGenerationFailed, id="error without status"),
    pytest.param(LOST, 300, LumaGatewayError, id="lost"),
    pytest.param(UNREACHABLE, 300, LumaUnreachable, id="unreachable"),
    pytest.param(Miss(Fault.SERVER, "answered HTTP 500", 500), 300, LumaGatewayError, id="500"),
]


class TestWindows:
    @pytest.mark.parametrize(("seen", "window", "error"), WINDOWS)
    def test_each_ends_the_wait_when_it_is_over_and_not_before(self, seen, window, error):
        seconds, decision = Clock().until_over(seen)

        assert seconds == window
        assert type(error_of(decision)) is error
        assert error_of(decision).request_id == ID

    @pytest.mark.parametrize(("seen", "window", "error"), WINDOWS)
    def test_a_restart_does_not_move_them(self, seen, window, error):
        clock = Clock()
        for seconds in range(0, window - 20, 5):
            assert isinstance(clock.at(seconds, seen), Pending)
        seconds, decision = clock.restarted().until_over(seen, start=window - 20)

        assert seconds == window
        assert type(error_of(decision)) is error

    @pytest.mark.parametrize(("seen", "window", "error"), WINDOWS)
    def test_one_odd_answer_late_in_a_wait_throws_no_paid_video_away(self, seen, window, error):
        clock = Clock()
        decision = clock.at(window * 3, seen)

        assert isinstance(decision, Pending)
        assert decision.confirming
        assert decision.seconds <= CONFIRMING_INTERVAL
        assert clock.at(window * 3 + 5, READY) == Done(READY)

    @pytest.mark.parametrize(("seen", "window", "error"), WINDOWS)
    def test_late_in_a_wait_it_must_be_confirmed(self, seen, window, error):
        clock = Clock()
        _, decision = clock.until_over(seen, start=window * 3)

        assert clock.wait.looks == CONFIRMING_LOOKS
        assert type(error_of(decision)) is error

    @pytest.mark.parametrize(("seen", "window", "error"), WINDOWS)
    def test_a_good_look_in_between_begins_the_confirming_anew(self, seen, window, error):
        clock = Clock()
        for turn in range(10):
            for _ in range(CONFIRMING_LOOKS - 1):
                assert isinstance(clock.at(window * 3 + turn, seen), Pending)
            assert isinstance(clock.at(window * 3 + turn, PENDING), Pending)

    def test_a_wall_clock_that_jumps_back_ends_nothing(self):
        clock = Clock()
        clock.at(0, NOT_FOUND)

        assert isinstance(clock.at(-86_400, NOT_FOUND), Pending)
        assert isinstance(clock.at(-86_395, NOT_FOUND), Pending)
        assert clock.at(-86_390, READY) == Done(READY)


class TestNothingButFailedLooks:
    """One good look ends a streak: from then on, failed looks are borne until the deadline."""

    @pytest.mark.parametrize("good", [PENDING, NEW_WORD, NO_ADDRESS])
    def test_after_one_good_look_failed_ones_are_borne_to_the_deadline(self, good):
        clock = Clock(timeout=3000)
        clock.at(0, good)
        seconds, decision = clock.until_over(LOST, start=5)

        assert seconds == 3000
        assert type(error_of(decision)) is LumaWaitTimeout
        assert "last look failed" in str(error_of(decision))

    def test_also_after_a_restart(self):
        clock = Clock(timeout=3000)
        clock.at(0, PENDING)
        seconds, _ = clock.restarted().until_over(LOST, start=5)

        assert seconds == 3000

    def test_an_answer_without_a_word_is_no_good_look(self):
        clock = Clock()
        clock.at(0, EMPTY)
        seconds, decision = clock.until_over(LOST, start=5)

        assert seconds == 300
        assert type(error_of(decision)) is LumaGatewayError

    def test_a_rate_limit_is_no_reason_to_give_up(self):
        clock = Clock(timeout=3000)
        seconds, decision = clock.until_over(Miss(Fault.RATE, "answered HTTP 429", 429, "1"))

        assert seconds == 3000
        assert type(error_of(decision)) is LumaWaitTimeout


class TestRefusals:
    @pytest.mark.parametrize(
        ("fault", "status", "error"),
        [
            (Fault.INPUT, 400, LumaInputRefused),
            (Fault.CREDIT, 402, LumaCreditRefused),
            (Fault.OTHER_REFUSAL, 418, LumaRefused),
        ],
    )
    def test_what_waiting_cannot_change_ends_it_at_once(self, fault, status, error):
        assert type(error_of(Clock().at(0, Miss(fault, "no", status)))) is error

    @pytest.mark.parametrize(
        ("fault", "status", "error"),
        [(Fault.KEY, 401, LumaKeyRefused), (Fault.ACCESS, 403, LumaAccessRefused)],
    )
    def test_keys_rotate_so_two_or_three_tries(self, fault, status, error):
        clock = Clock()
        _, decision = clock.until_over(Miss(fault, "no", status))

        assert clock.wait.looks in (2, 3)
        assert type(error_of(decision)) is error

    @pytest.mark.parametrize("fault", [Fault.KEY, Fault.ACCESS])
    def test_tries_in_a_row_are_counted(self, fault):
        clock = Clock()
        for turn in range(10):
            assert isinstance(clock.at(turn * 10, Miss(fault, "no", 401)), Pending)
            assert isinstance(clock.at(turn * 10 + 5, PENDING), Pending)

    def test_each_says_that_the_generation_is_not_affected(self):
        text = str(error_of(Clock().at(0, Miss(Fault.CREDIT, "answered HTTP 402", 402))))

        assert "may be running" in text
        assert "nothing is charged" not in text.lower()


class TestPausesThatTheGatewayAsksFor:
    @pytest.mark.parametrize("fault", [Fault.RATE, Fault.QUOTA, Fault.UNAVAILABLE])
    def test_are_kept(self, fault):
        decision = Clock().at(0, Miss(fault, "no", 429, "77"))

        assert isinstance(decision, Pending)
        assert decision.seconds >= 77

    def test_are_kept_past_a_window_too(self):
        decision = Clock().at(1000, Miss(Fault.UNAVAILABLE, "no", 503, "77"))

        assert isinstance(decision, Pending)
        assert decision.seconds >= 77

    def test_never_shorten_the_interval(self):
        decision = Clock(poke_interval=60.0).at(0, Miss(Fault.RATE, "no", 429, "1"))

        assert isinstance(decision, Pending)
        assert decision.seconds == 60

    def test_a_firewall_is_asked_again_at_a_long_interval(self):
        decision = Clock(poke_interval=0.5).at(0, Miss(Fault.FIREWALL, "no", 403))

        assert isinstance(decision, Pending)
        assert decision.seconds >= FIREWALL_INTERVAL >= 30


class TestNotes:
    def test_a_new_word_is_told_once(self):
        clock = Clock()
        notes = [clock.at(seconds, NEW_WORD).note for seconds in (0, 5, 10)]

        assert "finalizing" in notes[0]
        assert notes[1:] == [None, None]

    def test_each_new_word_is_told(self):
        clock = Clock()
        other = saw(GenerationStatus.UNKNOWN, "polishing")

        assert "finalizing" in clock.at(0, NEW_WORD).note
        assert "polishing" in clock.at(5, other).note

    def test_pending_is_not_worth_a_line(self):
        assert Clock().at(0, PENDING).note is None

    def test_a_change_of_the_status_is_told(self):
        clock = Clock()
        dreaming = saw(GenerationStatus.PENDING, "dreaming")
        notes = [clock.at(n * 5, seen).note for n, seen in enumerate((PENDING, PENDING, dreaming, dreaming))]

        assert notes == [None, None, "was 'queued', is 'dreaming'", None]

    def test_a_change_between_two_processes_is_told(self):
        clock = Clock()
        clock.at(0, PENDING)

        assert clock.restarted().at(5, PENDING).note is None
        assert "dreaming" in clock.restarted().at(5, saw(GenerationStatus.PENDING, "dreaming")).note

    def test_a_flood_of_one_kind_hides_no_other(self):
        clock = Clock()
        notes = [clock.at(0, saw(GenerationStatus.UNKNOWN, f"dreaming {n}%")).note for n in range(30)]

        assert notes[19].endswith("(the last note of this kind)")
        assert clock.at(5, NO_ADDRESS).note

    def test_waits_that_share_a_log_say_the_same_thing_once(self):
        one, other = Clock(), Clock()
        other.wait.told = one.wait.told

        assert one.at(0, NEW_WORD).note
        assert other.at(0, NEW_WORD).note is None

    @pytest.mark.parametrize("seen", [LOST, UNREACHABLE, NOT_FOUND, NO_ADDRESS, NO_STATUS])
    def test_a_complaint_is_told_once(self, seen):
        clock = Clock()
        notes = [clock.at(seconds, seen).note for seconds in (0, 5, 10)]

        assert notes[0]
        assert notes[1:] == [None, None]

    def test_a_gateway_that_invents_words_cannot_fill_the_log(self):
        clock = Clock()
        notes = [clock.at(0, saw(GenerationStatus.UNKNOWN, f"word-{number}")).note for number in range(500)]

        assert sum(note is not None for note in notes) <= 20


class TestJitterIsAtTheStartOnly:
    def test_the_first_pause_of_a_trigger_is_spread(self):
        wait = Wait(ID, START, START + 60, 10.0)
        pauses = [wait.first_pause(random / 10, now=wait.started_at) for random in range(10)]

        assert len(set(pauses)) == 10
        assert all(0 < pause <= 10 for pause in pauses)

    def test_later_ones_are_exact(self):
        assert {Clock(poke_interval=10.0).at(seconds, PENDING).seconds for seconds in (0, 10, 20)} == {10.0}


class TestSummary:
    def test_is_the_xcom_generation(self):
        clock = Clock()
        clock.at(0, PENDING)
        clock.at(90.1234, READY)

        assert clock.wait.summary(READY, clock.now) == {
            "request_id": ID,
            "status": "completed",
            "raw_status": "completed",
            "video_url": VIDEO,
            "seconds_waited": 90.123,
            "looks": 2,
        }


LOOKS = st.sampled_from(
    [PENDING, READY, NO_ADDRESS, NOT_FOUND, NO_STATUS, EMPTY, NEW_WORD, LOST, UNREACHABLE]
    + [Miss(fault, "x", 429, "30") for fault in Fault]
)


class TestAnyWait:
    @settings(max_examples=150)
    @given(
        st.lists(st.tuples(LOOKS, st.floats(min_value=-10, max_value=200)), min_size=1, max_size=40),
        st.sampled_from([None, 0.1, 5.0, 600.0]),
    )
    def test_ends_in_time_with_a_video_or_an_error_and_never_calls_an_unknown_word_a_success(
        self, looks, interval
    ):
        clock = Clock(timeout=600, poke_interval=interval)
        seconds = 0.0
        for seen, passed in looks:
            seconds += passed
            decision = clock.at(seconds, seen)
            if isinstance(decision, Pending):
                assert seconds < 600, "open past the deadline"
                assert 0 <= decision.seconds <= 600 - seconds + 1e-6
                assert seen is not READY
            elif isinstance(decision, Done):
                assert seen is READY
                return
            else:
                assert seen is not READY
                assert isinstance(decision.error, LumaError)
                assert ID in str(decision.error)
                return


class TestTheDefaultSchedule:
    """Where the user names no interval: one well-placed look, then one every few seconds."""

    def test_looks_again_when_the_first_few_are_done_by_experience(self):
        clock = Clock()

        assert clock.at(0, PENDING).seconds == pytest.approx(26.4)
        assert clock.at(26.4, PENDING).seconds == DEFAULT_POKE_INTERVAL

    def test_of_a_faster_gateway_is_earlier(self):
        clock = Clock()
        clock.wait.schedule = Schedule.of(10.0)

        assert clock.at(0, PENDING).seconds == pytest.approx(4.4)

    def test_of_a_slow_one_is_later_and_wider(self):
        schedule = Schedule.of(600.0)

        assert schedule.first == pytest.approx(264.0)
        assert schedule.interval == pytest.approx(30.0)

    def test_does_not_make_a_failed_look_wait_for_long(self):
        assert Clock().at(0, LOST).seconds == DEFAULT_POKE_INTERVAL

    def test_does_not_count_where_the_user_names_an_interval(self):
        assert Clock(poke_interval=3.0).at(0, PENDING).seconds == 3.0

    def test_comes_to_an_end_with_the_deadline(self):
        assert Clock(timeout=10).at(0, PENDING).seconds == 10.0


class TestTheFirstLookOfATrigger:
    """A thousand triggers that start in the same moment must not look in the same moment."""

    @staticmethod
    def pauses(wait: Wait, now: float) -> list[float]:
        return [wait.first_pause(number / 1000, now) for number in range(1000)]

    def test_lies_anywhere_within_the_users_interval(self):
        pauses = self.pauses(Wait(ID, START, START + 3600, 5.0, answered=True), START)

        assert min(pauses) == MIN_FIRST_PAUSE
        assert max(pauses) == pytest.approx(5.0, abs=0.01)
        assert sum(pauses) / 1000 == pytest.approx(2.5, abs=0.05)

    def test_lies_around_the_schedules_first_look(self):
        pauses = self.pauses(Wait(ID, START, START + 3600, answered=True), START + 2)

        assert min(pauses) == pytest.approx(26.4 - 2 - 2.5, abs=0.01)
        assert max(pauses) == pytest.approx(26.4 - 2 + 2.5, abs=0.01)

    def test_of_a_wait_that_is_older_than_that_comes_within_an_interval(self):
        """As after the restart of a triggerer with a thousand waits."""
        pauses = self.pauses(Wait(ID, START, START + 3600, answered=True), START + 500)

        assert max(pauses) <= DEFAULT_POKE_INTERVAL

    def test_of_a_wait_without_an_answer_yet_comes_soon(self):
        assert max(self.pauses(Wait(ID, START, START + 3600), START)) <= DEFAULT_POKE_INTERVAL

    def test_is_not_later_than_the_deadline(self):
        assert max(self.pauses(Wait(ID, START, START + 1, answered=True), START)) == 1.0


class TestTheBeat:
    """An interval is kept from one due time to the next; the time that a look takes does not add up."""

    def test_is_kept(self):
        wait = Wait(ID, START, START + 3600, 5.0)

        assert wait.due_after(100.0, 100.8, Pending(5.0)) == 105.0

    def test_starts_anew_after_falling_behind(self):
        wait = Wait(ID, START, START + 3600, 5.0)

        assert wait.due_after(100.0, 107.0, Pending(5.0)) == 112.0

    def test_is_not_kept_for_a_pause_that_the_gateway_asked_for(self):
        wait = Wait(ID, START, START + 3600, 5.0)

        assert wait.due_after(100.0, 100.8, Pending(20.0)) == 120.8


class TestAWaitThatWasNotLetThrough:
    def test_ends_with_the_last_it_knows(self):
        clock = Clock(timeout=10)
        clock.at(0, PENDING)
        error = error_of(clock.wait.gave_up_unasked(START + 310))

        assert type(error) is LumaWaitTimeout
        assert "could not be asked again in time" in str(error)
        assert "'queued'" in str(error)
        assert "for free" in str(error)

    def test_of_which_nothing_is_known_says_no_more(self):
        text = str(error_of(Clock(timeout=10).wait.gave_up_unasked(START + 310)))

        assert "last status" not in text
        assert ID in text


class TestDurations:
    @staticmethod
    def learned(seconds: list[float]) -> Schedule:
        durations = Durations()
        for one in seconds:
            durations.learn(one, one)
        return durations.schedule

    def test_a_few_teach_nothing(self):
        assert self.learned([180.0] * (DURATIONS_NEEDED - 1)) == Schedule()

    def test_many_place_the_first_look_where_one_in_twenty_is_done(self):
        schedule = self.learned([float(seconds) for seconds in range(100, 200)])

        assert schedule.first == 105.0
        assert schedule.interval == pytest.approx(7.5)

    def test_short_ones_do_not_make_the_interval_shorter(self):
        assert self.learned([3.0] * 50) == Schedule(first=3.0, interval=DEFAULT_POKE_INTERVAL)

    def test_old_ones_are_forgotten(self):
        assert self.learned([600.0] * 50 + [30.0] * DURATIONS_KEPT).first == 30.0

    def test_a_kind_that_has_become_faster_than_the_first_look_is_found(self):
        """Of those that are complete at the first look, only an upper bound is seen."""
        durations = Durations()
        for _ in range(1000):
            durations.learn(0.0, max(durations.schedule.first, 4.0))

        assert durations.schedule.first <= 5.0

    @pytest.mark.parametrize(
        ("lower", "upper"),
        [(-1.0, 5.0), (5.0, 4.0), (0.0, float("inf")), (float("nan"), 1.0), (0.0, float("nan"))],
    )
    def test_a_clock_that_jumps_teaches_nothing(self, lower, upper):
        durations = Durations()
        for _ in range(DURATIONS_NEEDED):
            durations.learn(lower, upper)

        assert durations.schedule == Schedule()


class TestWhatIsHandedOn:
    @pytest.mark.parametrize("seen", [FAILED, MODERATED, NO_ADDRESS, NOT_FOUND, NO_STATUS, PENDING])
    def test_the_last_look_comes_with_the_end(self, seen):
        _, ended = Clock(timeout=400.0).until_over(seen)

        assert isinstance(ended, GaveUp)
        assert ended.generation is seen, "an event tells a failure from an error by it"

    def test_the_reason_is_in_the_words(self):
        reasons = {
            FAILED: "The gateway ended the generation with 'failed': The model gave up.",
            saw(GenerationStatus.FAILED, "failed"): "ended the generation with 'failed', without a reason.",
            NO_ADDRESS: "The gateway says 'completed' and gives no usable video address.",
            NOT_FOUND: "The gateway does not know this request id.",
            saw(GenerationStatus.NOT_FOUND, reason="Gone."): "does not know this request id: Gone.",
            NO_STATUS: "The gateway reports an error and no status: Something went wrong.",
        }
        for seen, words in reasons.items():
            _, ended = Clock().until_over(seen)
            assert words in ended.error.what
            assert ended.error.request_id == ID

    def test_a_last_pause_is_cut_at_the_deadline_and_keeps_its_note(self):
        clock = Clock(timeout=20.0)

        assert clock.at(18.0, NEW_WORD) == Pending(2.0, "unknown status 'finalizing'")

    def test_two_complaints_in_turn_confirm_neither(self):
        clock = Clock()
        for seconds in range(200, 400, 5):
            assert isinstance(clock.at(seconds, NOT_FOUND), Pending)
            assert isinstance(clock.at(seconds + 1, NO_ADDRESS), Pending)

    @pytest.mark.parametrize("good", [PENDING, Miss(Fault.RATE, "answered HTTP 429")])
    def test_a_good_look_between_them_begins_the_count_anew(self, good):
        clock = Clock()
        for start in (200, 300):
            for seconds in range(CONFIRMING_LOOKS - 1):
                assert isinstance(clock.at(start + seconds, NOT_FOUND), Pending)
            assert isinstance(clock.at(start + 50, good), Pending)

    def test_each_kind_of_word_is_said_once_and_by_kind(self):
        clock = Clock()
        for look in range(MOST_NOTES + 5):
            clock.at(look, saw(GenerationStatus.UNKNOWN, f"word {look}"))
        rate = Miss(Fault.RATE, "answered HTTP 429")

        assert clock.at(100, rate).note == "the gateway answered HTTP 429", "though words have used up theirs"
        assert clock.at(101, rate).note is None
        assert clock.at(102, LOST).note == f"the gateway {LOST.detail}"

    def test_when_it_was_last_pending_is_known(self):
        clock = Clock()
        clock.at(7.0, PENDING)
        clock.at(9.0, LOST)

        assert clock.wait.pending_at == START + 7.0

    def test_the_schedules_first_look_is_kept_by_every_mode(self):
        clock = Clock()

        assert clock.at(10.0, PENDING).seconds == pytest.approx(Schedule().first - 10.0)
        assert clock.at(Schedule().first, PENDING).seconds == DEFAULT_POKE_INTERVAL

    def test_the_connection_is_named_in_what_a_failed_look_ends_in(self):
        wait = Wait(ID, START, START + 60, conn_id="mine")
        ended = wait.after(Miss(Fault.CREDIT, "answered HTTP 402", 402), START)

        assert "through connection 'mine'" in ended.error.what
