"""What people ask for. Each command acts once (by its id); abort wins over everything else."""

from __future__ import annotations

from modelrollout.api.commands import Command, Verb
from modelrollout.api.conditions import Phase, Reason
from modelrollout.api.schedule import Transition as Announcement
from modelrollout.api.status import RollbackStatus, RunResult, RunStatus
from modelrollout.decision import lifecycle, pauses, versions
from modelrollout.decision.context import MESSAGE_LIMIT, Stage, next_step
from modelrollout.decision.draft import Draft
from modelrollout.decision.names import fingerprint, run_id
from modelrollout.decision.stages import RunRules

_CHANGED = "the candidate's pod template has just changed"


def handle_commands(draft: Draft) -> None:
    """Carry out the commands that have not been, oldest first; with an abort among them, only that one."""
    handled = set(draft.status.handled_commands)
    commands = [command for command in draft.observed.commands if command.id not in handled]
    abort = next((command for command in commands if command.verb is Verb.ABORT), None)
    if abort is not None:
        _note(draft, *commands)
        _abort(draft, abort)
        for command in commands:
            if command.verb is not Verb.ABORT:
                _refuse(draft, command, "an abort was asked for as well, which wins")
        return
    for command in commands:
        if command.verb is Verb.RETRY and draft.stage is Stage.REVERTING:
            continue  # it waits until the traffic is back
        _note(draft, command)
        _carry_out(draft, command)


def _note(draft: Draft, *commands: Command) -> None:
    """Record in status that these were handled."""
    present = {command.id for command in draft.observed.commands}
    for command in commands:
        draft.replace_status(draft.status.with_handled_command(command.id, present=present))


def _carry_out(draft: Draft, command: Command) -> None:
    if not draft.context.spec_valid:
        _refuse(draft, command, "the resource is invalid; correct it first")
        return
    match command.verb:
        case Verb.PAUSE:
            _pause(draft, command)
        case Verb.RESUME:
            _resume(draft, command)
        case Verb.PROMOTE:
            _promote(draft, command)
        case Verb.PROMOTE_FULL:
            _promote_full(draft, command)
        case Verb.RETRY:
            _retry(draft, command)
        case Verb.ROLLBACK:
            _rollback(draft, command)
        case Verb.ABORT:  # carried out before all others
            _abort(draft, command)


def _by(command: Command) -> str:
    return f" by {command.user}" if command.user else ""


def _refuse(draft: Draft, command: Command, why: str) -> None:
    text = f"{command.verb} was not carried out: {why}."
    draft.say(Reason.COMMAND_REFUSED, text, warning=True)


def _abort(draft: Draft, command: Command) -> None:
    stage = draft.stage
    if stage is Stage.NONE:
        _refuse(draft, command, "no run is under way")
    elif draft.status.rollback is not None:
        _abort_next(draft, command, draft.status.rollback)
    else:
        text = f"Aborted{_by(command)}."
        if not lifecycle.start_rollback(draft, reason=Reason.ABORTED, message=text, result=RunResult.ABORTED):
            _refuse(draft, command, "this is the first version; there is no stable one to go back to")


def _abort_next(draft: Draft, command: Command, rollback: RollbackStatus) -> None:
    """Drop the run that would start after the rollback; the traffic returns already."""
    spec, name, valid = draft.spec, draft.candidate_name, draft.context.spec_valid
    superseded = rollback.result is RunResult.SUPERSEDED
    other = valid and fingerprint(spec.candidate) != draft.run.fingerprint
    starts = superseded or other or versions.candidate_changed(draft)
    nothing = valid and name == draft.status.stable
    if not starts or nothing or versions.rejected(draft) is not None:
        return
    following = name or "the next candidate"
    text = f"{rollback.message} Aborted{_by(command)}: {following} is not rolled out after that."
    changes = {"message": text[:MESSAGE_LIMIT]}
    if superseded:
        changes |= {"reason": str(Reason.ABORTED), "result": RunResult.ABORTED}
    draft.set(rollback=rollback.model_copy(update=changes))
    if valid and name is not None:
        versions.reject(draft, fingerprint(spec.candidate), name, draft.workload(name).template)
    draft.say(Reason.ABORTED, text, warning=True)


def _pause(draft: Draft, command: Command) -> None:
    if not draft.rules.pausable:
        _refuse(draft, command, "no run is going on")
    elif draft.status.pause is not None:
        _refuse(draft, command, f"it is paused already ({draft.status.pause.reason})")
    else:
        text = f"Paused{_by(command)}; `kubectl modelrollout resume` goes on."
        pauses.pause(draft, reason=Reason.PAUSED_BY_COMMAND, message=text)


def _resume(draft: Draft, command: Command) -> None:
    held = draft.status.pause
    if held is None:
        _refuse(draft, command, "it is not paused")
    elif _held_by_spec(draft):
        _refuse(draft, command, "spec.paused is true; set it to false")
    elif held.reason == Reason.WAITING_FOR_APPROVAL:
        _refuse(draft, command, "it waits for an approval; use promote")
    else:
        pauses.resume(draft, f"Resumed{_by(command)}.")


def _held_by_spec(draft: Draft) -> bool:
    return draft.context.spec_valid and draft.spec.paused


def _promote(draft: Draft, command: Command) -> None:
    """Approve what waits for approval; else end the present stage now."""
    status, rules = draft.status, draft.rules
    why = _no_promotion(draft)
    if why or not isinstance(rules, RunRules):
        _refuse(draft, command, why)
        return
    following = rules.promoted()
    if following is None:
        _refuse(draft, command, "the last step ends when all pods are ready and all criteria pass")
        return
    waiting = status.pause is not None and status.pause.reason == Reason.WAITING_FOR_APPROVAL
    pauses.resume(draft, f"Promoted{_by(command)}.")
    step, shadow = draft.status.step, draft.status.shadow
    if waiting and step is not None:
        draft.set(step=step.model_copy(update={"approved_at": draft.now}))
    elif waiting and shadow is not None:
        draft.set(shadow=shadow.model_copy(update={"approved_at": draft.now}))
    else:
        lifecycle.go_on(draft, following)


def _no_promotion(draft: Draft) -> str:
    """Return why the present stage cannot be ended by a person; empty if it can."""
    if not draft.rules.pausable:
        return "no run is going on"
    if _held_by_spec(draft):
        return "spec.paused is true; set it to false"
    if draft.rules.no_promotion:
        return draft.rules.no_promotion
    changed = versions.candidate_changed(draft)
    return f"{_CHANGED}; the run starts again at its first step" if changed else ""


def _promote_full(draft: Draft, command: Command) -> None:
    spec = draft.spec
    if not draft.rules.pausable:
        _refuse(draft, command, "no run is going on")
    elif _held_by_spec(draft):
        _refuse(draft, command, "spec.paused is true; set it to false")
    elif versions.candidate_changed(draft):
        _refuse(draft, command, f"{_CHANGED}; the run starts again at its first step")
    elif draft.stage is Stage.OBSERVING:
        lifecycle.succeed(draft)
    else:
        pauses.resume(draft, f"Promoted in full{_by(command)}.")
        draft.change_run(skip_analysis=True)
        draft.set(criteria=())
        if next_step(spec, draft.status.step) is not None:
            lifecycle.enter_step(draft, len(spec.steps) - 1)


def _retry(draft: Draft, command: Command) -> None:
    rejected_candidate, last = draft.status.rolled_back_from, draft.status.run
    if draft.stage is not Stage.NONE or rejected_candidate is None:
        _refuse(draft, command, "there is no candidate that was rolled back or aborted")
    elif rejected_candidate.fingerprint != fingerprint(draft.spec.candidate):
        _refuse(draft, command, "spec.candidate has changed since; that starts a run by itself")
    elif draft.spec.paused:
        _refuse(draft, command, "spec.paused is true; set it to false")
    elif not draft.spec.candidate.is_copy and not draft.workload(rejected_candidate.candidate).exists:
        _refuse(draft, command, f"there is no Deployment {rejected_candidate.candidate}; create it first")
    else:
        attempt = last.attempt + 1 if last is not None else 2
        text = f"Attempt {attempt} of {rejected_candidate.candidate}, from the first step{_by(command)}."
        lifecycle.start_run(draft, reason=Reason.STARTED, message=text, attempt=attempt)


def _rollback(draft: Draft, command: Command) -> None:
    """During a run the same as abort; after success roll back to the previous version."""
    status = draft.status
    text = f"Rolled back{_by(command)}."
    if draft.rules.pausable:
        if not lifecycle.start_rollback(draft, reason=Reason.ROLLED_BACK_BY_COMMAND, message=text):
            _refuse(draft, command, "this is the first version; there is no stable one to go back to")
        return
    previous, current = status.previous_stable, status.stable
    if status.phase is not Phase.SUCCEEDED or previous is None or current is None or status.run is None:
        _refuse(draft, command, "there is no previous version to go back to")
    elif not draft.workload(previous).exists:
        _refuse(draft, command, f"the Deployment {previous} of the previous version no longer exists")
    elif status.previous_stable_template and not versions.was_stable(draft, previous):
        why = (
            f"the pod template of {previous} is not the one that was stable; undo the change, or name "
            f"{previous} in spec.candidate to roll it out in steps"
        )
        _refuse(draft, command, why)
    else:
        _return_to_previous(draft, previous, current, text)


def _return_to_previous(draft: Draft, previous: str, current: str, message: str) -> None:
    """Roll the present stable version back as if it were a candidate of the one before."""
    status = draft.status
    digest = fingerprint(draft.spec.candidate)
    back = RunStatus(
        id=run_id(draft.observed.uid, digest, draft.now),
        candidate=current,
        fingerprint=digest,
        stable=previous,
        template=status.stable_template,
        started_at=draft.now,
        skip_analysis=True,
    )
    draft.set(
        run=back, stable=previous, stable_template=status.previous_stable_template, previous_stable=None,
        previous_stable_template=None, step=None, criteria=(), validations=(),
    )  # fmt: skip
    draft.say(Reason.STARTED, f"Going back from {current} to {previous}.", announcement=Announcement.STARTED)
    lifecycle.start_rollback(draft, reason=Reason.ROLLED_BACK_BY_COMMAND, message=message)
