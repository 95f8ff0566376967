"""Pauses: what starts and ends one, and how the clocks stand still meanwhile."""

from __future__ import annotations

from datetime import datetime

from modelrollout.api.conditions import Phase, Reason
from modelrollout.api.schedule import Transition as Announcement
from modelrollout.api.status import ModelRolloutStatus, PauseStatus
from modelrollout.decision.context import STAGE_PHASES, Draft, Stage

PAUSABLE = (Stage.BASELINE, Stage.SHADOW, Stage.FIRST_VALIDATION, Stage.STEP, Stage.OBSERVING)


def pause(draft: Draft, *, reason: Reason, message: str, criterion: str | None = None) -> None:
    """Hold the run where it is. A pause that is there already stands."""
    if draft.status.pause is not None:
        return
    draft.set(
        pause=PauseStatus(
            at=draft.now,
            phase=STAGE_PHASES[draft.stage],
            reason=reason,
            message=message[:4096],
            criterion=criterion,
        )
    )
    show(draft)
    approval = reason is Reason.WAITING_FOR_APPROVAL
    draft.say(
        reason,
        message,
        criterion=criterion,
        warning=criterion is not None or reason is Reason.HOLD_DEADLINE_EXCEEDED,
        announcement=Announcement.APPROVAL_NEEDED if approval else Announcement.PAUSED,
    )


def show(draft: Draft) -> None:
    """Let the phase say what the pause says."""
    held = draft.status.pause
    assert held is not None
    draft.enter(Phase.PAUSED, held.reason, held.message)


def resume(draft: Draft, message: str = "The run goes on.") -> None:
    """End the pause; the time it took counts neither towards a duration nor towards the deadline."""
    held = draft.status.pause
    if held is None:
        return
    if held.reason == Reason.STABLE_TEMPLATE_CHANGED:  # stable as it is now is what is compared with
        draft.set(stable_template=draft.stable.template or draft.status.stable_template)
    draft.set(pause=None, **_shifted_clocks(draft.status, held.at, draft.now))
    if draft.stage in STAGE_PHASES:
        draft.enter(STAGE_PHASES[draft.stage], Reason.STARTED, message)
    draft.say(Reason.RESUMED, message, announcement=Announcement.RESUMED)


def _shifted_clocks(status: ModelRolloutStatus, start: datetime, end: datetime) -> dict[str, object]:
    changes: dict[str, object] = {}
    step, shadow, observation, run = status.step, status.shadow, status.observation, status.run
    hold, pause = status.hold, status.pause
    if hold is not None:
        again = pause is not None and pause.reason == Reason.HOLD_DEADLINE_EXCEEDED  # all of it, once more
        from_ = end if again else _later(hold.counts_from, start, end)
        changes["hold"] = hold.model_copy(update={"counts_from": from_})
    if observation is not None:
        paused = observation.paused_seconds + _overlap(observation.started_at, start, end)
        update: dict[str, object] = {"paused_seconds": paused}
        if observation.short_since is not None:
            update["short_since"] = _later(observation.short_since, start, end)
        changes["observation"] = observation.model_copy(update=update)
    elif step is not None:
        update = {}
        if step.reached_at is not None:
            update["paused_seconds"] = step.paused_seconds + _overlap(step.reached_at, start, end)
        if step.progressed_at is not None:
            update["progressed_at"] = _later(step.progressed_at, start, end)
        changes["step"] = step.model_copy(update=update)
    elif run is not None:
        if shadow is not None:
            paused = shadow.paused_seconds + _overlap(shadow.started_at, start, end)
            changes["shadow"] = shadow.model_copy(update={"paused_seconds": paused})
        if run.stage_at is not None:
            changes["run"] = run.model_copy(update={"stage_at": _later(run.stage_at, start, end)})
    return changes


def _overlap(since: datetime, start: datetime, end: datetime) -> float:
    """Seconds of the pause after `since`."""
    return max(0.0, (end - max(start, since)).total_seconds())


def _later(since: datetime, start: datetime, end: datetime) -> datetime:
    """The beginning of a wait without what the pause took of it."""
    return min(end, since + (end - max(start, since)))


def follow_spec(draft: Draft) -> None:
    """spec.paused starts and ends a pause of its own; it never ends another one's."""
    assert draft.spec is not None
    held = draft.status.pause
    if draft.spec.paused and held is None:
        text = "spec.paused is true; set it to false to go on."
        pause(draft, reason=Reason.PAUSED_BY_SPEC, message=text)
    elif not draft.spec.paused and held is not None and held.reason == Reason.PAUSED_BY_SPEC:
        resume(draft, "spec.paused is false again; the run goes on.")
