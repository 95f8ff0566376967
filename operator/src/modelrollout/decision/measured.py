"""What all due criteria say together, and what of it is not known."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from modelrollout.api.status import CriterionState, CriterionStatus
from modelrollout.decision.verdicts import Verdict


@dataclass(frozen=True, kw_only=True, slots=True)
class Evaluation:
    """What all due criteria say.

    Attributes:
        verdicts: By name, in the order of the spec.
        fresh: The same entries of status with the values of now (see `sticky_criteria`).
        rollback: Names whose breach rolls back, in the order of the spec.
        pause: Names whose breach pauses, not breached before.
        warn: Names whose breach only warns (or is a dry run), not breached before.
    """

    verdicts: Mapping[str, Verdict]
    fresh: tuple[CriterionStatus, ...]
    rollback: tuple[str, ...] = ()
    pause: tuple[str, ...] = ()
    warn: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Lacking:
    """What a run waits for without knowing it.

    Attributes:
        failed: Something could not be asked at all.
        texts: A clause for each criterion; empty if nothing is lacking.
    """

    failed: bool = False
    texts: tuple[str, ...] = ()


def lacking_criteria(evaluation: Evaluation | None, is_missing: Callable[[str], bool]) -> Lacking | None:
    """Return what is not known of the criteria that keep the run from going on; None while one is pending.

    `is_missing`: whether NoData of the criterion of that name counts.
    """
    verdicts = {} if evaluation is None else evaluation.verdicts
    if any(verdict.state is CriterionState.PENDING for verdict in verdicts.values()):
        return None
    lacking = {
        name: verdict
        for name, verdict in verdicts.items()
        if verdict.holds
        and (
            verdict.state is CriterionState.ERROR
            or (verdict.state is CriterionState.NO_DATA and is_missing(name))
        )
    }
    return Lacking(
        failed=any(verdict.state is CriterionState.ERROR for verdict in lacking.values()),
        texts=tuple(f"criterion {name}: {verdict.message}" for name, verdict in lacking.items()),
    )
