"""One criterion at a time: what its answer means."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from math import inf
from typing import Any

import pytest

from modelrollout.api.criteria import Criterion, OnBreach
from modelrollout.api.status import BaselineStatus, CriterionState
from modelrollout.decision.limits import criterion_limit, format_value
from modelrollout.decision.types import Point, Sample, SampleState
from modelrollout.decision.verdicts import Moment, Verdict, judge

NOW = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)
MOMENT = Moment(now=NOW, interval=timedelta(seconds=10), since=NOW - timedelta(hours=1))
PASS, FAIL, NO_DATA, ERROR = (
    CriterionState.PASS, CriterionState.FAIL, CriterionState.NO_DATA, CriterionState.ERROR,
)  # fmt: skip


def criterion(**fields: Any) -> Criterion:
    base = {"name": "c", "query": "f(${candidatePods})"}
    return Criterion.model_validate(
        {**({} if "preset" in fields else {"query": base["query"]}), "name": "c", **fields}
    )


def sample(value: float | None = None, **fields: Any) -> Sample:
    state = SampleState.VALUE if value is not None else SampleState.NO_DATA
    return Sample(**{"state": state, "at": NOW, "value": value, **fields})


def verdict(fields: dict[str, Any], answer: Sample | None, baseline: float | None = None) -> Verdict:
    recorded = None if baseline is None else BaselineStatus(criterion="c", value=baseline, recorded_at=NOW)
    return judge(criterion(**fields), answer, recorded, MOMENT)


@pytest.mark.parametrize(
    ("fields", "value", "expected"),
    [
        ({"max": 0.02}, 0.02, PASS),  # the limit itself is allowed
        ({"max": 0.02}, 0.0200001, FAIL),
        ({"max": "2%"}, 0.021, FAIL),
        ({"max": "200ms"}, 0.2, PASS),
        ({"max": "200ms"}, 0.201, FAIL),
        ({"max": 0}, 0.0, PASS),
        ({"max": 0}, 1.0, FAIL),
        ({"min": "90%"}, 0.9, PASS),
        ({"min": "90%"}, 0.89, FAIL),
        ({"min": "1%", "max": "5%"}, 0.03, PASS),
        ({"min": "1%", "max": "5%"}, 0.005, FAIL),
        ({"min": "1%", "max": "5%"}, 0.06, FAIL),
        ({"max": -1}, -2.0, PASS),
    ],
)  # fmt: skip
def test_a_number_against_its_limit(fields: dict[str, Any], value: float, expected: CriterionState) -> None:
    found = verdict(fields, sample(value))
    assert found.state is expected
    assert found.holds is (expected is not PASS)
    assert found.breached is (expected is FAIL)
    assert "expected" in found.message


@pytest.mark.parametrize(
    ("compare", "reference", "value", "expected"),
    [
        ({"maxIncrease": "20%"}, 0.1, 0.12, PASS),
        ({"maxIncrease": "20%"}, 0.1, 0.125, FAIL),
        ({"maxIncrease": "20%"}, 0.1, 0.01, PASS),
        ({"maxIncrease": 0.02}, 0.1, 0.119, PASS),
        ({"maxIncrease": 0.02}, 0.1, 0.13, FAIL),
        ({"maxIncrease": "20ms"}, 0.1, 0.121, FAIL),
        ({"maxDecrease": "10%"}, 0.5, 0.46, PASS),
        ({"maxDecrease": "10%"}, 0.5, 0.44, FAIL),
        ({"maxIncrease": "50%"}, 0.0, 0.0, PASS),
        ({"maxIncrease": "50%"}, 0.0, 0.001, FAIL),  # a per cent of nothing is nothing
        ({"maxIncrease": "50%"}, -2.0, -1.1, PASS),  # half of the size of -2 above it
        ({"maxIncrease": "50%"}, -2.0, -0.9, FAIL),
    ],
)
def test_comparisons(
    compare: dict[str, Any], reference: float, value: float, expected: CriterionState
) -> None:
    to_stable = verdict({"compare": {"to": "Stable", **compare}}, sample(value, reference=reference))
    to_baseline = verdict({"compare": {"to": "Baseline", **compare}}, sample(value), baseline=reference)
    assert to_stable.state is to_baseline.state is expected
    assert to_stable.reference == to_baseline.reference == reference


@pytest.mark.parametrize(
    ("fields", "value", "expected", "said"),
    [
        ({"max": "2%"}, inf, FAIL, "Seen +Inf, expected at most 2%."),
        ({"min": 1}, -inf, FAIL, "Seen -Inf, expected at least 1."),
        ({"min": 1, "pauseBelow": 2}, -inf, FAIL, "Seen -Inf"),
        ({"min": 1}, inf, NO_DATA, "An infinite value is no measurement. Seen +Inf"),
        ({"max": "200ms"}, -inf, NO_DATA, "An infinite value is no measurement. Seen -Inf"),
        ({"max": 0.1, "samplesQuery": "n", "confidence": 0.95}, inf, ERROR, "the value is +Inf"),
    ],
)
def test_an_infinite_value_is_beyond_a_limit_or_no_measurement(
    fields: dict[str, Any], value: float, expected: CriterionState, said: str
) -> None:
    found = verdict(fields, sample(value, count=100.0))
    assert (found.state, found.holds, found.breached) == (expected, True, expected is FAIL)
    assert said in found.message
    assert "e+308" not in found.message


@pytest.mark.parametrize("reference", [inf, -inf, 1.7976931348623157e308])
@pytest.mark.parametrize("compare", [{"maxIncrease": "20%"}, {"maxDecrease": "20%"}, {"maxIncrease": 1}])
def test_nothing_passes_against_an_infinite_reference(reference: float, compare: dict[str, Any]) -> None:
    """1.8e308 is what versions before wrote for an infinite baseline."""
    assert criterion_limit(criterion(compare={"to": "Stable", **compare}), reference) is None
    stable = verdict({"compare": {"to": "Stable", **compare}}, sample(5.0, reference=reference))
    assert (stable.state, stable.holds, stable.limit) == (NO_DATA, True, "")
    assert "Inf, with which every value would pass" in stable.message
    recorded = BaselineStatus(criterion="c", value=1.7976931348623157e308, recorded_at=NOW)
    baseline = judge(criterion(compare={"to": "Baseline", **compare}), sample(5.0), recorded, MOMENT)
    assert (baseline.state, baseline.holds) == (NO_DATA, True)


def test_infinite_points_of_the_past_are_bad_and_infinite_references_say_nothing() -> None:
    def lasting(**point: Any) -> Verdict:
        history = tuple(Point(at=NOW - timedelta(seconds=10 * n), **point) for n in range(6, -1, -1))
        fields = {"compare": {"to": "Stable", "maxIncrease": "20%"}, "for": "1m"}
        return verdict(fields, sample(9.0, reference=1.0, history=history))

    assert lasting(value=inf, reference=1.0).breached
    assert not lasting(value=9.0, reference=inf).breached


@pytest.mark.parametrize(
    ("value", "text"),
    [(inf, "+Inf"), (-inf, "-Inf"), (float("nan"), "NaN"), (1.7976931348623157e308, "+Inf"), (2.0, "2")],
)
def test_special_numbers_are_told_as_prometheus_writes_them(value: float, text: str) -> None:
    assert format_value(criterion(max=1), value) == text


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (sample(), NO_DATA),
        (sample(float("nan")), NO_DATA),
        (Sample(state=SampleState.ERROR, at=NOW, message="3 series instead of one"), ERROR),
        (sample(0.5, at=NOW - timedelta(seconds=31)), NO_DATA),
        (sample(0.5, at=NOW - timedelta(seconds=29)), PASS),
        (None, CriterionState.PENDING),
    ],
)
@pytest.mark.parametrize("policy", ["Hold", "Ignore", "Breach"])
def test_no_answer_never_passes_and_never_reverts_by_itself(
    answer: Sample | None, expected: CriterionState, policy: str
) -> None:
    found = verdict({"max": 1, "noData": policy}, answer)
    assert found.state is expected
    if expected is PASS:
        return
    stale = answer is not None and answer.value == 0.5
    empty = expected is NO_DATA
    assert found.holds is not (policy == "Ignore" and empty)
    assert found.breached is (policy == "Breach" and empty and not stale)


def test_no_data_is_no_breach_before_the_candidate_serves() -> None:
    starting = Moment(now=NOW, interval=MOMENT.interval, since=MOMENT.since, serving=False)
    assert not judge(criterion(max=1, noData="Breach"), sample(), None, starting).breached
    assert judge(criterion(max=1), sample(2.0), None, starting).breached  # a bad value is bad at any time


@pytest.mark.parametrize(
    ("count", "expected"), [(None, NO_DATA), (0, NO_DATA), (199, NO_DATA), (200, PASS), (5000, PASS)]
)
def test_minimum_samples(count: float | None, expected: CriterionState) -> None:
    fields = {"preset": "fallbackRate", "max": 0.02, "minSamples": 200}
    assert verdict(fields, sample(0.01, count=count)).state is expected
    bad = verdict(fields, sample(0.5, count=count))
    assert bad.breached is (expected is PASS)


def test_a_comparison_needs_its_other_side() -> None:
    to_stable = {"preset": "errorRate", "compare": {"to": "Stable", "maxIncrease": "50%"}, "minSamples": 100}
    assert verdict(to_stable, sample(0.01, count=500)).state is NO_DATA
    few = verdict(to_stable, sample(0.01, count=500, reference=0.01, reference_count=99))
    assert few.state is NO_DATA and "fewer than the 100" in few.message
    enough = verdict(to_stable, sample(0.01, count=500, reference=0.01, reference_count=100))
    assert enough.state is PASS
    to_baseline = {"preset": "latencyP95", "compare": {"to": "Baseline", "maxIncrease": "20%"}}
    missing = verdict(to_baseline, sample(0.1))
    assert missing.state is NO_DATA and "No baseline" in missing.message


@pytest.mark.parametrize(
    ("value", "count", "least", "expected", "breached"),
    [
        (0.05, 20, 0, NO_DATA, False),  # 1 of 20: lower bound 1.2 %, could be fine
        (0.05, 2000, 0, FAIL, True),  # lower bound 4.3 %
        (0.01, 20, 0, NO_DATA, False),  # upper bound 11 %, could be bad
        (0.01, 5000, 0, PASS, False),  # upper bound 1.3 %
        (0.015, 300, 200, PASS, False),  # not sure, but minSamples reached and within the limit
        (0.025, 300, 200, NO_DATA, False),  # beyond the limit, but not surely: neither on nor back
        (1.0, 3, 200, FAIL, True),  # 3 of 3 are enough evidence against 2 %
    ],
)
def test_confidence(value: float, count: float, least: int, expected: CriterionState, breached: bool) -> None:
    fields = {"preset": "fallbackRate", "max": "2%", "confidence": 0.95, "minSamples": least}
    found = verdict(fields, sample(value, count=count))
    assert (found.state, found.breached) == (expected, breached)
    assert found.holds is (expected is not PASS)


def test_confidence_of_a_lower_limit_and_of_what_is_no_ratio() -> None:
    fields = {"preset": "availability", "min": "99%", "confidence": 0.95}
    assert verdict(fields, sample(0.95, count=1000)).state is FAIL
    assert verdict(fields, sample(0.985, count=100)).state is NO_DATA
    assert verdict(fields, sample(0.999, count=10000)).state is PASS
    assert verdict(fields, sample(3.0, count=10)).state is ERROR


@pytest.mark.parametrize(
    ("value", "state", "action"),
    [
        (0.9, PASS, OnBreach.ROLLBACK),
        (0.85, PASS, OnBreach.ROLLBACK),
        (0.8, FAIL, OnBreach.PAUSE),
        (0.75, FAIL, OnBreach.PAUSE),
        (0.74, FAIL, OnBreach.ROLLBACK),
    ],
)
def test_pause_below(value: float, state: CriterionState, action: OnBreach) -> None:
    fields = {"preset": "shadowAgreement", "min": 0.75, "pauseBelow": 0.85}
    found = verdict(fields, sample(value, count=1000))
    assert (found.state, found.action) == (state, action)


@pytest.mark.parametrize("fields", [{"dryRun": True}, {"onBreach": "Warn"}])
@pytest.mark.parametrize("answer", [sample(2.0), sample(), Sample(state=SampleState.ERROR, at=NOW)])
def test_advisory_criteria_hold_nothing(fields: dict[str, Any], answer: Sample) -> None:
    assert not verdict({"max": 1, **fields}, answer).holds


def history(*values: float | None, step: int = 60, end: datetime = NOW) -> tuple[Point, ...]:
    """Points, the last one at `end`."""
    first = end - timedelta(seconds=step * (len(values) - 1))
    return tuple(
        Point(at=first + timedelta(seconds=step * index), value=value) for index, value in enumerate(values)
    )


BAD, GOOD = 2.0, 0.5


@pytest.mark.parametrize(
    ("points", "expected"),
    [
        (None, False),  # not asked
        ((), False),  # asked, nothing there: nothing shows that it was bad
        (history(*[BAD] * 11), True),
        (history(*[BAD] * 16), True),  # older points do not matter
        (history(GOOD, GOOD, *[BAD] * 11), True),
        (history(GOOD, *[BAD] * 10), False),  # good ten minutes ago
        (history(*[BAD] * 10), True),  # the first point may miss the window's start by one step
        (history(None, *[BAD] * 10), False),  # the window's start was looked at, and there was nothing yet
        (history(None, *[BAD] * 10, end=NOW - timedelta(milliseconds=1)), False),  # the same, rounded down
        (history(None, *[BAD] * 11), True),  # nothing before the window
        (history(*[BAD] * 9), False),  # not covered
        (history(BAD), False),
        (history(*[BAD] * 5, GOOD, *[BAD] * 5), False),  # a break
        (history(*[BAD] * 5, None, *[BAD] * 5), True),  # a missed scrape is no break
        (history(*[BAD] * 5, None, None, *[BAD] * 4), True),
        (history(*[BAD] * 4, None, None, None, *[BAD] * 4), False),  # three are a hole
        (history(None, None, *[BAD] * 9), False),  # at the start nothing may be missing
        (history(*[None] * 10, BAD), False),
        (history(*[BAD] * 11, step=120), True),
        (history(BAD, float("nan"), *[BAD] * 9), True),
        (history(*[BAD] * 3, step=300), True),  # a long scrape interval
        (history(BAD, BAD, step=600), True),
        (history(BAD, None, BAD, step=300), False),
    ],
)  # fmt: skip
def test_for_is_confirmed_by_history(points: tuple[Point, ...] | None, expected: bool) -> None:
    found = verdict({"max": 1, "for": "10m"}, sample(BAD, history=points))
    assert found.state is FAIL and found.suspect
    assert found.breached is expected


def test_for_does_not_reach_back_before_the_run() -> None:
    young = Moment(now=NOW, interval=MOMENT.interval, since=NOW - timedelta(minutes=9))
    answer = sample(BAD, history=history(*[BAD] * 11))
    assert not judge(criterion(max=1, **{"for": "10m"}), answer, None, young).breached


def test_no_data_as_a_breach_has_a_for_too() -> None:
    fields = {"max": 1, "for": "10m", "noData": "Breach"}
    assert verdict(fields, sample(history=())).breached
    assert verdict(fields, sample(history=history(*[None] * 11))).breached
    assert not verdict(fields, sample(history=history(GOOD, *[None] * 10))).breached
    assert not verdict(fields, sample(history=None)).breached


@pytest.mark.parametrize(
    ("served", "points", "expected"),
    [
        (0, (), False),  # the very first evaluation, before the first scrape
        (9, (), False),
        (10, (), True),  # nothing at all for the whole of `for`, and it could have been there
        (0, history(*[None] * 11), False),
        (5, history(*[None] * 11), False),
        (9, history(*[None] * 11), True),  # the first point may miss the window's start by one step
        (10, history(*[None] * 11), True),
        (None, history(*[None] * 11), True),  # all of the run
        (5, history(*[None] * 10, BAD), False),  # a bad first value does not make what was before it bad
        (5, history(*[None] * 6, *[BAD] * 5), False),
        (0, history(*[BAD] * 11), True),  # what is seen to be bad is, whenever it was
    ],
)
@pytest.mark.parametrize("value", [None, BAD])
def test_absence_of_data_counts_only_from_when_the_candidate_served(
    served: int | None, points: tuple[Point, ...], expected: bool, value: float | None
) -> None:
    since = None if served is None else NOW - timedelta(minutes=served)
    moment = Moment(now=NOW, interval=MOMENT.interval, since=MOMENT.since, serving_since=since)
    rule = criterion(max=1, noData="Breach", **{"for": "10m"})
    assert judge(rule, sample(value, history=points), None, moment).breached is expected


def test_history_of_a_comparison_uses_what_stable_measured_then() -> None:
    fields = {"compare": {"to": "Stable", "maxIncrease": "50%"}, "for": "2m"}
    times = [NOW - timedelta(minutes=back) for back in (2, 1, 0)]
    both_rose = tuple(
        Point(at=at, value=3.0, reference=ref) for at, ref in zip(times, (2.5, 1.0, 1.0), strict=True)
    )
    assert not verdict(fields, sample(3.0, reference=1.0, history=both_rose)).breached
    only_ours = tuple(Point(at=at, value=3.0, reference=1.0) for at in times)
    assert verdict(fields, sample(3.0, reference=1.0, history=only_ours)).breached


@pytest.mark.parametrize(
    ("fields", "value", "text"),
    [
        ({"preset": "fallbackRate", "max": "2%"}, 0.026, "2.6%"),
        ({"preset": "latencyP95", "max": "200ms"}, 0.212, "212ms"),
        ({"preset": "dimensionMismatch", "max": 0}, 3.0, "3"),
        ({"max": "200ms"}, 0.0000004, "4e-07s"),
        ({"max": 7}, 1234567.0, "1.23457e+06"),
    ],
)
def test_values_for_people(fields: dict[str, Any], value: float, text: str) -> None:
    assert format_value(criterion(**fields), value) == text


def test_limits_for_people() -> None:
    limit = criterion_limit(criterion(min="1%", max="5%"))
    assert limit is not None and limit.text == "at least 1%, at most 5%"
    compared = criterion(preset="latencyP95", compare={"to": "Baseline", "maxIncrease": "20%"})
    assert criterion_limit(compared) is None
    relative = criterion_limit(compared, 0.1)
    assert relative is not None and relative.text == "at most 120ms (20% over baseline)"
