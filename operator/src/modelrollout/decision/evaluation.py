"""All criteria of one rollout: which are due, what they say, what goes into status, what it causes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from modelrollout.api.criteria import CompareTo, Criterion, CriterionPhase, OnBreach
from modelrollout.api.spec import ModelRolloutSpec
from modelrollout.api.status import CriterionState, CriterionStatus, ModelRolloutStatus
from modelrollout.decision.context import Draft, Stage, baseline_criteria, stage_of
from modelrollout.decision.limits import is_finite
from modelrollout.decision.types import Sample
from modelrollout.decision.verdicts import Moment, Verdict, judge

_PHASES = {
    Stage.SHADOW: CriterionPhase.SHADOW,
    Stage.STEP: CriterionPhase.PROGRESSING,
    Stage.OBSERVING: CriterionPhase.OBSERVING,
}


def due_criteria(spec: ModelRolloutSpec | None, status: ModelRolloutStatus) -> tuple[str, ...]:
    """Names of the criteria that Prometheus is to be asked about at each evaluation; none between runs."""
    return tuple(criterion.name for criterion in _due(spec, status))


def due_baselines(spec: ModelRolloutSpec | None, status: ModelRolloutStatus) -> tuple[str, ...]:
    """Names of the criteria to be measured on stable over `baseline.window` (Observation.baselines)."""
    if spec is None or stage_of(spec, status) is not Stage.BASELINE:
        return ()
    return tuple(criterion.name for criterion in baseline_criteria(spec))


def needs_history(
    spec: ModelRolloutSpec | None, status: ModelRolloutStatus, samples: Mapping[str, Sample], now: datetime
) -> tuple[str, ...]:
    """Names of the due criteria that are bad now and have a `for` that the run is old enough to fill."""
    if spec is None or status.run is None:
        return ()
    moment = _moment(spec, status, now)
    baselines = {entry.criterion: entry for entry in status.baseline}
    names = []
    for criterion in _due(spec, status):
        sample = samples.get(criterion.name)
        if sample is None or not criterion.for_.seconds or now - moment.since < criterion.for_.timedelta:
            continue
        if judge(criterion, sample, baselines.get(criterion.name), moment).suspect:
            names.append(criterion.name)
    return tuple(names)


def _due(spec: ModelRolloutSpec | None, status: ModelRolloutStatus) -> tuple[Criterion, ...]:
    if spec is None or not spec.criteria or status.run is None or status.run.skip_analysis:
        return ()
    stage = stage_of(spec, status)
    phase = _PHASES.get(stage)
    if phase is None or (stage is Stage.SHADOW and status.shadow is None):
        return ()
    return tuple(
        criterion
        for criterion in spec.criteria
        if phase in criterion.phases and (_stable_serves(stage, status) or not _against_stable(criterion))
    )


def _against_stable(criterion: Criterion) -> bool:
    return criterion.compare is not None and criterion.compare.to is CompareTo.STABLE


def _stable_serves(stage: Stage, status: ModelRolloutStatus) -> bool:
    """Whether stable is to have traffic, so that a comparison with it can say anything.

    From the step of 100 on it has none: a comparison would find no data and hold the run for ever.
    """
    at_full = stage is Stage.STEP and status.step is not None and status.step.weight >= 100
    return stage is not Stage.OBSERVING and not at_full


def _moment(spec: ModelRolloutSpec, status: ModelRolloutStatus, now: datetime) -> Moment:
    run, stage = status.run, stage_of(spec, status)
    assert run is not None
    since = run.started_at
    if stage is Stage.SHADOW and status.shadow is not None:
        since = status.shadow.started_at
    serving_since = _serving_since(status, now) if stage in (Stage.STEP, Stage.OBSERVING) else since
    starting = stage is Stage.STEP and status.step is not None and status.step.reached_at is None
    return Moment(
        now=now,
        interval=spec.evaluation.interval.timedelta,
        since=since,
        serving_since=serving_since,
        serving=not starting,
    )


def _serving_since(status: ModelRolloutStatus, now: datetime) -> datetime:
    """When the candidate first had a step's weight, whichever step it is in now.

    A run that began under a former version has no record of that; the step under way is then what is known.
    """
    run, step = status.run, status.step
    recorded = run.serving_at if run is not None else None
    return recorded or (step.reached_at if step is not None else None) or now


@dataclass(frozen=True, kw_only=True, slots=True)
class Evaluation:
    """What all due criteria say.

    Attributes:
        verdicts: By name, in the order of the spec.
        fresh: The same entries of status with the values of now (see `sticky_criteria`).
        rollback: Names whose breach takes the traffic back, in the order of the spec.
        pause: Names whose breach pauses, not breached before.
        warn: Names whose breach only warns (or is a dry run), not breached before.
    """

    verdicts: Mapping[str, Verdict]
    fresh: tuple[CriterionStatus, ...]
    rollback: tuple[str, ...] = ()
    pause: tuple[str, ...] = ()
    warn: tuple[str, ...] = ()


def evaluate(draft: Draft) -> Evaluation | None:
    """The verdicts on the observed samples; None where no criterion is due."""
    spec = draft.spec
    due = _due(spec, draft.status)
    if not due or spec is None:
        return None
    moment = _moment(spec, draft.status, draft.now)
    baselines = {entry.criterion: entry for entry in draft.status.baseline}
    old = {entry.name: entry for entry in draft.status.criteria}
    verdicts: dict[str, Verdict] = {}
    causes: dict[OnBreach, list[str]] = {action: [] for action in OnBreach}
    for criterion in due:
        sample = draft.observed.samples.get(criterion.name)
        verdict = judge(criterion, sample, baselines.get(criterion.name), moment)
        verdicts[criterion.name] = verdict
        if not verdict.breached:
            continue
        before = old.get(criterion.name)
        known = before is not None and before.breached
        action = OnBreach.WARN if criterion.dry_run else verdict.action
        if action is OnBreach.ROLLBACK or not known:
            causes[action].append(criterion.name)
    return Evaluation(
        verdicts=verdicts,
        fresh=tuple(_entry(name, verdict, old.get(name), draft.now) for name, verdict in verdicts.items()),
        rollback=tuple(causes[OnBreach.ROLLBACK]),
        pause=tuple(causes[OnBreach.PAUSE]),
        warn=tuple(causes[OnBreach.WARN]),
    )


def _entry(name: str, verdict: Verdict, old: CriterionStatus | None, now: datetime) -> CriterionStatus:
    same = old is not None and old.state is verdict.state
    # a breach stands until the criterion is seen to pass: no data in between does not make it a new one
    stands = old is not None and old.breached and verdict.state is not CriterionState.PASS
    return CriterionStatus(
        name=name,
        state=verdict.state,
        value=verdict.value if verdict.value is not None and is_finite(verdict.value) else None,
        reference=verdict.reference,
        limit=verdict.limit[:128],
        samples=verdict.samples,
        since=old.since if old is not None and same else now,
        breached=verdict.breached or stands,
        message=verdict.message[:4096],
    )


def sticky_criteria(
    old: tuple[CriterionStatus, ...], fresh: tuple[CriterionStatus, ...]
) -> tuple[CriterionStatus, ...]:
    """The entries to keep where nothing but values moved.

    A value that is written at every tick would be an API write at every tick. So an entry changes when its
    state or its breach does; all values are refreshed whenever the status is written for another reason.
    Where every entry stays, the old tuple itself comes back.
    """
    known = {entry.name: entry for entry in old}
    kept = []
    for entry in fresh:
        before = known.get(entry.name)
        same = before is not None and before.state is entry.state and before.breached == entry.breached
        kept.append(before if before is not None and same else entry)
    result = tuple(kept)
    return old if result == old else result
