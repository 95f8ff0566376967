"""What makes the object unusable for now, and what is still done meanwhile."""

from __future__ import annotations

from modelrollout.api.conditions import Phase, Reason
from modelrollout.api.schedule import Transition as Announcement
from modelrollout.decision import versions
from modelrollout.decision.breaches import measure
from modelrollout.decision.context import Stage
from modelrollout.decision.draft import Draft
from modelrollout.decision.early_end import leave_changed, leave_early
from modelrollout.decision.measured import Evaluation
from modelrollout.decision.types import Problem


def problems_of(draft: Draft) -> tuple[Problem, ...]:
    """Return why the object cannot be worked on, from the operator and from what is observed."""
    spec = draft.spec
    if draft.observed.problems:
        return draft.observed.problems
    if not draft.context.spec_valid:
        return (Problem(reason=Reason.INVALID_SPEC, message="The spec is invalid; correct it."),)
    if draft.stage is Stage.REVERTING:
        return ()
    stable = draft.status.stable or (spec.stable.deployment if spec.stable else None)
    given_up = versions.rejected(draft) is not None
    for name in (stable, draft.candidate_name):
        if name is None or (given_up and name != stable):
            continue  # a candidate that was rolled back is not needed any more
        found = _problem_with(draft, name, candidate=name != stable)
        if found is not None:
            return (found,)
    return ()


def _problem_with(draft: Draft, name: str, *, candidate: bool) -> Problem | None:
    workload = draft.workload(name)
    if workload.claimed_by:
        text = f"Deployment {name} is managed by ModelRollout {workload.claimed_by}; each needs its own."
        return Problem(reason=Reason.CONFLICTING_ROLLOUT, message=text, candidate_only=candidate)
    made_by_us = draft.spec.candidate.is_copy and candidate
    in_run = draft.stage is not Stage.NONE and candidate
    if workload.exists or made_by_us or in_run:
        return None
    text = f"Deployment {name} was not found in this namespace; create it or correct the name."
    return Problem(reason=Reason.DEPLOYMENT_NOT_FOUND, message=text, candidate_only=candidate)


def hold(draft: Draft, problems: tuple[Problem, ...]) -> Evaluation | None:
    """Scale and advance nothing; a breach still rolls back."""
    evaluation = None
    if draft.stage not in (Stage.NONE, Stage.REVERTING):
        versions.take_note(draft)
        if leave_changed(draft):
            return None
        if draft.context.spec_valid:
            if leave_early(draft):
                return None
            evaluation = measure(draft)
            if draft.status.rollback is not None:
                return evaluation
    first = problems[0]
    text = " ".join(problem.message for problem in problems)
    if (draft.status.phase, draft.status.reason) != (Phase.INVALID, first.reason):
        draft.say(first.reason, text, warning=True, announcement=Announcement.INVALID)
    draft.enter(Phase.INVALID, first.reason, text)
    return evaluation
