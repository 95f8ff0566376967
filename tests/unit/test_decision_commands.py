"""What people ask for: promote, pause, resume, abort, retry, rollback."""

from __future__ import annotations

import pytest

from modelrollout.api.commands import Verb
from modelrollout.api.conditions import ConditionStatus, ConditionType, Phase, Reason
from modelrollout.api.schedule import Transition as Announcement
from modelrollout.api.status import RunResult
from modelrollout.decision import decide
from modelrollout.decision.types import Problem
from tests.unit import decision_world as sim
from tests.unit.decision_story import Story

BASELINE = {"name": "p95", "preset": "latencyP95", "compare": {"to": "Baseline", "maxIncrease": "20%"}}


def test_approval_waits_for_ever_and_promote_moves_exactly_one_step() -> None:
    steps = [
        {"weight": 10, "duration": "10s", "approval": "Required"},
        {"weight": 50, "duration": "10s", "approval": "Required"},
        {"weight": 100},
    ]
    story = Story(steps=steps)
    story.until(Phase.PAUSED)
    story.play(86_400, step=600)
    assert story.status.reason == Reason.WAITING_FOR_APPROVAL
    assert [t.announcement for t in story.told].count(Announcement.APPROVAL_NEEDED) == 1
    story.world.command(Verb.PROMOTE)
    story.play(120)
    assert story.status.step is not None and story.status.step.weight == 50
    assert story.status.phase is Phase.PAUSED
    story.world.command(Verb.PROMOTE)
    assert story.until(Phase.SUCCEEDED)


def test_promote_full_skips_the_rest() -> None:
    story = Story(observation={"duration": "7d"})
    story.until_weight(10)
    story.world.command(Verb.PROMOTE_FULL)
    status = story.until(Phase.SUCCEEDED, limit=120)
    assert [weight for _, weight in story.weights] == [10, 100] and status.stable == "b"
    assert story.least_ready >= 10


def test_promote_ends_a_running_step() -> None:
    story = Story()
    story.until_weight(10)
    story.world.command(Verb.PROMOTE)
    story.tick()
    assert story.status.step is not None and story.status.step.weight == 50


def test_pause_stops_the_clock_of_the_step_and_the_deadline() -> None:
    story = Story(progressDeadline="60s")
    story.world.deployments["b"].delay = lambda: 400.0
    story.play(30)
    story.world.command(Verb.PAUSE)
    story.play(300)  # far longer than the deadline
    assert story.status.phase is Phase.PAUSED
    story.world.command(Verb.RESUME)
    story.play(20)
    assert story.status.phase is Phase.PROGRESSING
    status = story.until(Phase.ROLLED_BACK)  # 30 s were used before, so 30 more
    assert status.reason == Reason.DEADLINE_EXCEEDED and 355 <= story.world.now <= 370


def test_time_paused_does_not_count_towards_the_duration() -> None:
    story = Story()
    story.until_weight(10)
    reached = story.world.now
    story.play(30)
    story.world.edit(paused=True)
    story.play(600)
    assert story.status.reason == Reason.PAUSED_BY_SPEC
    story.world.edit(paused=False)
    story.until_weight(50, reached=False)
    assert story.world.now - reached == pytest.approx(660, abs=15)


def test_paused_by_spec_is_not_resumed_by_command() -> None:
    story = Story(paused=True)
    story.play(10)
    assert story.status.run is None  # no run starts at all
    assert story.condition(ConditionType.PAUSED)[0] is ConditionStatus.TRUE
    story.world.edit(paused=False)
    story.until_weight(10)
    story.world.edit(paused=True)
    story.play(5)
    story.world.command(Verb.RESUME)
    story.play(5)
    assert story.status.phase is Phase.PAUSED and "CommandRefused" in story.reasons()


def test_abort_then_retry_starts_again_at_step_1_with_fresh_clocks() -> None:
    story = Story(baseline={"window": "1h"}, criteria=[BASELINE])
    story.until_weight(50)
    first = story.status.run
    story.world.command(Verb.ABORT)
    status = story.until(Phase.ROLLED_BACK)
    assert status.reason == Reason.ABORTED and status.history[0].result is RunResult.ABORTED
    story.play(600)
    assert story.status.phase is Phase.ROLLED_BACK  # not tried again by itself
    story.world.command(Verb.RETRY)
    story.tick()
    second = story.status.run
    assert first is not None and second is not None
    assert second.id != first.id and second.attempt == 2 and second.started_at == story.world.time
    story.until_weight(10)
    recorded = story.status.baseline[0].recorded_at
    assert recorded > first.started_at and recorded >= second.started_at
    assert story.until(Phase.SUCCEEDED)


@pytest.mark.parametrize(
    "other", [Verb.PROMOTE, Verb.PROMOTE_FULL, Verb.RETRY, Verb.PAUSE, Verb.RESUME, Verb.ROLLBACK]
)
@pytest.mark.parametrize("first", [True, False])
def test_abort_wins_over_every_other_command(other: Verb, first: bool) -> None:
    story = Story()
    story.until_weight(10)
    story.world.command(other if first else Verb.ABORT)
    story.world.command(Verb.ABORT if first else other)
    observed = story.world.observe(story.status)
    both = observed.commands
    assert [command.verb for command in both] == ([other, Verb.ABORT] if first else [Verb.ABORT, other])
    decision = decide(spec=story.world.spec, status=story.status, observed=observed, now=story.world.time)
    assert decision.status.rollback is not None and decision.status.rollback.reason == Reason.ABORTED
    assert {command.id for command in both} <= set(decision.status.handled_commands)
    refused = [t.message for t in decision.transitions if t.reason == Reason.COMMAND_REFUSED]
    assert refused == [f"{other} was not carried out: an abort was asked for as well, which wins."]
    again = decide(spec=story.world.spec, status=decision.status, observed=observed, now=story.world.time)
    assert again.status == decision.status


@pytest.mark.parametrize("change", ["candidate", "template", "none"])
def test_an_abort_during_a_rollback_wins_over_the_run_that_would_start_after_it(change: str) -> None:
    story = Story()
    story.until_weight(50)
    if change == "candidate":
        story.world.edit(candidate={"deployment": "c"})
    elif change == "template":
        story.world.deployments["b"].template = "t2"
    else:
        story.world.command(Verb.ABORT)
    story.tick()
    before = story.status.rollback
    assert story.status.phase is Phase.ROLLING_BACK and before is not None
    story.world.command(Verb.ABORT)
    story.tick()
    rollback = story.status.rollback
    assert rollback is not None and rollback.result is RunResult.ABORTED
    assert (rollback == before) is (change == "none"), "an abort twice is one abort"
    story.play(900)
    status = story.status
    assert status.phase is Phase.ROLLED_BACK and status.history[0].result is RunResult.ABORTED
    assert story.desired() == {"a": 10, "b": 0, "c": 0}
    story.world.command(Verb.RETRY)
    assert story.until(Phase.SUCCEEDED).stable == ("c" if change == "candidate" else "b")


def test_retry_is_refused_while_the_deployment_of_the_candidate_is_missing() -> None:
    story = Story()
    story.until_weight(10)
    del story.world.deployments["b"]
    story.until(Phase.ROLLED_BACK)
    story.world.command(Verb.RETRY)
    story.play(10)
    assert "CommandRefused" in story.reasons() and story.status.phase is Phase.ROLLED_BACK


@pytest.mark.parametrize("trouble", ["outage", "problem", "invalid", "paused", "bad"])
def test_abort_works_whatever_else_is_wrong(trouble: str) -> None:
    story = Story()
    story.until_weight(10)
    if trouble == "outage":
        story.world.outage = True
    elif trouble == "problem":
        story.world.problems = (Problem(reason="ServiceNotFound", message="There is no Service emotion."),)
    elif trouble == "invalid":
        story.world.invalid = True
    elif trouble == "paused":
        story.world.edit(paused=True)
    else:
        story.world.set_mode("errors", sim.BAD)
    story.world.command(Verb.ABORT)
    story.play(120)
    assert story.desired() == {"a": 10, "b": 0, "c": 0}
    assert story.status.run is not None and story.status.run.result is RunResult.ABORTED


def test_rollback_command_after_success_brings_the_previous_version_back() -> None:
    story = Story()
    story.until(Phase.SUCCEEDED)
    story.play(60)
    story.least_ready = 10**6
    story.world.command(Verb.ROLLBACK)
    status = story.until(Phase.ROLLED_BACK)
    assert (status.stable, status.reason) == ("a", Reason.ROLLED_BACK_BY_COMMAND)
    assert story.desired() == {"a": 10, "b": 0, "c": 0} and story.least_ready >= 5
    story.play(600)
    assert story.status.phase is Phase.ROLLED_BACK  # spec.candidate still asks for b: not by itself
    story.world.edit(candidate={"deployment": "a"})
    story.play(10)
    assert story.status.phase is Phase.IDLE


@pytest.mark.parametrize("verb", [v for v in Verb if v is not Verb.RETRY])
def test_commands_that_make_no_sense_are_refused_once(verb: Verb) -> None:
    story = Story(candidate={"deployment": "a"})
    story.play(10)
    story.world.command(verb)
    story.play(30)
    assert story.reasons().count("CommandRefused") == 1 and story.status.phase is Phase.IDLE
