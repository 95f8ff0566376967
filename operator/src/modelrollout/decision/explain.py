"""Why is it not advancing? One sentence."""

from __future__ import annotations

from datetime import datetime

from modelrollout.api.conditions import Phase
from modelrollout.api.durations import format_duration
from modelrollout.api.spec import ModelRolloutSpec
from modelrollout.api.status import ModelRolloutStatus
from modelrollout.decision.draft import Draft, Stage
from modelrollout.decision.evaluation import evaluate, sticky_criteria
from modelrollout.decision.gate import blockers, stage_name
from modelrollout.decision.types import Observation


def explain(
    spec: ModelRolloutSpec | None,
    status: ModelRolloutStatus,
    observed: Observation | None,
    now: datetime,
) -> str:
    """One sentence on what the rollout waits for, with the time left where the clock will end it.

    Without an observation (offline, from status alone) the status' own sentence is returned.
    """
    message = status.message or "The operator has not seen this object yet."
    if spec is None or observed is None or status.phase in (None, Phase.INVALID, Phase.PAUSED):
        return message
    draft = Draft(spec=spec, observed=observed, now=now, status=status)
    if draft.stage in (Stage.NONE, Stage.REVERTING):
        return message
    evaluation = evaluate(draft)
    if evaluation is not None:
        draft.set(criteria=sticky_criteria(status.criteria, evaluation.fresh))
    found = blockers(draft, evaluation)
    if not found:
        return f"{stage_name(spec, status)} is over; it goes on at the next evaluation."
    parts = []
    for blocker in found:
        left = blocker.until - now if blocker.until is not None else None
        more = f" (in {format_duration(max(1, left.total_seconds() // 1))})" if left is not None else ""
        parts.append(f"{blocker.message}{more}")
    return f"{stage_name(spec, status)} waits for {'; for '.join(parts)}."
