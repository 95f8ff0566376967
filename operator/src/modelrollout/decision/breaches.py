"""The criteria of a run under way, and what their breaches cause."""

from __future__ import annotations

from modelrollout.api.conditions import Reason
from modelrollout.api.schedule import Transition as Announcement
from modelrollout.decision import lifecycle, pauses
from modelrollout.decision.draft import Draft
from modelrollout.decision.evaluation import evaluate, sticky_criteria
from modelrollout.decision.measured import Evaluation


def measure(draft: Draft) -> Evaluation | None:
    """Evaluate the criteria and do what their breaches ask for."""
    evaluation = evaluate(draft.context)
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
    period = next(criterion.for_ for criterion in draft.spec.criteria if criterion.name == name)
    lasted = f" (for {period})" if period.seconds else ""
    return f"Criterion {name} breached{lasted}: {evaluation.verdicts[name].message}"
