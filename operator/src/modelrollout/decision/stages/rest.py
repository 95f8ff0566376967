"""No run under way: the stable version serves everything."""

from __future__ import annotations

from dataclasses import dataclass

from modelrollout.api.conditions import Phase
from modelrollout.decision.context import Stage
from modelrollout.decision.stages.base import StageRules


@dataclass(frozen=True, kw_only=True, slots=True)
class RestStage(StageRules):
    """Between runs."""

    kind = Stage.NONE
    phase = Phase.IDLE
    pausable = False
