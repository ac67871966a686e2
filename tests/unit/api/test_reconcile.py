"""What a list of generations settles about a submit whose outcome is not known: never a second payment."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_luma.api.exchange import Answer, Call, Fault, HttpCall, Miss
from airflow_provider_luma.api.models import GenerationRequest
from airflow_provider_luma.api.reconcile import (
    CLOCKS_APART,
    MARGIN,
    MAX_PAGES,
    Doubt,
    Found,
    Listed,
    NotListed,
    Page,
    Resemblance,
    Unsettled,
    Verdict,
    is_short,
    judge,
    read_back,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

REQUEST = GenerationRequest("a fox")
SENT = 1_760_000_000.0
NOW = SENT + 60.0
HOUR = 3600.0
SAME, UNCLEAR, NONE = Resemblance.SAME, Resemblance.UNCLEAR, Resemblance.NONE


def one(request_id: str, created_at: float | None = SENT + 1.0, resemblance: Resemblance = SAME) -> Listed:
    return Listed(request_id, created_at, {"resemblance": resemblance})


def resembles(entry: Listed) -> Resemblance:
    resemblance: Resemblance = entry.said["resemblance"]
    return resemblance


def others(count: int, newest: float = NOW, apart: float = 1.0) -> list[Listed]:
    """Return generations of other requests, newest first."""
    return [one(f"other-{newest:.0f}-{n}", newest - n * apart, NONE) for n in range(count)]


OLD = one("old", SENT - 100.0, NONE)


@dataclass
class AList:
    """
    A gateway's list, newest first.

    :param states: what it holds at each call; the last of them from then on.
    :param length: of a page.
    :param says_last: whether a page says that it is the last; else only an empty one is.
    """

    states: list[list[Listed]]
    length: int = 100
    says_last: bool = True
    offsets: list[int] = field(default_factory=list)

    def list_call(self, offset: int) -> HttpCall:
        return HttpCall(Call.STATUS, f"/list?offset={offset}", None, method="GET")

    def read_list(self, answer: Answer | Miss) -> Page | Miss:
        if isinstance(answer, Miss):
            return answer
        offset = int(answer.body)
        state = self.states[min(len(self.offsets), len(self.states) - 1)]
        self.offsets.append(offset)
        entries = state[offset : offset + self.length]
        return Page(entries, not entries or (self.says_last and offset + self.length >= len(state)))

    def likeness(self, request: GenerationRequest) -> Callable[[Mapping[str, Any]], Resemblance]:
        return lambda said: said["resemblance"] if request is REQUEST else said.get("other", NONE)


def date(epoch: float) -> dict[str, str]:
    return {"date": formatdate(epoch, usegmt=True)}


def settled(
    a_list: AList | list[Listed],
    *,
    headers: dict[str, str] | None = None,
    taken: tuple[str, ...] = (),
    wanted: int = 1,
    slack: float = 0.0,
    misses: dict[int, Miss] | None = None,
) -> Verdict | Miss:
    """Return the verdict on a list whose answers carry these headers (by default: our own time)."""
    a_list = a_list if isinstance(a_list, AList) else AList([a_list])
    steps = read_back(a_list, SENT - slack, lambda: NOW)
    given: Answer | Miss | None = None
    asked = 0
    try:
        while True:
            call = steps.send(given)
            assert (call.call, call.method) == (Call.STATUS, "GET")
            offset = call.path.partition("offset=")[2].encode()
            given = Answer(200, date(NOW) if headers is None else headers, offset)
            given = (misses or {}).get(asked, given)
            asked += 1
    except StopIteration as end:
        if isinstance(end.value, Miss):
            return end.value
        (verdict,) = judge(a_list, end.value, [Doubt(REQUEST, SENT, slack=slack, wanted=wanted)], taken)
        return verdict


class TestFound:
    @pytest.mark.parametrize(
        "listed",
        [
            [one("a")],
            [*others(5), one("a"), OLD],
            [one("a"), one("another", SENT + 3, NONE)],
            [one("a", SENT - MARGIN), OLD],
            [one("a", NOW + MARGIN), OLD],
        ],
        ids=["alone", "among-others", "beside-a-stranger", "first-moment", "just-now"],
    )
    def test_is_the_only_one_that_is_the_same(self, listed):
        assert settled(listed) == Found(("a",))

    def test_is_not_another_ones(self):
        assert settled([one("b", SENT + 2), one("a"), OLD], taken=("b",)) == Found(("a",))

    def test_is_nothing_that_was_there_before_it_was_sent(self):
        assert settled([one("a"), one("before", SENT - MARGIN - 1), OLD]) == Found(("a",))

    def test_may_have_been_held_back_on_its_way_for_long(self):
        """By a rate limit between what was noted and the POST, or in front of the gateway."""
        sent = SENT - 2 * HOUR
        a_list = AList([[one("a", SENT), one("old", sent - 60, NONE)]])
        steps = read_back(a_list, sent, lambda: NOW)
        next(steps)
        with pytest.raises(StopIteration) as end:
            steps.send(Answer(200, date(NOW), b"0"))

        assert judge(a_list, end.value.value, [Doubt(REQUEST, sent)], ()) == [Found(("a",))]

    def test_is_on_a_later_page(self):
        a_list = AList([[*others(250, apart=0.2), one("a", SENT + 5), OLD]])

        assert settled(a_list) == Found(("a",))
        assert a_list.offsets == [0, 99, 198]

    @pytest.mark.parametrize("ahead", [CLOCKS_APART, -CLOCKS_APART, 100.0, 0.4], ids=str)
    def test_is_known_by_the_gateways_own_clock(self, ahead):
        listed = [one("a", SENT + ahead + 1), one("old", SENT + ahead - 100, NONE)]

        assert settled(listed, headers=date(NOW + ahead)) == Found(("a",))

    @pytest.mark.parametrize("listed", [["b", "a"], ["a", "b"]])
    def test_are_as_many_as_were_wanted(self, listed):
        verdict = settled([*(one(name) for name in listed), OLD], wanted=2)

        assert isinstance(verdict, Found)
        assert set(verdict.request_ids) == {"a", "b"}

    def test_are_fewer_where_the_others_are_not_listed(self):
        assert settled([one("a"), OLD], wanted=2) == Found(("a",))

    def test_is_counted_once_where_the_list_has_grown_while_it_was_read(self):
        before = [*others(99, apart=0.2), one("a", SENT + 5), OLD]
        after = [*(one(f"new-{n}", NOW + 1, NONE) for n in range(3)), *before]
        a_list = AList([before, after], says_last=False)

        assert settled(a_list) == Found(("a",))


class TestNotListed:
    @pytest.mark.parametrize(
        "listed",
        [
            [],
            [OLD],
            others(50),
            [one("taken", SENT + 1)],
            [one("a", SENT - MARGIN - 1)],
            [one("a", SENT - HOUR, UNCLEAR)],
        ],
        ids=["empty", "old", "others", "taken", "before", "unclear-before"],
    )
    def test_is_said_of_a_list_that_was_read_to_its_end(self, listed):
        assert settled(listed, taken=("taken",)) == NotListed(len(listed))

    def test_is_said_of_a_list_that_was_read_to_before_it_was_sent(self):
        a_list = AList([[*others(150, apart=0.5), *others(500, newest=SENT - 100)]], says_last=False)

        verdict = settled(a_list)

        assert isinstance(verdict, NotListed)
        assert a_list.offsets == [0, 99]

    def test_needs_an_empty_page_where_the_list_does_not_say_that_it_ends(self):
        a_list = AList([others(150, apart=0.1)], says_last=False)

        assert settled(a_list) == NotListed(150)
        assert a_list.offsets == [0, 99, 149, 150]

    @pytest.mark.parametrize("ahead", [200.0, -200.0], ids=str)
    def test_goes_by_the_gateways_own_clock(self, ahead):
        """What was made before is told from what was made after by the clock of who made it."""
        before = one("a", SENT + ahead - MARGIN - 1)

        assert settled([before], headers=date(NOW + ahead)) == NotListed(1)

    @pytest.mark.parametrize("ahead", [200.0, -200.0], ids=str)
    def test_is_said_only_once_the_list_was_read_to_before_it_was_sent_by_that_clock(self, ahead):
        listed = [*others(250, newest=NOW + ahead), *others(500, newest=SENT + ahead - 5000)]
        a_list = AList([listed], says_last=False)

        assert isinstance(settled(a_list, headers=date(NOW + ahead)), NotListed)
        assert a_list.offsets == [0]

    def test_counts_what_was_read_once(self):
        listed = others(150, apart=0.1)

        assert settled(AList([listed, [one("new", NOW + 1, NONE), *listed]])) == NotListed(150)


class TestUnsettled:
    def test_are_more_that_are_the_same_than_were_wanted(self):
        verdict = settled([one("a"), one("b", SENT + 2), OLD])

        assert isinstance(verdict, Unsettled)
        assert set(verdict.request_ids) == {"a", "b"}
        assert "2 generations of this very request" in verdict.why

    def test_are_three_where_two_were_wanted(self):
        verdict = settled([one("a"), one("b"), one("c"), OLD], wanted=2)

        assert isinstance(verdict, Unsettled)
        assert set(verdict.request_ids) == {"a", "b", "c"}

    @pytest.mark.parametrize("wanted", [1, 2])
    def test_is_one_that_is_unclear_beside_one_that_is_the_same(self, wanted):
        verdict = settled([one("a"), one("b", SENT + 2, UNCLEAR), OLD], wanted=wanted)

        assert isinstance(verdict, Unsettled)
        assert set(verdict.request_ids) == {"a", "b"}

    def test_is_one_that_is_unclear(self):
        verdict = settled([one("a", SENT + 1, UNCLEAR), OLD])

        assert isinstance(verdict, Unsettled)
        assert verdict.request_ids == ("a",)
        assert "cannot be told apart" in verdict.why

    @pytest.mark.parametrize("resemblance", [SAME, UNCLEAR], ids=str)
    def test_is_one_whose_moment_is_not_known(self, resemblance):
        verdict = settled([one("a", None, resemblance), OLD])

        assert isinstance(verdict, Unsettled)
        assert verdict.request_ids == ("a",)

    def test_is_one_whose_moment_is_not_known_beside_one_that_is_the_same(self):
        assert isinstance(settled([one("a"), one("b", None), OLD]), Unsettled)

    def test_is_not_one_of_another_request_whose_moment_is_not_known(self):
        assert settled([one("x", None, NONE), one("a"), OLD]) == Found(("a",))
        assert settled([one("x", None, NONE), OLD]) == NotListed(2)

    @pytest.mark.parametrize(
        "headers",
        [{}, {"date": ""}, {"date": "yesterday"}, {"date": "Sun, 99 Nov 9999 99:99:99 GMT"},
         date(NOW + HOUR), date(NOW - HOUR), {**date(NOW), "age": "1"}, {**date(NOW), "age": "soon"},
         {"date": "x" * 10_000}, {"date": "Thu, 09 Oct 2025 08:53:20 +9999999"}],
        ids=lambda headers: str(headers)[:40],
    )  # fmt: skip
    def test_is_a_list_that_holds_none_and_does_not_say_what_time_it_is(self, headers):
        for listed in ([], [OLD], others(10)):
            verdict = settled(listed, headers=headers)

            assert isinstance(verdict, Unsettled), listed
            assert verdict.request_ids == ()
            assert "time" in verdict.why

    def test_is_a_list_that_is_longer_than_what_is_read(self):
        a_list = AList([others(MAX_PAGES * 10 + 50, apart=0.01)], length=10)

        verdict = settled(a_list)

        assert isinstance(verdict, Unsettled)
        assert "far enough" in verdict.why
        assert a_list.offsets == [page * 9 for page in range(MAX_PAGES)]

    @pytest.mark.parametrize(
        "listed",
        [
            [*others(5), OLD, *others(1000, newest=NOW - 5, apart=0.01)],
            [OLD, *reversed(others(1000, newest=NOW, apart=0.01))],
            [one("x", None, NONE), *others(20, newest=SENT - 100), *others(1000, apart=0.01)],
        ],
        ids=["an-old-one-amidst", "oldest-first", "one-without-a-moment"],
    )
    def test_is_a_list_that_is_not_newest_first(self, listed):
        assert isinstance(settled(AList([listed], length=10)), Unsettled)

    def test_is_a_list_whose_every_page_is_the_first(self):
        page = others(10)

        class Stuck(AList):
            def read_list(self, answer: Answer | Miss) -> Page | Miss:
                return Page(page, is_last=False)

        assert isinstance(settled(Stuck([page])), Unsettled)


class TestAListThatIsNotWholeProvesNothingOfWhatItDoesNotShow:
    """Whoever takes a verdict of fewer for "the others are not listed" sends, and pays for, them again."""

    def test_one_of_two_in_a_list_that_is_too_long_is_unsettled(self):
        listed = [one("a", NOW), *others(MAX_PAGES * 10 + 50, newest=NOW - 1, apart=0.01)]

        assert isinstance(settled(AList([listed], length=10), wanted=2), Unsettled)

    def test_one_of_two_in_a_list_without_a_time_is_unsettled(self):
        """By its clock, the other one may well be of another hour."""
        listed = [one("a"), OLD, one("b", SENT - HOUR)]

        assert isinstance(settled(listed, headers={}, wanted=2), Unsettled)

    def test_one_in_a_list_that_is_too_long_may_not_be_the_only_one(self):
        listed = [
            one("a", NOW),
            *others(MAX_PAGES * 10 + 50, newest=NOW - 1, apart=0.01),
            one("b", SENT + 1),
        ]

        assert isinstance(settled(AList([listed], length=10)), Unsettled)

    def test_a_deletion_while_it_is_read_hides_nothing(self):
        before = [*others(100, apart=0.2), one("a", SENT + 5), *others(50, newest=SENT - 100)]
        a_list = AList([before, before[1:]])

        assert not isinstance(settled(a_list), NotListed)


class TestTheTimeThatTheGatewayTells:
    @pytest.fixture
    def in_tokyo(self, monkeypatch):
        monkeypatch.setenv("TZ", "JST-9")
        time.tzset()
        yield
        monkeypatch.undo()
        time.tzset()

    @pytest.mark.usefixtures("in_tokyo")
    def test_is_read_alike_wherever_this_runs(self):
        assert settled([one("a"), OLD]) == Found(("a",))

    @pytest.mark.usefixtures("in_tokyo")
    @pytest.mark.parametrize(
        "told",
        [time.strftime("%a %b %e %H:%M:%S %Y", time.gmtime(NOW)), formatdate(NOW)],
        ids=["asctime", "minus-0000"],
    )
    def test_is_utc_where_it_names_no_zone(self, told):
        assert not isinstance(settled([one("a"), OLD], headers={"date": told}), NotListed)

    @pytest.mark.parametrize("ahead", [-HOUR, -50 * 365 * 24 * HOUR], ids=["hour", "epoch"])
    def test_is_not_believed_where_the_list_holds_what_it_calls_the_future(self, ahead):
        """A proxy's clock may go wrong while the list's is right."""
        assert not isinstance(settled([one("a"), OLD], headers=date(NOW + ahead)), NotListed)


class TestAFaultOfTheList:
    @pytest.mark.parametrize("page", [0, 1, 2])
    def test_is_passed_on_from_whatever_page(self, page):
        miss = Miss(Fault.RATE, "answered HTTP 429")
        a_list = AList([[one("a"), *others(500, newest=SENT, apart=0.01)]])

        assert settled(a_list, misses={page: miss}) is miss


class TestWhatIsAsked:
    def test_is_page_after_page_behind_what_was_read(self):
        a_list = AList([others(35, apart=0.1)], length=10)

        settled(a_list)

        assert a_list.offsets == [0, 9, 18, 27]

    def test_goes_by_how_many_a_page_held_and_not_by_how_many_it_may_hold(self):
        """A gateway may give fewer than were asked for."""
        a_list = AList([others(7, apart=0.1)], length=3, says_last=False)

        settled(a_list)

        assert a_list.offsets == [0, 2, 4, 6, 7]

    def test_is_no_more_than_the_first_page_if_that_is_enough(self):
        a_list = AList([[one("a"), *others(99, newest=SENT - 50), *others(500, newest=SENT - 200)]])

        assert settled(a_list) == Found(("a",))
        assert a_list.offsets == [0]


entries = st.lists(
    st.builds(
        one,
        st.sampled_from([f"id-{n}" for n in range(12)]),
        st.floats(SENT - 60, NOW, allow_nan=False),
        st.sampled_from(Resemblance),
    ),
    max_size=12,
    unique_by=lambda entry: entry.request_id,
)


class TestWhateverIsListed:
    @settings(max_examples=300, deadline=None)
    @given(
        entries,
        st.integers(1, 5),
        st.booleans(),
        st.integers(1, 3),
        st.sets(st.sampled_from([f"id-{n}" for n in range(12)]), max_size=4),
        st.sampled_from([0.0, 250.0, -250.0, HOUR]),
    )
    def test_nothing_is_paid_for_twice(self, listed, length, says_last, wanted, taken, ahead):
        newest_first = sorted(listed, key=lambda entry: -entry.created_at)
        shifted = [one(each.request_id, each.created_at + ahead, resembles(each)) for each in newest_first]
        a_list = AList([shifted], length=length, says_last=says_last)
        ours = {
            each.request_id
            for each in listed
            if resembles(each) is not NONE and each.request_id not in taken and each.created_at >= SENT
        }

        verdict = settled(a_list, headers=date(NOW + ahead), taken=tuple(taken), wanted=wanted)

        if ours:
            assert not isinstance(verdict, NotListed)
        if isinstance(verdict, Found):
            assert 0 < len(verdict.request_ids) <= wanted
            assert ours <= set(verdict.request_ids)
            assert not taken & set(verdict.request_ids)
            same = {each.request_id for each in listed if resembles(each) is SAME}
            assert set(verdict.request_ids) <= same


class TestAnotherMachinesClock:
    """What an earlier try noted is of the clock of the machine that it ran on."""

    @pytest.mark.parametrize("early", [MARGIN + 1, 60.0, CLOCKS_APART + MARGIN], ids=str)
    def test_that_was_ahead_makes_what_was_made_then_unclear(self, early):
        verdict = settled([one("a", SENT - early)], slack=CLOCKS_APART)

        assert isinstance(verdict, Unsettled)
        assert verdict.request_ids == ("a",)

    def test_changes_nothing_about_what_was_made_since(self):
        assert settled([one("a"), one("old", SENT - HOUR)], slack=CLOCKS_APART) == Found(("a",))

    @pytest.mark.parametrize("headers", [{}, date(NOW + HOUR), {**date(NOW), "age": "60"}], ids=str)
    def test_that_is_not_known_makes_everything_unclear(self, headers):
        """With our clock behind, what an earlier run has made looks as if it were made since."""
        verdict = settled([one("a"), OLD], headers=headers)

        assert isinstance(verdict, Unsettled)
        assert verdict.request_ids == ("a",)

    def test_makes_the_list_be_read_back_further(self):
        listed = [*others(150, apart=1.0), *others(400, newest=SENT - 100, apart=1.0)]
        near = AList([listed], says_last=False)
        far = AList([listed], says_last=False)

        settled(near)
        settled(far, slack=CLOCKS_APART)

        assert len(near.offsets) < len(far.offsets)


ANOTHER = GenerationRequest("a fox", aspect_ratio="9:16")


def both(*listed: Listed, wanted: int = 1) -> list[Verdict]:
    """Return the verdicts on two doubts, of requests of one prompt."""
    a_list = AList([[*listed, OLD]])
    steps = read_back(a_list, SENT, lambda: NOW)
    next(steps)
    with pytest.raises(StopIteration) as end:
        steps.send(Answer(200, date(NOW), b"0"))
    return judge(a_list, end.value.value, [Doubt(REQUEST, SENT, wanted=wanted), Doubt(ANOTHER, SENT)], ())


def of_two(request_id: str, ours: Resemblance, anothers: Resemblance) -> Listed:
    return Listed(request_id, SENT + 1, {"resemblance": ours, "other": anothers})


class TestSeveralDoubts:
    def test_are_settled_by_one_reading(self):
        """Two requests of one prompt, each in another shape: what is the one's is unclear to the other."""
        verdicts = both(of_two("a", SAME, UNCLEAR), of_two("b", UNCLEAR, SAME))

        assert verdicts == [Found(("a",)), Found(("b",))]

    @pytest.mark.parametrize("names", ["ab", "a"])
    def test_that_a_list_cannot_tell_apart_are_not_settled(self, names):
        """What is left to the gateway in one is said in the other, to the same effect."""
        verdicts = both(*(of_two(name, SAME, SAME) for name in names))

        assert [type(verdict) for verdict in verdicts] == [Unsettled, Unsettled]

    def test_are_not_missing_because_what_resembles_them_is_anothers(self):
        """The list leaves out what tells them apart, and holds one of the two: whose is it?"""
        first, second = both(of_two("a", SAME, UNCLEAR))

        assert first == Found(("a",))
        assert isinstance(second, Unsettled)
        assert second.request_ids == ("a",)

    @settings(max_examples=300, deadline=None)
    @given(
        st.lists(st.tuples(st.sampled_from(Resemblance), st.sampled_from(Resemblance)), max_size=5),
        st.integers(1, 2),
    )
    def test_never_lose_what_may_be_theirs(self, listed, wanted):
        entries = [of_two(f"id-{number}", *pair) for number, pair in enumerate(listed)]

        for number, verdict in enumerate(both(*entries, wanted=wanted)):
            may_be = {
                entry.request_id
                for entry, pair in zip(entries, listed, strict=True)
                if pair[number] is not NONE
            }
            if may_be:
                assert not isinstance(verdict, NotListed)
            if isinstance(verdict, Found):
                same = {
                    entry.request_id
                    for entry, pair in zip(entries, listed, strict=True)
                    if pair[number] is SAME
                }
                assert set(verdict.request_ids) <= same


class TestWhatIsWorthAnotherLook:
    @pytest.mark.parametrize(
        ("verdict", "wanted", "short"),
        [
            (NotListed(3), 1, True),
            (Found(("a",)), 2, True),
            (Found(("a",)), 1, False),
            (Unsettled("why"), 1, False),
        ],
        ids=str,
    )
    def test_is_what_may_appear_yet(self, verdict, wanted, short):
        assert is_short(verdict, Doubt(REQUEST, SENT, wanted=wanted)) is short
