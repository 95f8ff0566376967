"""Step: the candidate has a share of the traffic, for a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Self

from modelrollout.api.conditions import Phase, Reason
from modelrollout.api.criteria import CriterionPhase
from modelrollout.api.spec import Approval
from modelrollout.api.status import RunStatus, StepStatus
from modelrollout.decision import blockers
from modelrollout.decision.context import Blocker, Context, Stage, next_step, step_of
from modelrollout.decision.measured import Evaluation
from modelrollout.decision.replicas import Counts, candidate_count
from modelrollout.decision.stages.base import (
    EnterStep,
    Next,
    Observe,
    RunRules,
    Succeed,
    Tracked,
    later,
    overlap,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class StepStage(RunRules):
    """From the moment that its weight is reached, for the duration of the step."""

    kind = Stage.STEP
    phase = Phase.PROGRESSING
    criteria = CriterionPhase.PROGRESSING
    starts_validations = True
    step: StepStatus

    @classmethod
    def of(cls, context: Context, run: RunStatus) -> Self | None:
        """Return the stage where status has a step."""
        step = context.status.step
        return None if step is None else cls(context=context, run=run, step=step)

    def title(self) -> str:
        """Return which step it is."""
        step = self.step
        return f"Step {step.index + 1} of {len(self.context.spec.steps)} ({step.weight}%)"

    def weight(self) -> int:
        """Return the weight of the step."""
        return self.step.weight

    def target(self) -> Counts:
        """Return the weight in whole pods."""
        total = self.context.total
        count = candidate_count(total, self.step.weight)
        return Counts(stable=total - count, candidate=count)

    def hands_over(self) -> bool:
        """Tell whether stable's last pods go.

        At 100 % from the moment that all of the candidate's pods are ready, so that they are parked and not
        ended. Once a pod is parked it stays so: a candidate that loses a pod does not call stable back.
        """
        if self.run.skip_analysis or self.step.weight < 100:
            return False
        return self.context.candidate.ready >= self.context.total or bool(self.context.stable.parked)

    def track(self) -> Tracked:
        """Keep the clocks: when the weight was reached, when pods last made progress.

        None of them moves on a view of the cluster that may be out of date.
        """
        if self.context.observed.stale:
            return Tracked()
        reached = self.weight_reached()
        changes: dict[str, Any] = {}
        if reached and self.run.serving_at is None:
            since = self.step.reached_at or self.context.now
            changes["run"] = self.run.model_copy(update={"serving_at": since})
        clocks = self._clocks(reached)
        if clocks:
            changes["step"] = self.step.model_copy(update=clocks)
        return Tracked(changes=changes)

    def _clocks(self, reached: bool) -> dict[str, Any]:
        step, now, ready = self.step, self.context.now, self.context.candidate.ready
        if reached:
            if step.reached_at is None:
                return {"reached_at": now, "progressed_at": None, "most_ready": ready}
            return {} if step.progressed_at is None else {"progressed_at": None}
        if step.progressed_at is None or ready > step.most_ready:
            # where it was reached before and is lost again, the deadline counts from here
            return {"progressed_at": now, "most_ready": ready}
        return {}

    def shifted(self, start: datetime, end: datetime) -> Mapping[str, Any]:
        """Return the step with clocks in which a pause does not count."""
        step, update = self.step, dict[str, Any]()
        if step.reached_at is not None:
            update["paused_seconds"] = step.paused_seconds + overlap(step.reached_at, start, end)
        if step.progressed_at is not None:
            update["progressed_at"] = later(step.progressed_at, start, end)
        return {"step": step.model_copy(update=update)}

    def restarted(self) -> Mapping[str, Any]:
        """Return the step with a deadline that counts from now."""
        if self.step.progressed_at is None:
            return {}
        return {"step": self.step.model_copy(update={"progressed_at": self.context.now})}

    def stable_serves(self) -> bool:
        """Tell whether a comparison with stable can say anything.

        From 100 on it has no traffic, and a comparison would find no data and hold the run for ever.
        """
        return self.step.weight < 100

    def serving_since(self) -> datetime:
        """Return when the candidate first had a step's weight, whichever step it is in now.

        A run that began under a former version has no record of that; then it is the step under way.
        """
        return self.run.serving_at or self.step.reached_at or self.context.now

    def expects_data(self) -> bool:
        """Tell whether the weight was reached once."""
        return self.step.reached_at is not None

    def began_at(self) -> datetime | None:
        """Return when the weight was reached."""
        return self.step.reached_at

    def ends_at(self) -> datetime | None:
        """Return when the duration of the step is over; None while its weight has not been reached."""
        if self.step.reached_at is None:
            return None
        duration = step_of(self.context.spec, self.step).duration
        seconds = (duration.seconds if duration else 0.0) + self.step.paused_seconds
        return self.step.reached_at + timedelta(seconds=seconds)

    def waits_since(self) -> datetime | None:
        """Return since when no more pods became ready than there were already."""
        return self.step.progressed_at

    def blockers(self, evaluation: Evaluation | None) -> Iterator[Blocker]:
        """Return what keeps the step from ending, most telling first."""
        context, step = self.context, self.step
        if step.reached_at is None or not self.weight_reached():
            yield self._weight_blocker()
        if self.run.skip_analysis:
            return
        yield from blockers.criteria_blockers(context, evaluation)
        yield from blockers.duration_blockers(context, self.ends_at())
        upcoming = self.upcoming_step()
        if upcoming is None:
            return
        yield from blockers.validation_blockers(context, upcoming)
        if step_of(context.spec, step).approval is Approval.REQUIRED and step.approved_at is None:
            yield blockers.approval_blocker(f"the step to {context.spec.steps[upcoming].weight}%")
        yield from blockers.schedule_blockers(context)

    def _weight_blocker(self) -> Blocker:
        target, stable, candidate = self.target(), self.context.stable, self.context.candidate
        seen = f"{candidate.ready} and {stable.ready} ready"
        if candidate.without_ports:
            seen += f"; {candidate.without_ports} ready candidate pods lack a port that the Service names"
        return Blocker(
            reason=Reason.WAITING_FOR_WEIGHT,
            message=f"{target.candidate} candidate and {target.stable} stable pods ({seen})",
        )

    def next(self) -> Next:
        """Return the next step, after the last one the observation, or the end."""
        upcoming, observation = self.upcoming_step(), self.context.spec.observation
        if upcoming is not None:
            return EnterStep(index=upcoming)
        if observation is not None and not self.run.skip_analysis:
            return Observe(duration=observation.duration)
        return Succeed()

    def promoted(self) -> Next | None:
        """Return the next step; the last one cannot be ended by a person."""
        upcoming = self.upcoming_step()
        return None if upcoming is None else EnterStep(index=upcoming)

    def upcoming_step(self) -> int | None:
        """Return the next step; None in the last one."""
        return next_step(self.context.spec, self.step)
