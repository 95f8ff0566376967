"""Asks Prometheus for what a rollout's next decision needs, no oftener than its interval."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Final

from modelrollout.api.spec import ModelRolloutSpec
from modelrollout.cluster.clock import ServerClock
from modelrollout.decision import due_baselines, due_criteria, needs_history
from modelrollout.decision.types import Sample, SampleState
from modelrollout.operator.metrics import OperatorMetrics
from modelrollout.operator.rollouts import RolloutState
from modelrollout.prometheus import Evaluator, QueryContext, RolloutQueries, build_rollout, error_sample

EARLY: Final = 0.02
"""Seconds by which an evaluation may be early: timers and slots are not exact."""
BASELINE_RETRY: Final = 10.0
RETRY_SECONDS: Final = 5.0
RETRY_MOST_SECONDS: Final = 60.0
MEASURE_SECONDS: Final = 15.0
"""How long a tick waits for Prometheus. Commands and scaling must go on while it is merely slow."""
Measured = tuple[dict[str, Sample], str | None]
"""Samples by name, and why Prometheus as a whole gave none."""
ReplicaSets = Callable[[str, str], tuple[str, ...]]
"""Namespace and name of a Deployment to the names of its ReplicaSets; empty if none is known."""
SLOW: Final = (
    f"Prometheus did not answer within {MEASURE_SECONDS:g} s: look at its load, or make the queries cheaper."
)


def retry_delay(failed: int) -> float:
    """Return seconds until criteria are asked again after so many evaluations in a row with an Error.

    Infinite after none.

    Without this an Error would hold a run with a long interval until the interval is over.
    """
    if not failed:
        return math.inf
    doubled = RETRY_SECONDS * 2.0 ** min(failed - 1, 10)
    return min(doubled, RETRY_MOST_SECONDS)


class Measurer:
    """Keeps `samples` and `baselines` of a rollout up to date."""

    def __init__(
        self,
        evaluator: Evaluator,
        metrics: OperatorMetrics,
        *,
        replica_sets: ReplicaSets = lambda *_: (),
        clock: ServerClock | None = None,
    ) -> None:
        self._clock = clock or ServerClock.local()
        self._evaluator = evaluator
        self._metrics = metrics
        self._replica_sets = replica_sets

    async def measure(self, rollout: RolloutState) -> None:
        """Evaluate the criteria if they are due. Failures of Prometheus end up in the samples."""
        spec = rollout.spec
        if spec is None or rollout.deleting:
            return
        await self._try_queries(rollout, spec)
        await self._record_baseline(rollout, spec)
        due = due_criteria(spec, rollout.status)
        if not due:
            rollout.samples = {}
            if not rollout.baselines:  # else the next look at the baseline has its own time
                rollout.metrics_error, rollout.evaluate_at = None, 0.0
            return
        queries = self._queries(rollout, spec)
        started = time.monotonic()
        if started + EARLY < rollout.evaluate_at and rollout.samples.keys() >= set(due):
            return
        generation = rollout.generation
        interval = spec.evaluation.interval.seconds
        samples, error = await _in_time(due, self._criteria(rollout, spec, queries, due), self._clock)
        self._metrics.evaluation_seconds.observe(time.monotonic() - started)
        if rollout.generation == generation:
            rollout.samples, rollout.metrics_error = samples, error
            rollout.evaluated_at = started
            failed = any(sample.state is SampleState.ERROR for sample in samples.values())
            rollout.failed_evaluations = rollout.failed_evaluations + 1 if failed else 0
            delay = self._evaluator.next_delay(queries.key, interval)
            rollout.evaluate_at = time.monotonic() + min(delay, retry_delay(rollout.failed_evaluations))

    async def _criteria(
        self, rollout: RolloutState, spec: ModelRolloutSpec, queries: RolloutQueries, due: Sequence[str]
    ) -> Measured:
        patience = min(0.25, spec.evaluation.interval.seconds / 50)
        answer = await self._evaluator.evaluate(queries, due, patience=patience)
        samples = dict(answer.samples)
        suspects = needs_history(spec, rollout.status, samples, self._clock.now())
        if suspects:
            samples = await self._evaluator.with_history(queries, samples, suspects)
        return samples, answer.metrics_error

    async def _baselines(self, queries: RolloutQueries, names: Sequence[str]) -> Measured:
        answer = await self._evaluator.evaluate(queries, names)
        return dict(answer.samples), answer.metrics_error

    def _queries(self, rollout: RolloutState, spec: ModelRolloutSpec) -> RolloutQueries:
        candidate, stable = _versions(rollout)
        context = self._context(rollout, candidate, stable)
        wanted = (rollout.generation, context)
        if rollout.queries is None or rollout.queries_for != wanted:
            rollout.queries = build_rollout(rollout.uid, spec.prometheus.name, spec.criteria, context)
            rollout.queries_for = wanted
        return rollout.queries

    def _context(self, rollout: RolloutState, candidate: str, stable: str | None) -> QueryContext:
        names = [name for name in (candidate, stable) if name]
        return QueryContext(
            namespace=rollout.namespace,
            rollout=rollout.name,
            candidate=candidate,
            stable=stable,
            replica_sets={name: self._replica_sets(rollout.namespace, name) for name in names},
        )

    async def _try_queries(self, rollout: RolloutState, spec: ModelRolloutSpec) -> None:
        """Ask, before anything is scaled for a new spec, whether Prometheus understands its queries."""
        if rollout.refused_queries is not None or not spec.criteria:
            return
        queries = self._queries(rollout, spec)
        if rollout.finished and rollout.status.observed_generation == rollout.generation:
            return
        generation = rollout.generation
        refused = None
        with suppress(TimeoutError):
            async with asyncio.timeout(MEASURE_SECONDS):
                refused = await self._evaluator.refused(queries)
        # An outage leaves None: what is unknown stops nothing, and is asked again at the next tick.
        if rollout.generation == generation:
            rollout.refused_queries = refused

    async def _record_baseline(self, rollout: RolloutState, spec: ModelRolloutSpec) -> None:
        names = due_baselines(spec, rollout.status)
        stable = _versions(rollout)[1]
        if not names or spec.baseline is None or stable is None:
            rollout.baselines = {}
            return
        now = time.monotonic()
        if rollout.baselines.keys() >= set(names) and now + EARLY < rollout.evaluate_at:
            return
        context = self._context(rollout, stable, stable)
        criteria = [criterion for criterion in spec.criteria if criterion.name in names]
        queries = build_rollout(
            f"{rollout.uid}/baseline",
            spec.prometheus.name,
            criteria,
            context,
            window=spec.baseline.window.seconds,
        )
        generation = rollout.generation
        try:
            samples, error = await _in_time(names, self._baselines(queries, names), self._clock)
        finally:
            self._evaluator.forget(queries.key)
        if rollout.generation == generation:
            rollout.baselines, rollout.metrics_error = samples, error
            rollout.evaluate_at = now + min(BASELINE_RETRY, spec.evaluation.interval.seconds)


async def _in_time(names: Sequence[str], asking: Awaitable[Measured], clock: ServerClock) -> Measured:
    """Return what was asked for, or an ERROR for every name if Prometheus takes longer than a tick may."""
    try:
        async with asyncio.timeout(MEASURE_SECONDS):
            return await asking
    except TimeoutError:
        return dict.fromkeys(names, error_sample(clock.now(), SLOW)), SLOW


def _versions(rollout: RolloutState) -> tuple[str, str | None]:
    """Return the Deployments whose pods are measured: candidate (in the shadow phase its copy) and stable."""
    status, spec = rollout.status, rollout.spec
    run = status.run if status.run is not None and status.run.finished_at is None else None
    candidate = run.candidate if run is not None else rollout.candidate_name
    if status.shadow is not None and status.step is None and run is not None:
        candidate = status.shadow.deployment
    stable = run.stable if run is not None else status.stable
    if stable is None and spec is not None and spec.stable is not None:
        stable = spec.stable.deployment
    return candidate or "", stable
