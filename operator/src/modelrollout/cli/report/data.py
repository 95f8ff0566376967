"""What a report is made of: one run with its Events, and its past from Prometheus where there is one."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from modelrollout.api.criteria import CompareTo, Criterion
from modelrollout.cli.report.run import Run, choose_run
from modelrollout.cli.text import criteria_of, moment
from modelrollout.decision import criterion_limit
from modelrollout.prometheus import (
    CriterionQuery,
    PrometheusClient,
    PrometheusError,
    QueryContext,
    build_rollout,
)
from modelrollout.prometheus.client import RangeQuery
from modelrollout.prometheus.history import fetch_columns

Points = tuple[tuple[float, float], ...]
"""(seconds since the epoch, value) in order of time."""
POINTS: Final = 600
"""About as many as a screen is wide."""
LEADER: Final = "and on (job, instance) (modelrollout_leader == 1)"
"""Of several replicas only the one that acts knows the values."""


@dataclass(frozen=True, kw_only=True)
class CriterionPast:
    """What one criterion measured, and the limits it had at that time (None where they are not known)."""

    values: Points = ()
    high: Points = ()
    low: Points = ()
    source: str = ""

    @property
    def breaches(self) -> tuple[tuple[float, float], ...]:
        """Times (from, to) of values outside the limit, neighbours joined."""
        highs, lows = dict(self.high), dict(self.low)
        found: list[tuple[float, float]] = []
        before_bad = False
        for at, value in self.values:
            bad = value > highs.get(at, math.inf) or value < lows.get(at, -math.inf)
            if bad:
                found = [*found[:-1], (found[-1][0], at)] if before_bad else [*found, (at, at)]
            before_bad = bad
        return tuple(found)


@dataclass(frozen=True, kw_only=True)
class ReportData:
    """Everything on the page. `missing` are sentences on what could not be had and how to have it."""

    item: Mapping[str, Any]
    run: Run
    now: datetime
    window: RangeQuery
    events: tuple[Mapping[str, Any], ...]
    desired: Points = ()
    observed: Points = ()
    criteria: Mapping[str, CriterionPast] = field(default_factory=dict)
    missing: tuple[str, ...] = ()


def gather(
    item: Mapping[str, Any],
    events: Sequence[Mapping[str, Any]],
    client: PrometheusClient | None,
    *,
    now: datetime,
    wanted: str | None = None,
) -> ReportData:
    """Return the data of a report.

    Args:
        item: The ModelRollout.
        events: Its Events, oldest first.
        client: The Prometheus server; None to do without the past.
        now: The end of a run that is under way.
        wanted: Id of the run; None for the last one.

    Raises:
        ReportError: There is no such run.
    """
    run = choose_run(item, wanted)
    window = _window(run, now)
    inside = tuple(
        event
        for event in events
        if event.get("lastTimestamp")
        and window.start - 1 <= moment(event["lastTimestamp"]).timestamp() <= window.end + 1
    )
    missing = []
    if not inside:
        missing.append(
            "Events: the API server has none of this run any more (it keeps them for an hour by default)."
        )
    past = _Past(item, run, window, client)
    if client is None:
        missing.append(
            "Weights and criteria over time: they are read from Prometheus; "
            "give its address with --prometheus URL."
        )
    else:
        past.fetch()
    return ReportData(
        item=item,
        run=run,
        now=now,
        window=window,
        events=inside,
        desired=past.desired,
        observed=past.observed,
        criteria=past.criteria,
        missing=(*missing, *past.missing),
    )


def _window(run: Run, now: datetime) -> RangeQuery:
    """Return the run with some time around it, on whole seconds, in about 600 points."""
    length = (run.end or now) - run.start
    around = max(timedelta(seconds=5), 0.05 * length)
    start = math.floor((run.start - around).timestamp())
    end = math.ceil(min(now, run.end + around if run.end else now).timestamp())
    end = max(end, start + 2)
    step = max(1, math.ceil((end - start) / POINTS))
    return RangeQuery(start=float(start), end=float(start + (end - start) // step * step), step=float(step))


class _Past:
    """The past of one run in Prometheus; what is not there becomes a sentence in `missing`."""

    def __init__(
        self, item: Mapping[str, Any], run: Run, window: RangeQuery, client: PrometheusClient | None
    ) -> None:
        self._item = item
        self._run = run
        self._window = window
        self._client = client
        self.desired: Points = ()
        self.observed: Points = ()
        self.criteria: dict[str, CriterionPast] = {}
        self.missing: list[str] = []

    def fetch(self) -> None:
        """Ask for everything."""
        try:
            self.desired = self._own("modelrollout_weight_desired_percent").get("", ())
            self.observed = self._own("modelrollout_weight_observed_percent").get("", ())
            values = self._own("modelrollout_criterion_value", by="criterion")
        except PrometheusError as error:
            self.missing.append(f"Weights and criteria over time: {error}")
            return
        self._forget_run_before()
        if not self.desired:
            self.missing.append(
                "Weights over time: Prometheus has no modelrollout_weight_desired_percent of this rollout "
                "in that time; does it scrape the operator?"
            )
        known = criteria_of(self._item)
        queries = self._queries(known)
        for name, criterion in known.items():
            self.criteria[name] = self._criterion(criterion, values.get(name, ()), queries.get(name))

    def _forget_run_before(self) -> None:
        """Drop the weights of the run before: they stand until the first scrape of this one."""
        start = self._run.start.timestamp()
        old = next((value for at, value in reversed(self.desired) if at < start), 0.0)
        since = start
        if old:
            since = next((at for at, value in self.desired if at >= start and value != old), start)
        self.desired = tuple(point for point in self.desired if point[0] >= since)
        self.observed = tuple(point for point in self.observed if point[0] >= since)

    def _criterion(self, criterion: Criterion, own: Points, query: CriterionQuery | None) -> CriterionPast:
        to_stable = criterion.compare is not None and criterion.compare.to is CompareTo.STABLE
        if own and not to_stable:
            return self._with_limits(criterion, own, {}, "the operator's metrics")
        if query is None:
            return CriterionPast(values=own)
        assert self._client is not None
        try:
            columns = fetch_columns(self._client, query, self._window)
        except PrometheusError as error:
            self.missing.append(f"Criterion {criterion.name} over time: {error}")
            return CriterionPast(values=own)
        values = self._points(columns.get("v", {}))
        if not values:
            self.missing.append(
                f"Criterion {criterion.name} over time: Prometheus has no data for its query in that time."
            )
        return self._with_limits(criterion, values, dict(self._points(columns.get("r", {}))), "its query")

    def _with_limits(
        self, criterion: Criterion, values: Points, references: Mapping[float, float], source: str
    ) -> CriterionPast:
        fixed = self._reference(criterion)
        high, low = [], []
        for at, _ in values:
            limit = criterion_limit(criterion, references.get(at, fixed))
            if limit is not None and math.isfinite(limit.high):
                high.append((at, limit.high))
            if limit is not None and math.isfinite(limit.low):
                low.append((at, limit.low))
        return CriterionPast(values=values, high=tuple(high), low=tuple(low), source=source)

    def _reference(self, criterion: Criterion) -> float | None:
        """Return the recorded baseline that the criterion compares with."""
        if criterion.compare is None or criterion.compare.to is not CompareTo.BASELINE:
            return None
        status = self._item.get("status") or {}
        entries = status.get("baseline") or () if self._run.current else ()
        return next((entry["value"] for entry in entries if entry["criterion"] == criterion.name), None)

    def _queries(self, criteria: Mapping[str, Criterion]) -> Mapping[str, CriterionQuery]:
        meta = self._item["metadata"]
        context = QueryContext(
            namespace=meta["namespace"],
            rollout=meta["name"],
            candidate=self._run.to,
            stable=self._run.before,
        )
        built = build_rollout("report", "report", criteria.values(), context)
        self.missing += [f"Criterion over time: {problem}" for problem in built.problems.values()]
        return built.queries

    def _own(self, metric: str, by: str = "") -> dict[str, Points]:
        """Return a metric of the operator about this rollout, by a label."""
        assert self._client is not None
        meta = self._item["metadata"]
        series = f'{metric}{{namespace="{meta["namespace"]}",name="{meta["name"]}"}}'
        grouping = f" by ({by})" if by else ""
        found = self._client.query_range(f"max{grouping} ({series} {LEADER})", self._window)
        return {
            str(one["metric"].get(by, "")): tuple(
                (float(at), float(text)) for at, text in one["values"] if text != "NaN"
            )
            for one in found
        }

    def _points(self, column: Mapping[int, float]) -> Points:
        return tuple(
            (self._window.start + index * self._window.step, column[index]) for index in sorted(column)
        )


def at_time(seconds: float) -> datetime:
    """Return a time in UTC from seconds since the epoch."""
    return datetime.fromtimestamp(seconds, tz=UTC)
