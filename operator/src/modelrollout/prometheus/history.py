"""The past of one criterion, to confirm that it has been bad for the whole of its `for`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

from modelrollout.decision.types import Point
from modelrollout.prometheus.client import PrometheusClient, RangeQuery, Series
from modelrollout.prometheus.errors import FailureKind, PrometheusError
from modelrollout.prometheus.queries import CriterionQuery
from modelrollout.prometheus.query_union import ID_LABEL, is_self_contained, joined, labelled

MOST_POINTS: Final = 120
_LEAST_STEP: Final = 1.0

Column = dict[int, float]
"""Values by position in the grid; NaN and absent ones are left out."""


def fetch_history(
    client: PrometheusClient, query: CriterionQuery, end: datetime, clock_offset: float
) -> tuple[Point, ...]:
    """Return points from `end - for` to `end`, both included, evenly spaced: at least two, at most 121.

    A point where the query yielded nothing, or had fewer samples than the criterion demands, has the value
    None.

    Args:
        client: The server.
        query: The criterion.
        end: By our clock.
        clock_offset: Prometheus' clock minus ours, in seconds.

    Raises:
        PrometheusError: As of any query; also if the query yields several series.
    """
    span = grid(end.timestamp() + clock_offset, query.for_seconds)
    columns = fetch_columns(client, query, span)
    points = round((span.end - span.start) / span.step) + 1
    return tuple(
        _point(query, columns, index, span.start + index * span.step - clock_offset)
        for index in range(points)
    )


def grid(end: float, length: float) -> RangeQuery:
    """Evenly spaced times over `length` seconds that end exactly at `end`.

    Each second, at most 121 in all.
    """
    length = max(length, _LEAST_STEP)
    steps = min(MOST_POINTS, math.ceil(length / _LEAST_STEP))
    # Prometheus counts in milliseconds: a step of whole ones keeps the grid where we think it is.
    step = math.ceil(length / steps * 1000) / 1000
    end = round(end, 3)
    return RangeQuery(start=round(end - steps * step, 3), end=end, step=step)


def fetch_columns(client: PrometheusClient, query: CriterionQuery, span: RangeQuery) -> dict[str, Column]:
    """Return all parts of a criterion over a span, by letter.

    Parts that cannot be joined are asked one by one.
    """
    parts = query.parts
    if all(is_self_contained(promql) for _, promql in parts):
        try:
            text = joined([labelled(promql, letter) for letter, promql in parts])
            result = client.query_range(text, span, legs=len(parts))
        except PrometheusError as error:
            if error.kind is not FailureKind.BAD_QUERY:
                raise
        else:
            return _columns(query, result, span)
    # A scalar cannot be labelled, and a refused query is to be refused in its own words.
    columns: dict[str, Column] = {}
    for letter, promql in parts:
        result = client.query_range(promql, span)
        for series in result:
            series["metric"][ID_LABEL] = letter
        columns |= _columns(query, result, span)
    return columns


def _columns(query: CriterionQuery, result: list[Series], span: RangeQuery) -> dict[str, Column]:
    columns: dict[str, Column] = {}
    for series in result:
        letter = series["metric"][ID_LABEL]
        column = columns.setdefault(letter, {})
        for at, text in series["values"]:
            index = round((at - span.start) / span.step)
            if index in column:
                raise PrometheusError(
                    FailureKind.BAD_QUERY,
                    f"several series at one time, expected one: put an aggregation around it. "
                    f"Query: {dict(query.parts)[letter]}",
                )
            column[index] = float(text)
    return {
        letter: {index: value for index, value in column.items() if not math.isnan(value)}
        for letter, column in columns.items()
    }


def _point(query: CriterionQuery, columns: Mapping[str, Column], index: int, at: float) -> Point:
    value = columns.get("v", {}).get(index)
    if query.count is not None and columns.get("n", {}).get(index, 0.0) < query.min_samples:
        value = None
    return Point(
        at=datetime.fromtimestamp(at, tz=UTC), value=value, reference=columns.get("r", {}).get(index)
    )
