"""From the finished draft to the decision: counts, conditions, what to ask next and when."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from modelrollout.api.conditions import Phase, Reason
from modelrollout.api.spec import ModelRolloutSpec
from modelrollout.api.status import (
    ModelRolloutStatus,
    PodCounts,
    PodsStatus,
    WeightStatus,
)
from modelrollout.decision import copies, holds, phases, replicas, validation
from modelrollout.decision.blockers import blockers, target_of
from modelrollout.decision.conditions import derive_conditions
from modelrollout.decision.context import Draft, Stage
from modelrollout.decision.evaluation import Evaluation, due_baselines, due_criteria
from modelrollout.decision.names import shadow_name, shadow_version
from modelrollout.decision.reach import announce_reach, steady_scales
from modelrollout.decision.replicas import Counts
from modelrollout.decision.reporting import remember_unreported
from modelrollout.decision.standby import kept_pods, serving
from modelrollout.decision.types import Decision, Scale, ShadowCopy, Workload

_RETRY = timedelta(seconds=5)
"""How soon a return to stable looks again where no change wakes it."""


def finish(draft: Draft, evaluation: Evaluation | None, old: ModelRolloutStatus) -> Decision:
    """The decision. The status is the old object itself where nothing changed."""
    _describe(draft)
    if draft.status is not old and draft.status != old and evaluation is not None:
        _refresh(draft, evaluation)
    _notice_drift(draft, old)
    announce_reach(draft, old)
    remember_unreported(draft)
    status = old if draft.status is old or draft.status == old else draft.status
    draft.status = status
    verdicts = evaluation.verdicts if evaluation is not None else {}
    return Decision(
        status=status,
        scales=steady_scales(draft, _scales(draft)),
        create_candidate=_wants_copy(draft),
        jobs=() if status.phase is Phase.INVALID else validation.job_requests(draft),
        delete_jobs=tuple(draft.delete_jobs),
        delete_copies=copies.unneeded(draft),
        transitions=tuple(draft.transitions),
        evaluate=due_criteria(draft.spec, status),
        record_baseline=due_baselines(draft.spec, status),
        blocking_criteria=tuple(name for name, verdict in verdicts.items() if verdict.holds),
        shadow=_shadow(draft),
        parked=draft.stable.name if kept_pods(draft) else None,
        serving=serving(draft),
        requeue_after=_requeue(draft, evaluation),
        finalized=draft.finalized,
    )


def _refresh(draft: Draft, evaluation: Evaluation) -> None:
    """The status is written anyway: the values of now go in, and the texts that quote them."""
    due = due_criteria(draft.spec, draft.status)
    if not due or due != tuple(entry.name for entry in evaluation.fresh):
        return  # the stage has changed; these are not its criteria
    if draft.status.criteria == evaluation.fresh:
        return
    draft.set(criteria=evaluation.fresh)
    if draft.stage is not Stage.REVERTING and draft.status.phase is not Phase.INVALID:
        draft.found = blockers(draft, evaluation)
        if draft.found:
            phases.show_waiting(draft, draft.found)
    _describe(draft)


def _describe(draft: Draft) -> None:
    """Weight, pods, generation and conditions, as they follow from the rest."""
    changes = {
        "weight": _weight(draft),
        "pods": _pods(draft),
        "observed_generation": draft.observed.generation,
        "candidate": _candidate_name(draft),
        "replicas": draft.stable.pods - draft.stable.parked + _other(draft).pods,
        "selector": draft.observed.selector or draft.status.selector,
    }
    status = draft.status
    changed = {name: value for name, value in changes.items() if getattr(status, name) != value}
    if changed:
        draft.set(**changed)
    conditions = derive_conditions(draft)
    if conditions is not draft.status.conditions:
        draft.set(conditions=conditions)


def _candidate_name(draft: Draft) -> str | None:
    if draft.stage is Stage.NONE or draft.status.run is None:
        return draft.candidate_name or draft.status.candidate
    return draft.status.run.candidate


def _other(draft: Draft) -> Workload:
    """The Deployment beside the stable one: the candidate, or the previous version."""
    run, stable = draft.status.run, draft.stable
    name = run.candidate if run is not None and run.candidate != stable.name else draft.status.previous_stable
    return draft.workload(name if name != stable.name else None)


def _weight(draft: Draft) -> WeightStatus:
    stage, step, total = draft.stage, draft.status.step, draft.total
    if stage is Stage.NONE and draft.status.phase is Phase.SUCCEEDED:
        seen = replicas.observed_weight(draft.workload(None), draft.stable, len(draft.observed.foreign))
        return WeightStatus(desired=100, achievable=100.0, observed=seen)
    desired = 0
    if stage is Stage.OBSERVING:
        desired = 100
    elif stage is Stage.STEP and step is not None:
        desired = step.weight
    return WeightStatus(
        desired=desired,
        achievable=replicas.achievable_weight(total, desired),
        observed=replicas.observed_weight(draft.stable, _other(draft), len(draft.observed.foreign)),
    )


def _pods(draft: Draft) -> PodsStatus:
    target = target_of(draft)
    return PodsStatus(
        stable=PodCounts(desired=target.stable, ready=draft.stable.ready),
        candidate=PodCounts(desired=target.candidate, ready=_other(draft).ready),
    )


def _revert_counts(draft: Draft, other: Workload) -> Counts:
    """The next counts on the way back to stable; the spec may be one that cannot be read."""
    spec, stable, total = draft.spec, draft.stable, draft.total
    minimum, immediate = -(-total // 2), False
    if spec is not None:
        limits = replicas.limits_of(total, spec.capacity)
        minimum = replicas.minimum_ready(total, spec.rollback.min_capacity, limits)
        immediate = spec.rollback.immediate
    return replicas.revert_counts(
        total=total, minimum=minimum, immediate=immediate, stable=stable, candidate=other
    )


def _counts(draft: Draft) -> Counts:
    """The next counts of stable and the other Deployment."""
    spec, stable, other = draft.spec, draft.stable, _other(draft)
    total = draft.total
    if draft.stage is Stage.REVERTING:
        return replicas.without_unparking(_revert_counts(draft, other), total=total, stable=stable)
    if spec is None:
        return Counts(stable=stable.desired, candidate=other.desired)
    kept = kept_pods(draft)
    if kept:
        return Counts(stable=kept, candidate=total)
    limits = replicas.limits_of(total, spec.capacity)
    target = target_of(draft).candidate
    return replicas.next_counts(total=total, target=target, limits=limits, stable=stable, candidate=other)


def _scales(draft: Draft) -> tuple[Scale, ...]:
    """Replica counts that differ from what is observed. While something is wrong nothing is scaled."""
    stage, status = draft.stage, draft.status
    if stage is not Stage.REVERTING and (status.phase is Phase.INVALID or draft.observed.deleting):
        return _scale_at_rest(draft)
    counts, stable, other = _counts(draft), draft.stable, _other(draft)
    scales = []
    for workload, count in ((stable, counts.stable), (other, counts.candidate)):
        if workload.exists and workload.desired != count:
            scales.append(Scale(deployment=workload.name, replicas=count))
    old = draft.workload(status.previous_stable)
    if old.exists and old.desired and old.name not in (stable.name, other.name):
        scales.append(Scale(deployment=old.name, replicas=0))
    return tuple(scales)


def _scale_at_rest(draft: Draft) -> tuple[Scale, ...]:
    """With a problem of the candidate alone stable still follows spec.replicas, as an autoscaler sets it."""
    stable, follows = draft.stable, draft.stable_usable and not draft.observed.deleting
    if draft.stage is not Stage.NONE or draft.spec is None or not follows or not stable.exists:
        return ()
    if draft.status.stable is None or stable.desired == draft.total:
        return ()
    return (Scale(deployment=stable.name, replicas=draft.total),)


def _notice_drift(draft: Draft, old: ModelRolloutStatus) -> None:
    """Somebody else changed a count that had been reached: it is put right, and said."""
    pods = old.pods
    if pods is None or old.run is not draft.status.run or draft.observed.deleting:
        return
    if draft.observed.stale:
        return  # what is seen may be from before the count was set
    if kept_pods(draft):
        return  # what is kept is beyond the counts that are compared here
    if draft.status.phase is Phase.INVALID or draft.stage not in (Stage.NONE, Stage.STEP, Stage.OBSERVING):
        return
    target = target_of(draft)
    for count, wanted in ((pods.stable, target.stable), (pods.candidate, target.candidate)):
        if count.desired != wanted or count.ready != wanted:
            return  # not there yet, so a different count is on its way
    for workload, wanted in ((draft.stable, target.stable), (_other(draft), target.candidate)):
        if workload.exists and workload.desired != wanted:
            text = f"{workload.name} was scaled to {workload.desired}; it is set back to {wanted}."
            draft.say(Reason.DRIFT_CORRECTED, text, warning=True)


def _wants_copy(draft: Draft) -> bool:
    """Whether the operator has to make the candidate's Deployment now."""
    spec, stage = draft.spec, draft.stage
    if spec is None or not spec.candidate.is_copy or draft.status.phase is Phase.INVALID:
        return False
    if stage in (Stage.NONE, Stage.REVERTING) or draft.observed.deleting:
        return False
    return not draft.candidate.exists and draft.stable.exists


def _shadow(draft: Draft) -> ShadowCopy | None:
    """The copy outside the Service, for the shadow phase and for validations before the first step."""
    spec, stage, run = draft.spec, draft.stage, draft.status.run
    if spec is None or run is None or draft.observed.deleting:
        return None
    needed = stage is Stage.SHADOW or (
        stage is Stage.FIRST_VALIDATION and bool(validation.validations_before(spec, 0))
    )
    if not needed or (run.template is None and not draft.candidate.exists):
        return None  # what is to be copied is not there yet
    pods = spec.shadow.replicas if spec.shadow is not None else 1
    name = shadow_name(draft.observed.name)
    return ShadowCopy(
        deployment=name,
        source=run.candidate,
        replicas=pods,
        version=shadow_version(run),
        template=run.template,
    )


def _requeue(draft: Draft, evaluation: Evaluation | None) -> timedelta | None:
    """When the clock alone next changes something."""
    if draft.stage is Stage.REVERTING:
        return _RETRY
    if draft.stage is Stage.NONE or draft.spec is None:
        return None
    if draft.fresh_wanted:
        return timedelta()
    waits = list(_waits(draft, evaluation))
    return max(timedelta(), min(waits)) if waits else None


def _waits(draft: Draft, evaluation: Evaluation | None) -> Iterator[timedelta]:
    spec, now, interval = draft.spec, draft.now, draft.interval
    assert spec is not None
    if due_criteria(spec, draft.status) or due_baselines(spec, draft.status):
        measured = [v.at for v in evaluation.verdicts.values() if v.at] if evaluation else []
        age = now - max(measured) if measured else timedelta()
        yield interval - age if timedelta() <= age < interval else interval
    left = phases.deadline_of(draft)
    if left is not None and left > timedelta():
        yield left  # a first version that is late has no way back: nothing happens by the clock
    held = holds.left_of(draft)
    if held is not None and held > timedelta():
        yield held
    if draft.stage in (Stage.SHADOW, Stage.FIRST_VALIDATION) and draft.run.started_at == now:
        yield _RETRY  # the copy was not looked at in the tick in which the run began
    late = validation.next_timeout(spec, draft.status, now)
    if late is not None:
        yield late - now
    if draft.status.pause is None:
        for blocker in draft.found:
            if blocker.until is not None:
                yield blocker.until - now


def watched_deployments(
    spec: ModelRolloutSpec | None, status: ModelRolloutStatus, candidate_name: str | None, name: str
) -> tuple[str, ...]:
    """Names of the Deployments that an observation must cover (`Observation.workloads`), each once."""
    run = status.run
    given = spec.stable.deployment if spec is not None and spec.stable is not None else None
    named = [status.stable or given, candidate_name, status.previous_stable, shadow_name(name)]
    if run is not None:
        named += [run.candidate, run.stable]
    return tuple(dict.fromkeys(item for item in named if item))
