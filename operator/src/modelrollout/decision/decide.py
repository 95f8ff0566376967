"""`decide`: everything that is known goes in, what to do comes out. No clock, no network, no memory."""

from __future__ import annotations

from datetime import datetime

from modelrollout.api.conditions import Phase, Reason
from modelrollout.api.schedule import Transition as Announcement
from modelrollout.api.spec import ModelRolloutSpec
from modelrollout.api.status import ModelRolloutStatus, RunResult
from modelrollout.decision import holds, lifecycle, pauses, phases, validation, versions
from modelrollout.decision.blockers import blockers
from modelrollout.decision.commands import handle_commands
from modelrollout.decision.context import Blocker, Draft, Stage
from modelrollout.decision.evaluation import Evaluation
from modelrollout.decision.reach import was_stale
from modelrollout.decision.result import finish
from modelrollout.decision.types import Decision, Observation, Problem

_MOST_STAGES = 6
"""Stages that one call may pass through (superseded → rolled back → new run → first step ...)."""


def decide(
    *, spec: ModelRolloutSpec | None, status: ModelRolloutStatus, observed: Observation, now: datetime
) -> Decision:
    """What to do now.

    `spec` is None where it is invalid (observed.problems then say why): traffic can still return to stable,
    from what status alone knows. `now` is UTC and never before an earlier call's. Never raises for anything
    that a user or the cluster can cause.
    """
    draft = Draft(spec=spec, observed=observed, now=now, status=status)
    evaluation: Evaluation | None = None
    if observed.deleting:
        _delete(draft)
    else:
        for _ in range(_MOST_STAGES):
            before = draft.status
            handle_commands(draft)
            problems = _problems(draft)
            draft.stable_usable = all(problem.candidate_only for problem in problems)
            if problems and draft.stage is not Stage.REVERTING:
                evaluation = _hold(draft, problems)
            else:
                evaluation = _take(draft)
            if _same_place(before, draft.status):
                break
    return finish(draft, evaluation, status)


def _same_place(before: ModelRolloutStatus, after: ModelRolloutStatus) -> bool:
    """Whether another look could not find more to do: the stage and the step are what they were."""
    keys = ("run", "step", "rollback", "observation", "shadow", "validations", "pause")
    return all(getattr(before, key) is getattr(after, key) for key in keys)


def _take(draft: Draft) -> Evaluation | None:
    """One look at the stage that the run is in."""
    match draft.stage:
        case Stage.NONE:
            phases.settle(draft)
            return None
        case Stage.REVERTING:
            phases.revert(draft)
            return None
        case _:
            return _run(draft)


def _run(draft: Draft) -> Evaluation | None:
    """A run under way: leave it, go back, pause, wait or go on, in this order of precedence."""
    if draft.status.phase is Phase.INVALID:
        _restart_deadlines(draft)
        draft.say(Reason.RECOVERED, "The problem is gone; the run goes on where it was.")
    elif was_stale(draft.status) and not draft.observed.stale:
        _restart_deadlines(draft)
    versions.take_note(draft)
    if phases.leave_early(draft):
        return None
    if draft.observed.stale:
        pass  # no clock moves on what may be out of date
    elif draft.stage is Stage.STEP:
        phases.track_step(draft)
    elif draft.stage is Stage.OBSERVING:
        phases.track_observation(draft)
    phases.prepare(draft)
    evaluation = phases.measure(draft)
    if draft.stage is Stage.REVERTING or phases.overdue(draft):
        return evaluation
    holds.follow(draft, evaluation)
    if holds.overdue(draft):
        return evaluation
    pauses.follow_spec(draft)
    versions.follow_stable(draft)
    upcoming = phases.upcoming_step(draft)
    if upcoming is not None:
        validation.follow(draft, upcoming)
    found = draft.found = _found(draft, evaluation)
    if not found and draft.status.pause is None:
        phases.go_on(draft)
        return evaluation
    if found and draft.status.pause is None:
        _wait(draft, found, upcoming)
    if draft.status.pause is not None or found:
        phases.show_waiting(draft, found)
    return evaluation


def _found(draft: Draft, evaluation: Evaluation | None) -> tuple[Blocker, ...]:
    if draft.stage is Stage.BASELINE:
        if draft.status.pause is not None:
            return blockers(draft, evaluation)
        missing = phases.record_baseline(draft)
        if missing is not None:
            return (missing,)
    return blockers(draft, evaluation)


def _wait(draft: Draft, found: tuple[Blocker, ...], upcoming: int | None) -> None:
    """What is first in the way may be something to start: validations, or asking for an approval."""
    first = found[0]
    if first.reason is Reason.VALIDATING and draft.stage is Stage.STEP and upcoming is not None:
        validation.begin(draft, upcoming)
    elif first.reason is Reason.WAITING_FOR_APPROVAL:
        text = f"Waits for {first.message}."
        pauses.pause(draft, reason=Reason.WAITING_FOR_APPROVAL, message=text)


def _problems(draft: Draft) -> tuple[Problem, ...]:
    """Why the object cannot be worked on, from the operator and from what is observed."""
    observed, spec = draft.observed, draft.spec
    if observed.problems:
        return observed.problems
    if spec is None:
        return (Problem(reason=Reason.INVALID_SPEC, message="The spec is invalid; correct it."),)
    if draft.stage is Stage.REVERTING:
        return ()
    stable = draft.status.stable or (spec.stable.deployment if spec.stable else None)
    given_up = versions.rejected(draft) is not None
    for name in (stable, draft.candidate_name):
        if name is None or (given_up and name != stable):
            continue  # a candidate that was rolled back is not needed any more
        workload = draft.workload(name)
        if workload.claimed_by:
            text = f"Deployment {name} is managed by ModelRollout {workload.claimed_by}; each needs its own."
            return (Problem(reason=Reason.CONFLICTING_ROLLOUT, message=text, candidate_only=name != stable),)
        made_by_us = spec.candidate.is_copy and name != stable
        in_run = draft.stage is not Stage.NONE and name != stable
        if not workload.exists and not made_by_us and not in_run:
            text = f"Deployment {name} was not found in this namespace; create it or correct the name."
            return (Problem(reason=Reason.DEPLOYMENT_NOT_FOUND, message=text, candidate_only=name != stable),)
    return ()


def _hold(draft: Draft, problems: tuple[Problem, ...]) -> Evaluation | None:
    """Something is wrong with the object: nothing is scaled or advanced, but a breach still goes back."""
    evaluation = None
    under_way = draft.stage not in (Stage.NONE, Stage.REVERTING)
    if under_way:
        versions.take_note(draft)
        if phases.leave_changed(draft):
            return None
    if draft.spec is not None and under_way:
        if phases.leave_early(draft):
            return None
        evaluation = phases.measure(draft)
        if draft.status.rollback is not None:
            return evaluation
    first = problems[0]
    text = " ".join(problem.message for problem in problems)
    if (draft.status.phase, draft.status.reason) != (Phase.INVALID, first.reason):
        draft.say(first.reason, text, warning=True, announcement=Announcement.INVALID)
    draft.enter(Phase.INVALID, first.reason, text)
    return evaluation


def _restart_deadlines(draft: Draft) -> None:
    """A problem is gone: the time that it took does not count towards the deadline."""
    step, observation, run = draft.status.step, draft.status.observation, draft.run
    if draft.status.hold is not None:
        draft.set(hold=draft.status.hold.model_copy(update={"counts_from": draft.now}))
    if step is not None and step.progressed_at is not None:
        draft.set(step=step.model_copy(update={"progressed_at": draft.now}))
    if observation is not None and observation.short_since is not None:
        draft.set(observation=observation.model_copy(update={"short_since": draft.now}))
    if step is None and run.stage_at is not None:
        draft.set(run=run.model_copy(update={"stage_at": draft.now}))


def _delete(draft: Draft) -> None:
    """All traffic to stable, whatever the phase; then the finalizer may go."""
    if draft.stage not in (Stage.NONE, Stage.REVERTING):
        text = "The ModelRollout is being deleted."
        lifecycle.start_rollback(draft, reason=Reason.DELETED, message=text, result=RunResult.ABORTED)
    if draft.stage is Stage.REVERTING:
        phases.revert(draft)
    unreachable = draft.stage is Stage.REVERTING and not draft.stable.exists
    first_version = draft.stage is not Stage.NONE and draft.status.stable is None
    draft.finalized = draft.stage is Stage.NONE or unreachable or first_version
