"""Holds: a run waits because Prometheus does not answer or has no data.

A hold is told when it begins and when it ends; spec.holdDeadline limits how long one may last.
"""

from __future__ import annotations

from datetime import timedelta

from modelrollout.api.conditions import Reason
from modelrollout.api.durations import format_duration
from modelrollout.api.schedule import Transition as Announcement
from modelrollout.api.spec import OnHoldDeadline
from modelrollout.api.status import HoldStatus
from modelrollout.decision import lifecycle, pauses
from modelrollout.decision.draft import Draft
from modelrollout.decision.measured import Evaluation, Lacking
from modelrollout.decision.types import Problem


def follow(draft: Draft, evaluation: Evaluation | None) -> None:
    """Begin or end a hold as the answers of now ask for."""
    held, found = draft.status.hold, draft.run_rules.lacking(evaluation)
    if found is None:
        return  # not all was asked yet
    lacking = _problem(draft, found)
    if lacking is None:
        if held is not None:
            _end(draft, held)
    elif held is None:
        _begin(draft, lacking)
    elif held.reason != lacking.reason:  # the same hold for another reason: kept in status, not told again
        changes = {"reason": lacking.reason, "message": lacking.message[:4096]}
        draft.set(hold=held.model_copy(update=changes))


def overdue(draft: Draft) -> bool:
    """Do what onHoldDeadline says once a hold has lasted for holdDeadline; True if the run is rolled back."""
    left, held, spec = left_of(draft), draft.status.hold, draft.spec
    if left is None or left > timedelta() or held is None:
        return False
    text = f"Held for {spec.hold_deadline} for lack of data: {held.message}"
    if spec.on_hold_deadline is OnHoldDeadline.ROLLBACK:
        return lifecycle.start_rollback(draft, reason=Reason.HOLD_DEADLINE_EXCEEDED, message=text)
    text += " A person must look at it: resume, promote or abort."
    pauses.pause(draft, reason=Reason.HOLD_DEADLINE_EXCEEDED, message=text)
    return False


def left_of(draft: Draft) -> timedelta | None:
    """Time until holdDeadline; None where there is no hold, no deadline, or the run is paused."""
    held, spec = draft.status.hold, draft.spec
    if held is None or spec.hold_deadline is None or draft.status.pause is not None:
        return None
    return held.counts_from + spec.hold_deadline.timedelta - draft.now


def _problem(draft: Draft, lacking: Lacking) -> Problem | None:
    if not lacking.texts:
        return None
    outage = draft.observed.metrics_error
    if lacking.failed and outage is not None:
        return Problem(reason=Reason.PROMETHEUS_UNAVAILABLE, message=outage)
    reason = Reason.QUERY_FAILED if lacking.failed else Reason.NO_DATA
    return Problem(reason=reason, message="; ".join(lacking.texts))


def _begin(draft: Draft, lacking: Problem) -> None:
    held = HoldStatus(
        since=draft.now,
        counts_from=draft.now,
        reason=lacking.reason,
        message=lacking.message[:4096],
    )
    draft.set(hold=held)
    text = f"{draft.run_rules.title()} is held until there is data: {lacking.message}"
    draft.say(lacking.reason, text, warning=True, announcement=Announcement.HELD)


def _end(draft: Draft, held: HoldStatus) -> None:
    draft.set(hold=None)
    lasted = format_duration(round((draft.now - held.since).total_seconds()))
    text = f"{draft.run_rules.title()} is no longer held: there is data again after {lasted}."
    draft.say(Reason.HOLD_ENDED, text, announcement=Announcement.HOLD_ENDED)
