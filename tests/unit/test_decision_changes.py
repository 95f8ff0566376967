"""Changes in the middle of a run: another candidate, another spec, pods scaled by hand."""

from __future__ import annotations

from modelrollout.api.conditions import ConditionStatus, ConditionType, Phase, Reason
from modelrollout.api.status import RunResult
from tests.unit import decision_world as sim
from tests.unit.decision_story import Story


def test_newer_candidate_in_the_middle_goes_back_first_and_then_starts_anew() -> None:
    story = Story()
    story.until_weight(50)
    story.world.edit(candidate={"deployment": "c"})
    decision = story.tick()
    assert decision.status.rollback is not None
    assert decision.status.rollback.result is RunResult.SUPERSEDED and story.desired()["a"] == 10
    while story.status.run is None or story.status.run.candidate != "c":
        story.world.now += 5
        story.tick()
    assert story.desired()["b"] == 0 and story.status.history[0].result is RunResult.SUPERSEDED
    status = story.until(Phase.SUCCEEDED)
    assert status.stable == "c" and status.previous_stable == "a"


def test_candidate_set_back_to_stable_aborts_and_is_idle() -> None:
    story = Story()
    story.until_weight(50)
    story.world.edit(candidate={"deployment": "a"})
    status = story.until(Phase.IDLE)
    assert story.desired() == {"a": 10, "b": 0, "c": 0}
    assert status.history[0].result is RunResult.ABORTED
    assert not story.tick().evaluate


def test_return_to_the_previous_version_after_success_scales_up_first() -> None:
    story = Story()
    story.until(Phase.SUCCEEDED)
    story.play(60)
    story.least_ready = 10**6
    story.world.set_mode("errors", sim.BAD)
    story.world.edit(candidate={"deployment": "a"})
    story.tick()
    status = story.until(Phase.SUCCEEDED)
    assert (status.stable, status.reason) == ("a", Reason.RETURNED_TO_PREVIOUS)
    assert story.least_ready >= 10 and story.desired() == {"a": 10, "b": 0, "c": 0}


def test_rolled_back_candidate_is_tried_again_only_after_a_change() -> None:
    story = Story()
    story.until_weight(10)
    story.world.set_mode("errors", sim.BAD)
    story.until(Phase.ROLLED_BACK)
    story.world.set_mode("errors", sim.GOOD)
    story.world.edit(replicas=8)  # a change, but not of the candidate
    story.play(300)
    assert story.status.phase is Phase.ROLLED_BACK and story.desired()["a"] == 8
    story.world.edit(candidate={"deployment": "c"})
    story.play(10)
    assert story.status.phase is Phase.PROGRESSING and story.status.rolled_back_from is None


def test_deleted_candidate_goes_back_at_once() -> None:
    story = Story(observation={"duration": "7d"})
    story.until(Phase.OBSERVING)
    del story.world.deployments["b"]
    decision = story.tick()
    assert decision.status.rollback is not None
    assert decision.status.rollback.reason == Reason.CANDIDATE_DELETED
    assert story.desired()["a"] == 10


def test_scaled_by_hand_is_put_right_and_told() -> None:
    story = Story()
    story.until_weight(10)
    story.play(20)
    story.world.deployments["b"].desired = 7
    story.play(30)
    assert story.desired() == {"a": 9, "b": 1, "c": 0}
    assert story.reasons().count("DriftCorrected") == 1
    story.until(Phase.SUCCEEDED)
    story.play(30)
    story.world.deployments["a"].desired = 4
    story.play(30)
    assert story.desired() == {"a": 0, "b": 10, "c": 0}


def test_first_version_that_never_starts_is_stalled_and_gives_way_to_the_next() -> None:
    story = Story(stable=None, progressDeadline="60s")
    story.world.deployments["b"].delay = lambda: float("inf")
    decision = story.play(120)
    assert decision.status.phase is Phase.PROGRESSING and decision.status.reason == Reason.DEADLINE_EXCEEDED
    assert story.condition(ConditionType.STALLED)[0] is ConditionStatus.TRUE
    assert decision.requeue_after is None  # nothing by the clock any more
    story.world.edit(candidate={"deployment": "c"})
    status = story.until(Phase.SUCCEEDED)
    assert status.stable == "c" and story.desired()["b"] == 0
