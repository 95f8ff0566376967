"""What the reconcile loop asks of Prometheus.

The criteria of a rollout now, and their past where a breach needs it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Final

from modelrollout.decision.types import Sample, SampleState
from modelrollout.prometheus.batcher import Rendered, evaluated_at, newest_scrape, render_questions
from modelrollout.prometheus.client import PrometheusClient, RequestHooks
from modelrollout.prometheus.errors import PrometheusError, UnknownTargetError
from modelrollout.prometheus.history import fetch_history
from modelrollout.prometheus.queries import RolloutQueries
from modelrollout.prometheus.request_queue import Limits, Now, Reply, RequestQueue, Waiting, utc_now
from modelrollout.prometheus.samples import error_sample, sample_of, stale
from modelrollout.prometheus.scrape_timing import ScrapeTiming
from modelrollout.prometheus.targets import PrometheusTargets

_MISSED_SCRAPES: Final = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluatorOptions:
    """Limits of the evaluator.

    Attributes:
        limits: Of one request and of one server.
        least_stale: Seconds below which data is never called stale.
        unknown_stale: The same while the scrape interval is not known yet.
    """

    limits: Limits = field(default_factory=Limits)
    least_stale: float = 30.0
    unknown_stale: float = 150.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """The criteria of one rollout at one instant.

    Attributes:
        at: When they were asked, by our clock, UTC.
        samples: By name of the criterion, one for every name that was asked for.
        metrics_error: Set if Prometheus as a whole gave no answer; the samples are then all ERROR.
        fresh_at: When the newest scrape of the pods was made, by our clock; None if no `up` series of them
            exists.
    """

    at: datetime
    samples: Mapping[str, Sample]
    metrics_error: str | None = None
    fresh_at: datetime | None = None


@dataclass
class _Known:
    """What is remembered of one rollout between evaluations."""

    rendered: Rendered
    phase: ScrapeTiming = field(default_factory=ScrapeTiming)
    clock_offset: float = 0.0  # Prometheus' clock minus ours, at the last answer


class Evaluator:
    """Asks every server of the settings, for all rollouts of the process. Belongs to one event loop."""

    def __init__(
        self,
        targets: PrometheusTargets,
        *,
        options: EvaluatorOptions | None = None,
        hooks: RequestHooks | None = None,
        now: Now = utc_now,
    ) -> None:
        self._now = now
        self._targets = targets
        self._options = options or EvaluatorOptions()
        self._hooks = hooks
        self._lanes: dict[str, RequestQueue] = {}
        self._known: dict[str, _Known] = {}

    async def evaluate(
        self, rollout: RolloutQueries, names: Collection[str] | None = None, patience: float = 0.1
    ) -> Answer:
        """Ask for the present values; all failures are in the answer, none is raised.

        Args:
            rollout: From `build_rollout`; keep the object for as long as it holds.
            names: Criteria to ask for; None: all. One that does not exist is an ERROR.
            patience: Seconds it may wait for other rollouts to come along in the same request.
        """
        names = list(rollout.queries) + list(rollout.problems) if names is None else names
        asked = [name for name in names if name in rollout.queries]
        now = self._now()
        samples = {name: _unasked(rollout, name, now) for name in names if name not in rollout.queries}
        if not asked:
            return Answer(at=now, samples=samples)
        try:
            lane = self._lane(rollout.target)
        except UnknownTargetError as error:
            failed = {name: error_sample(now, f"criterion {name}: {error}") for name in asked}
            return Answer(at=now, samples=samples | failed, metrics_error=str(error))
        known = self._recall(rollout)
        rendered = known.rendered
        reply = await _ask(lane, rendered, asked, patience)
        if reply.outage is not None:
            failed = {name: error_sample(reply.at, f"criterion {name}: {reply.outage}") for name in asked}
            return Answer(at=reply.at, samples=samples | failed, metrics_error=str(reply.outage))
        fresh_at, age = _freshness(known, rendered, reply)
        limit = self._stale_after(known.phase)
        for name in asked:
            sample = sample_of(rollout.queries[name], rendered.outcomes(name, reply.outcomes), reply.at)
            samples[name] = stale(sample, age, limit) if age is not None and age > limit else sample
        return Answer(at=reply.at, samples=samples, fresh_at=fresh_at)

    async def refused(self, rollout: RolloutQueries) -> dict[str, str] | None:
        """Return why Prometheus will never evaluate a query, by name of the criterion, before a run starts.

        None if Prometheus could not be asked, or is not in the settings: then nothing is known of any query.
        """
        if not rollout.queries:
            return {}
        try:
            lane = self._lane(rollout.target)
        except UnknownTargetError:
            return None
        rendered = self._recall(rollout).rendered
        reply = await _ask(lane, rendered, list(rollout.queries), 0.02, trial=True)
        if reply.outage is not None:
            return None
        sentences: dict[str, str] = {}
        for name, query in rollout.queries.items():
            outcomes = rendered.outcomes(name, reply.outcomes)
            if any(isinstance(each, PrometheusError) and each.permanent for each in outcomes.values()):
                sentences[name] = sample_of(query, outcomes, reply.at).message
        return sentences

    def _stale_after(self, phase: ScrapeTiming) -> float:
        if phase.period is None:
            return self._options.unknown_stale
        return max(self._options.least_stale, _MISSED_SCRAPES * phase.period)

    async def with_history(
        self,
        rollout: RolloutQueries,
        samples: Mapping[str, Sample],
        names: Collection[str],
        at: datetime | None = None,
    ) -> dict[str, Sample]:
        """Return the same samples, those named with the points of their `for` period.

        One range query each, side by side.

        The last point is at `at` (by default when the sample was taken). A range query that fails turns its
        sample into an ERROR that says why: a breach that cannot be confirmed is no breach.
        """
        chosen = [name for name in names if name in rollout.queries and name in samples]
        results = await asyncio.gather(*(self._history(rollout, name, samples[name], at) for name in chosen))
        return {**samples, **dict(zip(chosen, results, strict=True))}

    async def _history(
        self, rollout: RolloutQueries, name: str, sample: Sample, at: datetime | None
    ) -> Sample:
        if sample.state is SampleState.ERROR:
            return sample
        end, offset = at or sample.at, self._recall(rollout).clock_offset
        loop = asyncio.get_running_loop()
        try:
            lane = self._lane(rollout.target)
            points = await loop.run_in_executor(
                lane.threads, fetch_history, lane.client, rollout.queries[name], end, offset
            )
        except (PrometheusError, UnknownTargetError) as error:
            return replace(
                error_sample(sample.at, f"criterion {name}: its past could not be read: {error}"),
                count=sample.count,
            )
        return replace(sample, history=points)

    def next_delay(self, key: str, interval: float) -> float:
        """Return seconds until the next evaluation of the rollout `key`.

        About `interval`, just after a scrape if known.
        """
        known = self._known.get(key)
        if known is None:
            return interval
        return known.phase.next_delay(now=asyncio.get_running_loop().time(), interval=interval)

    def forget(self, key: str) -> None:
        """Forget a rollout that is gone."""
        self._known.pop(key, None)

    async def close(self) -> None:
        """Close all connections; whoever still waits is cancelled."""
        for lane in self._lanes.values():
            await lane.close()
        self._lanes.clear()

    def _lane(self, name: str) -> RequestQueue:
        if (lane := self._lanes.get(name)) is None:
            client = PrometheusClient(self._targets.get(name), self._hooks)
            lane = self._lanes[name] = RequestQueue(client, self._options.limits, now=self._now)
        return lane

    def _recall(self, rollout: RolloutQueries) -> _Known:
        known = self._known.get(rollout.key)
        if known is None:
            known = self._known[rollout.key] = _Known(render_questions(rollout))
        elif known.rendered.rollout is not rollout:
            same_pods = known.rendered.rollout.freshness == rollout.freshness
            known.rendered = render_questions(rollout)
            known.phase = known.phase if same_pods else ScrapeTiming()
        return known


def _unasked(rollout: RolloutQueries, name: str, at: datetime) -> Sample:
    return error_sample(at, rollout.problems.get(name, f"there is no criterion {name}"))


async def _ask(
    lane: RequestQueue, rendered: Rendered, names: Collection[str], patience: float, *, trial: bool = False
) -> Reply:
    future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
    lane.put(Waiting(rendered, rendered.chosen(names), future, trial), patience)
    return await future


def _freshness(known: _Known, rendered: Rendered, reply: Reply) -> tuple[datetime | None, float | None]:
    """When the newest scrape was (by our clock) and its age in seconds, if it can be told."""
    own = {id_: reply.outcomes[id_] for id_ in rendered.questions if id_ in reply.outcomes}
    evaluated, newest = evaluated_at(own), newest_scrape(own.get(rendered.freshness))
    if evaluated is None:
        return None, None
    known.clock_offset = evaluated - reply.at.timestamp()
    if newest is not None:
        known.phase.observe(newest=newest, evaluated=evaluated, asked=reply.asked)
    else:  # a window still yields values for a while after its pods are scraped no more
        newest = known.phase.newest
    if newest is None:
        return None, None
    return datetime.fromtimestamp(newest - known.clock_offset, tz=UTC), evaluated - newest
