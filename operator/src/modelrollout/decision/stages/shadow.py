"""Shadow: the candidate answers copies of requests, outside the Service; clients see none of its answers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Self

from modelrollout.api.conditions import Phase, Reason
from modelrollout.api.criteria import CriterionPhase
from modelrollout.api.schedule import Transition as Announcement
from modelrollout.api.spec import Approval, Shadow
from modelrollout.api.status import RunStatus, ShadowStatus
from modelrollout.decision import blockers
from modelrollout.decision.context import Blocker, Context, Stage
from modelrollout.decision.measured import Evaluation
from modelrollout.decision.names import shadow_name
from modelrollout.decision.stages.base import BeginValidations, EnterStep, Next, RunRules, Tracked
from modelrollout.decision.validation import latest_entries, validations_before


@dataclass(frozen=True, kw_only=True, slots=True)
class ShadowStage(RunRules):
    """From the moment that the copy's pods are ready, for spec.shadow.duration."""

    kind = Stage.SHADOW
    phase = Phase.SHADOW
    criteria = CriterionPhase.SHADOW
    looks_again = True
    wanted: Shadow

    @classmethod
    def of(cls, context: Context, run: RunStatus) -> Self | None:
        """Return the stage where a shadow is asked for and no first validation has begun."""
        wanted = context.spec.shadow
        if wanted is None or latest_entries(context.status, 0):
            return None
        return cls(context=context, run=run, wanted=wanted)

    def needs_copy(self) -> bool:
        """Tell whether a copy must exist: always."""
        return True

    def track(self) -> Tracked:
        """Start the clock when the copy is ready.

        Not in the tick in which the run begins: what was seen then may be the last candidate's copy.
        """
        context, name = self.context, shadow_name(self.context.observed.name)
        started = context.status.shadow is not None
        if (
            started
            or self.run.started_at == context.now
            or context.workload(name).ready < self.wanted.replicas
        ):
            return Tracked()
        return Tracked(
            changes={"shadow": ShadowStatus(started_at=context.now, deployment=name, service=name)},
            reason=Reason.SHADOWING,
            message=f"{self.run.candidate} gets copies of requests for {self.wanted.duration}.",
            announcement=Announcement.STEP,
        )

    def measures(self) -> bool:
        """Tell whether there is a copy to measure."""
        return self.context.status.shadow is not None

    def measured_since(self) -> datetime:
        """Return when the copies of requests began."""
        return self.began_at() or self.run.started_at

    def began_at(self) -> datetime | None:
        """Return when the copies of requests began."""
        shadow = self.context.status.shadow
        return None if shadow is None else shadow.started_at

    def ends_at(self) -> datetime | None:
        """Return when spec.shadow.duration is over."""
        shadow = self.context.status.shadow
        if shadow is None:
            return None
        return shadow.started_at + timedelta(seconds=self.wanted.duration.seconds + shadow.paused_seconds)

    def waits_since(self) -> datetime | None:
        """Return since when the copy is waited for."""
        return self.run.stage_at if self.context.status.shadow is None else None

    def blockers(self, evaluation: Evaluation | None) -> Iterator[Blocker]:
        """Return what keeps the shadow phase from ending, most telling first."""
        shadow = self.context.status.shadow
        if shadow is None:
            yield Blocker(reason=Reason.WAITING_FOR_PODS, message="the pods of the shadow to be ready")
            return
        yield from blockers.criteria_blockers(self.context, evaluation)
        yield from blockers.duration_blockers(self.context, self.ends_at())
        if self.wanted.approval is Approval.REQUIRED and shadow.approved_at is None:
            yield blockers.approval_blocker("that clients see the candidate")
        if not validations_before(self.context.spec, 0):
            yield from blockers.schedule_blockers(self.context)

    def next(self) -> Next:
        """Return the first validations, or where there are none the first step."""
        return BeginValidations() if validations_before(self.context.spec, 0) else EnterStep(index=0)

    def promoted(self) -> Next:
        """Return the first step: a person passes over the validations."""
        return EnterStep(index=0)
