"""What ends a run before anything is measured: another candidate is asked for, or this one is gone."""

from __future__ import annotations

from modelrollout.api.conditions import Reason
from modelrollout.api.status import RunResult
from modelrollout.decision import lifecycle, versions
from modelrollout.decision.draft import Draft
from modelrollout.decision.names import fingerprint


def leave_early(draft: Draft) -> bool:
    """End the run where another candidate is asked for, or this one was deleted; return whether it ended."""
    spec, run = draft.spec, draft.run
    name = draft.candidate_name
    if fingerprint(spec.candidate) != run.fingerprint:
        return _replace(draft, name)
    if leave_changed(draft):
        return True
    unmade = spec.candidate.is_copy and not draft.candidate.exists and run.template is None
    if unmade and versions.stable_changed(draft):
        text = f"The pod template of {draft.stable.name} changed before it was copied."
        return _restart(draft, text, reason=Reason.STABLE_TEMPLATE_CHANGED)
    step = draft.status.step
    seen = step is not None and step.most_ready > 0
    if not draft.candidate.exists and (seen or not spec.candidate.is_copy):
        text = f"Deployment {run.candidate} of the candidate was deleted."
        return lifecycle.start_rollback(draft, reason=Reason.CANDIDATE_DELETED, message=text)
    return False


def leave_changed(draft: Draft) -> bool:
    """Start again where the candidate's pod template changed in mid-run; works without a valid spec."""
    if not versions.candidate_changed(draft):
        return False
    return _restart(draft, f"The pod template of {draft.run.candidate} changed during the run.")


def _restart(draft: Draft, what: str, *, reason: Reason = Reason.CANDIDATE_TEMPLATE_CHANGED) -> bool:
    """Return to stable, then start at the first step: what was measured is not what is asked for now."""
    if draft.status.stable is None:  # a first version: there is nothing that it could have earned
        template = draft.candidate.template or None
        draft.change_run(template=template)
        draft.say(reason, f"{what} It is the first version, so the run goes on.")
        return False
    text = f"{what} The run starts again at its first step, against the same stable version."
    return lifecycle.start_rollback(draft, reason=reason, message=text, result=RunResult.SUPERSEDED)


def _replace(draft: Draft, name: str | None) -> bool:
    """spec.candidate changed in mid-run."""
    run = draft.run
    if name is not None and name == draft.status.stable:
        text = f"spec.candidate was set back to {name}, the stable version."
        return lifecycle.start_rollback(draft, reason=Reason.ABORTED, message=text, result=RunResult.ABORTED)
    text = f"{name} replaces {run.candidate} as the candidate."
    if draft.status.stable is None:
        # the first version, not finished yet, gives way to the next one as soon as that one is ready
        lifecycle.start_run(draft, reason=Reason.NEW_CANDIDATE, message=text, skip_analysis=True)
        return True
    return lifecycle.start_rollback(
        draft, reason=Reason.SUPERSEDED, message=text, result=RunResult.SUPERSEDED
    )
