"""Asks Prometheus for what a rollout's next decision needs, no oftener than its interval."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from datetime import UTC, datetime
from typing import Final

from modelrollout.api.spec import ModelRolloutSpec
from modelrollout.decision import due_baselines, due_criteria, needs_history
from modelrollout.operator.metrics import OperatorMetrics
from modelrollout.operator.store import Tracked
from modelrollout.prometheus import Evaluator, QueryContext, RolloutQueries, build_rollout, error_sample

EARLY: Final = 0.02
"""Seconds by which an evaluation may be early: timers and slots are not exact."""
BASELINE_RETRY: Final = 10.0
MEASURE_SECONDS: Final = 15.0
"""How long a tick waits for Prometheus. Commands and scaling must go on while it is merely slow."""
SLOW: Final = (
    f"Prometheus did not answer within {MEASURE_SECONDS:g} s: look at its load, or make the queries cheaper."
)


class Measurer:
    """Keeps `samples` and `baselines` of a rollout up to date."""

    def __init__(self, evaluator: Evaluator, metrics: OperatorMetrics) -> None:
        self._evaluator = evaluator
        self._metrics = metrics

    async def measure(self, rollout: Tracked) -> None:
        """Evaluates the criteria if they are due. Failures of Prometheus end up in the samples."""
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
        try:
            async with asyncio.timeout(MEASURE_SECONDS):
                answer = await self._evaluator.evaluate(queries, due, patience=min(0.25, interval / 50))
                samples, error = dict(answer.samples), answer.metrics_error
                suspects = needs_history(spec, rollout.status, samples, datetime.now(UTC))
                if suspects:
                    samples = await self._evaluator.with_history(queries, samples, suspects)
        except TimeoutError:
            error = SLOW
            samples = dict.fromkeys(due, error_sample(datetime.now(UTC), error))
        self._metrics.evaluation_seconds.observe(time.monotonic() - started)
        if rollout.generation == generation:
            rollout.samples, rollout.metrics_error = samples, error
            rollout.evaluated_at = started
            rollout.evaluate_at = time.monotonic() + self._evaluator.next_delay(queries.key, interval)

    def forget(self, rollout: Tracked) -> None:
        """The rollout is gone."""
        self._evaluator.forget(rollout.uid)

    def _queries(self, rollout: Tracked, spec: ModelRolloutSpec) -> RolloutQueries:
        candidate, stable = _versions(rollout)
        wanted = (rollout.generation, candidate, stable)
        if rollout.queries is None or rollout.queries_for != wanted:
            context = QueryContext(
                namespace=rollout.namespace, rollout=rollout.name, candidate=candidate, stable=stable
            )
            rollout.queries = build_rollout(rollout.uid, spec.prometheus.name, spec.criteria, context)
            rollout.queries_for = wanted
        return rollout.queries

    async def _try_queries(self, rollout: Tracked, spec: ModelRolloutSpec) -> None:
        """Before anything is scaled for a new spec: does Prometheus understand its queries at all?"""
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

    async def _record_baseline(self, rollout: Tracked, spec: ModelRolloutSpec) -> None:
        names = due_baselines(spec, rollout.status)
        stable = _versions(rollout)[1]
        if not names or spec.baseline is None or stable is None:
            rollout.baselines = {}
            return
        now = time.monotonic()
        if rollout.baselines.keys() >= set(names) and now + EARLY < rollout.evaluate_at:
            return
        context = QueryContext(
            namespace=rollout.namespace, rollout=rollout.name, candidate=stable, stable=stable
        )
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
            async with asyncio.timeout(MEASURE_SECONDS):
                answer = await self._evaluator.evaluate(queries, names)
                samples, error = dict(answer.samples), answer.metrics_error
        except TimeoutError:
            error = SLOW
            samples = dict.fromkeys(names, error_sample(datetime.now(UTC), error))
        finally:
            self._evaluator.forget(queries.key)
        if rollout.generation == generation:
            rollout.baselines, rollout.metrics_error = samples, error
            rollout.evaluate_at = now + min(BASELINE_RETRY, spec.evaluation.interval.seconds)


def _versions(rollout: Tracked) -> tuple[str, str | None]:
    """The Deployments whose pods are measured: candidate (in the shadow phase its copy) and stable."""
    status, spec = rollout.status, rollout.spec
    run = status.run if status.run is not None and status.run.finished_at is None else None
    candidate = run.candidate if run is not None else rollout.candidate_name
    if status.shadow is not None and status.step is None and run is not None:
        candidate = status.shadow.deployment
    stable = run.stable if run is not None else status.stable
    if stable is None and spec is not None and spec.stable is not None:
        stable = spec.stable.deployment
    return candidate or "", stable
