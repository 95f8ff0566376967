"""Criteria in a run: what rolls back, what holds, what only warns."""

from __future__ import annotations

from datetime import timedelta

import pytest

from modelrollout.api.commands import Verb
from modelrollout.api.conditions import ConditionStatus, ConditionType, Phase, Reason
from modelrollout.api.schedule import Transition as Announcement
from modelrollout.api.status import RunResult
from modelrollout.decision import decide
from tests.unit import decision_world as sim
from tests.unit.decision_story import LASTING, SIMPLE, Story

SILENT = {**SIMPLE, "name": "silent", "for": "60s", "noData": "Breach"}


def test_bad_for_its_whole_period_takes_everything_back_and_names_value_and_limit() -> None:
    story = Story(criteria=[SIMPLE, LASTING])
    story.until_weight(50)
    story.world.set_mode("fallback", sim.BAD)
    start = story.world.now
    status = story.until(Phase.ROLLING_BACK, Phase.ROLLED_BACK)
    assert 55 <= story.world.now - start <= 70
    assert status.rollback is not None and status.rollback.criterion == "fallback"
    assert "Seen 2, expected at most 1" in status.rollback.message
    status = story.until(Phase.ROLLED_BACK)
    assert story.desired() == {"a": 10, "b": 0, "c": 0}
    assert status.rolled_back_from is not None and status.history[0].reason == Reason.CRITERION_BREACHED
    assert story.condition(ConditionType.ROLLED_BACK)[0] is ConditionStatus.TRUE
    assert story.condition(ConditionType.STALLED)[0] is ConditionStatus.TRUE
    told = next(t for t in story.told if t.announcement is Announcement.ROLLING_BACK)
    assert told.criterion == "fallback" and "at most 1" in told.message


def test_spike_shorter_than_its_period_changes_nothing() -> None:
    story = Story(criteria=[LASTING])
    story.until_weight(10)
    story.world.set_mode("fallback", sim.BAD)
    story.play(50)
    story.world.set_mode("fallback", sim.GOOD)
    assert story.until(Phase.SUCCEEDED).history[0].result is RunResult.SUCCEEDED


def test_without_a_period_one_bad_value_is_enough() -> None:
    mismatch = {"name": "dimension-mismatch", "preset": "dimensionMismatch", "max": 0}
    story = Story(criteria=[mismatch])
    story.world.set_mode("dimension-mismatch", sim.ZERO)
    story.until_weight(10)
    story.world.set_mode("dimension-mismatch", sim.BAD)
    story.world.now += 5
    decision = story.tick()
    assert decision.status.rollback is not None
    assert {scale.deployment: scale.replicas for scale in decision.scales} == {"a": 10, "b": 0}


def test_data_that_could_not_be_there_yet_is_not_missing() -> None:
    story = Story(criteria=[SILENT], shadow={"duration": "300s"})  # the run is older than `for` at step 1
    story.world.set_mode("silent", sim.EMPTY)
    story.until_weight(10)
    run, reached = story.status.run, story.world.now
    assert run is not None and run.serving_at == story.world.time
    story.play(30)
    assert story.status.rollback is None
    story.world.set_mode("silent", sim.GOOD)
    assert story.until(Phase.SUCCEEDED).stable == "b" and story.world.now > reached
    story = Story(
        criteria=[SILENT], shadow={"duration": "300s"}
    )  # nor does a bad first value say that it was
    story.world.set_mode("silent", sim.EMPTY)
    story.until_weight(10)
    story.play(10)
    story.world.set_mode("silent", sim.BAD)
    story.play(10)
    assert story.status.rollback is None


def test_data_that_never_comes_reverts_after_the_period() -> None:
    story = Story(criteria=[SILENT])
    story.world.set_mode("silent", sim.EMPTY)
    story.until_weight(10)
    reached = story.world.now
    status = story.until(Phase.ROLLED_BACK)
    assert status.rollback is not None and status.rollback.criterion == "silent"
    assert 55 <= story.world.now - reached <= 80


@pytest.mark.parametrize("upgraded", [False, True])
def test_a_later_step_does_not_forget_data_that_went_missing_on_the_way_up(upgraded: bool) -> None:
    story = Story(criteria=[SILENT])
    story.until_weight(50, reached=False)
    story.world.set_mode("silent", sim.EMPTY)
    story.world.deployments["b"].delay = lambda: 70.0
    if upgraded:  # a run of a former version has no record of when it began to serve: from this step, then
        run = {key: value for key, value in story.world.status_json["run"].items() if key != "servingAt"}
        story.world.status_json = {**story.world.status_json, "run": run}
    story.until_weight(50)
    assert (story.status.rollback is None) is upgraded
    reached = story.world.now
    story.until(Phase.ROLLED_BACK)
    assert story.world.now - reached <= 80


def test_two_breaches_are_both_named() -> None:
    story = Story(criteria=[SIMPLE, {**SIMPLE, "name": "second"}, {**SIMPLE, "name": "third"}])
    story.until_weight(10)
    story.world.set_mode("second", sim.BAD)
    story.world.set_mode("third", sim.BAD)
    status = story.until(Phase.ROLLING_BACK, Phase.ROLLED_BACK)
    assert status.rollback is not None and status.rollback.criterion == "second"
    assert "Criterion second" in status.rollback.message and "Criterion third" in status.rollback.message


@pytest.mark.parametrize(
    ("mode", "outage", "reason"),
    [
        (sim.EMPTY, False, Reason.NO_DATA),
        (sim.BROKEN, False, Reason.QUERY_FAILED),
        (sim.GOOD, True, Reason.PROMETHEUS_UNAVAILABLE),
    ],
)
def test_without_an_answer_it_holds_says_so_and_resumes(mode: str, outage: bool, reason: Reason) -> None:
    story = Story()
    story.until_weight(10)
    story.world.set_mode("errors", mode)
    story.world.outage = outage
    story.play(600)
    assert story.status.step is not None and story.status.step.weight == 10
    assert story.status.phase is Phase.PROGRESSING
    status, seen, message = story.condition(ConditionType.METRICS_AVAILABLE)
    assert (status, seen) == (ConditionStatus.FALSE, reason) and "errors" in message
    assert "errors" in (story.status.message or "")
    story.world.set_mode("errors", sim.GOOD)
    story.world.outage = False
    story.play(10)
    assert story.status.step.weight == 50


def test_a_decision_names_the_criteria_that_hold_the_run_and_no_others() -> None:
    policies = {
        "held": {},
        "ignored": {"noData": "Ignore"},
        "warns": {"onBreach": "Warn"},
        "dry": {"dryRun": True},
    }
    story = Story(criteria=[{**SIMPLE, "name": name, **policy} for name, policy in policies.items()])
    story.until_weight(10)
    assert story.tick().blocking_criteria == ()
    for mode in (sim.EMPTY, sim.BROKEN):
        for name in policies:
            story.world.set_mode(name, mode)
        blocking_criteria = story.play(10).blocking_criteria
        assert blocking_criteria == (("held",) if mode == sim.EMPTY else ("held", "ignored")), mode


def test_too_few_samples_hold() -> None:
    counted = {"name": "fallback", "preset": "fallbackRate", "max": 1, "minSamples": 200}
    story = Story(criteria=[counted])
    story.world.set_mode("fallback", sim.FEW)
    story.until_weight(10)
    story.play(300)
    assert story.status.step is not None and story.status.step.weight == 10
    assert story.status.reason == Reason.WAITING_FOR_SAMPLES and "200 are needed" in story.status.message


def test_old_values_never_promote() -> None:
    story = Story(evaluation={"interval": "60s"})
    story.until_weight(10)
    story.world.now += 55
    story.tick()
    assert story.status.step is not None
    # the values are those of the last evaluation: nothing has been asked since
    observed = story.observed
    for age in (61, 119, 600):
        at = story.world.time + timedelta(seconds=age)
        decision = decide(spec=story.world.spec, status=story.status, observed=observed, now=at)
        assert decision.status.step == story.status.step
        assert decision.evaluate == ("errors",)
        if age < 120:
            assert decision.requeue_after == timedelta()


def test_dry_run_and_warning_are_told_once_and_do_not_hold() -> None:
    dry = {**SIMPLE, "name": "dry", "dryRun": True}
    warn = {**SIMPLE, "name": "warn", "onBreach": "Warn"}
    story = Story(criteria=[dry, warn])
    for name in ("dry", "warn"):
        story.world.set_mode(name, sim.BAD)
    story.until_weight(10)
    story.play(30)
    assert story.reasons().count(Reason.WARNING) == 2
    assert story.condition(ConditionType.HEALTHY)[:2] == (ConditionStatus.TRUE, Reason.WARNING)
    assert story.until(Phase.SUCCEEDED)


def test_breach_that_pauses_waits_for_a_person_and_is_not_repeated() -> None:
    story = Story(criteria=[{**SIMPLE, "onBreach": "Pause"}])
    story.until_weight(10)
    story.world.set_mode("errors", sim.BAD)
    status = story.until(Phase.PAUSED)
    assert status.reason == Reason.PAUSED_BY_CRITERION
    assert story.condition(ConditionType.PAUSED)[0] is ConditionStatus.TRUE
    story.world.set_mode("errors", sim.GOOD)
    story.play(300)
    assert story.status.phase is Phase.PAUSED  # only a person ends it
    story.world.set_mode("errors", sim.BAD)
    story.play(10)
    story.world.command(Verb.RESUME)
    story.play(60)
    assert story.status.phase is Phase.PROGRESSING  # seen and accepted; but it does not go on while bad
    assert story.status.step is not None and story.status.step.weight == 10
    story.world.set_mode("errors", sim.GOOD)
    assert story.until(Phase.SUCCEEDED)


def test_compare_to_stable() -> None:
    relative = {
        "name": "errors",
        "query": "q(${candidatePods})",
        "compare": {"to": "Stable", "maxIncrease": "50%"},
    }
    story = Story(criteria=[relative])
    story.until_weight(10)
    story.world.set_mode("errors", sim.BAD)  # 2.0 against stable's 0.5
    status = story.until(Phase.ROLLED_BACK)
    assert status.rollback is not None and "at most 0.75 (50% over stable)" in status.rollback.message


def test_nothing_is_compared_with_a_stable_that_serves_nothing() -> None:
    relative = {
        "name": "errors",
        "query": "q(${candidatePods})",
        "compare": {"to": "Stable", "maxIncrease": "50%"},
    }
    story = Story(criteria=[relative], observation={"duration": "10m"})
    story.until_weight(100)
    story.world.set_mode("errors", sim.EMPTY)  # as it is without traffic
    status = story.until(Phase.SUCCEEDED)
    assert status.stable == "b"
