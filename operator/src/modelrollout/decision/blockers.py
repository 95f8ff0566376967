"""What more than one stage waits for: criteria, time, validations, people, the schedule."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from modelrollout.api.base import format_timestamp
from modelrollout.api.conditions import Reason
from modelrollout.api.status import CriterionState, CriterionStatus
from modelrollout.decision import schedule
from modelrollout.decision.context import Blocker, Context
from modelrollout.decision.measured import Evaluation
from modelrollout.decision.validation import all_succeeded, describe_open, validations_before


def criteria_blockers(context: Context, evaluation: Evaluation | None) -> Iterator[Blocker]:
    """Yield criteria that do not pass now."""
    if evaluation is None:
        return
    entries = {entry.name: entry for entry in context.status.criteria}
    held = [entries[name] for name, verdict in evaluation.verdicts.items() if verdict.holds]
    if held:
        no_data = all(entry.state is CriterionState.NO_DATA for entry in held)
        reason = Reason.WAITING_FOR_SAMPLES if no_data else Reason.WAITING_FOR_CRITERIA
        yield Blocker(reason=reason, message="; ".join(_shown(entry) for entry in held))


def duration_blockers(context: Context, ends: datetime | None) -> Iterator[Blocker]:
    """Yield the end of the stage, where it is still to come."""
    if ends is not None and context.now < ends:
        text = f"its end at {format_timestamp(ends)}"
        yield Blocker(reason=Reason.WAITING_FOR_DURATION, message=text, until=ends)


def validation_blockers(context: Context, upcoming: int) -> Iterator[Blocker]:
    """Yield validations before the step `upcoming` that have not succeeded."""
    spec = context.spec
    if validations_before(spec, upcoming) and not all_succeeded(spec, context.status, upcoming):
        yield Blocker(reason=Reason.VALIDATING, message=describe_open(context.status, upcoming))


def approval_blocker(what: str) -> Blocker:
    """Somebody must agree to `what`."""
    return Blocker(
        reason=Reason.WAITING_FOR_APPROVAL,
        message=f"a person to approve {what} (kubectl modelrollout promote)",
    )


def schedule_blockers(context: Context) -> Iterator[Blocker]:
    """Yield the schedule, which guards every increase of the weight."""
    spec = context.spec
    if spec.schedule is None or schedule.is_open(spec.schedule, context.now):
        return
    opens = schedule.next_opening(spec.schedule, context.now)
    if opens is None:
        text = f"a window of the schedule, but {spec.schedule.time_zone!r} is no known time zone"
    else:
        text = f"the next window of the schedule, at {format_timestamp(opens)}"
    yield Blocker(reason=Reason.WAITING_FOR_SCHEDULE, message=text, until=opens)


def _shown(entry: CriterionStatus) -> str:
    return f"criterion {entry.name} ({entry.state}: {entry.message})"
