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
from modelrollout.decision import copies, holds, replicas, validation, validation_jobs
from modelrollout.decision.conditions import derive_conditions
from modelrollout.decision.context import Stage
from modelrollout.decision.draft import Draft
from modelrollout.decision.evaluation import due_baselines, due_criteria
from modelrollout.decision.measured import Evaluation
from modelrollout.decision.names import shadow_name, shadow_version
from modelrollout.decision.reach import announce_reach, steady_scales
from modelrollout.decision.reporting import remember_unreported
from modelrollout.decision.types import Decision, Scale, ShadowCopy
from modelrollout.decision.waiting import all_blockers, show_waiting

_RETRY = timedelta(seconds=5)
"""How soon a return to stable looks again where no change wakes it."""


def finish(draft: Draft, evaluation: Evaluation | None, old: ModelRolloutStatus) -> Decision:
    """Return the decision. The status is the old object itself where nothing changed."""
    _describe(draft)
    if draft.status is not old and draft.status != old and evaluation is not None:
        _refresh(draft, evaluation)
    _notice_drift(draft, old)
    announce_reach(draft, old)
    remember_unreported(draft)
    status = old if draft.status is old or draft.status == old else draft.status
    draft.replace_status(status)
    spec = draft.spec if draft.context.spec_valid else None
    verdicts = evaluation.verdicts if evaluation is not None else {}
    return Decision(
        status=status,
        scales=steady_scales(draft, _scales(draft)),
        create_candidate=_wants_copy(draft),
        jobs=() if status.phase is Phase.INVALID else validation_jobs.job_requests(draft),
        delete_jobs=tuple(draft.delete_jobs),
        delete_copies=copies.unneeded(draft),
        transitions=tuple(draft.transitions),
        evaluate=due_criteria(spec, status),
        record_baseline=due_baselines(spec, status),
        blocking_criteria=tuple(name for name, verdict in verdicts.items() if verdict.holds),
        shadow=_shadow(draft),
        parked=draft.stable.name if draft.rules.kept_pods() else None,
        serving=draft.rules.serving(),
        requeue_after=_requeue(draft, evaluation),
        finalized=draft.finalized,
    )


def _refresh(draft: Draft, evaluation: Evaluation) -> None:
    """Put the values of now, and the texts that quote them, into a status that is written anyway."""
    due = due_criteria(draft.spec, draft.status)
    if not due or due != tuple(entry.name for entry in evaluation.fresh):
        return  # the stage has changed; these are not its criteria
    if draft.status.criteria == evaluation.fresh:
        return
    draft.set(criteria=evaluation.fresh)
    if draft.stage is not Stage.REVERTING and draft.status.phase is not Phase.INVALID:
        draft.found = all_blockers(draft, evaluation)
        if draft.found:
            show_waiting(draft, draft.found)
    _describe(draft)


def _describe(draft: Draft) -> None:
    """Weight, pods, generation and conditions, as they follow from the rest."""
    changes = {
        "weight": _weight(draft),
        "pods": _pods(draft),
        "observed_generation": draft.observed.generation,
        "candidate": _candidate_name(draft),
        "replicas": draft.stable.pods - draft.stable.parked + draft.context.other.pods,
        "selector": draft.observed.selector or draft.status.selector,
    }
    status = draft.status
    changed = {name: value for name, value in changes.items() if getattr(status, name) != value}
    if changed:
        draft.set(**changed)
    conditions = derive_conditions(draft.context)
    if conditions is not draft.status.conditions:
        draft.set(conditions=conditions)


def _candidate_name(draft: Draft) -> str | None:
    if draft.stage is Stage.NONE or draft.status.run is None:
        return draft.candidate_name or draft.status.candidate
    return draft.status.run.candidate


def _weight(draft: Draft) -> WeightStatus:
    stage, total = draft.stage, draft.total
    if stage is Stage.NONE and draft.status.phase is Phase.SUCCEEDED:
        seen = replicas.observed_weight(draft.workload(None), draft.stable, len(draft.observed.foreign))
        return WeightStatus(desired=100, achievable=100.0, observed=seen)
    desired = draft.rules.weight()
    return WeightStatus(
        desired=desired,
        achievable=replicas.achievable_weight(total, desired),
        observed=replicas.observed_weight(draft.stable, draft.context.other, len(draft.observed.foreign)),
    )


def _pods(draft: Draft) -> PodsStatus:
    target = draft.rules.target()
    return PodsStatus(
        stable=PodCounts(desired=target.stable, ready=draft.stable.ready),
        candidate=PodCounts(desired=target.candidate, ready=draft.context.other.ready),
    )


def _scales(draft: Draft) -> tuple[Scale, ...]:
    """Return replica counts that differ from what is observed. While something is wrong nothing is scaled."""
    stage, status = draft.stage, draft.status
    if stage is not Stage.REVERTING and (status.phase is Phase.INVALID or draft.observed.deleting):
        return _scale_at_rest(draft)
    counts, stable, other = draft.rules.counts(), draft.stable, draft.context.other
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
    if draft.stage is not Stage.NONE or not draft.context.spec_valid or not follows or not stable.exists:
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
    if draft.rules.kept_pods():
        return  # what is kept is beyond the counts that are compared here
    if draft.status.phase is Phase.INVALID or draft.stage not in (Stage.NONE, Stage.STEP, Stage.OBSERVING):
        return
    target = draft.rules.target()
    for count, wanted in ((pods.stable, target.stable), (pods.candidate, target.candidate)):
        if count.desired != wanted or count.ready != wanted:
            return  # not there yet, so a different count is on its way
    for workload, wanted in ((draft.stable, target.stable), (draft.context.other, target.candidate)):
        if workload.exists and workload.desired != wanted:
            text = f"{workload.name} was scaled to {workload.desired}; it is set back to {wanted}."
            draft.say(Reason.DRIFT_CORRECTED, text, warning=True)


def _wants_copy(draft: Draft) -> bool:
    """Tell whether the operator has to make the candidate's Deployment now."""
    spec, stage = draft.spec, draft.stage
    if not draft.context.spec_valid or not spec.candidate.is_copy or draft.status.phase is Phase.INVALID:
        return False
    if stage in (Stage.NONE, Stage.REVERTING) or draft.observed.deleting:
        return False
    return not draft.candidate.exists and draft.stable.exists


def _shadow(draft: Draft) -> ShadowCopy | None:
    """Return the copy outside the Service, for the shadow phase and for validations before the first step."""
    spec, run = draft.spec, draft.status.run
    if not draft.context.spec_valid or run is None or draft.observed.deleting:
        return None
    if not draft.rules.needs_copy() or (run.template is None and not draft.candidate.exists):
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
    if draft.stage is Stage.NONE or not draft.context.spec_valid:
        return None
    if draft.fresh_wanted:
        return timedelta()
    waits = list(_waits(draft, evaluation))
    return max(timedelta(), min(waits)) if waits else None


def _waits(draft: Draft, evaluation: Evaluation | None) -> Iterator[timedelta]:
    spec, now, interval = draft.spec, draft.now, draft.context.interval
    rules = draft.run_rules
    if due_criteria(spec, draft.status) or due_baselines(spec, draft.status):
        measured = [v.at for v in evaluation.verdicts.values() if v.at] if evaluation else []
        age = now - max(measured) if measured else timedelta()
        yield interval - age if timedelta() <= age < interval else interval
    left = rules.time_left()
    if left is not None and left > timedelta():
        yield left  # a first version that is late cannot be rolled back: nothing happens by the clock
    held = holds.left_of(draft)
    if held is not None and held > timedelta():
        yield held
    if rules.looks_again and rules.run.started_at == now:
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
    """Return names of the Deployments that an observation must cover (`Observation.workloads`), each once."""
    run = status.run
    given = spec.stable.deployment if spec is not None and spec.stable is not None else None
    named = [status.stable or given, candidate_name, status.previous_stable, shadow_name(name)]
    if run is not None:
        named += [run.candidate, run.stable]
    return tuple(dict.fromkeys(item for item in named if item))
