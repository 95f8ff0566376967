"""From the answers of one criterion's questions to a Sample that `decide` understands."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime
from typing import Final

from modelrollout.decision.types import Sample, SampleState
from modelrollout.prometheus.errors import FailureKind, PrometheusError
from modelrollout.prometheus.queries import CriterionQuery
from modelrollout.prometheus.query_union import NOTHING, Answer

Outcome = Answer | PrometheusError

_PARTS: Final = {
    "v": "query",
    "n": "query for the number of samples",
    "r": "query on the stable version",
    "m": "query for stable's number of samples",
}
_SHOWN_LENGTH: Final = 600


def error_sample(at: datetime, message: str) -> Sample:
    """Nobody knows, for the reason given."""
    return Sample(state=SampleState.ERROR, at=at, message=message)


def sample_of(query: CriterionQuery, outcomes: Mapping[str, Outcome], at: datetime) -> Sample:
    """Return the Sample of a criterion.

    Args:
        query: What was asked.
        outcomes: By the letter of the part (`CriterionQuery.parts`).
        at: When it was asked, by our clock.
    """
    numbers: dict[str, float | None] = {}
    for letter, promql in query.parts:
        outcome = outcomes.get(letter, NOTHING)
        if (trouble := _trouble(query.name, letter, promql, outcome)) is not None:
            return error_sample(at, trouble)
        assert isinstance(outcome, Answer)
        numbers[letter] = _not_nan(outcome)
    value = numbers["v"]
    # A question for samples that yields nothing has counted none.
    count = None if query.count is None else numbers["n"] or 0.0
    for letter in ("n", "m"):
        if (samples := numbers.get(letter)) is not None and not 0 <= samples < math.inf:
            text = f"the {_PARTS[letter]} yields {samples:g}, expected a finite number from 0"
            return error_sample(
                at, f"criterion {query.name}: {text}. Query: {shown(dict(query.parts)[letter])}"
            )
    if value is None:
        return Sample(state=SampleState.NO_DATA, at=at, count=count, message=_no_data(query, outcomes, count))
    return Sample(
        state=SampleState.VALUE,
        at=at,
        value=value,
        count=count,
        reference=numbers.get("r"),
        reference_count=None if query.stable_count is None else numbers["m"] or 0.0,
        message=_remark(query, value, numbers),
    )


def stale(sample: Sample, age: float, limit: float) -> Sample:
    """Return the same question, but what Prometheus has is too old to count now."""
    if sample.state is not SampleState.VALUE:
        return sample
    message = (
        f"the newest scrape of the pods is {age:.0f} s old (at most {limit:.0f} s were expected): "
        "see whether Prometheus still scrapes them"
    )
    return Sample(state=SampleState.NO_DATA, at=sample.at, count=sample.count, message=message)


def _trouble(name: str, letter: str, promql: str, outcome: Outcome) -> str | None:
    what = f"criterion {name}: the {_PARTS[letter]}"
    if isinstance(outcome, PrometheusError):
        if outcome.is_outage:
            return f"criterion {name}: {outcome}"
        if outcome.kind is FailureKind.PARTIAL:
            return f"{what}: {outcome} Query: {shown(promql)}"
        return f"{what} was refused: {outcome.detail or outcome}. Query: {shown(promql)}"
    if outcome.values is None:
        return f"{what} yields a range or a text, expected one number. Query: {shown(promql)}"
    if len(outcome.values) > 1:
        number = f"{outcome.series or len(outcome.values)}"
        return (
            f"{what} yields {number} series, expected one: put sum(...), max(...) or another "
            f"aggregation around it. Query: {shown(promql)}"
        )
    return None


def _not_nan(answer: Answer) -> float | None:
    if not answer.values or math.isnan(answer.values[0]):
        return None
    return answer.values[0]


def _no_data(query: CriterionQuery, outcomes: Mapping[str, Outcome], count: float | None) -> str:
    seen = outcomes.get("v", NOTHING)
    what = "NaN (as 0/0 gives)" if isinstance(seen, Answer) and seen.values else "nothing"
    if count == 0.0:
        counted = outcomes.get("n", NOTHING)
        missing = not (isinstance(counted, Answer) and counted.values)
        why = (
            "Prometheus has no such series of these pods: are they scraped, with namespace and pod as labels?"
            if missing
            else "no samples in the window: do the pods get traffic?"
        )
    else:
        why = "do the series exist, and was there traffic in the window?"
    return (
        f"criterion {query.name}: the query yields {what}, expected one number; {why} "
        f"Query: {shown(query.value)}"
    )


def _remark(query: CriterionQuery, value: float, numbers: Mapping[str, float | None]) -> str:
    if query.stable_value is not None and numbers.get("r") is None:
        return f"criterion {query.name}: stable yields no value to compare with"
    if math.isinf(value):
        return f"criterion {query.name}: the query yields an infinite value, as a division by 0 gives"
    return ""


def shown(promql: str) -> str:
    """Return a query as it fits into a message."""
    text = " ".join(promql.split())
    return text if len(text) <= _SHOWN_LENGTH else f"{text[:_SHOWN_LENGTH]} ..."
