"""One criterion and the answer to its query: Pass, Fail, NoData or Error, and whether its `for` is over."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import pairwise
from math import isnan

from modelrollout.api.criteria import CompareTo, Criterion, NoDataPolicy, OnBreach
from modelrollout.api.status import BaselineStatus, CriterionState
from modelrollout.decision.limits import CriterionLimit, criterion_limit, format_value, is_finite
from modelrollout.decision.types import Point, Sample, SampleState
from modelrollout.decision.wilson import wilson_bounds

MINIMUM_STALENESS = timedelta(seconds=30)
ROUNDING = timedelta(milliseconds=10)
"""By which the ends of a history may miss those of the window: Prometheus counts in milliseconds."""


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
        serving_since: When the candidate first had pods that could be measured; absence of data before it is
            no sign of anything. None: since the run began.
        serving: The candidate has pods behind the Service (or its shadow is up), so data can be expected.
    """

    now: datetime
    interval: timedelta
    since: datetime
    serving_since: datetime | None = None
    serving: bool = True

    def is_stale(self, at: datetime) -> bool:
        """Tell whether an answer is too old to count now."""
        return self.now - at > max(2 * self.interval, MINIMUM_STALENESS)


def judge(
    criterion: Criterion, sample: Sample | None, baseline: BaselineStatus | None, moment: Moment
) -> Verdict:
    """Return the verdict of `criterion` on `sample` (None: it has not been asked yet)."""
    verdict = _measure(criterion, sample, baseline, moment)
    advisory = criterion.dry_run or criterion.on_breach is OnBreach.WARN
    counts_as_bad = verdict.suspect and (verdict.state is CriterionState.FAIL or moment.serving)
    breached = counts_as_bad and sample is not None and _lasted(criterion, sample, verdict, moment)
    holds = verdict.holds and not advisory
    if breached == verdict.breached and holds == verdict.holds:
        return verdict
    return replace(verdict, breached=breached, holds=holds)


def _measure(
    criterion: Criterion, sample: Sample | None, baseline: BaselineStatus | None, moment: Moment
) -> Verdict:
    """Return the verdict of this instant, without a look at `for`."""
    if sample is None:
        return Verdict(state=CriterionState.PENDING, action=criterion.on_breach, message="Not evaluated yet.")
    if sample.state is SampleState.ERROR:
        message = sample.message or "The query failed."
        return Verdict(state=CriterionState.ERROR, action=criterion.on_breach, at=sample.at, message=message)
    if moment.is_stale(sample.at):
        return _no_data(criterion, sample, "The last value is too old to count now.", policy=False)
    value = sample.value
    if sample.state is SampleState.NO_DATA or value is None or isnan(value):
        return _no_data(criterion, sample, sample.message or "Expected one number, but there is no data.")
    reference, missing = _reference(criterion, sample, baseline)
    limit = criterion_limit(criterion, reference)
    if limit is None:
        return _no_data(criterion, sample, missing)
    return _compare(criterion, replace(sample, reference=reference), value, limit)


def _reference(
    criterion: Criterion, sample: Sample, baseline: BaselineStatus | None
) -> tuple[float | None, str]:
    """Return what the value is compared with, or None and why there is nothing."""
    if criterion.compare is None:
        return None, ""
    if criterion.compare.to is CompareTo.BASELINE:
        if baseline is None or not is_finite(baseline.value):
            return None, "No baseline of stable was recorded in this run; retry records one."
        return baseline.value, ""
    if sample.reference is None or isnan(sample.reference):
        return None, "Stable has no data to compare with: it needs traffic of its own."
    if not is_finite(sample.reference):
        seen = format_value(criterion, sample.reference)
        return None, f"Stable's own value is {seen}, with which every value would pass: correct the query."
    if sample.reference_count is not None and sample.reference_count < criterion.min_samples:
        return None, f"Stable has fewer than the {criterion.min_samples} samples that are needed."
    return sample.reference, ""


def _compare(criterion: Criterion, sample: Sample, value: float, limit: CriterionLimit) -> Verdict:
    """Return a value against its limit, by itself or by its confidence bounds."""
    count, least = sample.count, criterion.min_samples
    enough = count is not None and count >= least
    bounds = (value, value)
    if criterion.confidence is None or count is None:
        if least and not enough:
            known = "an unknown number of" if count is None else f"{count:.6g}"
            return _no_data(criterion, sample, f"There are {known} samples; {least} are needed.")
    elif not 0 <= value <= 1 + 1e-9:
        seen = format_value(criterion, value)
        text = f"confidence needs a ratio from 0 to 1, but the value is {seen}: remove confidence."
        return Verdict(state=CriterionState.ERROR, action=criterion.on_breach, at=sample.at, message=text)
    else:
        bounds = wilson_bounds(value, count, criterion.confidence)
    state, action, sure = _against(criterion, limit, value, bounds, by_count=bool(least) and enough)
    return Verdict(
        state=state,
        value=value,
        reference=sample.reference,
        limit=limit.text,
        samples=count,
        message=f"{sure}Seen {format_value(criterion, value)}, expected {limit.text}.",
        action=action,
        holds=state is not CriterionState.PASS,
        suspect=state is CriterionState.FAIL,
        at=sample.at,
    )


def _against(
    criterion: Criterion, limit: CriterionLimit, value: float, bounds: tuple[float, float], *, by_count: bool
) -> tuple[CriterionState, OnBreach, str]:
    """Return state, action of a breach, and what to say before the value.

    `by_count`: there are enough samples, so the value itself counts.
    """
    low, high = bounds
    if low > limit.high or high < limit.low:
        return CriterionState.FAIL, criterion.on_breach, ""
    if limit.doubts(high):
        return CriterionState.FAIL, OnBreach.PAUSE, ""
    if not is_finite(value):
        return CriterionState.NO_DATA, criterion.on_breach, "An infinite value is no measurement. "
    within = limit.allows(low) and limit.allows(high) and not limit.doubts(low)
    if within or (by_count and limit.allows(value) and not limit.doubts(value)):
        return CriterionState.PASS, criterion.on_breach, ""
    sure = f"Too few samples to be {(criterion.confidence or 0) * 100:.4g}% sure. "
    return CriterionState.NO_DATA, criterion.on_breach, sure


def _no_data(criterion: Criterion, sample: Sample, message: str, *, policy: bool = True) -> Verdict:
    """NoData with what the criterion's `noData` makes of it; an old answer is never a breach."""
    value = sample.value
    return Verdict(
        state=CriterionState.NO_DATA,
        value=value if value is not None and is_finite(value) else None,
        samples=sample.count,
        message=message,
        action=criterion.on_breach,
        holds=criterion.no_data is not NoDataPolicy.IGNORE,
        suspect=policy and criterion.no_data is NoDataPolicy.BREACH,
        at=sample.at,
    )


def _lasted(criterion: Criterion, sample: Sample, verdict: Verdict, moment: Moment) -> bool:
    """Tell whether it was bad for the whole of `for` up to this answer, but only within the present run."""
    period = timedelta(seconds=criterion.for_.seconds)
    if not period:
        return True
    start = sample.at - period
    if sample.history is None or start < moment.since:
        return False
    points = [p for p in sample.history if start - ROUNDING <= p.at <= sample.at + ROUNDING]
    missing_is_bad = criterion.no_data is NoDataPolicy.BREACH
    expected = moment.serving_since or moment.since  # before that nothing could be there
    if missing_is_bad and not points:
        return start >= expected  # asked, and there was nothing at all
    judged = [(point.at, _is_bad(criterion, point, verdict)) for point in points]
    if any(bad is False for _, bad in judged):
        return False
    spacing = _spacing(point.at for point in points)
    at, bad = judged[0] if judged else (start, None)
    if bad is None and not missing_is_bad and spacing is not None and at - start < spacing / 2:
        return False  # there was nothing where the window begins: it has been bad for less than all of it
    bad_at = [at for at, bad in judged if bad or (missing_is_bad and at >= expected)]
    return _covers(bad_at, start, sample.at, spacing)


def _is_bad(criterion: Criterion, point: Point, verdict: Verdict) -> bool | None:
    """Tell whether a point of the past was beyond the limit; None where there was no value."""
    if point.value is None or isnan(point.value):
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
    """Tell whether bad points fill the window: from its start on, with no hole beyond a missed scrape or two.

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
