"""Steps: each takes its weight and its duration, within the schedule, and only ever leads upwards."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise

import pytest

from modelrollout.api.conditions import ConditionStatus, ConditionType, Phase, Reason
from modelrollout.api.schedule import Transition as Announcement
from modelrollout.api.status import RunResult
from tests.unit import decision_world as sim
from tests.unit.decision_story import Story

NIGHTS = {"timeZone": "UTC", "windows": [{"days": ["Mon"], "from": "10:00", "to": "11:00"}]}


def test_first_version_goes_straight_to_everything_without_analysis() -> None:
    story = Story(stable=None, candidate={"deployment": "b"})
    story.world.set_mode("errors", sim.BAD)
    story.world.deployments["a"].desired = 0
    status = story.until(Phase.SUCCEEDED)
    assert (status.stable, status.reason) == ("b", Reason.FIRST_VERSION)
    assert story.desired() == {"a": 0, "b": 10, "c": 0}
    assert story.reasons() == [Reason.FIRST_VERSION, Reason.FIRST_VERSION]
    assert [weight for _, weight in story.weights] == [100]


def test_healthy_run_takes_every_step_for_its_duration_and_loses_no_capacity() -> None:
    story = Story(observation={"duration": "60s"})
    status = story.until(Phase.SUCCEEDED)
    assert [weight for _, weight in story.weights] == [10, 50, 100]
    times = [at for at, _ in story.weights]
    assert all(b - a >= 60 for a, b in pairwise(times))
    assert story.least_ready >= 10
    assert (status.stable, status.previous_stable) == ("b", "a")
    assert story.desired() == {"a": 0, "b": 10, "c": 0}
    assert status.history[0].result is RunResult.SUCCEEDED and status.history[0].from_ == "a"
    announced = [t.announcement for t in story.told if t.announcement]
    step = Announcement.STEP
    assert announced == [Announcement.STARTED, step, step, step, step, Announcement.SUCCEEDED]
    assert story.condition(ConditionType.SUCCEEDED)[0] is ConditionStatus.TRUE
    assert story.condition(ConditionType.READY)[0] is ConditionStatus.TRUE


def test_same_candidate_as_stable_is_idle_without_analysis() -> None:
    story = Story(candidate={"deployment": "a"})
    decision = story.play(60)
    assert decision.status.phase is Phase.IDLE and not decision.evaluate
    assert decision.requeue_after is None and decision.status.run is None


def test_image_form_makes_a_copy_first() -> None:
    story = Story(candidate={"image": "emotion:2"})
    decision = story.tick()
    run = decision.status.run
    assert decision.create_candidate and run is not None
    assert run.candidate.startswith("emotion-") and run.candidate in story.world.deployments
    assert decision.status.owned[0].name == run.candidate
    status = story.until(Phase.SUCCEEDED)
    assert status.stable == run.candidate


def test_no_status_is_written_and_nothing_is_scaled_on_a_steady_tick() -> None:
    story = Story(steps=[{"weight": 10, "duration": "1h"}, {"weight": 100}])
    story.until_weight(10)
    story.play(30)
    written = story.world.persisted
    for _ in range(100):
        story.world.now += 5
        decision = story.tick()
        assert not decision.scales and not decision.transitions
    assert story.world.persisted == written


def test_values_move_on_without_writes_until_something_else_is_written() -> None:
    story = Story(steps=[{"weight": 10, "duration": "1h"}, {"weight": 100}])
    story.until_weight(10)
    story.play(30)
    written = story.world.persisted
    for value in (0.1, 0.2, 0.3):
        sim.VALUES["moving"] = value
        story.world.set_mode("errors", "moving")
        story.play(20)
    assert story.world.persisted == written and story.status.criteria[0].value == 0.5
    story.world.edit(paused=True)
    story.play(20)
    assert story.status.criteria[0].value == 0.3
    del sim.VALUES["moving"]


@pytest.mark.parametrize(("replicas", "expected"), [(20, (10, 10)), (4, (2, 2)), (1, (0, 1))])
def test_replicas_changed_in_mid_step_keep_the_ratio(replicas: int, expected: tuple[int, int]) -> None:
    story = Story(steps=[{"weight": 50, "duration": "300s"}, {"weight": 100}])
    story.until_weight(50)
    reached = story.status.step.reached_at if story.status.step else None
    story.world.edit(replicas=replicas)
    story.play(120)
    assert (story.desired()["a"], story.desired()["b"]) == expected
    assert story.status.step is not None and story.status.step.reached_at == reached  # the clock goes on
    assert story.status.replicas == replicas


def test_candidate_that_never_starts_runs_into_the_deadline_and_stable_is_untouched() -> None:
    story = Story(progressDeadline="2m")
    story.world.deployments["b"].delay = lambda: float("inf")
    status = story.until(Phase.ROLLED_BACK)
    assert status.reason == Reason.DEADLINE_EXCEEDED and 120 <= story.world.now <= 130
    assert story.least_ready == 10 and story.desired() == {"a": 10, "b": 0, "c": 0}


def test_candidate_that_loses_its_pods_holds_and_then_runs_into_the_deadline() -> None:
    story = Story(progressDeadline="2m", steps=[{"weight": 50, "duration": "60s"}, {"weight": 100}])
    story.until_weight(50)
    story.play(30)
    story.world.deployments["b"].pods = [float("inf")] * 5
    lost = story.world.now
    story.play(100)
    assert story.condition(ConditionType.WEIGHT_REACHED)[0] is ConditionStatus.FALSE
    assert story.status.step is not None and story.status.step.weight == 50  # its duration is long over
    status = story.until(Phase.ROLLED_BACK)
    assert status.reason == Reason.DEADLINE_EXCEEDED and 120 <= story.world.now - lost <= 135


def test_steps_edited_in_mid_run_only_ever_lead_upwards() -> None:
    story = Story()
    story.until_weight(50)
    story.world.edit(
        steps=[{"weight": 20, "duration": "10s"}, {"weight": 60, "duration": "10s"}, {"weight": 100}]
    )
    story.until(Phase.SUCCEEDED)
    assert [weight for _, weight in story.weights] == [10, 50, 60, 100]
    story = Story()
    story.until_weight(50)
    story.world.edit(steps=[{"weight": 100}])  # fewer steps than the run has taken
    status = story.until(Phase.SUCCEEDED)
    assert status.stable == "b" and story.desired() == {"a": 0, "b": 10, "c": 0}


def test_steps_advance_only_inside_the_windows_and_reverts_ignore_them() -> None:
    story = Story(schedule=NIGHTS)  # the story starts on a Monday at nine
    story.play(1800, step=30)
    assert (
        story.status.reason == Reason.WAITING_FOR_SCHEDULE and "2026-01-05T10:00:00Z" in story.status.message
    )
    assert story.last is not None and story.last.requeue_after == timedelta(seconds=1800)
    story.play(1800, step=30)
    assert story.status.step is not None and story.status.step.weight == 10
    story.until_weight(50)
    story.world.now = 3 * 3600.0
    story.world.set_mode("errors", sim.BAD)
    assert story.until(Phase.ROLLED_BACK)


def test_the_message_says_what_is_waited_for() -> None:
    story = Story()
    story.until_weight(10)
    assert (story.status.message or "").startswith("Step 1 of 3 (10%) waits for its end at ")
    story.world.set_mode("errors", sim.EMPTY)
    story.world.now += 5
    story.tick()
    text = story.status.message or ""
    assert "criterion errors (NoData: no series)" in text and "its end at" in text


def test_coarse_weight_says_which_replicas_would_do() -> None:
    story = Story(replicas=3)
    story.until_weight(10)
    status, reason, message = story.condition(ConditionType.WEIGHT_REACHED)
    assert (status, reason) == (ConditionStatus.TRUE, Reason.WEIGHT_TOO_COARSE)
    assert "33.33%" in message and "replicas: 10" in message
    weight = story.status.weight
    assert weight is not None and (weight.desired, weight.achievable, weight.observed) == (10, 33.33, 33.33)
