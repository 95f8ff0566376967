"""The limit of a criterion as numbers and as text, and values as people read them."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, isnan

from modelrollout.api.criteria import Compare, CompareTo, Criterion
from modelrollout.api.durations import Quantity, format_duration
from modelrollout.api.presets import Unit

_HUGE = 1e308


@dataclass(frozen=True, kw_only=True, slots=True)
class CriterionLimit:
    """Where the allowed values of a criterion end, in its base unit; both ends are allowed.

    Attributes:
        low: Lowest allowed value, -inf if there is none.
        high: Highest allowed value, inf if there is none.
        pause_below: Values from `low` up to here pause instead of failing; -inf if there is none.
        text: For people, such as "at most 200ms".
    """

    low: float = -inf
    high: float = inf
    pause_below: float = -inf
    text: str

    def allows(self, value: float) -> bool:
        """Tell whether `value` is within both ends."""
        return self.low <= value <= self.high

    def doubts(self, value: float) -> bool:
        """Tell whether `value` is allowed but so low that a person must look at it."""
        return self.low <= value < self.pause_below


def criterion_limit(criterion: Criterion, reference: float | None = None) -> CriterionLimit | None:
    """Return the limit of `criterion`; None if it compares with `reference` and that is no number.

    A per cent limit is relative to the reference: with reference 0 nothing above (or below) it is allowed.
    An infinite reference is none: every value would be within its limit.
    """
    if criterion.compare is not None:
        if reference is None or not is_finite(reference):
            return None
        return _relative(criterion, criterion.compare, reference)
    low = -inf if criterion.min is None else criterion.min.value
    high = inf if criterion.max is None else criterion.max.value
    pause = -inf if criterion.pause_below is None else criterion.pause_below.value
    parts = [] if criterion.min is None else [f"at least {criterion.min}"]
    if criterion.max is not None:
        parts.append(f"at most {criterion.max}")
    if criterion.pause_below is not None:
        parts.append(f"pause below {criterion.pause_below}")
    return CriterionLimit(low=low, high=high, pause_below=pause, text=", ".join(parts))


def _relative(criterion: Criterion, compare: Compare, reference: float) -> CriterionLimit:
    other = "baseline" if compare.to is CompareTo.BASELINE else "stable"
    low, high, parts = -inf, inf, []
    if compare.max_decrease is not None:
        low = reference - _allowance(compare.max_decrease, reference)
        parts.append(f"at least {format_value(criterion, low)} ({compare.max_decrease} under {other})")
    if compare.max_increase is not None:
        high = reference + _allowance(compare.max_increase, reference)
        parts.append(f"at most {format_value(criterion, high)} ({compare.max_increase} over {other})")
    return CriterionLimit(low=low, high=high, text=", ".join(parts))


def _allowance(difference: Quantity, reference: float) -> float:
    return abs(reference) * difference.value if difference.is_percent else difference.value


def is_finite(value: float) -> bool:
    """Tell whether it is a number that can be measured.

    Neither NaN nor infinite, nor the largest number of all, which versions before 0.2 wrote for infinity.
    """
    return abs(value) < _HUGE


def special_text(value: float) -> str:
    """`+Inf`, `-Inf` or `NaN` as Prometheus writes them; empty for a usual number."""
    if isnan(value):
        return "NaN"
    return "" if is_finite(value) else f"{'+' if value > 0 else '-'}Inf"


def format_value(criterion: Criterion, value: float) -> str:
    """`value` (base unit) as people read it: 2.6%, 212ms, 3, +Inf."""
    if special := special_text(value):
        return special
    quantities = (criterion.min, criterion.max, criterion.pause_below)
    unit = criterion.info.unit if criterion.info else None
    if unit is Unit.RATIO or any(q is not None and q.is_percent for q in quantities):
        return f"{value * 100:.4g}%"
    if unit is Unit.SECONDS or any(q is not None and q.is_time for q in quantities):
        return format_duration(value) if 0.001 <= value < 1e9 else f"{value:.4g}s"
    return f"{value:.6g}"
