"""What one look at a rollout rests on. Immutable, and its spec is always there."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum, auto

from modelrollout.api.conditions import Reason
from modelrollout.api.criteria import CompareTo, Criterion, NoDataPolicy, OnBreach
from modelrollout.api.spec import ModelRolloutSpec, Step
from modelrollout.api.status import ModelRolloutStatus, StepStatus
from modelrollout.api.workload import Candidate
from modelrollout.decision.names import candidate_deployment
from modelrollout.decision.types import Observation, Workload

MESSAGE_LIMIT = 4096
_NEVER = datetime.min.replace(tzinfo=UTC)
_NOTHING = Observation(uid="", generation=0, candidate_name=None)


class Stage(Enum):
    """Where a run really is, whatever the phase shows (Paused and Invalid lie on top of a stage)."""

    NONE = auto()  # no run under way
    BASELINE = auto()
    SHADOW = auto()
    FIRST_VALIDATION = auto()  # before step 1
    STEP = auto()
    OBSERVING = auto()
    REVERTING = auto()


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


@dataclass(frozen=True, kw_only=True, slots=True)
class Context:
    """The inputs of one look, and the status as it is at that moment.

    Attributes:
        spec: What is asked for. Where the object is invalid, the little that status knows (`spec_of_status`).
        spec_valid: False where `spec` is made from status: nothing may start or advance on it.
        status: The status so far.
        observed: Everything outside.
        now: UTC.
    """

    spec: ModelRolloutSpec
    spec_valid: bool = True
    status: ModelRolloutStatus
    observed: Observation
    now: datetime

    @property
    def total(self) -> int:
        """Serving pods in all: spec.replicas, or what was last asked for where the spec is invalid."""
        return self.spec.replicas

    @property
    def interval(self) -> timedelta:
        """spec.evaluation.interval."""
        return self.spec.evaluation.interval.timedelta

    def workload(self, name: str | None) -> Workload:
        """Return a Deployment as observed; one that was not seen does not exist."""
        return _workload(self.observed, name)

    @property
    def candidate_name(self) -> str | None:
        """The Deployment that spec.candidate stands for, by the status as it is now."""
        if not self.spec_valid or not self.spec.candidate.is_copy:
            return self.observed.candidate_name
        return candidate_deployment(self.observed.name, self.spec.candidate, self.status)

    @property
    def stable(self) -> Workload:
        """The Deployment in charge (for a first version that replaced another one, that one)."""
        return self.workload(_stable_name(self.status))

    @property
    def candidate(self) -> Workload:
        """The candidate of the run."""
        return self.workload(self.status.run.candidate if self.status.run else None)

    @property
    def other(self) -> Workload:
        """The Deployment beside the stable one: the candidate, or the previous version."""
        run, stable = self.status.run, self.stable
        in_run = run is not None and run.candidate != stable.name
        name = run.candidate if run is not None and in_run else self.status.previous_stable
        return self.workload(name if name != stable.name else None)


def unobserved(spec: ModelRolloutSpec | None, status: ModelRolloutStatus, now: datetime = _NEVER) -> Context:
    """Return a context for questions that rest on spec and status alone: nothing outside is known in it."""
    known = spec if spec is not None else spec_of_status(status, _NOTHING)
    return Context(spec=known, spec_valid=spec is not None, status=status, observed=_NOTHING, now=now)


def spec_of_status(status: ModelRolloutStatus, observed: Observation) -> ModelRolloutSpec:
    """Return what status alone knows of a spec that cannot be read: enough to return traffic to stable.

    It has no criteria and nothing that a run could wait for; what it does not know has its default.
    """
    pods, run = status.pods, status.run
    total = pods.stable.desired + pods.candidate.desired if pods is not None else 0
    candidate = run.candidate if run is not None else None
    if not total:
        known = (_stable_name(status), candidate)
        total = max(1, sum(_workload(observed, name).desired for name in known))
    return ModelRolloutSpec.model_construct(
        replicas=total, service="", candidate=Candidate.model_construct(deployment=candidate or "")
    )


def _workload(observed: Observation, name: str | None) -> Workload:
    if name is None:
        return Workload(name="", exists=False)
    return observed.workloads.get(name) or Workload(name=name, exists=False)


def _stable_name(status: ModelRolloutStatus) -> str | None:
    return status.stable or (status.run.stable if status.run else None)


def baseline_criteria(spec: ModelRolloutSpec) -> tuple[Criterion, ...]:
    """Return the criteria that compare with a recorded baseline; none where the spec records none."""
    if spec.baseline is None:
        return ()
    return tuple(c for c in spec.criteria if c.compare is not None and c.compare.to is CompareTo.BASELINE)


def baseline_binds(criterion: Criterion) -> bool:
    """Tell whether a run waits for the baseline of this criterion."""
    advisory = criterion.dry_run or criterion.on_breach is OnBreach.WARN
    return not advisory and criterion.no_data is not NoDataPolicy.IGNORE


def next_step(spec: ModelRolloutSpec, step: StepStatus | None) -> int | None:
    """Return the index of the step after `step`: the first with more weight, even where steps were edited."""
    weight = step.weight if step is not None else 0
    return next((index for index, item in enumerate(spec.steps) if item.weight > weight), None)


def step_of(spec: ModelRolloutSpec, step: StepStatus) -> Step:
    """Return what the spec says of the step under way: the one of its weight, else the one at its place."""
    same = next((item for item in spec.steps if item.weight == step.weight), None)
    return same or spec.steps[min(step.index, len(spec.steps) - 1)]
