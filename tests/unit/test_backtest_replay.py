"""The replay's short cuts change nothing: judge is asked wherever it could say anything but Pass."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelrollout.api.criteria import Criterion
from modelrollout.api.status import BaselineStatus, CriterionState
from modelrollout.backtest import Clock
from modelrollout.backtest.firings import Replay, plainly_good
from modelrollout.backtest.tracks import Track, needed
from modelrollout.decision.types import Point
from modelrollout.prometheus import CriterionQuery

START = datetime(2026, 1, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
INTERVAL = timedelta(seconds=10)


def clock(ticks: int) -> Clock:
    return Clock(start=START, end=START + (ticks - 1) * MINUTE, step=MINUTE)


def track(
    values: Sequence[float | None],
    counts: Sequence[float] | None = None,
    references: Sequence[float | None] | None = None,
) -> Track:
    def column(numbers: Sequence[float | None] | None) -> dict[int, float] | None:
        if numbers is None:
            return None
        return {index: number for index, number in enumerate(numbers) if number is not None}

    return Track(
        clock=clock(len(values)),
        values=column(values) or {},
        counts=column(counts),
        references=column(references),
        reference_counts=None,
    )


def criterion(**fields: Any) -> Criterion:
    return Criterion.model_validate({"name": "c", "query": "q(${candidatePods})", **fields})


def replay(given: Criterion, made: Track, *, asked: list[datetime] | None = None) -> Replay:
    """With a past that is the track itself, once a minute."""

    def history(at: datetime) -> tuple[Point, ...]:
        if asked is not None:
            asked.append(at)
        first = at - timedelta(seconds=given.for_.seconds)
        ticks = range(made.clock.tick_from(first), made.clock.tick_from(at) + 1)
        return tuple(Point(at=made.clock.at(tick), value=made.values.get(tick)) for tick in ticks)

    return Replay(given, made, baseline=None, history=history, interval=INTERVAL)


NUMBERS = st.one_of(st.none(), st.floats(min_value=-1, max_value=2, allow_nan=False))
LIMITS = st.fixed_dictionaries(
    {},
    optional={
        "min": st.sampled_from(["0", "10%", "0.5"]),
        "max": st.sampled_from(["0.6", "90%", "1"]),
    },
).filter(bool)


@given(
    limits=LIMITS,
    value=NUMBERS,
    count=st.sampled_from([0.0, 9.5, 10.0, 11.0]),
    enough=st.sampled_from([0, 10]),
    confidence=st.sampled_from([None, 0.95]),
    pause=st.sampled_from([None, "55%"]),
    no_data=st.sampled_from(["Hold", "Ignore", "Breach"]),
)
def test_what_is_plainly_good_passes(
    limits: dict[str, str],
    value: float | None,
    count: float,
    enough: int,
    confidence: float | None,
    pause: str | None,
    no_data: str,
) -> None:
    fields: dict[str, Any] = {**limits, "minSamples": enough, "noData": no_data, "samplesQuery": "n"}
    if confidence is not None:
        fields["confidence"] = confidence
    if pause is not None and "min" in limits:
        fields["pauseBelow"] = pause
    made = track([value, None], counts=[count, count])
    given = criterion(**fields)
    verdict = replay(given, made).verdict(0)
    good = plainly_good(given, made, None)(0)
    assert not good or (verdict.state is CriterionState.PASS and not verdict.suspect and not verdict.holds)
    if confidence is None and verdict.state is CriterionState.PASS:
        assert good  # else the short cut would be none


@given(
    value=st.floats(min_value=0, max_value=2, allow_nan=False),
    baseline=st.one_of(st.none(), st.floats(min_value=0, max_value=2, allow_nan=False)),
)
def test_what_is_plainly_good_against_a_baseline_passes(value: float, baseline: float | None) -> None:
    given = criterion(compare={"to": "Baseline", "maxIncrease": "20%"})
    recorded = None
    if baseline is not None:
        recorded = BaselineStatus(criterion="c", value=baseline, recorded_at=START)
    made = track([value, None])
    judged = Replay(given, made, baseline=recorded, history=lambda at: (), interval=INTERVAL).verdict(0)
    good = plainly_good(given, made, recorded)(0)
    assert good == (judged.state is CriterionState.PASS)


GOOD, BAD, NONE = 0.5, 1.5, None


@given(
    values=st.lists(st.sampled_from([GOOD, GOOD, BAD, BAD, BAD, NONE]), min_size=2, max_size=60),
    minutes=st.sampled_from([0, 1, 3, 5, 10]),
    no_data=st.sampled_from(["Hold", "Breach"]),
)
def test_firings_are_those_of_a_replay_that_asks_at_every_tick(
    values: Sequence[float | None], minutes: int, no_data: str
) -> None:
    given = criterion(max=1, noData=no_data, **{"for": f"{minutes}m"})
    made = track(values)
    course = replay(given, made).course()
    plain = replay(given, made)
    expected: list[tuple[int, int | None]] = []
    standing: int | None = None
    for tick in range(len(values)):
        verdict = plain.confirmed(tick)
        if verdict.state is CriterionState.PASS and standing is not None:
            expected.append((standing, tick))
            standing = None
        if verdict.breached and standing is None:
            standing = tick
    if standing is not None:
        expected.append((standing, None))
    assert [(firing.tick, firing.until) for firing in course.firings] == expected
    assert sum(course.ticks.values()) == len(values)


def test_a_spike_shorter_than_for_asks_nothing_of_the_past() -> None:
    asked: list[datetime] = []
    given = criterion(max=1, **{"for": "10m"})
    values = ([GOOD] * 20 + [BAD] * 5) * 10
    assert replay(given, track(values), asked=asked).course().firings == ()
    assert asked == []


def test_a_long_breach_asks_of_the_past_until_it_is_confirmed_and_no_longer() -> None:
    asked: list[datetime] = []
    given = criterion(max=1, **{"for": "10m"})
    course = replay(given, track([GOOD] * 20 + [BAD] * 500 + [GOOD] * 5), asked=asked).course()
    assert [(firing.tick, firing.until) for firing in course.firings] == [(30, 520)]
    assert 1 <= len(asked) <= 4
    assert course.firings[0].value == BAD
    assert course.firings[0].limit == "at most 1"
    assert course.firing_at(29) is None
    assert course.firing_at(30) is course.firing_at(519) is course.firings[0]
    assert course.firing_at(520) is None


def test_states_are_counted_and_changes_kept() -> None:
    course = replay(criterion(max=1), track([GOOD, GOOD, BAD, NONE, GOOD])).course()
    states = CriterionState
    assert course.changes == ((0, states.PASS), (2, states.FAIL), (3, states.NO_DATA), (4, states.PASS))
    assert [course.ticks[state] for state in (states.PASS, states.FAIL, states.NO_DATA)] == [3, 1, 1]


def test_samples_are_counted_only_where_a_verdict_depends_on_them() -> None:
    query = CriterionQuery(name="c", value="v", count="n", stable_value="r", stable_count="m")
    assert needed(criterion(max=1, samplesQuery="n", minSamples=5), query) is query
    assert needed(criterion(max=1, samplesQuery="n", confidence=0.9), query) is query
    assert [letter for letter, _ in needed(criterion(max=1), query).parts] == ["v", "r"]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"start": datetime(2026, 1, 1)}, "need a time zone"),  # noqa: DTZ001
        ({"step": timedelta(milliseconds=500)}, "at least 1s"),
        ({"end": START}, "shorter than its resolution"),
    ],
)
def test_a_clock_that_makes_no_sense_is_refused(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Clock(**{"start": START, "end": START + timedelta(hours=1), "step": MINUTE, **fields})


def test_ticks_of_a_clock() -> None:
    made = clock(61)
    assert made.ticks == 61
    assert made.at(60) == made.end
    assert made.tick_from(START + timedelta(seconds=61)) == 2
    assert made.tick_from(START - MINUTE) == 0


def test_the_last_tick_is_the_end_of_the_range() -> None:
    """A breach that began within the last step of the range is judged, as the operator judged it."""
    made = Clock(start=START, end=START + timedelta(seconds=95), step=timedelta(seconds=30))
    assert [made.at(tick) for tick in range(made.ticks)] == [
        START + timedelta(seconds=second) for second in (5, 35, 65, 95)
    ]
    assert made.tick_from(START) == 0
    assert made.tick_from(START + timedelta(seconds=66)) == 3
