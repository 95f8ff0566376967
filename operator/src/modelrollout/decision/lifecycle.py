"""Beginning and end of a run: start, the way into each step, return to stable, success."""

from __future__ import annotations

from modelrollout.api.conditions import Phase, Reason
from modelrollout.api.durations import Duration
from modelrollout.api.schedule import Transition as Announcement
from modelrollout.api.status import (
    HistoryEntry,
    ObservationStatus,
    OwnedDeployment,
    RollbackStatus,
    RolledBackCandidate,
    RunResult,
    RunStatus,
    StepStatus,
)
from modelrollout.decision import validation_jobs
from modelrollout.decision.draft import Draft
from modelrollout.decision.names import candidate_deployment, fingerprint, run_id
from modelrollout.decision.stages import (
    BeginValidations,
    EnterStep,
    FinishRollback,
    Next,
    Observe,
    Succeed,
)

_OWNED_LIMIT = 50
_PASSED_OVER = "The run went on without it."


def go_on(draft: Draft, next_: Next) -> None:
    """Do what comes after a stage."""
    match next_:
        case EnterStep(index=index):
            enter_step(draft, index)
        case BeginValidations():
            begin_validations(draft)
        case Observe(duration=duration):
            start_observation(draft, duration)
        case Succeed():
            succeed(draft)
        case FinishRollback(rollback=rollback):
            finish_rollback(draft, rollback)


def start_run(
    draft: Draft, *, reason: Reason, message: str, skip_analysis: bool = False, attempt: int = 1
) -> None:
    """Begin a run of what spec.candidate asks for, with fresh clocks and nothing of the last run."""
    spec, observed = draft.spec, draft.observed
    draft.set(rolled_back_from=None)
    name = candidate_deployment(observed.name, spec.candidate, draft.status)
    digest = fingerprint(spec.candidate)
    stable = draft.status.stable or (draft.status.run.candidate if draft.status.run else None)
    run = RunStatus(
        id=run_id(observed.uid, digest, draft.now),
        candidate=name,
        fingerprint=digest,
        stable=stable if stable != name else None,
        template=draft.workload(name).template or None,
        started_at=draft.now,
        attempt=attempt,
        skip_analysis=skip_analysis,
        stage_at=draft.now,
    )
    owned = draft.status.owned
    if spec.candidate.is_copy and name not in {deployment.name for deployment in owned}:
        made = OwnedDeployment(name=name, fingerprint=digest, created_at=draft.now)
        owned = (*owned, made)[-_OWNED_LIMIT:]
    draft.set(
        run=run, candidate=name, owned=owned, step=None, criteria=(), baseline=(), shadow=None,
        observation=None, pause=None, hold=None, rollback=None, validations=(), stable_edited_at=None,
    )  # fmt: skip
    draft.say(reason, message, announcement=Announcement.STARTED)
    if skip_analysis:
        enter_step(draft, len(spec.steps) - 1, quietly=True)


def enter_step(draft: Draft, index: int, *, quietly: bool = False) -> None:
    """Begin a step: its clock starts when its weight is observed, its deadline now.

    Validations that were passed over are ended: their results no longer count.
    """
    spec = draft.spec
    validation_jobs.cancel_all(draft, _PASSED_OVER)
    weight, count = spec.steps[index].weight, len(spec.steps)
    draft.set(
        step=StepStatus(
            index=index,
            weight=weight,
            progress=f"{index + 1}/{count}",
            started_at=draft.now,
            progressed_at=draft.now,
            most_ready=draft.candidate.ready,
        ),
        pause=None,
    )
    text = f"Step {index + 1} of {count}: {weight}% of the traffic to {draft.run.candidate}."
    draft.enter(Phase.PROGRESSING, Reason.SCALING, text)
    if not quietly:
        draft.say(Reason.STEP_ADVANCED, text, announcement=Announcement.STEP)


def start_rollback(
    draft: Draft,
    *,
    reason: Reason,
    message: str,
    criterion: str | None = None,
    result: RunResult = RunResult.ROLLED_BACK,
) -> bool:
    """Begin the return to stable; False if the run has no stable version to return to."""
    if draft.status.stable is None:
        return False
    validation_jobs.cancel_all(draft)
    rollback = RollbackStatus(
        started_at=draft.now,
        reason=reason,
        message=message[:4096],
        criterion=criterion,
        result=result,
    )
    draft.set(rollback=rollback, pause=None, hold=None)
    draft.enter(Phase.ROLLING_BACK, reason, message)
    draft.say(
        reason,
        f"Traffic goes back to {draft.status.stable}: {message}",
        warning=result is not RunResult.SUPERSEDED,
        criterion=criterion,
        announcement=Announcement.ROLLING_BACK,
    )
    return True


def finish_rollback(draft: Draft, rollback: RollbackStatus) -> None:
    """All traffic is on stable: the run is over."""
    run = draft.run.model_copy(update={"finished_at": draft.now, "result": rollback.result})
    draft.set(run=run, step=None, observation=None)
    # One that is set already was asked for during the rollback, and aborted.
    if rollback.result is not RunResult.SUPERSEDED and draft.status.rolled_back_from is None:
        entry = RolledBackCandidate(
            fingerprint=run.fingerprint,
            candidate=run.candidate,
            template=run.template,
            at=draft.now,
            generation=draft.observed.generation,
        )
        draft.set(rolled_back_from=entry)
    _record(draft, rollback.result, rollback.reason, rollback.message)
    draft.enter(Phase.ROLLED_BACK, rollback.reason, rollback.message)
    text = f"All traffic is on {draft.status.stable} again: {rollback.message}"
    draft.say(Reason.ROLLED_BACK, text, criterion=rollback.criterion, announcement=Announcement.ROLLED_BACK)


def start_observation(draft: Draft, duration: Duration) -> None:
    """Begin the observation: the candidate serves everything, stable is ready to come back."""
    validation_jobs.cancel_all(draft, _PASSED_OVER)  # its step may have been taken out of the spec
    draft.set(observation=ObservationStatus(started_at=draft.now), criteria=())
    text = f"{draft.run.candidate} serves everything and is watched for {duration}."
    draft.enter(Phase.OBSERVING, Reason.OBSERVING, text)
    draft.say(Reason.OBSERVING, text, announcement=Announcement.STEP)


def begin_validations(draft: Draft) -> None:
    """Begin the validations before the first step."""
    draft.change_run(stage_at=draft.now)
    validation_jobs.begin(draft, 0)
    draft.enter(Phase.VALIDATING, Reason.VALIDATING, "Validations run before the first step.")


def succeed(draft: Draft) -> None:
    """End the run with the candidate as the stable version."""
    validation_jobs.cancel_all(draft, _PASSED_OVER)
    run = draft.run
    before = draft.status.stable or run.stable
    first = before is None
    reason = Reason.FIRST_VERSION if first else Reason.PROMOTED
    if run.skip_analysis and not first and run.candidate == draft.status.previous_stable:
        reason = Reason.RETURNED_TO_PREVIOUS
    text = f"{run.candidate} serves everything" + ("." if first else f", after {before}.")
    draft.set(
        run=run.model_copy(update={"finished_at": draft.now, "result": RunResult.SUCCEEDED}),
        stable=run.candidate,
        stable_template=run.template,
        previous_stable=before,
        previous_stable_template=draft.status.stable_template,
        pause=None,
        hold=None,
        step=None,
        observation=None,
    )
    _record(draft, RunResult.SUCCEEDED, reason, text, before=before)
    draft.enter(Phase.SUCCEEDED, reason, text)
    draft.say(reason, text, announcement=Announcement.SUCCEEDED)


def _record(draft: Draft, result: RunResult, reason: str, message: str, *, before: str | None = None) -> None:
    run = draft.run
    entry = HistoryEntry(
        id=run.id,
        from_=before or run.stable,
        to=run.candidate,
        result=result,
        reason=reason,
        message=message,
        started_at=run.started_at,
        finished_at=draft.now,
    )
    draft.replace_status(draft.status.with_history(entry))
