"""What one criterion measured over a past range, tick by tick.

Read from Prometheus in as few requests as it allows.

Read from Prometheus in as few requests as it allows.

Read from Prometheus in as few requests as it allows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final

from modelrollout.api.criteria import Criterion
from modelrollout.decision.types import Point, Sample, SampleState
from modelrollout.prometheus import CriterionQuery, PrometheusClient
from modelrollout.prometheus.client import RangeQuery
from modelrollout.prometheus.history import Column, fetch_columns, fetch_history

MOST_POINTS: Final = 10_000
"""Prometheus refuses a range query of more than 11,000 points."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Clock:
    """The ticks of the replay: `end`, and every `step` before it, down to `start`.

    The last tick is the end itself, so that what happened just before it is judged too; a remainder shorter
    than a step is left out at the start.
    """

    start: datetime
    end: datetime
    step: timedelta

    def __post_init__(self) -> None:
        if self.start.tzinfo is None or self.end.tzinfo is None:
            raise ValueError("start and end of a backtest need a time zone")
        if self.step < timedelta(seconds=1):
            raise ValueError(f"the resolution of a backtest must be at least 1s, not {self.step}")
        if self.end - self.start < self.step:
            raise ValueError(
                f"the range from {self.start} to {self.end} is shorter than its resolution {self.step}"
            )

    @property
    def ticks(self) -> int:
        """How many."""
        return int((self.end - self.start) / self.step) + 1

    @property
    def first(self) -> datetime:
        """The time of the first tick, less than a step after `start`."""
        return self.end - (self.ticks - 1) * self.step

    def at(self, tick: int) -> datetime:
        """Return the time of a tick."""
        return self.first + tick * self.step

    def tick_from(self, when: datetime) -> int:
        """Return the first tick at or after `when`."""
        return max(0, math.ceil((when - self.first) / self.step))


@dataclass(frozen=True, kw_only=True, slots=True)
class Track:
    """What one criterion measured, by tick; ticks without a number are missing."""

    clock: Clock
    values: Column
    counts: Column | None
    references: Column | None
    reference_counts: Column | None

    def sample(self, tick: int, history: tuple[Point, ...] | None = None) -> Sample:
        """Return the sample that the operator would have got at that tick."""
        value = self.values.get(tick)
        return Sample(
            state=SampleState.NO_DATA if value is None else SampleState.VALUE,
            at=self.clock.at(tick),
            value=value,
            count=None if self.counts is None else self.counts.get(tick, 0.0),
            reference=None if self.references is None else self.references.get(tick),
            reference_count=None if self.reference_counts is None else self.reference_counts.get(tick, 0.0),
            history=history,
            message="" if value is not None else "The query found no data.",
        )


class Past:
    """The past of one Prometheus server."""

    def __init__(self, client: PrometheusClient, clock: Clock, *, threads: int = 4) -> None:
        self._client = client
        self._clock = clock
        self._threads = threads

    def tracks(self, queries: Sequence[tuple[Criterion, CriterionQuery]]) -> list[Track]:
        """Return the tracks of several criteria, fetched side by side in ranges that Prometheus accepts.

        Raises:
            PrometheusError: A query was refused, or the server is not there.
        """
        lean = [needed(criterion, query) for criterion, query in queries]
        spans = self._spans()
        with ThreadPoolExecutor(self._threads, thread_name_prefix="backtest") as pool:
            jobs = [
                [pool.submit(fetch_columns, self._client, query, span) for _, span in spans] for query in lean
            ]
            pieces = [[job.result() for job in row] for row in jobs]
        return [self._track(query, spans, row) for query, row in zip(lean, pieces, strict=True)]

    def history(self, query: CriterionQuery, at: datetime) -> tuple[Point, ...]:
        """Return the same points that the operator asks for to confirm a `for`."""
        return fetch_history(self._client, query, at, 0.0)

    def instant(self, query: CriterionQuery, at: datetime) -> Sample:
        """Return one sample at `at`."""
        when = at.timestamp()
        columns = fetch_columns(self._client, query, RangeQuery(start=when, end=when, step=1.0))
        one = Clock(start=at, end=at + timedelta(seconds=1), step=timedelta(seconds=1))
        return _track(query, one, columns).sample(0)

    def _spans(self) -> list[tuple[int, RangeQuery]]:
        """Return ranges of at most MOST_POINTS points, each with its first tick."""
        start, step = self._clock.first.timestamp(), self._clock.step.total_seconds()
        spans = []
        for first in range(0, self._clock.ticks, MOST_POINTS):
            last = min(first + MOST_POINTS, self._clock.ticks) - 1
            begin = round(start + first * step, 3)
            spans.append(
                (first, RangeQuery(start=begin, end=round(begin + (last - first) * step, 3), step=step))
            )
        return spans

    def _track(
        self, query: CriterionQuery, spans: list[tuple[int, RangeQuery]], pieces: list[dict[str, Column]]
    ) -> Track:
        whole: dict[str, Column] = {}
        for (first, _), columns in zip(spans, pieces, strict=True):
            for letter, column in columns.items():
                whole.setdefault(letter, {}).update({first + index: value for index, value in column.items()})
        return _track(query, self._clock, whole)


def _track(query: CriterionQuery, clock: Clock, columns: Mapping[str, Column]) -> Track:
    def column(letter: str, promql: str | None) -> Column | None:
        return None if promql is None else columns.get(letter, {})

    return Track(
        clock=clock,
        values=columns.get("v", {}),
        counts=column("n", query.count),
        references=column("r", query.stable_value),
        reference_counts=column("m", query.stable_count),
    )


def needed(criterion: Criterion, query: CriterionQuery) -> CriterionQuery:
    """Return the query without counting samples where no verdict depends on their number."""
    if criterion.min_samples or criterion.confidence is not None:
        return query
    return replace(query, count=None, stable_count=None)


def utc(seconds: float) -> datetime:
    """Return a time in UTC from seconds since the epoch."""
    return datetime.fromtimestamp(seconds, tz=UTC)
