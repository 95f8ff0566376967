"""All criteria of one rollout: which are due, what they say, what goes into status, what it causes."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from modelrollout.api.criteria import CompareTo, Criterion, OnBreach
from modelrollout.api.spec import ModelRolloutSpec
from modelrollout.api.status import CriterionState, CriterionStatus, ModelRolloutStatus
from modelrollout.decision.context import Context, Stage, baseline_criteria, unobserved
from modelrollout.decision.limits import is_finite
from modelrollout.decision.measured import Evaluation
from modelrollout.decision.stages import RunRules, StageRules, current_stage, stage_of
from modelrollout.decision.types import Sample
from modelrollout.decision.verdicts import Moment, Verdict, judge


def due_criteria(spec: ModelRolloutSpec | None, status: ModelRolloutStatus) -> tuple[str, ...]:
    """Return the criteria that Prometheus is to be asked about at each evaluation; none between runs."""
    if spec is None or not spec.criteria or status.run is None:
        return ()
    return tuple(criterion.name for criterion in _due(current_stage(unobserved(spec, status))))


def due_baselines(spec: ModelRolloutSpec | None, status: ModelRolloutStatus) -> tuple[str, ...]:
    """Return the criteria to be measured on stable over `baseline.window` (Observation.baselines)."""
    if spec is None or spec.baseline is None or stage_of(spec, status) is not Stage.BASELINE:
        return ()
    return tuple(criterion.name for criterion in baseline_criteria(spec))


def needs_history(
    spec: ModelRolloutSpec | None, status: ModelRolloutStatus, samples: Mapping[str, Sample], now: datetime
) -> tuple[str, ...]:
    """Return the due criteria that are bad now and have a `for` that the run is old enough to fill."""
    if spec is None or not samples:
        return ()
    rules = current_stage(unobserved(spec, status, now))
    if not isinstance(rules, RunRules):
        return ()
    moment = _moment(rules)
    baselines = {entry.criterion: entry for entry in status.baseline}
    names = []
    for criterion in _due(rules):
        sample = samples.get(criterion.name)
        if sample is None or not criterion.for_.seconds or now - moment.since < criterion.for_.timedelta:
            continue
        if judge(criterion, sample, baselines.get(criterion.name), moment).suspect:
            names.append(criterion.name)
    return tuple(names)


def _due(rules: StageRules) -> tuple[Criterion, ...]:
    if not isinstance(rules, RunRules) or rules.run.skip_analysis or not rules.measures():
        return ()
    compared = rules.stable_serves()
    return tuple(
        criterion
        for criterion in rules.context.spec.criteria
        if rules.criteria in criterion.phases and (compared or not _against_stable(criterion))
    )


def _against_stable(criterion: Criterion) -> bool:
    return criterion.compare is not None and criterion.compare.to is CompareTo.STABLE


def _moment(rules: RunRules) -> Moment:
    return Moment(
        now=rules.context.now,
        interval=rules.context.interval,
        since=rules.measured_since(),
        serving_since=rules.serving_since(),
        serving=rules.expects_data(),
    )


def evaluate(context: Context) -> Evaluation | None:
    """Return the verdicts on the observed samples; None where no criterion is due."""
    rules, status = current_stage(context), context.status
    due = _due(rules)
    if not due or not isinstance(rules, RunRules):
        return None
    moment = _moment(rules)
    baselines = {entry.criterion: entry for entry in status.baseline}
    old = {entry.name: entry for entry in status.criteria}
    verdicts: dict[str, Verdict] = {}
    causes: dict[OnBreach, list[str]] = {action: [] for action in OnBreach}
    for criterion in due:
        sample = context.observed.samples.get(criterion.name)
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
        fresh=tuple(_entry(name, verdict, old.get(name), context.now) for name, verdict in verdicts.items()),
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
    """Return the entries to keep where nothing but values moved.

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
