"""The rollback: all traffic returns to stable, with enough ready pods on the way."""

from __future__ import annotations

from modelrollout.api.conditions import ConditionStatus, ConditionType, Phase, Reason
from tests.unit import decision_world as sim
from tests.unit.decision_story import Story


def test_revert_from_three_quarters_never_goes_under_the_minimum() -> None:
    story = Story(steps=[{"weight": 75, "duration": "60s"}, {"weight": 100}])
    story.until_weight(75)
    story.world.set_mode("errors", sim.BAD)
    story.least_ready = 10**6
    for deployment in story.world.deployments.values():
        deployment.delay = lambda: 30.0
    story.play(5, step=1)
    assert story.status.phase is Phase.ROLLING_BACK
    assert story.desired() == {"a": 10, "b": 3, "c": 0}
    story.play(60, step=1)
    assert story.least_ready == 5 and story.status.phase is Phase.ROLLED_BACK


def test_immediate_rollback_ignores_the_minimum() -> None:
    story = Story(steps=[{"weight": 75, "duration": "60s"}, {"weight": 100}], rollback={"immediate": True})
    story.until_weight(75)
    story.world.set_mode("errors", sim.BAD)
    story.play(5)
    assert story.desired() == {"a": 10, "b": 0, "c": 0}


def test_deleted_stable_is_reported_and_the_candidate_keeps_serving() -> None:
    story = Story()
    story.until_weight(50)
    del story.world.deployments["a"]
    story.world.set_mode("errors", sim.BAD)
    decision = story.play(30)
    assert (
        decision.status.reason == Reason.DEPLOYMENT_NOT_FOUND and "create it again" in decision.status.message
    )
    assert story.desired()["b"] == 5
    assert story.condition(ConditionType.STALLED)[0] is ConditionStatus.TRUE


def test_way_back_whose_stable_pods_never_get_ready_keeps_serving_and_says_so() -> None:
    story = Story(steps=[{"weight": 75, "duration": "60s"}, {"weight": 100}], progressDeadline="60s")
    story.until_weight(75)
    story.world.deployments["a"].delay = lambda: float("inf")
    story.world.set_mode("errors", sim.BAD)
    decision = story.play(180)
    assert (
        decision.status.phase is Phase.ROLLING_BACK
        and "Pods of a do not become ready" in decision.status.message
    )
    assert story.desired() == {"a": 10, "b": 3, "c": 0}
    assert story.condition(ConditionType.STALLED)[0] is ConditionStatus.TRUE
