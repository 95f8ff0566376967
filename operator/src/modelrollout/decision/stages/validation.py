"""First validation: Jobs ask a copy of the candidate outside the Service, before any client sees it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Self

from modelrollout.api.conditions import Phase
from modelrollout.api.status import RunStatus
from modelrollout.decision import blockers
from modelrollout.decision.context import Blocker, Context, Stage
from modelrollout.decision.measured import Evaluation
from modelrollout.decision.names import shadow_name
from modelrollout.decision.stages.base import EnterStep, Next, RunRules
from modelrollout.decision.validation import latest_entries, validations_before


@dataclass(frozen=True, kw_only=True, slots=True)
class ValidationStage(RunRules):
    """Every run before its first step that is in no other stage, with or without validations."""

    kind = Stage.FIRST_VALIDATION
    phase = Phase.VALIDATING
    looks_again = True

    @classmethod
    def of(cls, context: Context, run: RunStatus) -> Self | None:
        """Return the stage: it is the last in the chain and takes what no other one does."""
        return cls(context=context, run=run)

    def needs_copy(self) -> bool:
        """Tell whether a copy must exist: where there is something to validate."""
        return bool(validations_before(self.context.spec, 0))

    def waits_since(self) -> datetime | None:
        """Return since when the copy is waited for."""
        awaited = self.needs_copy() and not latest_entries(self.context.status, 0)
        return self.run.stage_at if awaited and not self._ready() else None

    def blockers(self, evaluation: Evaluation | None) -> Iterator[Blocker]:
        """Return what keeps the first step from beginning."""
        del evaluation  # no client reaches the candidate, so nothing is measured
        yield from blockers.validation_blockers(self.context, 0)
        yield from blockers.schedule_blockers(self.context)

    def next(self) -> Next:
        """Return the first step."""
        return EnterStep(index=0)

    def upcoming_step(self) -> int | None:
        """Return the first step."""
        return 0

    def validations_to_begin(self) -> int | None:
        """Return the first step as soon as the copy is ready.

        Not in the tick in which the run begins: what was seen then may be the last candidate's copy.
        """
        begun = self.run.started_at != self.context.now
        return 0 if begun and self.context.status.pause is None and self._ready() else None

    def _ready(self) -> int:
        """Return the ready pods of the copy."""
        return self.context.workload(shadow_name(self.context.observed.name)).ready
