"""What is asked of every stage of a run, with the answer that most of them give."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, ClassVar, Self

from modelrollout.api.conditions import Phase, Reason
from modelrollout.api.criteria import CriterionPhase
from modelrollout.api.durations import Duration
from modelrollout.api.schedule import Transition as Announcement
from modelrollout.api.status import RollbackStatus, RunStatus
from modelrollout.decision.context import Blocker, Context, Stage
from modelrollout.decision.measured import Evaluation, Lacking, lacking_criteria
from modelrollout.decision.replicas import Counts, limits_of, next_counts, settled
from modelrollout.decision.standby import kept_pods


@dataclass(frozen=True, kw_only=True, slots=True)
class EnterStep:
    """Next: the step of that index (from 0)."""

    index: int


@dataclass(frozen=True, kw_only=True, slots=True)
class BeginValidations:
    """Next: the validations before the first step."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Observe:
    """Next: the observation, for that long."""

    duration: Duration


@dataclass(frozen=True, kw_only=True, slots=True)
class Succeed:
    """Next: nothing; the candidate is the stable version."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FinishRollback:
    """Next: nothing; all traffic is on stable."""

    rollback: RollbackStatus


Next = EnterStep | BeginValidations | Observe | Succeed | FinishRollback


@dataclass(frozen=True, kw_only=True, slots=True)
class Tracked:
    """What a stage keeps of what is seen.

    Attributes:
        changes: Fields of status, with their new values.
        reason: For Events and logs, where it is worth one.
        message: The same as a sentence; empty if it is not.
        announcement: The same for notifications.
    """

    changes: Mapping[str, Any] = field(default_factory=dict)
    reason: Reason = Reason.STARTED
    message: str = ""
    announcement: Announcement | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class StageRules:
    """One stage at one moment: each method answers a question, none changes anything.

    Attributes:
        kind: Its value of `Stage`.
        phase: The phase that it shows when nothing lies on top.
        criteria: Which criteria are measured in it; None: none are.
        pausable: Whether it can be paused and promoted.
        looks_again: What is seen of its copy in the tick in which the run begins does not count.
        starts_validations: Validations before the next step begin when nothing else is waited for.
        no_promotion: Why a person cannot end it early; empty if one can.
        context: What the answers rest on.
    """

    kind: ClassVar[Stage]
    phase: ClassVar[Phase]
    criteria: ClassVar[CriterionPhase | None] = None
    pausable: ClassVar[bool] = True
    looks_again: ClassVar[bool] = False
    starts_validations: ClassVar[bool] = False
    no_promotion: ClassVar[str] = ""
    context: Context

    # -- pods ---------------------------------------------------------------------------------------------

    def weight(self) -> int:
        """Return the share of the traffic, in per cent, that the candidate is to have."""
        return 0

    def target(self) -> Counts:
        """Return the pods of both versions that the stage is to reach."""
        return Counts(stable=self.context.total, candidate=0)

    def counts(self) -> Counts:
        """Return the replica counts to ask for now, on the way to the target."""
        context, total = self.context, self.context.total
        kept = self.kept_pods()
        if kept:
            return Counts(stable=kept, candidate=total)
        limits = limits_of(total, context.spec.capacity)
        target = self.target().candidate
        return next_counts(
            total=total, target=target, limits=limits, stable=context.stable, candidate=context.other
        )

    def hands_over(self) -> bool:
        """Tell whether stable is to serve nothing any more but may still have to come back."""
        return False

    def kept_pods(self) -> int:
        """Return how many pods of stable to keep running outside the Service now."""
        return kept_pods(self.context) if self.hands_over() else 0

    def serving(self) -> tuple[str, ...]:
        """Return the Deployments whose pods all belong behind the Service: those that take traffic."""
        stable = self.context.status.stable
        return () if stable is None or self.hands_over() else (stable,)

    def weight_reached(self) -> bool:
        """Tell whether the observed weight is the desired one, as closely as whole pods allow."""
        stable, candidate = self.context.stable, self.context.candidate
        if self.kept_pods():  # they are beyond the target, but no client reaches them
            return candidate.ready >= self.context.total and not stable.ready
        return settled(self.target(), stable, candidate)

    def needs_copy(self) -> bool:
        """Tell whether a copy of the candidate outside the Service must exist."""
        return False


@dataclass(frozen=True, kw_only=True, slots=True)
class RunRules(StageRules, ABC):
    """A stage of a run under way."""

    run: RunStatus

    @classmethod
    @abstractmethod
    def of(cls, context: Context, run: RunStatus) -> Self | None:
        """Return the stage where the run is in it, by the facts in status alone; else None."""

    def serving(self) -> tuple[str, ...]:
        """Return the Deployments whose pods all belong behind the Service: the candidate's as well."""
        return (*StageRules.serving(self), self.run.candidate)

    # -- what it is called, what it keeps -----------------------------------------------------------------

    def title(self) -> str:
        """Return its name for the start of a sentence."""
        return "The shadow phase" if self.context.status.shadow is not None else "The run"

    def track(self) -> Tracked:
        """Return what to keep of what is seen, before anything is measured."""
        return Tracked()

    def record(self) -> Tracked | Blocker:
        """Return what to keep once the run may go on, or what is still missing for it."""
        return Tracked()

    def shifted(self, start: datetime, end: datetime) -> Mapping[str, Any]:
        """Return the changes of status by which a pause counts in none of the stage's clocks."""
        changes: dict[str, Any] = {}
        shadow, run = self.context.status.shadow, self.run
        if shadow is not None:
            paused = shadow.paused_seconds + overlap(shadow.started_at, start, end)
            changes["shadow"] = shadow.model_copy(update={"paused_seconds": paused})
        if run.stage_at is not None:
            changes["run"] = run.model_copy(update={"stage_at": later(run.stage_at, start, end)})
        return changes

    def restarted(self) -> Mapping[str, Any]:
        """Return the changes of status by which the deadline counts from now."""
        if self.run.stage_at is None:
            return {}
        return {"run": self.run.model_copy(update={"stage_at": self.context.now})}

    # -- measuring ----------------------------------------------------------------------------------------

    def measures(self) -> bool:
        """Tell whether there is something that the criteria could be measured on."""
        return self.criteria is not None

    def stable_serves(self) -> bool:
        """Tell whether stable is to have traffic, so that a comparison with it can say anything."""
        return True

    def measured_since(self) -> datetime:
        """Return the time before which nothing counts towards a `for`."""
        return self.run.started_at

    def serving_since(self) -> datetime:
        """Return when the candidate first had pods that could be measured."""
        return self.measured_since()

    def expects_data(self) -> bool:
        """Tell whether the candidate has pods that answer, so that data can be expected."""
        return True

    def lacking(self, evaluation: Evaluation | None) -> Lacking | None:
        """Return what is waited for and not known; None as long as not even that can be said."""
        return lacking_criteria(evaluation, self._is_missing)

    def _is_missing(self, name: str) -> bool:
        """Tell whether NoData is a hold.

        Not while a window can still fill, unless data is all that is waited for: every step would begin with
        one. What has been told stays told until there is data.
        """
        context = self.context
        if context.status.hold is not None:
            return True
        ends, began = self.ends_at(), self.began_at()
        if ends is not None and context.now >= ends:
            return True
        window = next(c.window.timedelta for c in context.spec.criteria if c.name == name)
        lacked = next((entry.since for entry in context.status.criteria if entry.name == name), None)
        return lacked is not None and began is not None and context.now - max(lacked, began) >= window

    # -- clocks -------------------------------------------------------------------------------------------

    def began_at(self) -> datetime | None:
        """Return when the candidate was first measured as the stage wants it."""
        return None

    def ends_at(self) -> datetime | None:
        """Return when the duration of the stage is over; None where it has none or has not begun."""
        return None

    def waits_since(self) -> datetime | None:
        """Return since when pods make no progress; None where none are waited for."""
        return None

    def time_left(self) -> timedelta | None:
        """Return the time left for pods to make progress.

        None where nothing is waited for, the run is paused, or it is not known how the pods are now.
        """
        context = self.context
        if not context.spec_valid or context.status.pause is not None or context.observed.stale:
            return None
        since = self.waits_since()
        return None if since is None else since + context.spec.progress_deadline.timedelta - context.now

    def is_overdue(self) -> bool:
        """Tell whether pods made no progress for spec.progressDeadline."""
        left = self.time_left()
        return left is not None and left <= timedelta()

    def overdue_text(self) -> str:
        """Return what to say of pods that made no progress."""
        context = self.context
        return (
            f"No more pods of {self.run.candidate} became ready within {context.spec.progress_deadline} "
            f"({context.candidate.ready} are ready); see its events and logs."
        )

    # -- going on -----------------------------------------------------------------------------------------

    @abstractmethod
    def blockers(self, evaluation: Evaluation | None) -> Iterator[Blocker]:
        """Return what keeps the stage from ending, most telling first; nothing: it can end now."""

    @abstractmethod
    def next(self) -> Next:
        """Return what comes after it."""

    def promoted(self) -> Next | None:
        """Return where a person's `promote` leads; None where there is nothing more to promote to."""
        return self.next()

    def upcoming_step(self) -> int | None:
        """Return the step whose validations matter now; None outside of the stages that lead to one."""
        return None

    def validations_to_begin(self) -> int | None:
        """Return the step whose validations can begin as soon as this is seen; None: none can."""
        return None


def overlap(since: datetime, start: datetime, end: datetime) -> float:
    """Return the seconds of a pause after `since`."""
    return max(0.0, (end - max(start, since)).total_seconds())


def later(since: datetime, start: datetime, end: datetime) -> datetime:
    """Return the beginning of a wait without what a pause took of it."""
    return min(end, since + (end - max(start, since)))
