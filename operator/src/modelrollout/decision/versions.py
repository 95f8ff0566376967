"""A version is its pod template: what was seen of it, and what a change of it means.

Deployments are names under which templates are changed. What has been measured, and what was stable, is a
template; so a hash of it is kept in status, and every rule here compares hashes.
"""

from __future__ import annotations

from modelrollout.api.base import format_timestamp
from modelrollout.api.conditions import Reason
from modelrollout.api.status import ModelRolloutStatus, RolledBackCandidate
from modelrollout.api.workload import Candidate
from modelrollout.decision import pauses
from modelrollout.decision.draft import Draft
from modelrollout.decision.names import fingerprint


def take_note(draft: Draft) -> None:
    """Record the templates that a run under way was not told of: by an older operator, or of a new copy."""
    status, run = draft.status, draft.run
    if status.stable is not None and status.stable_template is None and draft.stable.template:
        draft.set(stable_template=draft.stable.template)
    if run.template is None and draft.candidate.template:
        draft.change_run(template=draft.candidate.template)


def candidate_changed(draft: Draft) -> bool:
    """Tell whether the candidate's pods have another template than the one that the run has measured."""
    seen, known = draft.candidate.template, draft.run.template
    return bool(seen and known and seen != known)


def stable_changed(draft: Draft) -> bool:
    """Tell whether stable's pods are made from another template than the one that is recorded."""
    seen, known = draft.stable.template, draft.status.stable_template
    return draft.status.stable is not None and bool(seen and known and seen != known)


def follow_stable(draft: Draft) -> None:
    """Pause a run whose stable version changes: what it is compared with and returns to is another one."""
    held = draft.status.pause
    mine = held is not None and held.reason == Reason.STABLE_TEMPLATE_CHANGED
    if mine and not stable_changed(draft):
        pauses.resume(draft, f"The pod template of {draft.stable.name} is what it was; the run goes on.")
    elif held is None and not draft.run.skip_analysis and stable_changed(draft):
        name = draft.stable.name
        text = (
            f"The pod template of {name}, the stable version, changed during the run; its Deployment "
            f"replaces its pods without steps. Check that {name} serves well. Then `kubectl modelrollout "
            "resume` goes on with the changed stable version, and `abort` returns all traffic to it; undoing "
            "the change also resumes the run."
        )
        pauses.pause(draft, reason=Reason.STABLE_TEMPLATE_CHANGED, message=text)


def settle_stable(draft: Draft) -> None:
    """At rest: record the template of stable; one that changed in place is said, it cannot be staged."""
    name, seen = draft.status.stable, draft.stable.template
    if name is None or not seen or draft.status.stable_template == seen:
        return
    if stable_changed(draft):
        draft.set(stable_edited_at=draft.now)
        draft.say(Reason.STABLE_TEMPLATE_CHANGED, edited_text(draft.status), warning=True)
    draft.set(stable_template=seen)


def edited_text(status: ModelRolloutStatus) -> str:
    """Return what happened to a stable version that was edited at rest, and what to do the next time."""
    at = status.stable_edited_at
    return (
        f"The pod template of {status.stable} was changed in place at "
        f"{format_timestamp(at) if at else 'an unknown time'}: its Deployment replaces all pods by a rolling "
        "update, without steps and criteria. To roll out a change in steps, put it into another Deployment "
        "(or into spec.candidate.image or env) and name that in spec.candidate."
    )


def was_stable(draft: Draft, name: str) -> bool:
    """Tell whether the Deployment is the previous version with the template that was stable."""
    status = draft.status
    template = draft.workload(name).template
    return name == status.previous_stable and bool(template) and template == status.previous_stable_template


def rejected(draft: Draft) -> RolledBackCandidate | None:
    """Return the candidate that was rolled back, while the same spec and template are asked for."""
    entry, spec = draft.status.rolled_back_from, draft.spec
    if entry is None or not draft.context.spec_valid or not is_rejected(spec.candidate, draft.status):
        return None
    template = draft.workload(entry.candidate).template
    return None if entry.template and template and template != entry.template else entry


def reject(draft: Draft, digest: str, name: str, template: str | None) -> None:
    """Remember that this candidate is not tried again by itself."""
    entry = RolledBackCandidate(
        fingerprint=digest,
        candidate=name,
        template=template or None,
        at=draft.now,
        generation=draft.observed.generation,
    )
    draft.set(rolled_back_from=entry)


def is_rejected(candidate: Candidate, status: ModelRolloutStatus) -> bool:
    """Tell whether what is asked for was rolled back, as long as its pod template is not another one by now.

    A candidate that was rolled back is not needed any more: that its Deployment is missing is no problem.
    """
    entry = status.rolled_back_from
    return entry is not None and entry.fingerprint == fingerprint(candidate)
