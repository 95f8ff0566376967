"""What clients really reach, where the plan takes more for granted.

Pods of neither version, a Service that does not spread requests evenly, or a view of the cluster that may be
out of date.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from modelrollout.api.conditions import ConditionStatus, ConditionType, Reason, get_condition
from modelrollout.api.status import ModelRolloutStatus, RunResult, RunStatus
from modelrollout.decision.context import Blocker, Context, Stage
from modelrollout.decision.draft import Draft
from modelrollout.decision.types import Scale

NAMED: Final = 5
"""Endpoints that a message names; more are counted."""
_TYPES: Final = (
    ConditionType.FOREIGN_ENDPOINTS,
    ConditionType.UNEVEN_TRAFFIC,
    ConditionType.CACHE_STALE,
)


def reach_conditions(context: Context) -> Iterator[tuple[ConditionType, Reason | str, str]]:
    """Yield the conditions of this kind that are true now: type, reason and message."""
    observed = context.observed
    if observed.foreign:
        yield ConditionType.FOREIGN_ENDPOINTS, Reason.FOREIGN_ENDPOINTS, _foreign_text(context)
    if observed.uneven:
        text = " ".join(problem.message for problem in observed.uneven)
        yield ConditionType.UNEVEN_TRAFFIC, observed.uneven[0].reason, text
    if observed.stale:
        text = (
            f"The operator cannot see the cluster as it is now: {'; '.join(observed.stale)}. "
            "Nothing advances until it can; a breach still rolls back."
        )
        yield ConditionType.CACHE_STALE, Reason.CACHE_STALE, text


def _foreign_text(context: Context) -> str:
    foreign = context.observed.foreign
    named = ", ".join(foreign[:NAMED]) + (f" and {len(foreign) - NAMED} more" if len(foreign) > NAMED else "")
    own = sum(context.workload(name).ready for name in own_deployments(context))
    total = own + len(foreign)
    return (
        f"{len(foreign)} of the {total} ready endpoints of the Service ({100 * len(foreign) / total:.0f}% of "
        f"its requests) belong to neither version: {named}. "
        "Take them out of the Service's selector or end them."
    )


def own_deployments(context: Context) -> tuple[str, ...]:
    """Return deployments whose pods may be behind the Service.

    Stable, the candidate and the version before.
    """
    status, run = context.status, context.status.run
    named = (
        context.stable.name,
        context.observed.candidate_name,
        status.previous_stable,
        *((run.candidate, run.stable) if run is not None else ()),
    )
    return tuple(dict.fromkeys(name for name in named if name))


def reach_blockers(context: Context, run: RunStatus) -> Iterator[Blocker]:
    """Yield what keeps every stage from ending.

    The weight that clients see is not known, or not the plan's.
    """
    if context.observed.stale:
        kinds = ", ".join(text.partition(":")[0] for text in context.observed.stale)
        yield Blocker(reason=Reason.CACHE_STALE, message=f"a current view of the cluster ({kinds})")
    if context.observed.foreign and not run.skip_analysis:
        count = len(context.observed.foreign)
        text = (
            f"the Service to reach no pods of other workloads ({count} now; see condition ForeignEndpoints)"
        )
        yield Blocker(reason=Reason.FOREIGN_ENDPOINTS, message=text)


def rests_on_endpoints(before: ModelRolloutStatus, after: ModelRolloutStatus) -> bool:
    """Tell whether a step begins or ends or its weight newly counts as reached."""
    if after is before or after.rollback is not None:
        return False
    old, new = before.step, after.step
    if new is not None and (old is None or old.index != new.index or old.reached_at != new.reached_at):
        return True
    under_way = before.run is not None and before.run.finished_at is None
    over = after.run is None or after.run.finished_at is not None
    return under_way and (over or (after.observation is not None and before.observation is None))


def ends_rollback(before: ModelRolloutStatus, after: ModelRolloutStatus) -> bool:
    """Tell whether a run ends without success.

    After that no pod of stable may be left outside the Service.
    """
    run, now = before.run, after.run
    if run is None or run.finished_at is not None:
        return False
    if now is None or now.id != run.id:
        return True
    return now.finished_at is not None and now.result is not RunResult.SUCCEEDED


def was_stale(status: ModelRolloutStatus) -> bool:
    """Tell whether the last decision was made without a current view of the cluster."""
    condition = get_condition(status.conditions, ConditionType.CACHE_STALE)
    return condition is not None and condition.status is ConditionStatus.TRUE


def steady_scales(draft: Draft, scales: tuple[Scale, ...]) -> tuple[Scale, ...]:
    """Return the replica counts that may be set: on a stale view only those that add pods of stable.

    A return to stable is made on what is known.
    """
    if not draft.observed.stale or draft.stage is Stage.REVERTING:
        return scales
    stable = draft.stable
    return tuple(s for s in scales if s.deployment == stable.name and s.replicas > stable.desired)


def announce_reach(draft: Draft, old: ModelRolloutStatus) -> None:
    """Say when one of these conditions begins or ends."""
    for type_ in _TYPES:
        before, after = get_condition(old.conditions, type_), get_condition(draft.status.conditions, type_)
        if before is None and after is not None:
            draft.say(after.reason, after.message, warning=True)
        elif before is not None and after is None:
            draft.say(Reason.RECOVERED, f"The condition {type_} ({before.reason}) is over.")
