"""One criterion and the answer to its query: Pass, Fail, NoData or Error, and whether its `for` is over."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import pairwise
from math import isfinite

from modelrollout.api.criteria import CompareTo, Criterion, NoDataPolicy, OnBreach
from modelrollout.api.durations import format_duration
from modelrollout.api.status import BaselineStatus, CriterionState
from modelrollout.decision.limits import CriterionLimit, criterion_limit, format_value
from modelrollout.decision.types import Point, Sample, SampleState
from modelrollout.decision.wilson import wilson_bounds

MINIMUM_STALENESS = timedelta(seconds=30)


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """What a criterion says now.

    Attributes:
        state: Pass, Fail, NoData or Error.
        value: What was measured, base unit; None if nothing was.
        reference: What it was compared with.
        limit: The limit as text.
        samples: Events behind the value.
        message: What was expected and what was seen.
        breached: It has failed for the whole of its `for`.
        action: What a breach does: the criterion's onBreach, or Pause for a value under pauseBelow.
        holds: Keeps the run from going on.
        suspect: Bad now, so that its `for` has to be looked up in history.
        at: When it was measured; None if nothing was.
    """

    state: CriterionState
    value: float | None = None
    reference: float | None = None
    limit: str = ""
    samples: float | None = None
    message: str = ""
    breached: bool = False
    action: OnBreach = OnBreach.ROLLBACK
    holds: bool = True
    suspect: bool = False
    at: datetime | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Moment:
    """When a verdict is asked for, and since when there is something to judge.

    Attributes:
        now: Now.
        interval: spec.evaluation.interval.
        since: When the run (or its shadow) began: nothing before it counts towards a `for`.
        serving: The candidate has pods behind the Service (or its shadow is up), so data can be expected.
    """

    now: datetime
    interval: timedelta
    since: datetime
    serving: bool = True

    def is_stale(self, at: datetime) -> bool:
        """Whether an answer is too old to speak of now."""
        return self.now - at > max(2 * self.interval, MINIMUM_STALENESS)


def judge(
    criterion: Criterion, sample: Sample | None, baseline: BaselineStatus | None, moment: Moment
) -> Verdict:
    """The verdict of `criterion` on `sample` (None: it was due and there is no answer)."""
    verdict = _measure(criterion, sample, baseline, moment)
    advisory = criterion.dry_run or criterion.on_breach is OnBreach.WARN
    counts_as_bad = verdict.suspect and (verdict.state is CriterionState.FAIL or moment.serving)
    breached = counts_as_bad and sample is not None and _lasted(criterion, sample, verdict, moment)
    return replace(verdict, breached=breached, holds=verdict.holds and not advisory)


def _measure(
    criterion: Criterion, sample: Sample | None, baseline: BaselineStatus | None, moment: Moment
) -> Verdict:
    """The verdict of this instant, without a look at `for`."""
    base = Verdict(state=CriterionState.ERROR, action=criterion.on_breach)
    if sample is None:
        return replace(base, state=CriterionState.PENDING, message="Not evaluated yet.")
    base = replace(base, at=sample.at, samples=sample.count)
    if sample.state is SampleState.ERROR:
        return replace(base, message=sample.message or "The query failed.")
    if moment.is_stale(sample.at):
        age = format_duration((moment.now - sample.at).total_seconds() // 1)
        return _no_data(
            criterion, base, f"The last value is {age} old, too old to speak of now.", policy=False
        )
    if sample.state is SampleState.NO_DATA or sample.value is None or not isfinite(sample.value):
        return _no_data(
            criterion, base, sample.message or "Expected one number, but the query found no data."
        )
    base = replace(base, value=sample.value)
    reference, missing = _reference(criterion, sample, baseline)
    base = replace(base, reference=reference)
    limit = criterion_limit(criterion, reference)
    if limit is None:
        return _no_data(criterion, base, missing)
    return _compare(criterion, sample, limit, replace(base, limit=limit.text))


def _reference(
    criterion: Criterion, sample: Sample, baseline: BaselineStatus | None
) -> tuple[float | None, str]:
    """What the value is compared with, or None and why there is nothing."""
    if criterion.compare is None:
        return None, ""
    if criterion.compare.to is CompareTo.BASELINE:
        return (
            (baseline.value, "")
            if baseline
            else (None, "No baseline of stable was recorded to compare with.")
        )
    if sample.reference is None or not isfinite(sample.reference):
        return None, "Stable has no data to compare with: it needs traffic of its own."
    if sample.reference_count is not None and sample.reference_count < criterion.min_samples:
        return None, f"Stable has {sample.reference_count:.6g} samples; {criterion.min_samples} are needed."
    return sample.reference, ""


def _compare(criterion: Criterion, sample: Sample, limit: CriterionLimit, base: Verdict) -> Verdict:
    value = base.value
    assert value is not None
    seen = f"{format_value(criterion, value)}; expected {limit.text}"
    enough = sample.count is not None and sample.count >= criterion.min_samples
    if criterion.confidence is None or sample.count is None:
        if criterion.min_samples and not enough:
            known = "an unknown number of" if sample.count is None else f"{sample.count:.6g}"
            return _no_data(
                criterion, base, f"There are {known} samples; {criterion.min_samples} are needed."
            )
        low = high = value
    elif not 0 <= value <= 1 + 1e-9:
        text = f"confidence needs a ratio from 0 to 1, but the value is {value:.6g}: remove confidence."
        return replace(base, message=text)
    else:
        low, high = wilson_bounds(value, sample.count, criterion.confidence)
    if low > limit.high or high < limit.low:
        return replace(base, state=CriterionState.FAIL, suspect=True, message=f"Seen {seen}.")
    if limit.doubts(high):
        return replace(
            base, state=CriterionState.FAIL, suspect=True, action=OnBreach.PAUSE, message=f"Seen {seen}."
        )
    sure = limit.allows(low) and limit.allows(high) and not limit.doubts(low)
    by_count = bool(criterion.min_samples) and enough and limit.allows(value) and not limit.doubts(value)
    if sure or by_count:
        return replace(base, state=CriterionState.PASS, holds=False, message=f"Seen {seen}.")
    confidence = f"{(criterion.confidence or 0) * 100:.4g}%"
    text = f"Too few samples to be {confidence} sure: seen {seen}."
    return replace(base, state=CriterionState.NO_DATA, message=text)


def _no_data(criterion: Criterion, base: Verdict, message: str, *, policy: bool = True) -> Verdict:
    """NoData with what the criterion's `noData` makes of it; an old answer is never a breach."""
    verdict = replace(base, state=CriterionState.NO_DATA, message=message)
    if criterion.no_data is NoDataPolicy.IGNORE:
        return replace(verdict, holds=False)
    if policy and criterion.no_data is NoDataPolicy.BREACH:
        return replace(verdict, suspect=True)
    return verdict


def _lasted(criterion: Criterion, sample: Sample, verdict: Verdict, moment: Moment) -> bool:
    """Whether it was bad for the whole of `for` up to this answer, but only within the present run."""
    period = timedelta(seconds=criterion.for_.seconds)
    if not period:
        return True
    start = sample.at - period
    if sample.history is None or start < moment.since:
        return False
    points = [point for point in sample.history if start <= point.at <= sample.at]
    missing_is_bad = criterion.no_data is NoDataPolicy.BREACH
    if missing_is_bad and not points:
        return True  # asked, and there was nothing at all
    judged = [(point.at, _is_bad(criterion, point, verdict)) for point in points]
    if any(bad is False for _, bad in judged):
        return False
    bad_at = [at for at, bad in judged if bad or missing_is_bad]
    return _covers(bad_at, start, sample.at, _spacing(point.at for point in points))


def _is_bad(criterion: Criterion, point: Point, verdict: Verdict) -> bool | None:
    """Whether a point of the past was beyond the limit; None where there was no value."""
    if point.value is None or not isfinite(point.value):
        return None
    reference = point.reference if point.reference is not None else verdict.reference
    limit = criterion_limit(criterion, reference)
    if limit is None:
        return None
    return not limit.allows(point.value) or (verdict.action is OnBreach.PAUSE and limit.doubts(point.value))


def _spacing(times: Iterable[datetime]) -> timedelta | None:
    ordered = sorted(times)
    return min((b - a for a, b in pairwise(ordered)), default=None)


def _covers(bad_at: list[datetime], start: datetime, end: datetime, spacing: timedelta | None) -> bool:
    """Whether bad points fill the window: from its start on, with no hole beyond a missed scrape or two.

    A point without a value neither proves nor disproves anything: up to two in a row are passed over, as
    long as they leave less than half of the window open. At the start of the window one may be missing,
    since the points need not fall on it.
    """
    if not bad_at or spacing is None:
        return False
    slack = spacing * 1.01
    hole = max(slack, min(3 * slack, (end - start) / 2))
    if bad_at[0] - start > slack or end - bad_at[-1] > hole:
        return False
    return all(b - a <= hole for a, b in pairwise(bad_at))
