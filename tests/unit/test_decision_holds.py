"""Holds for lack of data: told once, ended by a deadline; and values that let a step end."""

from __future__ import annotations

from typing import Any

import pytest

from modelrollout.api.commands import Verb
from modelrollout.api.conditions import Phase, Reason
from modelrollout.api.schedule import Transition as Announcement
from modelrollout.api.status import CriterionState
from modelrollout.decision.types import Severity
from tests.unit import decision_world as sim
from tests.unit.decision_story import SIMPLE, Story

QUICK = {**SIMPLE, "window": "20s"}


def told(story: Story, *kinds: Announcement) -> list[str]:
    wanted = kinds or (Announcement.HELD, Announcement.HOLD_ENDED)
    return [str(each.reason) for each in story.told if each.announcement in wanted]


def held(**spec: Any) -> Story:
    """A run in its first step, whose Prometheus has just died."""
    story = Story(criteria=[QUICK], **spec)
    story.until_weight(10)
    story.play(10)
    assert told(story) == []
    story.world.outage = True
    return story


def test_an_outage_is_told_once_when_it_begins_and_once_when_it_ends() -> None:
    story = held()
    story.play(300)
    assert told(story) == [Reason.PROMETHEUS_UNAVAILABLE]
    (begin,) = [each for each in story.told if each.announcement is Announcement.HELD]
    assert begin.severity is Severity.WARNING
    assert begin.message == "Step 1 of 3 (10%) is held until there is data: refused"
    assert story.status.hold is not None
    assert story.status.step is not None
    assert story.status.step.weight == 10
    story.world.outage = False
    story.play(10)
    assert told(story) == [Reason.PROMETHEUS_UNAVAILABLE, Reason.HOLD_ENDED]
    assert "is no longer held: there is data again after 5m" in story.told[-1].message or any(
        "there is data again after 5m" in each.message for each in story.told
    )
    assert story.status.hold is None
    assert story.until(Phase.SUCCEEDED).phase is Phase.SUCCEEDED
    assert len(told(story)) == 2


def test_neither_a_crash_nor_a_second_operator_tells_it_again() -> None:
    story = held()
    story.world.now += 5
    refused = story.world.tick(conflict=True)[2]  # its write came second: it tells nothing, others did
    assert [each.announcement for each in refused.transitions] == [Announcement.HELD]
    assert story.status.hold is None
    story.tick(crash=True)
    assert told(story) == [Reason.PROMETHEUS_UNAVAILABLE]
    story.world.last, story.world.samples, story.world.asked_at = None, {}, -1e9  # another process goes on
    story.play(60)
    assert told(story) == [Reason.PROMETHEUS_UNAVAILABLE]


def test_a_step_that_begins_without_data_is_not_told_until_its_window_could_have_filled() -> None:
    story = Story(criteria=[QUICK])
    story.world.set_mode("errors", sim.EMPTY)
    story.until_weight(10)
    story.play(15)
    assert told(story) == []
    story.play(10)
    assert told(story) == [Reason.NO_DATA]
    story.world.set_mode("errors", sim.GOOD)
    story.play(5)
    assert told(story) == [Reason.NO_DATA, Reason.HOLD_ENDED]


def test_data_that_is_all_that_is_waited_for_is_told_at_once() -> None:
    story = Story(criteria=[{**SIMPLE, "window": "1h"}])
    story.world.set_mode("errors", sim.EMPTY)
    story.until_weight(10)
    story.play(55)
    assert told(story) == []
    story.play(15)
    assert told(story) == [Reason.NO_DATA]


@pytest.mark.parametrize("fields", [{"onBreach": "Warn"}, {"dryRun": True}, {"noData": "Ignore"}])
def test_criteria_that_hold_nothing_begin_no_hold(fields: dict[str, Any]) -> None:
    story = Story(criteria=[{**QUICK, **fields}])
    story.world.set_mode("errors", sim.EMPTY)
    assert story.until(Phase.SUCCEEDED).hold is None
    assert told(story) == []


def test_after_the_deadline_it_pauses_and_a_person_starts_it_again() -> None:
    story = held(holdDeadline="60s")
    story.play(60)
    assert story.status.pause is None
    story.play(5)
    pause = story.status.pause
    assert pause is not None
    assert pause.reason == Reason.HOLD_DEADLINE_EXCEEDED
    assert pause.message.startswith("Held for 60s for lack of data: refused A person must look at it")
    assert told(story, Announcement.PAUSED) == [Reason.HOLD_DEADLINE_EXCEEDED]
    story.world.command(Verb.RESUME)
    story.play(55)  # all of it once more
    assert story.status.pause is None
    story.play(10)
    assert story.status.pause is not None
    story.world.outage = False
    story.play(60)
    assert story.status.phase is Phase.PAUSED  # until a person decides
    story.world.command(Verb.RESUME)
    assert story.until(Phase.SUCCEEDED).hold is None


def test_after_the_deadline_it_rolls_back_where_that_is_asked_for() -> None:
    story = held(holdDeadline="60s", onHoldDeadline="Rollback")
    status = story.until(Phase.ROLLED_BACK, limit=200)
    assert status.reason == Reason.HOLD_DEADLINE_EXCEEDED
    assert status.hold is None
    assert status.history[0].reason == Reason.HOLD_DEADLINE_EXCEEDED
    assert story.desired() == {"a": 10, "b": 0, "c": 0}


def test_without_a_deadline_nothing_ends_it_but_data() -> None:
    story = held()
    story.play(7200, step=60)
    assert (story.status.phase, story.status.pause) == (Phase.PROGRESSING, None)


def test_a_pause_does_not_count_towards_the_deadline() -> None:
    story = held(holdDeadline="60s", onHoldDeadline="Rollback")
    story.play(30)
    story.world.command(Verb.PAUSE)
    story.play(600)
    assert story.status.phase is Phase.PAUSED
    story.world.command(Verb.RESUME)
    story.play(20)
    assert story.status.rollback is None
    story.play(20)
    assert story.status.rollback is not None


def test_a_breach_rolls_back_while_another_criterion_holds() -> None:
    story = Story(criteria=[QUICK, {**QUICK, "name": "other"}])
    story.until_weight(10)
    story.world.set_mode("other", sim.BROKEN)
    story.play(10)
    assert told(story) == [Reason.QUERY_FAILED]
    story.world.set_mode("errors", sim.BAD)
    assert story.until(Phase.ROLLED_BACK).reason == Reason.CRITERION_BREACHED


def test_a_baseline_that_prometheus_does_not_yield_is_a_hold_too() -> None:
    compares = {
        "name": "latency",
        "query": "q(${candidatePods})",
        "compare": {"to": "Baseline", "maxIncrease": "20%"},
    }
    story = Story(criteria=[compares], baseline={"window": "1h"}, holdDeadline="60s")
    story.world.outage = True
    story.play(20)
    assert told(story) == [Reason.PROMETHEUS_UNAVAILABLE]
    story.play(60)
    assert story.status.pause is not None
    assert story.status.pause.reason == Reason.HOLD_DEADLINE_EXCEEDED


# -- an advance needs an answer that was asked for after its step ended -----------------------------------


@pytest.mark.parametrize("interval", ["5s", "60s", "1h"])
def test_no_step_ends_on_what_was_good_before_its_end(interval: str) -> None:
    """Prometheus dies half a second before the step's end, as 6 of 8 rollouts once did not notice."""
    story = Story(evaluation={"interval": interval})
    story.until_weight(10)
    step = story.status.step
    assert step is not None
    assert step.reached_at is not None
    ends = (step.reached_at - sim.START).total_seconds() + 60
    while story.world.now < ends - 5:
        story.world.now += 1
        story.tick()
    story.world.now = ends - 1
    story.world.asked_at = -1e9  # good a second before the end
    story.tick()
    assert story.status.criteria[0].state is CriterionState.PASS
    story.world.outage = True
    for after in (0.0, 0.5, 1.0, 3.0, 30.0):
        story.world.now = ends + after
        story.tick()
    assert story.status.step is not None
    assert story.status.step.weight == 10
    assert told(story) == [Reason.PROMETHEUS_UNAVAILABLE]


@pytest.mark.parametrize("interval", ["5s", "60s", "1h"])
def test_a_step_ends_with_one_more_question(interval: str) -> None:
    story = Story(evaluation={"interval": interval})
    story.until_weight(10)
    step = story.status.step
    assert step is not None
    assert step.reached_at is not None
    ends = (step.reached_at - sim.START).total_seconds() + 60
    story.world.now = ends - 1
    story.tick()
    story.world.now = ends + 0.01
    first = story.tick()
    asked = story.world.asked_at
    if first.status.step is not None and first.status.step.weight == 10:
        assert first.requeue_after is not None
        assert first.requeue_after.total_seconds() == 0
        story.world.now += 0.1
        story.tick()
        assert story.world.asked_at > asked
    assert story.status.step is not None
    assert story.status.step.weight == 50


@pytest.mark.parametrize("asks", [True, False])
def test_a_step_without_a_duration_needs_values_from_after_its_weight_was_reached(asks: bool) -> None:
    """What was measured before says nothing of it, nor what is measured at the instant when it is reached."""
    story = Story(evaluation={"interval": "60s"})
    story.until_weight(100, reached=False)
    before = story.world.samples
    while story.status.step is not None and story.status.step.reached_at is None:
        story.world.now += 1
        story.world.asked_at = -1e9 if asks else story.world.now
        story.world.samples = before
        decision = story.tick()
    assert story.status.step is not None, "it went on with values from before"
    assert decision.requeue_after is not None
    assert decision.requeue_after.total_seconds() == 0
    story.world.now += 0.1
    assert story.tick().status.phase is Phase.SUCCEEDED


def test_a_long_interval_lets_no_old_value_decide_when_a_window_of_the_schedule_opens() -> None:
    windows = [
        {"days": ["Mon"], "from": "09:00", "to": "09:01"},
        {"days": ["Mon"], "from": "09:30", "to": "10:00"},
    ]
    story = Story(evaluation={"interval": "1h"}, schedule={"windows": windows})
    story.until_weight(10)
    story.play(120)
    story.world.asked_at = -1e9  # asked once more after the step's end
    story.play(5)
    story.world.outage = True
    story.world.now = 1801
    story.play(60)
    assert story.status.step is not None
    assert story.status.step.weight == 10
    story.world.outage = False
    story.world.asked_at = -1e9
    story.play(5)
    assert story.status.step.weight == 50
