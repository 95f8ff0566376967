"""The Deployments that the operator made as copies of stable: which are needed, and which can go."""

from __future__ import annotations

from datetime import timedelta

from modelrollout.api.conditions import Phase
from modelrollout.api.status import ModelRolloutStatus
from modelrollout.decision.context import Stage
from modelrollout.decision.draft import Draft

_SURELY_SEEN = timedelta(minutes=1)
"""After this long a copy that is not there was deleted; before, the watch may not have told of it."""


def other_copies(status: ModelRolloutStatus) -> bool:
    """Tell whether there are copies that must go when the ModelRollout does: all but the one that serves."""
    return any(one.name != status.stable for one in status.owned)


def forget_deleted(draft: Draft) -> None:
    """At rest: drop from status what was deleted."""
    owned, there = draft.status.owned, draft.observed.copies
    kept = tuple(
        one
        for one in owned
        if one.name in there or one.name == draft.status.stable or draft.now - one.created_at < _SURELY_SEEN
    )
    if len(kept) != len(owned):
        draft.set(owned=kept)


def unneeded(draft: Draft) -> tuple[str, ...]:
    """Copy to delete: at rest those beyond spec.revisionHistoryLimit, at the end all but what serves."""
    status = draft.status
    serving = {status.stable}
    if draft.observed.deleting:
        if not draft.finalized:
            return ()
        if draft.stage is not Stage.NONE and status.run is not None:
            serving.add(status.run.candidate)  # there is no stable version that could serve in its place
        keep = 0
    elif draft.stage is Stage.NONE and draft.context.spec_valid and status.phase is not Phase.INVALID:
        keep = draft.spec.revision_history_limit
    else:
        return ()
    old = [one for one in status.owned if one.name in draft.observed.copies and one.name not in serving]
    newest = sorted(
        old, key=lambda one: (one.name == status.previous_stable, one.created_at, one.name), reverse=True
    )
    return tuple(one.name for one in newest[keep:])
