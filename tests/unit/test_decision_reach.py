"""What clients reach besides the two versions, and a view of the cluster that may be out of date."""

from __future__ import annotations

import pytest

from modelrollout.api.commands import Verb
from modelrollout.api.conditions import ConditionStatus, ConditionType, Phase, Reason, get_condition
from modelrollout.api.status import RunResult
from modelrollout.decision.types import Problem
from tests.unit import decision_world as sim
from tests.unit.decision_story import Story

STRAY = ("pod stray-x2x9z", "pod stray-b7b8c")
STALE = ("endpointslices: the API server forbids to watch them",)


def has(story: Story, type_: ConditionType) -> bool:
    return get_condition(story.status.conditions, type_) is not None


def test_scenario_44_foreign_endpoints_are_named_with_their_share_and_hold_the_step() -> None:
    story = Story()
    story.until_weight(10)
    story.world.foreign = STRAY
    story.play(600)
    step = story.status.step
    assert step is not None and step.weight == 10
    status, reason, message = story.condition(ConditionType.FOREIGN_ENDPOINTS)
    assert (status, reason) == (ConditionStatus.TRUE, Reason.FOREIGN_ENDPOINTS)
    assert "2 of the 12 ready endpoints" in message and "17%" in message and STRAY[0] in message
    assert story.status.weight is not None and story.status.weight.observed == 8.33
    assert story.status.reason == Reason.FOREIGN_ENDPOINTS
    assert story.reasons().count(Reason.FOREIGN_ENDPOINTS) == 1
    story.world.foreign = ()
    story.until(Phase.SUCCEEDED)
    assert not has(story, ConditionType.FOREIGN_ENDPOINTS)
    assert story.reasons().count(Reason.RECOVERED) == 1


def test_scenario_44_many_foreign_endpoints_are_counted_where_they_are_not_named() -> None:
    story = Story()
    story.world.foreign = tuple(f"pod stray-{number:05d}" for number in range(8))
    story.play(10)
    message = story.condition(ConditionType.FOREIGN_ENDPOINTS)[2]
    assert "stray-00004 and 3 more" in message and "stray-00005" not in message


@pytest.mark.parametrize("stage", ["before step 1", "observation"])
def test_scenario_44_foreign_endpoints_hold_every_stage(stage: str) -> None:
    story = Story(observation={"duration": "10s"})
    if stage == "observation":
        story.until(Phase.OBSERVING)
    story.world.foreign = STRAY
    story.play(600)
    assert story.status.phase is (Phase.OBSERVING if stage == "observation" else Phase.VALIDATING)
    assert (story.status.step is None) == (stage != "observation")


def test_scenario_44_a_breach_beside_foreign_endpoints_still_rolls_back() -> None:
    story = Story()
    story.until_weight(10)
    story.world.foreign = STRAY
    story.world.set_mode("errors", sim.BAD)
    story.until(Phase.ROLLED_BACK)


def test_a_first_version_is_not_held_by_what_else_is_behind_the_service() -> None:
    story = Story(stable=None, candidate={"deployment": "b"})
    story.world.foreign = STRAY
    assert story.until(Phase.SUCCEEDED).weight is not None
    assert story.status.weight is not None and story.status.weight.observed == 83.33
    assert has(story, ConditionType.FOREIGN_ENDPOINTS)


def test_a_service_that_bends_shares_is_reported_and_holds_nothing() -> None:
    story = Story()
    story.world.uneven = (
        Problem(reason=Reason.SESSION_AFFINITY, message="First."),
        Problem(reason=Reason.LOCAL_TRAFFIC_POLICY, message="Second."),
    )
    story.until(Phase.SUCCEEDED)
    assert story.condition(ConditionType.UNEVEN_TRAFFIC) == (
        ConditionStatus.TRUE,
        Reason.SESSION_AFFINITY,
        "First. Second.",
    )
    assert story.reasons().count(Reason.SESSION_AFFINITY) == 1


def test_scenario_48_nothing_is_reached_and_nothing_advances_on_a_stale_view() -> None:
    story = Story()
    story.until_weight(10, reached=False)
    story.world.stale = STALE
    story.play(7200)
    step = story.status.step
    assert step is not None and (step.weight, step.reached_at) == (10, None), "or the deadline went on"
    status, reason, message = story.condition(ConditionType.CACHE_STALE)
    assert (status, reason) == (ConditionStatus.TRUE, Reason.CACHE_STALE) and STALE[0] in message
    assert story.condition(ConditionType.WEIGHT_REACHED)[0] is ConditionStatus.UNKNOWN
    assert "endpointslices" in story.status.message
    assert story.reasons().count(Reason.CACHE_STALE) == 1
    story.world.stale = ()
    story.until(Phase.SUCCEEDED)


def test_scenario_48_time_on_a_stale_view_does_not_count_towards_the_deadline() -> None:
    story = Story(progressDeadline="60s")
    story.world.deployments["b"].delay = lambda: float("inf")
    story.until_weight(10, reached=False)
    story.world.stale = STALE
    story.play(7200)
    story.world.stale = ()
    story.play(50)
    assert story.status.rollback is None, "the deadline must start anew"
    assert story.until(Phase.ROLLED_BACK).history[0].reason == Reason.DEADLINE_EXCEEDED


def test_scenario_48_a_breach_rolls_back_on_what_is_known() -> None:
    story = Story()
    story.until_weight(10)
    story.world.stale = STALE
    story.world.set_mode("errors", sim.BAD)
    story.until(Phase.ROLLED_BACK)
    assert story.desired() == {"a": 10, "b": 0, "c": 0}


def test_scenario_48_an_abort_is_carried_out_on_what_is_known() -> None:
    story = Story()
    story.until_weight(50)
    story.world.stale = STALE
    story.world.command(Verb.ABORT)
    story.until(Phase.ROLLED_BACK, Phase.IDLE)
    assert story.status.history[0].result is RunResult.ABORTED
    assert story.desired() == {"a": 10, "b": 0, "c": 0}


def test_scenario_48_no_pod_is_taken_away_on_a_stale_view_and_stable_may_grow() -> None:
    story = Story()
    story.until_weight(50)
    story.world.stale = STALE
    story.world.edit(replicas=20)
    assert all(scale.deployment == "a" for scale in story.play(60).scales)
    assert story.desired() == {"a": 10, "b": 5, "c": 0}
    story.world.edit(replicas=4)
    story.play(60)
    assert story.desired() == {"a": 10, "b": 5, "c": 0}


def test_scenario_48_at_rest_stable_grows_but_does_not_shrink_on_a_stale_view() -> None:
    story = Story(candidate={"deployment": "a"})
    story.play(5)
    story.world.stale = STALE
    story.world.edit(replicas=12)
    story.play(30)
    assert story.desired()["a"] == 12
    story.world.edit(replicas=6)
    story.play(30)
    assert story.desired()["a"] == 12
    story.world.stale = ()
    story.play(30)
    assert story.desired()["a"] == 6
