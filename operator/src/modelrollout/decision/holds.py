"""Holds: a run waits because Prometheus does not answer or has no data.

A hold is told when it begins and when it ends; spec.holdDeadline limits how long one may last.
"""

from __future__ import annotations

from datetime import timedelta

from modelrollout.api.conditions import Reason
from modelrollout.api.durations import format_duration
from modelrollout.api.schedule import Transition as Announcement
from modelrollout.api.spec import OnHoldDeadline
from modelrollout.api.status import CriterionState, HoldStatus
from modelrollout.decision import lifecycle, pauses
from modelrollout.decision.blockers import stage_began_at, stage_ends_at, stage_name
from modelrollout.decision.context import Draft, Stage, baseline_binds, baseline_criteria
from modelrollout.decision.evaluation import Evaluation
from modelrollout.decision.types import Problem, SampleState

_LACKING = (CriterionState.ERROR, CriterionState.NO_DATA)


def follow(draft: Draft, evaluation: Evaluation | None) -> None:
    """Begin or end a hold as the answers of now ask for."""
    held, lacking = draft.status.hold, None
    if draft.stage is Stage.BASELINE:
        if not draft.observed.baselines:
            return  # not asked yet: nothing is known
        lacking = _baseline_lacks(draft)
    elif evaluation is not None:
        if any(verdict.state is CriterionState.PENDING for verdict in evaluation.verdicts.values()):
            return
        lacking = _criteria_lack(draft, evaluation)
    if lacking is None:
        if held is not None:
            _end(draft, held)
    elif held is None:
        _begin(draft, lacking)
    elif held.reason != lacking.reason:  # the same hold for another reason: kept in status, not told again
        changes = {"reason": lacking.reason, "message": lacking.message[:4096]}
        draft.set(hold=held.model_copy(update=changes))


def overdue(draft: Draft) -> bool:
    """Do what onHoldDeadline says once a hold has lasted for holdDeadline; True if the run goes back."""
    left, held, spec = left_of(draft), draft.status.hold, draft.spec
    if left is None or left > timedelta() or held is None or spec is None:
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
    if held is None or spec is None or spec.hold_deadline is None or draft.status.pause is not None:
        return None
    return held.counts_from + spec.hold_deadline.timedelta - draft.now


def _criteria_lack(draft: Draft, evaluation: Evaluation) -> Problem | None:
    """What is not known of the criteria that keep the run from going on."""
    names = [
        name
        for name, verdict in evaluation.verdicts.items()
        if verdict.holds
        and (verdict.state is CriterionState.ERROR or _lacks_data(draft, name, verdict.state))
    ]
    failed = any(evaluation.verdicts[name].state is CriterionState.ERROR for name in names)
    texts = [f"criterion {name}: {evaluation.verdicts[name].message}" for name in names]
    return _problem(draft, failed, texts)


def _lacks_data(draft: Draft, name: str, state: CriterionState) -> bool:
    """Whether NoData is a hold: not while a window can still fill, unless data is all that is waited for.

    Without this every step would begin with one. What has been told stays told until there is data.
    """
    if state is not CriterionState.NO_DATA:
        return False
    if draft.status.hold is not None:
        return True
    ends = stage_ends_at(draft)
    if ends is not None and draft.now >= ends:
        return True
    spec = draft.spec
    assert spec is not None
    window = next(criterion.window.timedelta for criterion in spec.criteria if criterion.name == name)
    lacked = next((entry.since for entry in draft.status.criteria if entry.name == name), None)
    began = stage_began_at(draft)
    return lacked is not None and began is not None and draft.now - max(lacked, began) >= window


def _baseline_lacks(draft: Draft) -> Problem | None:
    spec = draft.spec
    assert spec is not None
    texts, failed = [], False
    for criterion in baseline_criteria(spec):
        sample = draft.observed.baselines.get(criterion.name)
        if sample is not None and sample.state is not SampleState.VALUE and baseline_binds(criterion):
            failed = failed or sample.state is SampleState.ERROR
            texts.append(sample.message or f"criterion {criterion.name}: no data")
    return _problem(draft, failed, texts)


def _problem(draft: Draft, failed: bool, texts: list[str]) -> Problem | None:
    if not texts:
        return None
    outage = draft.observed.metrics_error
    if failed and outage is not None:
        return Problem(reason=Reason.PROMETHEUS_UNAVAILABLE, message=outage)
    return Problem(reason=Reason.QUERY_FAILED if failed else Reason.NO_DATA, message="; ".join(texts))


def _begin(draft: Draft, lacking: Problem) -> None:
    assert draft.spec is not None
    held = HoldStatus(
        since=draft.now,
        counts_from=draft.now,
        reason=lacking.reason,
        message=lacking.message[:4096],
    )
    draft.set(hold=held)
    text = f"{stage_name(draft.spec, draft.status)} is held until there is data: {lacking.message}"
    draft.say(lacking.reason, text, warning=True, announcement=Announcement.HELD)


def _end(draft: Draft, held: HoldStatus) -> None:
    assert draft.spec is not None
    draft.set(hold=None)
    lasted = format_duration(round((draft.now - held.since).total_seconds()))
    text = f"{stage_name(draft.spec, draft.status)} is no longer held: there is data again after {lasted}."
    draft.say(Reason.HOLD_ENDED, text, announcement=Announcement.HOLD_ENDED)
