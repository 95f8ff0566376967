"""Validations: Jobs that run exactly once before an increase."""

from __future__ import annotations

from datetime import timedelta

from modelrollout.api.commands import Verb
from modelrollout.api.conditions import ConditionType, Phase, Reason
from modelrollout.api.status import ValidationState
from modelrollout.decision.types import Decision, Problem
from tests.unit.decision_story import Story

SMOKE = {"name": "smoke", "image": "i", "timeout": "2m"}


def test_validations_run_once_before_every_increase() -> None:
    story = Story(validations=[SMOKE])
    story.play(20)
    assert story.status.phase in (Phase.VALIDATING, Phase.PROGRESSING)
    story.until(Phase.SUCCEEDED)
    assert len(story.world.jobs_ever) == 3 == len(set(story.world.jobs_ever))
    assert [entry.step for entry in story.status.validations] == [0, 1, 2]
    assert all(entry.state is ValidationState.SUCCEEDED for entry in story.status.validations)


def test_validation_before_step_1_gets_a_copy_outside_the_service() -> None:
    story = Story(validations=[SMOKE])
    first = story.tick()
    assert first.shadow is not None and first.shadow.replicas == 1 and not first.jobs
    assert story.desired()["b"] == 0
    while not story.asked:
        story.world.now += 5
        story.tick()
    assert story.world.deployments["emotion-shadow"].ready(story.world.now) == 1


def test_only_before_the_chosen_weights() -> None:
    story = Story(validations=[{**SMOKE, "beforeWeights": [100]}])
    story.until(Phase.SUCCEEDED)
    assert [entry.step for entry in story.status.validations] == [2]


def test_failed_validation_stops_the_run_where_it_is_with_the_tail_of_its_log() -> None:
    story = Story(validations=[{**SMOKE, "beforeWeights": [50]}])
    story.until_weight(10)
    story.world.job_outcome = lambda: (5.0, False)
    status = story.until(Phase.PAUSED)
    assert status.reason == Reason.VALIDATION_FAILED
    story.play(600)
    assert story.status.step is not None and story.status.step.weight == 10
    assert story.desired() == {"a": 9, "b": 1, "c": 0}
    for type_ in (ConditionType.PROGRESSING, ConditionType.STALLED, ConditionType.PAUSED):
        assert "exit code 1: 3 of 10 wrong" in story.condition(type_)[2]
    assert len(story.world.jobs_ever) == 1
    # resume runs it again under another name; then it goes on
    story.world.job_outcome = lambda: (5.0, True)
    story.world.command(Verb.RESUME)
    assert story.until(Phase.SUCCEEDED)
    assert len(set(story.world.jobs_ever)) == 2


def test_promote_goes_on_without_the_validation_and_abort_goes_back() -> None:
    for verb, phase in ((Verb.PROMOTE, Phase.SUCCEEDED), (Verb.ABORT, Phase.ROLLED_BACK)):
        story = Story(validations=[{**SMOKE, "beforeWeights": [50]}])
        story.world.job_outcome = lambda: (5.0, False)
        story.until(Phase.PAUSED)
        story.world.command(verb)
        assert story.until(phase)


def test_late_validation_is_ended_and_has_failed() -> None:
    story = Story(validations=[{**SMOKE, "beforeWeights": [50]}])
    story.world.job_outcome = lambda: (1e9, True)
    status = story.until(Phase.PAUSED)
    entry = status.validations[0]
    assert entry.state is ValidationState.TIMED_OUT and "timeout of 2m" in entry.message
    assert entry.started_at is not None and entry.finished_at is not None
    assert 120 <= (entry.finished_at - entry.started_at).total_seconds() <= 130
    assert entry.job not in story.world.jobs  # ended


def _busy(decision: Decision) -> bool:
    return decision.requeue_after is not None and decision.requeue_after <= timedelta()


def test_promote_past_a_failed_validation_ends_those_that_still_run() -> None:
    slow = {**SMOKE, "name": "slow", "beforeWeights": [50]}
    steps = [{"weight": 10, "duration": "10s"}, {"weight": 50, "duration": "1h"}, {"weight": 100}]
    story = Story(validations=[{**SMOKE, "beforeWeights": [50]}, slow], steps=steps)
    outcomes = iter([(5.0, False), (1e9, True)])
    story.world.job_outcome = lambda: next(outcomes)
    status = story.until(Phase.PAUSED)
    entry = next(entry for entry in status.validations if entry.name == "slow")
    assert entry.job in story.world.jobs
    story.world.command(Verb.PROMOTE)
    decision = story.tick()
    assert decision.delete_jobs == (entry.job,) and entry.job not in story.world.jobs
    entry = next(entry for entry in story.status.validations if entry.name == "slow")
    assert entry.state is ValidationState.FAILED and "went on without it" in entry.message
    story.until_weight(50)
    for _ in range(60):  # well past its timeout
        story.world.now += 5
        assert not _busy(story.tick())
    assert story.until(Phase.SUCCEEDED, limit=7200)


def test_promote_ends_a_validation_that_still_runs_and_so_does_a_step_taken_out_of_the_spec() -> None:
    story = Story(validations=[{**SMOKE, "beforeWeights": [50]}])
    story.world.job_outcome = lambda: (1e9, True)
    while not story.world.jobs:
        story.world.now += 5
        story.tick()
    story.world.command(Verb.PROMOTE)
    assert story.tick().delete_jobs and not story.world.jobs
    story = Story(validations=[{**SMOKE, "beforeWeights": [100]}])
    story.world.job_outcome = lambda: (1e9, True)
    while not story.world.jobs:
        story.world.now += 5
        story.tick()
    assert story.status.step is not None and story.status.step.weight == 50
    parsed = story.world.spec.steps[:2]
    story.world.spec = story.world.spec.model_copy(update={"steps": parsed})
    story.until(Phase.SUCCEEDED)
    assert not story.world.jobs and all(entry.finished_at for entry in story.status.validations)


def test_validation_that_gets_late_while_the_object_is_invalid_is_not_waited_for() -> None:
    story = Story(validations=[SMOKE], criteria=[])
    story.world.job_outcome = lambda: (1e9, True)
    while not story.world.jobs:
        story.world.now += 5
        story.tick()
    story.tick()
    story.world.problems = (Problem(reason="ServiceNotFound", message="There is no Service emotion."),)
    for _ in range(60):
        story.world.now += 5
        assert not _busy(story.tick())
    assert story.status.phase is Phase.INVALID
    story.world.problems = ()
    assert story.tick().status.validations[0].state is ValidationState.TIMED_OUT


def test_crash_between_status_and_job_makes_exactly_one_job() -> None:
    story = Story(validations=[{**SMOKE, "beforeWeights": [50]}])
    story.until_weight(10)
    while not story.status.validations:
        story.world.now += 5
        story.tick(crash=True)
    assert not story.world.jobs_ever
    decision = story.tick()
    assert len(decision.jobs) == 1 and decision.jobs[0].name == story.status.validations[0].job
    story.world.now += 1
    assert not story.tick().jobs
    assert len(story.world.jobs_ever) == 1


def test_job_that_vanishes_is_not_run_twice_by_itself() -> None:
    story = Story(validations=[{**SMOKE, "beforeWeights": [50]}])
    story.world.job_outcome = lambda: (60.0, True)
    while not any(entry.state is ValidationState.RUNNING for entry in story.status.validations):
        story.world.now += 5
        story.tick()
    story.world.jobs.clear()
    status = story.until(Phase.PAUSED)
    assert status.validations[0].state is ValidationState.FAILED and len(story.world.jobs_ever) == 1
