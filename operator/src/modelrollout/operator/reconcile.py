"""One tick of one ModelRollout: measure, observe, decide, write status, act and report.

The order is the promise: a crash between any two of them loses nothing. Status is written first, what is done
to the cluster follows from status alone and may be repeated, and Events come last; status also says which of
them are still to come.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Final

from modelrollout.api.conditions import Condition, ConditionType, Reason, get_condition
from modelrollout.api.constants import FINALIZER
from modelrollout.api.status import ModelRolloutStatus
from modelrollout.cluster.clock import ServerClock
from modelrollout.cluster.errors import ForbiddenError
from modelrollout.cluster.leader_election import Leadership
from modelrollout.cluster.workloads.validation_jobs import LOOK_EVERY
from modelrollout.cluster.writer import Writer, with_finalizer, without_finalizer
from modelrollout.decision import decide, ends_rollback, other_copies, rests_on_endpoints
from modelrollout.decision.types import Decision, Observation
from modelrollout.operator.announcer import Announcer
from modelrollout.operator.events import EventRecorder
from modelrollout.operator.executor import Executor
from modelrollout.operator.measure import Measurer
from modelrollout.operator.observe import Observer
from modelrollout.operator.preflight import Inspector
from modelrollout.operator.rollouts import RolloutState
from modelrollout.operator.store import RolloutStore

UNSAVED_SECONDS: Final = 5.0
"""Seconds between attempts to write a status that the API server forbids to write."""
TOLERANCE: Final = 0.1
FAILURES: Final = frozenset({Reason.FORBIDDEN.value, Reason.TICK_FAILED.value})
"""Reasons of Stalled that a failed tick gives."""
FRESH_AGAIN: Final = 0.5
"""Seconds from one question to the next where a run waits for nothing but new values."""
LAST_EVENTS_SECONDS: Final = 2.0


def failure_told(rollout: RolloutState) -> Condition | None:
    """Return the condition that tells of the failed tick before this one; None if that succeeded."""
    told = get_condition(rollout.status.conditions, ConditionType.STALLED)
    return told if rollout.failures and told is not None and told.reason in FAILURES else None


def keep_failure(decision: Decision, told: Condition) -> Decision:
    """Return the decision with that condition in its status.

    It stays until a tick has succeeded: without it each attempt would write it off and on again.
    """
    kept = tuple(told if each.type == told.type else each for each in decision.status.conditions)
    return replace(decision, status=decision.status.model_copy(update={"conditions": kept}))


class Reconciler:
    """Reconciles one ModelRollout at a time."""

    def __init__(  # noqa: PLR0913 - who does the five steps, by name
        self,
        *,
        store: RolloutStore,
        inspector: Inspector,
        measurer: Measurer,
        observer: Observer,
        writer: Writer,
        executor: Executor,
        reporter: EventRecorder,
        announcer: Announcer,
        leadership: Leadership,
        clock: ServerClock,
    ) -> None:
        self._store = store
        self._inspector = inspector
        self._measurer = measurer
        self._observer = observer
        self._writer = writer
        self._executor = executor
        self._reporter = reporter
        self._announcer = announcer
        self._leadership = leadership
        self._clock = clock

    async def reconcile(self, rollout: RolloutState) -> float | None:
        """Reconcile one ModelRollout.

        Returns:
            Seconds until the next time by the clock; None if only a change makes one.
        """
        if not self._may_touch(rollout):
            return None
        await self._measure(rollout)
        observation = await self._observe(rollout)
        decision = await self._decide(rollout, observation)
        await self._write_status(rollout, decision)
        again = await self._act(rollout, decision)
        return 0.0 if again else self._next(rollout, decision)

    def _may_touch(self, rollout: RolloutState) -> bool:
        if rollout.deleting and FINALIZER not in rollout.finalizers:
            return False  # nothing of ours holds it
        if rollout.status_unreadable:
            self._reporter.status_unreadable(rollout)
            return False
        return True

    async def _measure(self, rollout: RolloutState) -> None:
        """Ask Prometheus for what is due."""
        await self._measurer.measure(rollout)

    async def _observe(self, rollout: RolloutState) -> Observation:
        """Look at what no watch tells, then put together everything that is known."""
        await self._executor.look_at_jobs(rollout)
        await self._inspector.look(rollout)
        await self._executor.try_again(rollout)
        self._leadership.require()
        self._store.refresh_claims(rollout)
        return self._observer.observe(rollout)

    async def _decide(self, rollout: RolloutState, observation: Observation) -> Decision:
        """Decide; what cannot be undone rests on the API server's answer, not on a watch."""
        decision = self._decide_on(rollout, observation)
        on_endpoints = rests_on_endpoints(rollout.status, decision.status)
        on_kept_pods = ends_rollback(rollout.status, decision.status)
        if on_endpoints:
            await self._observer.look_again(rollout)
        if on_kept_pods:
            await self._observer.look_for_kept_pods(rollout)
        if on_endpoints or on_kept_pods:
            self._leadership.require()
            decision = self._decide_on(rollout, self._observer.observe(rollout))
        told = failure_told(rollout)
        return decision if told is None else keep_failure(decision, told)

    def _decide_on(self, rollout: RolloutState, observation: Observation) -> Decision:
        return decide(spec=rollout.spec, status=rollout.status, observed=observation, now=self._clock.now())

    async def _act(self, rollout: RolloutState, decision: Decision) -> bool:
        """Carry the decision out and report it; return whether another one has to be made at once."""
        rollout.blocking_criteria = decision.blocking_criteria
        problem = rollout.pending_problem
        try:
            again = await self._executor.act(rollout, decision)
        finally:  # status is written already: a failure to act must not keep people from being told
            self._announcer.announce(rollout)
        self._reporter.command_ignored(rollout)
        await self._let_go(rollout, decision)
        return bool(again) or failure_told(rollout) is not None or rollout.pending_problem is not problem

    async def _write_status(self, rollout: RolloutState, decision: Decision) -> None:
        """Write the status where it changed; before it, the finalizer where deletion will need one."""
        if _holds(decision.status) and not rollout.deleting and FINALIZER not in rollout.finalizers:
            finalizers = with_finalizer(rollout.finalizers)
            rollout.resource_version = await self._writer.set_finalizers(rollout.ref, finalizers)
            rollout.finalizers = finalizers
        changed = decision.status is not rollout.status and decision.status != rollout.status
        if changed or rollout.unsaved:
            version = await self._put_status(rollout, decision)
            rollout.set_status(decision.status, version)
            self._store.refresh_claims(rollout)

    async def _put_status(self, rollout: RolloutState, decision: Decision) -> str:
        """Return the new resourceVersion. Traffic returns to stable also where that may not be written down.

        It is remembered instead, and written as soon as that is allowed again.
        """
        try:
            version = await self._writer.write_status(rollout.ref, decision.status.to_json())
        except ForbiddenError as error:
            if decision.status.rollback is None:
                raise
            if not rollout.unsaved:
                text = f"Traffic returns to stable, but the status cannot be written: {error}"
                self._reporter.warn(rollout, Reason.FORBIDDEN, text)
            rollout.unsaved = True
            return rollout.resource_version
        rollout.unsaved = False
        return version

    async def _let_go(self, rollout: RolloutState, decision: Decision) -> None:
        """Remove the finalizer once nothing is under way and no copy is left to delete."""
        over = decision.finalized if rollout.deleting else not _holds(decision.status)
        if FINALIZER in rollout.finalizers and over:
            if rollout.deleting:  # with the object goes what was not told yet
                await self._reporter.flush(LAST_EVENTS_SECONDS)
            finalizers = without_finalizer(rollout.finalizers)
            rollout.resource_version = await self._writer.set_finalizers(rollout.ref, finalizers)
            rollout.finalizers = finalizers

    def _next(self, rollout: RolloutState, decision: Decision) -> float | None:
        """Return seconds to the next time, by what waits for the clock."""
        wait = self._next_by_decision(rollout, decision)
        if rollout.unsaved:
            wait = min(UNSAVED_SECONDS, UNSAVED_SECONDS if wait is None else wait)
        if self._executor.open_jobs(rollout):  # a pod that cannot start changes nothing that is watched
            wait = min(LOOK_EVERY, LOOK_EVERY if wait is None else wait)
        return wait

    def _next_by_decision(self, rollout: RolloutState, decision: Decision) -> float | None:
        """When criteria are due again, or earlier where the clock changes something."""
        now, spec = time.monotonic(), rollout.spec
        wait = None if decision.requeue_after is None else max(0.0, decision.requeue_after.total_seconds())
        if spec is not None and (decision.evaluate or decision.record_baseline):
            interval = spec.evaluation.interval.seconds
            if wait == 0:  # only fresh values are missing: one question, but no loop of them
                soon = rollout.evaluated_at + min(interval / 4, FRESH_AGAIN)
                rollout.evaluate_at = min(rollout.evaluate_at, max(now, soon))
            until = max(0.0, rollout.evaluate_at - now)
            # `decide` asks for a tick one interval after the last values; the evaluator knows better when
            # new ones can have been scraped.
            measured = max((sample.at for sample in rollout.samples.values()), default=None)
            age = (self._clock.now() - measured).total_seconds() if measured else 0.0
            for_values = wait is not None and abs(interval - age - wait) < TOLERANCE
            wait = until if wait is None or wait == 0 or for_values else min(wait, until)
        if rollout.pending_problem is not None:
            retry = max(0.1, rollout.pending_problem[1] - now)
            wait = retry if wait is None else min(wait, retry)
        return wait


def _holds(status: ModelRolloutStatus) -> bool:
    """Tell whether something has to be done before the ModelRollout may go."""
    run = status.run
    return (run is not None and run.finished_at is None) or other_copies(status)
