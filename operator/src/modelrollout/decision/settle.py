"""Between runs: keep what is known of stable, and start a run where another version is asked for."""

from __future__ import annotations

from modelrollout.api.conditions import Phase, Reason
from modelrollout.api.status import RunResult
from modelrollout.decision import copies, versions
from modelrollout.decision.draft import Draft
from modelrollout.decision.lifecycle import start_run

_RESTING = (Phase.IDLE, Phase.SUCCEEDED, Phase.ROLLED_BACK)


def settle(draft: Draft) -> None:
    """No run is under way: take over the stable version, and start a run if another one is asked for."""
    spec = draft.spec
    if draft.status.stable is None and spec.stable is not None:
        draft.set(stable=spec.stable.deployment)
    versions.settle_stable(draft)
    copies.forget_deleted(draft)
    rejected_candidate = versions.rejected(draft)
    if rejected_candidate is not draft.status.rolled_back_from:
        draft.set(rolled_back_from=None)
    stable, name = draft.status.stable, draft.candidate_name
    if name is None or name == stable:
        _rest(draft)
    elif rejected_candidate is not None:
        rollback = draft.status.rollback
        reason = rollback.reason if rollback else Reason.ALREADY_ROLLED_BACK
        text = (
            rollback.message
            if rollback
            else f"{rejected_candidate.candidate} was rolled back and is not tried again."
        )
        draft.enter(Phase.ROLLED_BACK, reason, text)
    elif spec.paused:
        text = f"{name} is not rolled out while spec.paused is true."
        resting = draft.status.phase if draft.status.phase in _RESTING else Phase.IDLE
        draft.enter(resting, Reason.PAUSED_BY_SPEC, text)
    elif stable is None:
        text = f"{name} is the first version and gets all the traffic at once."
        start_run(draft, reason=Reason.FIRST_VERSION, message=text, skip_analysis=True)
    elif versions.was_stable(draft, name):
        text = f"Returning from {stable} to {name}, the version before it, without analysis."
        start_run(draft, reason=Reason.RETURNED_TO_PREVIOUS, message=text, skip_analysis=True)
    else:
        text = f"Rolling out {name} in place of {stable}."
        if name == draft.status.previous_stable:
            text += " It was stable before, but with another pod template: it takes every step."
        start_run(draft, reason=Reason.STARTED, message=text)


def _rest(draft: Draft) -> None:
    """Come to rest: the stable version is what is asked for."""
    run, stable = draft.status.run, draft.status.stable
    last = draft.status.history[0] if draft.status.history else None
    if run is not None and run.result is RunResult.SUCCEEDED and run.candidate == stable and last is not None:
        draft.enter(Phase.SUCCEEDED, last.reason, last.message)
    else:
        draft.enter(
            Phase.IDLE, Reason.UP_TO_DATE, f"{stable} serves everything; there is nothing to roll out."
        )
