"""The stages of a run, a module for each.

Which phase it shows, its pods, what it tracks, what blocks it, its deadline, what comes next.
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
from modelrollout.decision.stages.baseline import BaselineStage
from modelrollout.decision.stages.observation import ObservationStage
from modelrollout.decision.stages.rest import RestStage
from modelrollout.decision.stages.rollback import RollbackStage
from modelrollout.decision.stages.shadow import ShadowStage
from modelrollout.decision.stages.step import StepStage
from modelrollout.decision.stages.validation import ValidationStage

STAGES: Final[tuple[type[RunRules], ...]] = (
    RollbackStage,  # wins over all: nothing may keep traffic from returning
    ObservationStage,  # its step is in status still
    StepStage,
    # Before the first step nothing in status says which stage it is: the first one that is not done.
    BaselineStage,
    ShadowStage,
    ValidationStage,  # the rest
)
"""A run is in the first of these that its status fits. The order is the specification."""


def current_stage(context: Context) -> StageRules:
    """Return the stage, from the facts in status alone, so that no crash and no pause can lose it."""
    run = context.status.run
    if run is None or run.finished_at is not None:
        return RestStage(context=context)
    for rules in STAGES:
        found = rules.of(context, run)
        if found is not None:
            return found
    return RestStage(context=context)


def stage_of(spec: ModelRolloutSpec | None, status: ModelRolloutStatus) -> Stage:
    """Return where the run is. `spec`: None where it is invalid."""
    return current_stage(unobserved(spec, status)).kind


__all__ = [
    "STAGES",
    "BeginValidations",
    "EnterStep",
    "FinishRollback",
    "Next",
    "Observe",
    "RollbackStage",
    "RunRules",
    "StageRules",
    "Succeed",
    "Tracked",
    "current_stage",
    "stage_of",
]
