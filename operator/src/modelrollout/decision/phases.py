"""Each stage of a run, one function per stage: what is seen, what changes, where it goes on."""

from __future__ import annotations

from datetime import timedelta

from modelrollout.api.conditions import Phase, Reason
from modelrollout.api.schedule import Transition as Announcement
from modelrollout.api.status import BaselineStatus, RunResult, ShadowStatus
from modelrollout.decision import copies, lifecycle, pauses, validation, versions
from modelrollout.decision.blockers import stage_name, weight_reached
from modelrollout.decision.context import (
    STAGE_PHASES,
    Blocker,
    Draft,
    Stage,
    baseline_binds,
    baseline_criteria,
    next_step,
)
from modelrollout.decision.evaluation import Evaluation, evaluate, sticky_criteria
from modelrollout.decision.limits import is_finite, special_text
from modelrollout.decision.names import fingerprint, shadow_name
from modelrollout.decision.types import Sample, SampleState

_RESTING = (Phase.IDLE, Phase.SUCCEEDED, Phase.ROLLED_BACK)


def settle(draft: Draft) -> None:
    """No run is under way: take over the stable version, and start a run if another one is asked for."""
    spec = draft.spec
    assert spec is not None
    if draft.status.stable is None and spec.stable is not None:
        draft.set(stable=spec.stable.deployment)
    versions.settle_stable(draft)
    copies.forget_deleted(draft)
    rejected_candidate = versions.rejected(draft)
    if rejected_candidate is not draft.status.rolled_back_from:
        draft.set(rolled_back_from=None)
    stable, name = draft.status.stable, draft.candidate_name
    if name == stable:
        _rest(draft)
    elif rejected_candidate is not None:
        rollback = draft.status.rollback
        reason = rollback.reason if rollback else Reason.ALREADY_ROLLED_BACK
        text = (
            rollback.message
            if rollback
            else f"{rejected_candidate.candidate} was rolled back and is not tried again."
        )
        draft.enter(Phase.ROLLED_BACK, reason, text)
    elif spec.paused:
        text = f"{name} is not rolled out while spec.paused is true."
        resting = draft.status.phase if draft.status.phase in _RESTING else Phase.IDLE
        draft.enter(resting, Reason.PAUSED_BY_SPEC, text)
    elif stable is None:
        text = f"{name} is the first version and gets all the traffic at once."
        lifecycle.start_run(draft, reason=Reason.FIRST_VERSION, message=text, skip_analysis=True)
    elif name is not None and versions.was_stable(draft, name):
        text = f"Returning from {stable} to {name}, the version before it, without analysis."
        lifecycle.start_run(draft, reason=Reason.RETURNED_TO_PREVIOUS, message=text, skip_analysis=True)
    else:
        text = f"Rolling out {name} in place of {stable}."
        if name == draft.status.previous_stable:
            text += " It was stable before, but with another pod template: it takes every step."
        lifecycle.start_run(draft, reason=Reason.STARTED, message=text)


def _rest(draft: Draft) -> None:
    """The stable version is what is asked for."""
    run, stable = draft.status.run, draft.status.stable
    last = draft.status.history[0] if draft.status.history else None
    if run is not None and run.result is RunResult.SUCCEEDED and run.candidate == stable and last is not None:
        draft.enter(Phase.SUCCEEDED, last.reason, last.message)
    else:
        draft.enter(
            Phase.IDLE, Reason.UP_TO_DATE, f"{stable} serves everything; there is nothing to roll out."
        )


def revert(draft: Draft) -> None:
    """The way back: over when no candidate pod is reachable and stable is asked for in full."""
    rollback, stable, candidate = draft.status.rollback, draft.stable, draft.candidate
    assert rollback is not None
    if not stable.exists:
        text = f"Deployment {stable.name} is missing, so its traffic cannot return; create it again."
        draft.enter(Phase.ROLLING_BACK, Reason.DEPLOYMENT_NOT_FOUND, text)
        return
    deadline = draft.spec.progress_deadline.timedelta if draft.spec else timedelta(minutes=10)
    if stable.parked and stable.cannot_unpark:
        text = (
            f"{rollback.message} Pods of {stable.name} that were kept ready cannot be put back behind the "
            f"Service, so new ones are started. {stable.cannot_unpark}"
        )
        if draft.status.reason != Reason.CANNOT_UNPARK:
            draft.say(Reason.CANNOT_UNPARK, text, warning=True)
        draft.enter(Phase.ROLLING_BACK, Reason.CANNOT_UNPARK, text)
    elif draft.now - rollback.started_at >= deadline and stable.ready < draft.total:
        text = f"{rollback.message} Pods of {stable.name} do not become ready; see its events and logs."
        draft.enter(Phase.ROLLING_BACK, Reason.WAITING_FOR_PODS, text)
    else:
        draft.enter(Phase.ROLLING_BACK, rollback.reason, rollback.message)
    gone = not candidate.exists or (candidate.desired == 0 and candidate.ready == 0)
    if gone and stable.desired == draft.total and not stable.parked:
        lifecycle.finish_rollback(draft)


def leave_early(draft: Draft) -> bool:
    """What ends a run before anything is measured: another candidate asked for, or the candidate deleted."""
    spec, run = draft.spec, draft.run
    assert spec is not None
    name = draft.candidate_name
    if fingerprint(spec.candidate) != run.fingerprint:
        return _replace(draft, name)
    if leave_changed(draft):
        return True
    unmade = spec.candidate.is_copy and not draft.candidate.exists and run.template is None
    if unmade and versions.stable_changed(draft):
        text = f"The pod template of {draft.stable.name} changed before it was copied."
        return _restart(draft, text, reason=Reason.STABLE_TEMPLATE_CHANGED)
    seen = draft.status.step is not None and draft.step.most_ready > 0
    if not draft.candidate.exists and (seen or not spec.candidate.is_copy):
        text = f"Deployment {run.candidate} of the candidate was deleted."
        return lifecycle.start_rollback(draft, reason=Reason.CANDIDATE_DELETED, message=text)
    return False


def leave_changed(draft: Draft) -> bool:
    """The candidate's pod template changed in mid-run; works without a valid spec."""
    if not versions.candidate_changed(draft):
        return False
    return _restart(draft, f"The pod template of {draft.run.candidate} changed during the run.")


def _restart(draft: Draft, what: str, *, reason: Reason = Reason.CANDIDATE_TEMPLATE_CHANGED) -> bool:
    """What was measured is not what is asked for any more: back to stable, then from the first step again."""
    if draft.status.stable is None:  # a first version: there is nothing that it could have earned
        template = draft.candidate.template or None
        draft.set(run=draft.run.model_copy(update={"template": template}))
        draft.say(reason, f"{what} It is the first version, so the run goes on.")
        return False
    text = f"{what} The run starts again at its first step, against the same stable version."
    return lifecycle.start_rollback(draft, reason=reason, message=text, result=RunResult.SUPERSEDED)


def _replace(draft: Draft, name: str | None) -> bool:
    """spec.candidate changed in mid-run."""
    run = draft.run
    if name is not None and name == draft.status.stable:
        text = f"spec.candidate was set back to {name}, the stable version."
        return lifecycle.start_rollback(draft, reason=Reason.ABORTED, message=text, result=RunResult.ABORTED)
    text = f"{name} replaces {run.candidate} as the candidate."
    if draft.status.stable is None:
        # the first version, not finished yet, gives way to the next one as soon as that one is ready
        lifecycle.start_run(draft, reason=Reason.NEW_CANDIDATE, message=text, skip_analysis=True)
        return True
    return lifecycle.start_rollback(
        draft, reason=Reason.SUPERSEDED, message=text, result=RunResult.SUPERSEDED
    )


def measure(draft: Draft) -> Evaluation | None:
    """Evaluate the criteria and do what their breaches ask for."""
    evaluation = evaluate(draft)
    if evaluation is None:
        return None
    kept = sticky_criteria(draft.status.criteria, evaluation.fresh)
    if kept is not draft.status.criteria:
        draft.set(criteria=kept)
    for name in evaluation.warn:
        text = f"Criterion {name}: {evaluation.verdicts[name].message}"
        draft.say(Reason.WARNING, text, warning=True, criterion=name, announcement=Announcement.WARNING)
    if evaluation.rollback:
        # the values that decide are kept in the record, not those of the last write
        draft.set(criteria=evaluation.fresh)
        first = evaluation.rollback[0]
        text = " ".join(_breach_text(draft, evaluation, name) for name in evaluation.rollback)
        if lifecycle.start_rollback(draft, reason=Reason.CRITERION_BREACHED, message=text, criterion=first):
            return evaluation
    if evaluation.pause:
        first = evaluation.pause[0]
        text = " ".join(_breach_text(draft, evaluation, name) for name in evaluation.pause)
        text += " A person must look at it: resume, promote or abort."
        pauses.pause(draft, reason=Reason.PAUSED_BY_CRITERION, message=text, criterion=first)
    return evaluation


def _breach_text(draft: Draft, evaluation: Evaluation, name: str) -> str:
    spec = draft.spec
    assert spec is not None
    period = next(criterion.for_ for criterion in spec.criteria if criterion.name == name)
    lasted = f" (for {period})" if period.seconds else ""
    return f"Criterion {name} breached{lasted}: {evaluation.verdicts[name].message}"


def track_step(draft: Draft) -> None:
    """Keep the clocks of the step: when its weight was reached, when pods last made progress."""
    step, ready = draft.step, draft.candidate.ready
    if weight_reached(draft):
        if draft.run.serving_at is None:
            draft.set(run=draft.run.model_copy(update={"serving_at": step.reached_at or draft.now}))
        if step.reached_at is None:
            changes = {"reached_at": draft.now, "progressed_at": None, "most_ready": ready}
            draft.set(step=step.model_copy(update=changes))
        elif step.progressed_at is not None:
            draft.set(step=step.model_copy(update={"progressed_at": None}))
    elif step.progressed_at is None:
        # reached before and lost again: the deadline counts from here
        changes = {"progressed_at": draft.now, "most_ready": ready}
        draft.set(step=step.model_copy(update=changes))
    elif ready > step.most_ready:
        changes = {"progressed_at": draft.now, "most_ready": ready}
        draft.set(step=step.model_copy(update=changes))


def track_observation(draft: Draft) -> None:
    """Keep the clock of the observation: since when too few pods of the candidate are ready."""
    observation = draft.status.observation
    assert observation is not None
    short = draft.candidate.ready < _least_pods(draft)
    if short != (observation.short_since is not None):
        changes = {"short_since": draft.now if short else None}
        draft.set(observation=observation.model_copy(update=changes))


def _least_pods(draft: Draft) -> int:
    """Ready pods that the candidate must have in the observation: one at least, however low minCapacity."""
    assert draft.spec is not None
    wanted = draft.spec.rollback.min_capacity.of(draft.total, round_up=True)
    return max(1, min(draft.total, wanted))


def deadline_of(draft: Draft) -> timedelta | None:
    """Time left for pods to make progress; None where nothing is waited for, the run is paused, or it is not
    known how the pods are now.
    """
    spec, status = draft.spec, draft.status
    if spec is None or status.pause is not None or draft.observed.stale:
        return None
    since = None
    if draft.stage is Stage.STEP and status.step is not None:
        since = status.step.progressed_at
    elif draft.stage is Stage.OBSERVING and status.observation is not None:
        since = status.observation.short_since
    elif _awaits_copy(draft):
        since = draft.run.stage_at
    return None if since is None else since + spec.progress_deadline.timedelta - draft.now


def _awaits_copy(draft: Draft) -> bool:
    """Whether the copy outside the Service is waited for."""
    spec = draft.spec
    if draft.stage is not Stage.FIRST_VALIDATION:
        return draft.stage is Stage.SHADOW and draft.status.shadow is None
    assert spec is not None
    needed = bool(validation.validations_before(spec, 0)) and not validation.latest_entries(draft.status, 0)
    return needed and not draft.workload(shadow_name(draft.observed.name)).ready


def overdue(draft: Draft) -> bool:
    """Go back when pods made no progress for spec.progressDeadline; a first version has no way back."""
    left = deadline_of(draft)
    if left is None or left > timedelta():
        return False
    return lifecycle.start_rollback(draft, reason=Reason.DEADLINE_EXCEEDED, message=_overdue_text(draft))


def _overdue_text(draft: Draft) -> str:
    assert draft.spec is not None
    if draft.stage is Stage.OBSERVING:
        return (
            f"Fewer than {_least_pods(draft)} pods of {draft.run.candidate} were ready for "
            f"{draft.spec.progress_deadline} ({draft.candidate.ready} are ready); see its events and logs."
        )
    return (
        f"No more pods of {draft.run.candidate} became ready within {draft.spec.progress_deadline} "
        f"({draft.candidate.ready} are ready); see its events and logs."
    )


def record_baseline(draft: Draft) -> Blocker | None:
    """Keep what stable measured; what is still missing otherwise."""
    spec = draft.spec
    assert spec is not None and spec.baseline is not None
    entries, missing = [], []
    for criterion in baseline_criteria(spec):
        sample = draft.observed.baselines.get(criterion.name)
        wanted = max(spec.baseline.min_samples, criterion.min_samples)
        why = _unusable(sample, wanted)
        if not why and sample is not None and sample.value is not None:
            entries.append(
                BaselineStatus(
                    criterion=criterion.name, value=sample.value, samples=sample.count, recorded_at=draft.now
                )
            )
            continue
        if sample is None or baseline_binds(criterion):
            missing.append(f"{criterion.name} ({why})")
    if missing:
        text = f"the baseline of stable over {spec.baseline.window}: {'; '.join(missing)}"
        return Blocker(reason=Reason.RECORDING_BASELINE, message=text)
    run = draft.run.model_copy(update={"baseline_at": draft.now, "stage_at": draft.now})
    draft.set(run=run, baseline=tuple(entries))
    count = len(entries)
    draft.say(Reason.RECORDING_BASELINE, f"Recorded the baseline of stable for {count} criteria.")
    return None


def _unusable(sample: Sample | None, wanted: int) -> str:
    """Why a sample is no baseline; empty if it is one. Nothing that moves from tick to tick goes in."""
    if sample is None:
        return "not measured yet"
    if sample.state is not SampleState.VALUE or sample.value is None:
        return sample.message or "no data"
    if not is_finite(sample.value):
        return f"its value is {special_text(sample.value)}, with which nothing can be compared"
    if wanted and (sample.count is None or sample.count < wanted):
        return f"fewer than {wanted} samples"
    return ""


def go_on(draft: Draft) -> None:
    """The stage is over: enter the next one."""
    spec, stage = draft.spec, draft.stage
    assert spec is not None
    if stage is Stage.SHADOW and validation.validations_before(spec, 0):
        draft.set(run=draft.run.model_copy(update={"stage_at": draft.now}))
        validation.begin(draft, 0)
        draft.enter(Phase.VALIDATING, Reason.VALIDATING, "Validations run before the first step.")
    elif stage in (Stage.SHADOW, Stage.FIRST_VALIDATION):
        lifecycle.enter_step(draft, 0)
    elif stage is Stage.OBSERVING:
        lifecycle.succeed(draft)
    elif (upcoming := next_step(spec, draft.step)) is not None:
        lifecycle.enter_step(draft, upcoming)
    elif spec.observation is not None and not draft.run.skip_analysis:
        lifecycle.start_observation(draft)
    else:
        lifecycle.succeed(draft)


def prepare(draft: Draft) -> None:
    """What the stages before step 1 do besides waiting: start the shadow's clock, start first validations."""
    spec = draft.spec
    assert spec is not None
    if draft.run.started_at == draft.now:
        return  # what was seen of the copy is from before the run: it may be the last candidate's
    name = shadow_name(draft.observed.name)
    ready = draft.workload(name).ready
    if draft.stage is Stage.SHADOW and draft.status.shadow is None and spec.shadow is not None:
        if ready >= spec.shadow.replicas:
            draft.set(shadow=ShadowStatus(started_at=draft.now, deployment=name, service=name))
            text = f"{draft.run.candidate} gets copies of requests for {spec.shadow.duration}."
            draft.say(Reason.SHADOWING, text, announcement=Announcement.STEP)
    elif draft.stage is Stage.FIRST_VALIDATION and draft.status.pause is None and ready:
        validation.begin(draft, 0)


def upcoming_step(draft: Draft) -> int | None:
    """The step whose validations matter now; None outside of the stages that lead to one."""
    if draft.stage is Stage.FIRST_VALIDATION:
        return 0
    spec = draft.spec
    if draft.stage is Stage.STEP and spec is not None:
        return next_step(spec, draft.step)
    return None


def show_waiting(draft: Draft, found: tuple[Blocker, ...]) -> None:
    """Let the phase say what the run waits for."""
    if draft.status.pause is not None:
        pauses.show(draft)
        return
    first = found[0]
    if first.silent and draft.status.phase is STAGE_PHASES[draft.stage]:
        return
    spec = draft.spec
    assert spec is not None
    left = deadline_of(draft)
    if left is not None and left <= timedelta():
        draft.enter(STAGE_PHASES[draft.stage], Reason.DEADLINE_EXCEEDED, _overdue_text(draft))
        return
    validating = first.reason is Reason.VALIDATING
    phase = Phase.VALIDATING if validating else STAGE_PHASES[draft.stage]
    more = f"; then for {found[1].message}" if len(found) > 1 else ""
    text = f"{stage_name(spec, draft.status)} waits for {first.message}{more}."
    draft.enter(phase, first.reason, text)
