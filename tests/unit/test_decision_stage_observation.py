"""The observation: the candidate serves everything, stable can take over again."""

from __future__ import annotations

from typing import Any

import pytest

from modelrollout.api.commands import Verb
from modelrollout.api.conditions import Phase, Reason
from modelrollout.decision.types import Problem
from tests.unit import decision_world as sim
from tests.unit.decision_story import Story


@pytest.mark.parametrize(
    ("lost", "rollback", "reverts"),
    [
        (10, {}, True),
        (6, {}, True),  # less than half
        (5, {}, False),
        (10, {"minCapacity": "0%"}, True),  # one at least
        (9, {"minCapacity": "0%"}, False),
        (1, {"minCapacity": "100%"}, True),
    ],
)
def test_pods_lost_in_the_observation_run_into_the_deadline(
    lost: int, rollback: dict[str, Any], reverts: bool
) -> None:
    story = Story(observation={"duration": "7d"}, criteria=[], rollback=rollback, progressDeadline="120s")
    story.until(Phase.OBSERVING)
    story.play(60)
    story.world.deployments["b"].pods[:lost] = [float("inf")] * lost
    at = story.world.now
    story.play(100)
    assert story.status.phase is Phase.OBSERVING
    if not reverts:
        story.play(3600, step=60)
        assert story.status.phase is Phase.OBSERVING
        return
    status = story.until(Phase.ROLLED_BACK)
    assert status.reason == Reason.DEADLINE_EXCEEDED and 120 <= story.world.now - at <= 150
    assert f"({10 - lost} are ready)" in status.message and status.stable == "a"
    assert story.desired() == {"a": 10, "b": 0, "c": 0}


def test_neither_a_pause_nor_pods_that_come_back_nor_a_problem_run_into_the_deadline_of_the_observation() -> (
    None
):
    story = Story(observation={"duration": "7d"}, criteria=[], progressDeadline="120s")
    story.until(Phase.OBSERVING)
    pods = story.world.deployments["b"].pods
    for _ in range(3):  # back each time before it is over
        pods[:] = [story.world.now + 100.0] * 10
        story.play(110)
        assert story.status.observation is not None and story.status.observation.short_since is None
    written = story.world.persisted
    story.play(60)
    assert story.world.persisted == written
    pods[:] = [float("inf")] * 10
    story.play(60)
    story.world.command(Verb.PAUSE)
    story.play(600)
    story.world.command(Verb.RESUME)
    story.play(50)
    assert story.status.phase is Phase.OBSERVING
    story.world.problems = (Problem(reason="ServiceNotFound", message="There is no Service emotion."),)
    story.play(600)
    story.world.problems = ()
    story.play(110)
    assert story.status.phase is Phase.OBSERVING
    assert story.until(Phase.ROLLED_BACK, limit=60).reason == Reason.DEADLINE_EXCEEDED


def test_breach_in_the_observation_restores_the_old_version() -> None:
    story = Story(observation={"duration": "7d"})
    story.until(Phase.OBSERVING)
    story.play(3600, step=60)
    story.world.set_mode("errors", sim.BAD)
    status = story.until(Phase.ROLLED_BACK)
    assert status.stable == "a" and story.desired() == {"a": 10, "b": 0, "c": 0}
    assert story.least_ready >= 5
