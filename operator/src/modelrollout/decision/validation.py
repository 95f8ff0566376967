"""The validations of a run: which belong before which step, and how they are."""

from __future__ import annotations

from datetime import datetime

from modelrollout.api.spec import ModelRolloutSpec
from modelrollout.api.status import ModelRolloutStatus, ValidationState, ValidationStatus
from modelrollout.api.workload import Validation

OPEN = (ValidationState.PENDING, ValidationState.RUNNING, ValidationState.IMAGE_PULL_FAILED)


def validations_before(spec: ModelRolloutSpec, step: int) -> tuple[Validation, ...]:
    """Return the validations that must succeed before step `step` (from 0)."""
    weight = spec.steps[step].weight
    return tuple(v for v in spec.validations if not v.before_weights or weight in v.before_weights)


def latest_entries(status: ModelRolloutStatus, step: int) -> dict[str, ValidationStatus]:
    """Return the last attempt of each validation before that step of the present run."""
    run = status.run.id if status.run else ""
    return {entry.name: entry for entry in status.validations if entry.run == run and entry.step == step}


def all_succeeded(spec: ModelRolloutSpec, status: ModelRolloutStatus, step: int) -> bool:
    """Tell whether every validation before that step has succeeded in this run."""
    entries = latest_entries(status, step)
    return all(
        v.name in entries and entries[v.name].state is ValidationState.SUCCEEDED
        for v in validations_before(spec, step)
    )


def describe_open(status: ModelRolloutStatus, step: int) -> str:
    """Return what the validations before that step still wait for, for people."""
    entries = latest_entries(status, step).values()
    parts = [f"{e.name} ({e.message})" if e.message else e.name for e in entries if e.state in OPEN]
    return f"validations that have not succeeded yet: {', '.join(parts)}"


def next_timeout(spec: ModelRolloutSpec, status: ModelRolloutStatus, now: datetime) -> datetime | None:
    """When the next open validation will be late; None if none will.

    One that is late already is not waited for: where that could not be acted on (the object is invalid), the
    clock changes nothing about it.
    """
    timeouts = {v.name: v.timeout.timedelta for v in spec.validations}
    run = status.run.id if status.run else ""
    ends = (
        entry.started_at + timeouts[entry.name]
        for entry in status.validations
        if entry.run == run and entry.state in OPEN and entry.started_at and entry.name in timeouts
    )
    return min((end for end in ends if end > now), default=None)
