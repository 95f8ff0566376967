"""`decide`: everything that is known goes in, what to do comes out. No clock, no network, no memory."""

from __future__ import annotations

from datetime import datetime

from modelrollout.api.conditions import Phase, Reason
from modelrollout.api.spec import ModelRolloutSpec
from modelrollout.api.status import ModelRolloutStatus, RunResult
from modelrollout.decision import holds, lifecycle, pauses, problems, validation_jobs, versions
from modelrollout.decision.breaches import measure
from modelrollout.decision.commands import handle_commands
from modelrollout.decision.context import Blocker, Context, Stage, spec_of_status
from modelrollout.decision.draft import Draft
from modelrollout.decision.early_end import leave_early
from modelrollout.decision.measured import Evaluation
from modelrollout.decision.reach import was_stale
from modelrollout.decision.result import finish
from modelrollout.decision.settle import settle
from modelrollout.decision.stages import RollbackStage, RunRules, Tracked
from modelrollout.decision.types import Decision, Observation
from modelrollout.decision.waiting import all_blockers, show_waiting

_MOST_STAGES = 6
"""Stages that one call may pass through (superseded → rolled back → new run → first step ...)."""


def decide(
    *, spec: ModelRolloutSpec | None, status: ModelRolloutStatus, observed: Observation, now: datetime
) -> Decision:
    """Return what to do now.

    `spec` is None where it is invalid (observed.problems then say why): traffic can still return to stable,
    from what status alone knows. `now` is UTC and never before an earlier call's. Never raises for anything
    that a user or the cluster can cause.
    """
    known = spec if spec is not None else spec_of_status(status, observed)
    context = Context(spec=known, spec_valid=spec is not None, status=status, observed=observed, now=now)
    draft = Draft(context=context)
    evaluation: Evaluation | None = None
    if observed.deleting:
        _delete(draft)
    else:
        for _ in range(_MOST_STAGES):
            before = draft.status
            evaluation = _look(draft)
            if _same_place(before, draft.status):
                break
    return finish(draft, evaluation, status)


def _same_place(before: ModelRolloutStatus, after: ModelRolloutStatus) -> bool:
    """Tell whether another look could not find more to do: the stage and the step are what they were."""
    keys = ("run", "step", "rollback", "observation", "shadow", "validations", "pause")
    return all(getattr(before, key) is getattr(after, key) for key in keys)


def _look(draft: Draft) -> Evaluation | None:
    """Take one look at the stage that the run is in."""
    handle_commands(draft)
    found = problems.problems_of(draft)
    draft.stable_usable = all(problem.candidate_only for problem in found)
    match draft.rules:
        case RollbackStage() as rules:
            _roll_back(draft, rules)
            return None
        case _ if found:
            return problems.hold(draft, found)
        case RunRules():
            return _run(draft)
        case _:
            settle(draft)
            return None


def _run(draft: Draft) -> Evaluation | None:
    """Return a run under way: leave it, roll back, pause, wait or go on, in this order of precedence."""
    if draft.status.phase is Phase.INVALID:
        _restart_deadlines(draft)
        draft.say(Reason.RECOVERED, "The problem is gone; the run goes on where it was.")
    elif was_stale(draft.status) and not draft.observed.stale:
        _restart_deadlines(draft)
    versions.take_note(draft)
    if leave_early(draft):
        return None
    _keep(draft, draft.run_rules.track())
    begins = draft.run_rules.validations_to_begin()
    if begins is not None:
        validation_jobs.begin(draft, begins)
    evaluation = measure(draft)
    if draft.stage is Stage.REVERTING or _overdue(draft):
        return evaluation
    holds.follow(draft, evaluation)
    if holds.overdue(draft):
        return evaluation
    pauses.follow_spec(draft)
    versions.follow_stable(draft)
    upcoming = draft.run_rules.upcoming_step()
    if upcoming is not None:
        validation_jobs.follow(draft, upcoming)
    _wait_or_go_on(draft, evaluation, upcoming)
    return evaluation


def _wait_or_go_on(draft: Draft, evaluation: Evaluation | None, upcoming: int | None) -> None:
    found = draft.found = _found(draft, evaluation)
    paused = draft.status.pause is not None
    if not found and not paused:
        lifecycle.go_on(draft, draft.run_rules.next())
        return
    if not paused:
        _wait(draft, found, upcoming)
    show_waiting(draft, found)


def _found(draft: Draft, evaluation: Evaluation | None) -> tuple[Blocker, ...]:
    if draft.status.pause is None:
        recorded = draft.run_rules.record()
        if isinstance(recorded, Blocker):
            return (recorded,)
        _keep(draft, recorded)
    return all_blockers(draft, evaluation)


def _wait(draft: Draft, found: tuple[Blocker, ...], upcoming: int | None) -> None:
    """Start what is first in the way, if it can be started: validations, or asking for an approval."""
    first = found[0]
    if first.reason is Reason.VALIDATING and draft.run_rules.starts_validations and upcoming is not None:
        validation_jobs.begin(draft, upcoming)
    elif first.reason is Reason.WAITING_FOR_APPROVAL:
        text = f"Waits for {first.message}."
        pauses.pause(draft, reason=Reason.WAITING_FOR_APPROVAL, message=text)


def _keep(draft: Draft, tracked: Tracked) -> None:
    if tracked.changes:
        draft.set(**tracked.changes)
    if tracked.message:
        draft.say(tracked.reason, tracked.message, announcement=tracked.announcement)


def _overdue(draft: Draft) -> bool:
    """Roll back when pods made no progress for the deadline; a first version has none to return to."""
    rules = draft.run_rules
    if not rules.is_overdue():
        return False
    return lifecycle.start_rollback(draft, reason=Reason.DEADLINE_EXCEEDED, message=rules.overdue_text())


def _restart_deadlines(draft: Draft) -> None:
    """Leave the time of a problem that is gone out of the deadline."""
    changes = dict(draft.run_rules.restarted())
    if draft.status.hold is not None:
        changes["hold"] = draft.status.hold.model_copy(update={"counts_from": draft.now})
    if changes:
        draft.set(**changes)


def _roll_back(draft: Draft, rules: RollbackStage) -> None:
    """Show how far it is; end the run when all traffic is on stable."""
    reason, text = rules.shown()
    if reason == Reason.CANNOT_UNPARK and draft.status.reason != reason:
        draft.say(reason, text, warning=True)
    draft.enter(rules.phase, reason, text)
    if not any(rules.blockers(None)):
        lifecycle.go_on(draft, rules.next())


def _delete(draft: Draft) -> None:
    """All traffic to stable, whatever the phase; then the finalizer may go."""
    if draft.stage not in (Stage.NONE, Stage.REVERTING):
        text = "The ModelRollout is being deleted."
        lifecycle.start_rollback(draft, reason=Reason.DELETED, message=text, result=RunResult.ABORTED)
    rules = draft.rules
    if isinstance(rules, RollbackStage):
        _roll_back(draft, rules)
    unreachable = draft.stage is Stage.REVERTING and not draft.stable.exists
    first_version = draft.stage is not Stage.NONE and draft.status.stable is None
    draft.finalized = draft.stage is Stage.NONE or unreachable or first_version
