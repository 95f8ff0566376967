"""Observation: the candidate has all the traffic, and stable is ready to take over again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Self

from modelrollout.api.conditions import Phase, Reason
from modelrollout.api.criteria import CriterionPhase
from modelrollout.api.status import ObservationStatus, RunStatus
from modelrollout.decision import blockers
from modelrollout.decision.context import Blocker, Context, Stage
from modelrollout.decision.measured import Evaluation
from modelrollout.decision.replicas import Counts
from modelrollout.decision.stages.base import Next, RunRules, Succeed, Tracked, later, overlap


@dataclass(frozen=True, kw_only=True, slots=True)
class ObservationStage(RunRules):
    """For spec.observation.duration; a breach rolls back."""

    kind = Stage.OBSERVING
    phase = Phase.OBSERVING
    criteria = CriterionPhase.OBSERVING
    observation: ObservationStatus

    @classmethod
    def of(cls, context: Context, run: RunStatus) -> Self | None:
        """Return the stage where status has an observation."""
        seen = context.status.observation
        return None if seen is None else cls(context=context, run=run, observation=seen)

    def title(self) -> str:
        """Return its name for the start of a sentence."""
        return "The observation"

    def weight(self) -> int:
        """Return all of the traffic."""
        return 100

    def target(self) -> Counts:
        """Return all pods to the candidate."""
        return Counts(stable=0, candidate=self.context.total)

    def hands_over(self) -> bool:
        """Tell whether stable is only kept ready: always."""
        return not self.run.skip_analysis

    def track(self) -> Tracked:
        """Keep since when too few pods of the candidate are ready.

        The clock does not move on a view of the cluster that may be out of date.
        """
        short = self.context.candidate.ready < self._least_pods()
        if self.context.observed.stale or short == (self.observation.short_since is not None):
            return Tracked()
        since = self.context.now if short else None
        return Tracked(changes={"observation": self.observation.model_copy(update={"short_since": since})})

    def _least_pods(self) -> int:
        """Return the pods that must be ready: one at least, however low minCapacity is."""
        total = self.context.total
        wanted = self.context.spec.rollback.min_capacity.of(total, round_up=True)
        return max(1, min(total, wanted))

    def shifted(self, start: datetime, end: datetime) -> Mapping[str, Any]:
        """Return the observation with clocks in which a pause does not count."""
        seen = self.observation
        paused = seen.paused_seconds + overlap(seen.started_at, start, end)
        update: dict[str, Any] = {"paused_seconds": paused}
        if seen.short_since is not None:
            update["short_since"] = later(seen.short_since, start, end)
        return {"observation": seen.model_copy(update=update)}

    def restarted(self) -> Mapping[str, Any]:
        """Return the observation with a deadline that counts from now."""
        if self.observation.short_since is None:
            return {}
        return {"observation": self.observation.model_copy(update={"short_since": self.context.now})}

    def stable_serves(self) -> bool:
        """Tell whether a comparison with stable can say anything: it has no traffic."""
        return False

    def serving_since(self) -> datetime:
        """Return when the candidate first had a step's weight."""
        step = self.context.status.step
        return self.run.serving_at or (step.reached_at if step is not None else None) or self.context.now

    def began_at(self) -> datetime | None:
        """Return when the observation began."""
        return self.observation.started_at

    def ends_at(self) -> datetime | None:
        """Return when spec.observation.duration is over; a spec without one asks for no time."""
        wanted = self.context.spec.observation
        seconds = (wanted.duration.seconds if wanted else 0.0) + self.observation.paused_seconds
        return self.observation.started_at + timedelta(seconds=seconds)

    def waits_since(self) -> datetime | None:
        """Return since when too few pods are ready."""
        return self.observation.short_since

    def overdue_text(self) -> str:
        """Return what to say of a candidate that lost its pods."""
        context = self.context
        return (
            f"Fewer than {self._least_pods()} pods of {self.run.candidate} were ready for "
            f"{context.spec.progress_deadline} ({context.candidate.ready} are ready); "
            "see its events and logs."
        )

    def blockers(self, evaluation: Evaluation | None) -> Iterator[Blocker]:
        """Return what keeps the observation from ending, most telling first."""
        if not self.weight_reached():
            ready = f"{self.context.candidate.ready} of {self.context.total} candidate pods"
            yield Blocker(reason=Reason.WAITING_FOR_PODS, message=f"all pods to be ready ({ready} are)")
        yield from blockers.criteria_blockers(self.context, evaluation)
        yield from blockers.duration_blockers(self.context, self.ends_at())

    def next(self) -> Next:
        """Return the end: the candidate is the stable version."""
        return Succeed()
