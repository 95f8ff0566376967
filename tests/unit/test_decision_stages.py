"""The table of stages: complete, in an order that is the specification, and each answers on any context."""

from __future__ import annotations

import pytest

from modelrollout.api.status import (
    ModelRolloutStatus,
    ObservationStatus,
    RollbackStatus,
    RunResult,
    RunStatus,
    StepStatus,
)
from modelrollout.decision import Stage, stage_of
from modelrollout.decision.context import Context, spec_of_status
from modelrollout.decision.draft import Draft
from modelrollout.decision.stages import STAGES, current_stage
from modelrollout.decision.types import Observation, Workload
from tests.unit import decision_world as sim
from tests.unit.decision_story import Story

RUN = RunStatus(id="r", candidate="b", started_at=sim.START)
STEP = StepStatus(index=0, weight=10, started_at=sim.START)
OBSERVED = ObservationStatus(started_at=sim.START)
ROLLBACK = RollbackStatus(started_at=sim.START, reason="Aborted", message="m", result=RunResult.ABORTED)


def test_every_stage_has_one_row() -> None:
    kinds = [rules.kind for rules in STAGES]
    assert len(kinds) == len(set(kinds))
    assert {*kinds, Stage.NONE} == set(Stage)


@pytest.mark.parametrize(
    ("facts", "stage"),
    [
        ({"run": None}, Stage.NONE),
        ({"run": RUN.model_copy(update={"finished_at": sim.START})}, Stage.NONE),
        ({"step": STEP, "observation": OBSERVED, "rollback": ROLLBACK}, Stage.REVERTING),
        ({"step": STEP, "observation": OBSERVED}, Stage.OBSERVING),
        ({"step": STEP}, Stage.STEP),
        ({}, Stage.FIRST_VALIDATION),
    ],
)
def test_a_run_is_in_the_first_stage_that_its_status_fits(facts: dict[str, object], stage: Stage) -> None:
    status = ModelRolloutStatus.model_validate({}).model_copy(update={"run": RUN, **facts})
    assert stage_of(Story().world.spec, status) is stage
    assert stage_of(None, status) is stage


def test_where_the_spec_is_invalid_status_tells_how_many_pods_there_are() -> None:
    story = Story()
    story.until_weight(50)
    known = spec_of_status(story.status, story.observed)
    assert (known.replicas, known.criteria, known.candidate.deployment) == (10, (), "b")
    without = story.status.model_copy(update={"pods": None})
    seen = {"a": Workload(name="a", desired=4), "b": Workload(name="b", desired=3)}
    observed = Observation(uid="u", generation=1, candidate_name="b", workloads=seen)
    assert spec_of_status(without, observed).replicas == 7
    nothing = Observation(uid="u", generation=1, candidate_name=None)
    assert spec_of_status(without, nothing).replicas == 1


def test_a_context_stays_what_it_is_when_the_draft_goes_on() -> None:
    story = Story()
    story.until_weight(10)
    context = Context(
        spec=story.world.spec, status=story.status, observed=story.observed, now=story.world.time
    )
    draft = Draft(context=context)
    rules = draft.run_rules
    draft.set(rollback=ROLLBACK)
    assert (rules.kind, draft.stage) == (Stage.STEP, Stage.REVERTING)
    assert current_stage(context).kind is Stage.STEP


def test_a_stage_asked_for_where_there_is_no_run_is_a_mistake_that_says_so() -> None:
    story = Story()
    context = Context(
        spec=story.world.spec, status=story.status, observed=story.observed, now=story.world.time
    )
    with pytest.raises(LookupError, match="no run is under way"):
        _ = Draft(context=context).run_rules
