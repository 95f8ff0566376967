"""Rollback: all traffic returns to stable, with as many ready pods on the way as spec.rollback asks for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

from modelrollout.api.conditions import Phase, Reason
from modelrollout.api.status import RollbackStatus, RunStatus
from modelrollout.decision.context import Blocker, Context, Stage
from modelrollout.decision.measured import Evaluation
from modelrollout.decision.replicas import (
    Counts,
    limits_of,
    minimum_ready,
    revert_counts,
    without_unparking,
)
from modelrollout.decision.stages.base import FinishRollback, Next, RunRules, StageRules


@dataclass(frozen=True, kw_only=True, slots=True)
class RollbackStage(RunRules):
    """All traffic returns to stable. Works without a valid spec."""

    kind = Stage.REVERTING
    phase = Phase.ROLLING_BACK
    pausable = False
    rollback: RollbackStatus

    @classmethod
    def of(cls, context: Context, run: RunStatus) -> Self | None:
        """Return the stage where status has a rollback."""
        begun = context.status.rollback
        return None if begun is None else cls(context=context, run=run, rollback=begun)

    def counts(self) -> Counts:
        """Return stable in full at once; the candidate's pods go as far as enough others are ready."""
        context, total, wanted = self.context, self.context.total, self.context.spec.rollback
        minimum = minimum_ready(total, wanted.min_capacity, limits_of(total, context.spec.capacity))
        counts = revert_counts(
            total=total,
            minimum=minimum,
            immediate=wanted.immediate,
            stable=context.stable,
            candidate=context.other,
        )
        return without_unparking(counts, total=total, stable=context.stable)

    def serving(self) -> tuple[str, ...]:
        """Return stable alone."""
        return StageRules.serving(self)

    def shown(self) -> tuple[str, str]:
        """Return reason and message of the phase: why it rolls back, or what is in its way."""
        context, rollback, stable = self.context, self.rollback, self.context.stable
        if not stable.exists:
            text = f"Deployment {stable.name} is missing, so its traffic cannot return; create it again."
            return Reason.DEPLOYMENT_NOT_FOUND, text
        if stable.parked and stable.cannot_unpark:
            text = (
                f"{rollback.message} Pods of {stable.name} that were kept ready cannot be put back "
                f"behind the Service, so new ones are started. {stable.cannot_unpark}"
            )
            return Reason.CANNOT_UNPARK, text
        late = context.now - rollback.started_at >= context.spec.progress_deadline.timedelta
        if late and stable.ready < context.total:
            text = f"{rollback.message} Pods of {stable.name} do not become ready; see its events and logs."
            return Reason.WAITING_FOR_PODS, text
        return rollback.reason, rollback.message

    def blockers(self, evaluation: Evaluation | None) -> Iterator[Blocker]:
        """Yield what is left to do.

        It is over when no candidate pod is reachable and stable is asked for in full, behind the Service.
        """
        del evaluation
        stable, candidate = self.context.stable, self.context.candidate
        gone = not candidate.exists or (candidate.desired == 0 and candidate.ready == 0)
        full = stable.desired == self.context.total and not stable.parked
        if not (stable.exists and gone and full):
            yield Blocker(reason=Reason.WAITING_FOR_PODS, message="all traffic to be on stable")

    def next(self) -> Next:
        """Return the end of the run."""
        return FinishRollback(rollback=self.rollback)
