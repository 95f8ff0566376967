"""Pauses: what starts and ends one, and how the clocks stand still meanwhile."""

from __future__ import annotations

from modelrollout.api.conditions import Phase, Reason
from modelrollout.api.schedule import Transition as Announcement
from modelrollout.api.status import PauseStatus
from modelrollout.decision.draft import Draft
from modelrollout.decision.stages import RunRules
from modelrollout.decision.stages.base import later


def pause(draft: Draft, *, reason: Reason, message: str, criterion: str | None = None) -> None:
    """Hold the run where it is. A pause that is there already stands."""
    if draft.status.pause is not None:
        return
    held = PauseStatus(
        at=draft.now,
        phase=draft.rules.phase,
        reason=reason,
        message=message[:4096],
        criterion=criterion,
    )
    draft.set(pause=held)
    show(draft, held)
    approval = reason is Reason.WAITING_FOR_APPROVAL
    draft.say(
        reason,
        message,
        criterion=criterion,
        warning=criterion is not None or reason is Reason.HOLD_DEADLINE_EXCEEDED,
        announcement=Announcement.APPROVAL_NEEDED if approval else Announcement.PAUSED,
    )


def show(draft: Draft, held: PauseStatus) -> None:
    """Let the phase say what the pause says."""
    draft.enter(Phase.PAUSED, held.reason, held.message)


def resume(draft: Draft, message: str = "The run goes on.") -> None:
    """End the pause; the time it took counts neither towards a duration nor towards the deadline."""
    held = draft.status.pause
    if held is None:
        return
    if held.reason == Reason.STABLE_TEMPLATE_CHANGED:  # stable as it is now is what is compared with
        draft.set(stable_template=draft.stable.template or draft.status.stable_template)
    draft.set(pause=None, **_shifted_clocks(draft.run_rules, held))
    draft.enter(draft.rules.phase, Reason.STARTED, message)
    draft.say(Reason.RESUMED, message, announcement=Announcement.RESUMED)


def _shifted_clocks(rules: RunRules, held: PauseStatus) -> dict[str, object]:
    start, end, hold = held.at, rules.context.now, rules.context.status.hold
    changes: dict[str, object] = dict(rules.shifted(start, end))
    if hold is not None:
        again = held.reason == Reason.HOLD_DEADLINE_EXCEEDED  # all of it, once more
        from_ = end if again else later(hold.counts_from, start, end)
        changes["hold"] = hold.model_copy(update={"counts_from": from_})
    return changes


def follow_spec(draft: Draft) -> None:
    """spec.paused starts and ends a pause of its own; it never ends another one's."""
    held = draft.status.pause
    if draft.spec.paused and held is None:
        text = "spec.paused is true; set it to false to go on."
        pause(draft, reason=Reason.PAUSED_BY_SPEC, message=text)
    elif not draft.spec.paused and held is not None and held.reason == Reason.PAUSED_BY_SPEC:
        resume(draft, "spec.paused is false again; the run goes on.")
