"""The stages of a run, a module for each: which phase it shows, its pods, what it tracks, what blocks it, its
deadline, what comes next.
"""

from __future__ import annotations

from typing import Final

from modelrollout.api.spec import ModelRolloutSpec
from modelrollout.api.status import ModelRolloutStatus
from modelrollout.decision.context import Context, Stage, unobserved
from modelrollout.decision.stages.base import (
    BeginValidations,
    EnterStep,
    FinishRollback,
    Next,
    Observe,
    RunRules,
    StageRules,
    Succeed,
    Tracked,
)
from modelrollout.decision.stages.baseline import Baseline
from modelrollout.decision.stages.observation import Observation
from modelrollout.decision.stages.rest import Rest
from modelrollout.decision.stages.rollback import Rollback
from modelrollout.decision.stages.shadow import Shadow
from modelrollout.decision.stages.step import Step
from modelrollout.decision.stages.validation import Validation

STAGES: Final[tuple[type[RunRules], ...]] = (
    Rollback,  # wins over all: nothing may keep traffic from returning
    Observation,  # its step is in status still
    Step,
    # Before the first step nothing in status says which stage it is: the first one that is not done.
    Baseline,
    Shadow,
    Validation,  # the rest
)
"""A run is in the first of these that its status fits. The order is the specification."""


def current_stage(context: Context) -> StageRules:
    """Return the stage, from the facts in status alone, so that no crash and no pause can lose it."""
    run = context.status.run
    if run is None or run.finished_at is not None:
        return Rest(context=context)
    found = (rules.of(context, run) for rules in STAGES)
    return next((rules for rules in found if rules is not None), Rest(context=context))


def stage_of(spec: ModelRolloutSpec | None, status: ModelRolloutStatus) -> Stage:
    """Return where the run is; None for an invalid spec."""
    return current_stage(unobserved(spec, status)).kind


__all__ = [
    "STAGES",
    "BeginValidations",
    "EnterStep",
    "FinishRollback",
    "Next",
    "Observe",
    "Rollback",
    "RunRules",
    "StageRules",
    "Succeed",
    "Tracked",
    "current_stage",
    "stage_of",
]
