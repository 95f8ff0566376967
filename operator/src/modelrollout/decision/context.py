"""The working copy of one decision: what it rests on, the status so far, and what is to be told."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum, auto
from typing import Any

from modelrollout.api.conditions import Phase, Reason
from modelrollout.api.criteria import CompareTo, Criterion, NoDataPolicy, OnBreach
from modelrollout.api.schedule import Transition as Announcement
from modelrollout.api.spec import ModelRolloutSpec, Step
from modelrollout.api.status import ModelRolloutStatus, RunStatus, StepStatus
from modelrollout.decision.names import candidate_deployment
from modelrollout.decision.types import Observation, Severity, Transition, Workload

MESSAGE_LIMIT = 4096


class Stage(Enum):
    """Where a run really is, whatever the phase shows (Paused and Invalid lie on top of a stage)."""

    NONE = auto()  # no run under way
    BASELINE = auto()
    SHADOW = auto()
    FIRST_VALIDATION = auto()  # before step 1
    STEP = auto()
    OBSERVING = auto()
    REVERTING = auto()


def baseline_criteria(spec: ModelRolloutSpec) -> tuple[Criterion, ...]:
    """The criteria that compare with a recorded baseline; none where the spec records none."""
    if spec.baseline is None:
        return ()
    return tuple(c for c in spec.criteria if c.compare is not None and c.compare.to is CompareTo.BASELINE)


def baseline_binds(criterion: Criterion) -> bool:
    """Whether a run waits for the baseline of this criterion."""
    advisory = criterion.dry_run or criterion.on_breach is OnBreach.WARN
    return not advisory and criterion.no_data is not NoDataPolicy.IGNORE


def next_step(spec: ModelRolloutSpec, step: StepStatus | None) -> int | None:
    """Index of the step after `step`: the first with more weight, even where the steps were edited."""
    weight = step.weight if step is not None else 0
    return next((index for index, item in enumerate(spec.steps) if item.weight > weight), None)


def step_of(spec: ModelRolloutSpec, step: StepStatus) -> Step:
    """What the spec says of the step under way: the one of its weight, else the one at its place."""
    same = next((item for item in spec.steps if item.weight == step.weight), None)
    return same or spec.steps[min(step.index, len(spec.steps) - 1)]


def stage_of(spec: ModelRolloutSpec | None, status: ModelRolloutStatus) -> Stage:
    """The stage of the run, from the facts in status alone, so that no crash and no pause can lose it."""
    run = status.run
    if run is None or run.finished_at is not None:
        return Stage.NONE
    if status.rollback is not None:
        return Stage.REVERTING
    if status.observation is not None:
        return Stage.OBSERVING
    if status.step is not None or spec is None:
        return Stage.STEP
    if run.baseline_at is None and not run.skip_analysis and baseline_criteria(spec):
        return Stage.BASELINE
    if any(entry.run == run.id and entry.step == 0 for entry in status.validations):
        return Stage.FIRST_VALIDATION
    return Stage.SHADOW if spec.shadow is not None else Stage.FIRST_VALIDATION


STAGE_PHASES = {
    Stage.BASELINE: Phase.VALIDATING,
    Stage.SHADOW: Phase.SHADOW,
    Stage.FIRST_VALIDATION: Phase.VALIDATING,
    Stage.STEP: Phase.PROGRESSING,
    Stage.OBSERVING: Phase.OBSERVING,
    Stage.REVERTING: Phase.ROLLING_BACK,
}
"""The phase that each stage shows when nothing lies on top."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Blocker:
    """One thing that must change before the run goes on.

    Attributes:
        reason: One of `Reason`.
        message: A clause that completes "waits for ...". Only what stands in status goes in, so that it does
            not change from tick to tick.
        until: When the clock alone removes it; None if something else must happen.
        silent: Gone with the next evaluation, so not worth a word in status.
    """

    reason: Reason
    message: str
    until: datetime | None = None
    silent: bool = False


@dataclass(kw_only=True)
class Draft:
    """The status under construction. Used by one call of `decide` and thrown away with it."""

    spec: ModelRolloutSpec | None
    observed: Observation
    now: datetime
    status: ModelRolloutStatus
    transitions: list[Transition] = field(default_factory=list)
    delete_jobs: list[str] = field(default_factory=list)
    fresh_wanted: bool = False  # the run could go on, were the values not old
    found: tuple[Blocker, ...] = ()  # what keeps the run from going on
    finalized: bool = False
    stable_usable: bool = True  # no problem concerns the stable version

    def set(self, **changes: Any) -> None:
        """Replace fields of the status."""
        self.status = self.status.model_copy(update=changes)

    def enter(self, phase: Phase, reason: str, message: str = "") -> None:
        """Show a phase and why."""
        message = message[:MESSAGE_LIMIT]
        status = self.status
        if (status.phase, status.reason, status.message) != (phase, reason, message):
            self.set(phase=phase, reason=str(reason), message=message)

    def say(
        self,
        reason: str,
        message: str,
        *,
        announcement: Announcement | None = None,
        criterion: str | None = None,
        warning: bool = False,
    ) -> None:
        """Record a transition for Events, log and notifications."""
        self.transitions.append(
            Transition(
                reason=str(reason),
                message=message,
                severity=Severity.WARNING if warning else Severity.NORMAL,
                criterion=criterion,
                announcement=announcement,
            )
        )

    @property
    def stage(self) -> Stage:
        """Where the run is now."""
        return stage_of(self.spec, self.status)

    @property
    def run(self) -> RunStatus:
        """The run; only called where there is one."""
        assert self.status.run is not None
        return self.status.run

    @property
    def step(self) -> StepStatus:
        """The step; only called where there is one."""
        assert self.status.step is not None
        return self.status.step

    @property
    def total(self) -> int:
        """Serving pods in all: spec.replicas, or what was last asked for where the spec cannot be read."""
        if self.spec is not None:
            return self.spec.replicas
        pods = self.status.pods
        if pods is not None and pods.stable.desired + pods.candidate.desired:
            return pods.stable.desired + pods.candidate.desired
        return max(1, self.stable.desired + self.candidate.desired)

    @property
    def interval(self) -> timedelta:
        """spec.evaluation.interval."""
        return self.spec.evaluation.interval.timedelta if self.spec else timedelta(seconds=10)

    def workload(self, name: str | None) -> Workload:
        """A Deployment as observed; one that was not seen does not exist."""
        if name is None:
            return Workload(name="", exists=False)
        return self.observed.workloads.get(name) or Workload(name=name, exists=False)

    @property
    def candidate_name(self) -> str | None:
        """The Deployment that spec.candidate stands for, by the status as it is now."""
        if self.spec is None or not self.spec.candidate.is_copy:
            return self.observed.candidate_name
        return candidate_deployment(self.observed.name, self.spec.candidate, self.status)

    @property
    def stable(self) -> Workload:
        """The Deployment in charge (for a first version that replaced another one, that one)."""
        run = self.status.run
        return self.workload(self.status.stable or (run.stable if run else None))

    @property
    def candidate(self) -> Workload:
        """The candidate of the run."""
        return self.workload(self.status.run.candidate if self.status.run else None)
