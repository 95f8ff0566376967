"""Whole runs, told as stories: given a spec and a world, when something happens, then this is decided."""

from __future__ import annotations

import random
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest

from modelrollout.api.commands import Verb
from modelrollout.api.conditions import ConditionStatus, ConditionType, Phase, Reason, get_condition
from modelrollout.api.schedule import Transition as Announcement
from modelrollout.api.spec import ModelRolloutSpec
from modelrollout.api.status import CriterionState, ModelRolloutStatus, RunResult, ValidationState
from modelrollout.decision import decide, shadow_version
from modelrollout.decision.types import Decision, JobRequest, Observation, Problem, Transition, Workload
from tests.unit import decision_world as sim

STEPS = [{"weight": 10, "duration": "60s"}, {"weight": 50, "duration": "60s"}, {"weight": 100}]
SIMPLE = {"name": "errors", "query": "q(${candidatePods})", "max": 1}
LASTING = {**SIMPLE, "name": "fallback", "for": "60s"}


class Story:
    """A world with a log of what happened in it."""

    def __init__(self, **spec: Any) -> None:
        base: dict[str, Any] = {
            "replicas": 10,
            "service": "emotion",
            "stable": {"deployment": "a"},
            "candidate": {"deployment": "b"},
            "steps": STEPS,
            "criteria": [SIMPLE],
            "evaluation": {"interval": "5s"},
            **spec,
        }
        parsed = ModelRolloutSpec.model_validate({k: v for k, v in base.items() if v is not None})
        deployments = {
            "a": sim.SimulatedDeployment(parsed.replicas),
            "b": sim.SimulatedDeployment(),
            "c": sim.SimulatedDeployment(),
        }
        self.world = sim.World(spec=parsed, random=random.Random(1), deployments=deployments)
        self.told: list[Transition] = []
        self.weights: list[tuple[float, int]] = []  # second, desired weight: one entry per change
        self.asked: list[JobRequest] = []
        self.least_ready = 10**6
        self.last: Decision | None = None

    @property
    def status(self) -> ModelRolloutStatus:
        return self.world.status

    @property
    def observed(self) -> Observation:
        return self.world.observe(self.status)

    def tick(self, **how: bool) -> Decision:
        _, _, decision = self.world.tick(**how)
        self.told += decision.transitions
        self.asked += decision.jobs
        weight = decision.status.weight.desired if decision.status.weight else 0
        if not self.weights or self.weights[-1][1] != weight:
            self.weights.append((self.world.now, weight))
        ready = sum(
            d.ready(self.world.now) for n, d in self.world.deployments.items() if n in ("a", "b", "c")
        )
        self.least_ready = min(self.least_ready, ready)
        self.last = decision
        return decision

    def play(self, seconds: float, step: float = 5.0) -> Decision:
        """Let the time pass, a tick every `step` seconds."""
        end = self.world.now + seconds
        decision = self.tick()
        while self.world.now + step <= end:
            self.world.now += step
            decision = self.tick()
        return decision

    def until(self, *phases: Phase, limit: float = 3600) -> ModelRolloutStatus:
        """Let the time pass until one of the phases."""
        end = self.world.now + limit
        while self.world.now < end:
            if self.tick().status.phase in phases:
                return self.status
            self.world.now += 5
        raise AssertionError(f"{self.status.phase}: {self.status.message}")

    def until_weight(self, weight: int, *, reached: bool = True) -> None:
        """Let the time pass until a step has begun (and its weight is observed)."""
        for _ in range(500):
            self.tick()
            step = self.status.step
            if step is not None and step.weight == weight and (step.reached_at or not reached):
                return
            self.world.now += 5
        raise AssertionError(f"{self.status.phase}: {self.status.message}")

    def reasons(self) -> list[str]:
        return [transition.reason for transition in self.told]

    def desired(self) -> dict[str, int]:
        return {n: d.desired for n, d in self.world.deployments.items() if n in ("a", "b", "c")}

    def condition(self, type_: ConditionType) -> tuple[ConditionStatus, str, str]:
        found = get_condition(self.status.conditions, type_)
        assert found is not None
        return found.status, found.reason, found.message


# -- the way up -------------------------------------------------------------------------------------------


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


# -- metrics ----------------------------------------------------------------------------------------------


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


SILENT = {**SIMPLE, "name": "silent", "for": "60s", "noData": "Breach"}


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


# -- phases before step 1 ---------------------------------------------------------------------------------

BASELINE = {"name": "p95", "preset": "latencyP95", "compare": {"to": "Baseline", "maxIncrease": "20%"}}


def test_baseline_is_recorded_before_step_1_and_kept() -> None:
    story = Story(baseline={"window": "24h", "minSamples": 500}, criteria=[BASELINE])
    first = story.tick()
    assert first.status.phase is Phase.VALIDATING and first.record_baseline == ("p95",)
    assert story.desired()["b"] == 0
    story.play(10)
    status = story.status
    assert [(entry.criterion, entry.value, entry.samples) for entry in status.baseline] == [
        ("p95", 0.5, 1000.0)
    ]
    story.until_weight(50)
    sim.VALUES["slower"] = 0.58
    story.world.set_mode("p95", "slower")
    story.play(200)
    assert story.status.phase in (Phase.PROGRESSING, Phase.SUCCEEDED)  # 16 % more
    del sim.VALUES["slower"]


def test_a_quarter_over_the_baseline_reverts() -> None:
    story = Story(baseline={"window": "24h"}, criteria=[BASELINE])
    story.until_weight(10)
    sim.VALUES["slow"] = 0.63
    story.world.set_mode("p95", "slow")
    status = story.until(Phase.ROLLED_BACK)
    del sim.VALUES["slow"]
    assert status.rollback is not None and "600ms (20% over baseline)" in status.rollback.message


def test_too_few_samples_start_no_comparison() -> None:
    story = Story(baseline={"window": "24h", "minSamples": 5000}, criteria=[BASELINE])
    story.play(600)
    assert story.status.phase is Phase.VALIDATING and story.status.reason == Reason.RECORDING_BASELINE
    assert "fewer than 5000 samples" in story.status.message
    assert story.desired() == {"a": 10, "b": 0, "c": 0}


SHADOW_STEPS = [{"weight": 50, "duration": "10s"}, {"weight": 100}]
AGREEMENT = {
    "name": "agreement",
    "preset": "shadowAgreement",
    "min": 0.25,
    "pauseBelow": 0.4,
    "phases": ["Shadow"],
}


SMOKE = {"name": "smoke", "image": "i", "timeout": "2m"}


def test_shadow_serves_no_client_and_ends_in_step_1() -> None:
    story = Story(shadow={"duration": "120s", "replicas": 2}, criteria=[AGREEMENT], steps=SHADOW_STEPS)
    decision = story.play(30)
    assert decision.status.phase is Phase.SHADOW and decision.shadow is not None
    assert (decision.shadow.deployment, decision.shadow.source, decision.shadow.replicas) == (
        "emotion-shadow",
        "b",
        2,
    )
    assert story.desired()["b"] == 0 and decision.evaluate == ("agreement",)
    story.play(120)
    assert story.status.phase is Phase.PROGRESSING and story.last is not None and story.last.shadow is None
    assert story.until(Phase.SUCCEEDED)


@pytest.mark.parametrize(
    ("value", "phase", "reason"),
    [
        (0.2, Phase.ROLLED_BACK, Reason.CRITERION_BREACHED),
        (0.3, Phase.PAUSED, Reason.PAUSED_BY_CRITERION),
    ],
)
def test_disagreement_stops_before_step_1(value: float, phase: Phase, reason: Reason) -> None:
    story = Story(shadow={"duration": "120s"}, criteria=[AGREEMENT], steps=SHADOW_STEPS)
    story.play(30)
    sim.VALUES["agree"] = value
    story.world.set_mode("agreement", "agree")
    status = story.until(phase)
    del sim.VALUES["agree"]
    assert status.reason == reason and [weight for _, weight in story.weights] == [0]
    assert story.desired()["b"] == 0


def test_shadow_that_never_starts_runs_into_the_deadline() -> None:
    story = Story(shadow={"duration": "120s"}, progressDeadline="60s", steps=SHADOW_STEPS)
    story.tick()
    story.world.deployments["emotion-shadow"].delay = lambda: float("inf")
    status = story.until(Phase.ROLLED_BACK)
    assert status.reason == Reason.DEADLINE_EXCEEDED and 55 <= story.world.now <= 75


def test_shadow_waits_for_its_approval() -> None:
    story = Story(shadow={"duration": "30s", "approval": "Required"}, steps=SHADOW_STEPS)
    story.play(600)
    assert story.status.phase is Phase.PAUSED and story.status.reason == Reason.WAITING_FOR_APPROVAL
    story.world.command(Verb.PROMOTE)
    story.play(10)
    assert story.status.phase is Phase.PROGRESSING


@pytest.mark.parametrize("spec", [{"shadow": {"duration": "120s"}}, {"validations": [SMOKE]}])
def test_another_candidate_is_not_judged_by_the_copy_of_the_last_one(spec: dict[str, Any]) -> None:
    story = Story(**spec, criteria=[], steps=SHADOW_STEPS)
    story.world.job_outcome = lambda: (60.0, True)
    story.play(40)
    copy, old = story.world.deployments["emotion-shadow"], story.status.run
    assert copy.ready(story.world.now) == 1 and old is not None
    story.world.edit(candidate={"deployment": "c"})
    decision = story.tick()
    run = decision.status.run
    assert run is not None and run.candidate == "c"
    assert decision.shadow is not None
    assert decision.shadow.version == shadow_version(run) != shadow_version(old)
    assert decision.status.shadow is None and not decision.jobs and not decision.status.validations
    assert story.last is not None and story.last.requeue_after is not None  # looked at again, come what may
    replaced = story.world.now
    while story.status.shadow is None and not story.status.validations:
        story.world.now += 5
        story.tick()
    made = story.world.deployments["emotion-shadow"]
    assert made is not copy and made.version == shadow_version(run) and made.ready(story.world.now) == 1
    assert story.world.now > replaced + 5
    assert all(entry.run == run.id for entry in story.status.validations)
    assert not story.world.jobs.keys() - {entry.job for entry in story.status.validations}  # the old ended
    assert story.until(Phase.SUCCEEDED).stable == "c"


# -- validations ------------------------------------------------------------------------------------------


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


# -- people -----------------------------------------------------------------------------------------------


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


# -- changes in mid-run -----------------------------------------------------------------------------------


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


def test_deleted_candidate_goes_back_at_once() -> None:
    story = Story(observation={"duration": "7d"})
    story.until(Phase.OBSERVING)
    del story.world.deployments["b"]
    decision = story.tick()
    assert decision.status.rollback is not None
    assert decision.status.rollback.reason == Reason.CANDIDATE_DELETED
    assert story.desired()["a"] == 10


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


# -- problems and deletion --------------------------------------------------------------------------------


def test_problem_scales_nothing_and_recovers() -> None:
    story = Story()
    story.until_weight(10)
    story.world.problems = (Problem(reason="ServiceNotFound", message="There is no Service emotion."),)
    story.world.deployments["b"].desired = 4
    decision = story.play(600)
    assert (decision.status.phase, decision.status.reason) == (Phase.INVALID, "ServiceNotFound")
    assert not decision.scales and story.desired()["b"] == 4
    assert story.reasons().count("ServiceNotFound") == 1
    story.world.problems = ()
    assert story.until(Phase.SUCCEEDED)


@pytest.mark.parametrize("spec", [{"shadow": {"duration": "60s"}}, {"validations": [SMOKE]}])
def test_time_with_a_problem_does_not_count_towards_the_deadline_before_step_1(spec: dict[str, Any]) -> None:
    story = Story(**spec, criteria=[], candidate={"image": "emotion:2"}, progressDeadline="60s")
    story.tick()
    story.tick()  # the candidate's copy of stable comes first
    story.world.deployments["emotion-shadow"].delay = lambda: 40.0
    story.world.deployments["emotion-shadow"].pods = [float("inf")]
    story.world.problems = (Problem(reason="CandidateNotCreated", message="exceeded quota: pods"),)
    assert story.play(600).status.phase is Phase.INVALID
    story.world.problems = ()
    story.tick()
    assert story.status.rollback is None
    story.world.deployments["emotion-shadow"].pods = [story.world.now + 40]
    assert story.until(Phase.SUCCEEDED)


def test_breach_reverts_although_there_is_a_problem() -> None:
    story = Story()
    story.until_weight(10)
    story.world.problems = (Problem(reason="AutoscalerConflict", message="An HPA scales b."),)
    story.play(20)
    story.world.set_mode("errors", sim.BAD)
    story.play(60)
    assert story.desired() == {"a": 10, "b": 0, "c": 0}


def test_at_rest_a_problem_of_the_candidate_alone_does_not_stop_an_autoscaler() -> None:
    story = Story(candidate={"deployment": "a"})
    story.play(30)
    story.world.edit(candidate={"deployment": "typo"}, replicas=14)
    story.play(10)
    assert (story.status.phase, story.status.reason) == (Phase.INVALID, Reason.DEPLOYMENT_NOT_FOUND)
    assert story.desired()["a"] == 14
    story.world.problems = (Problem(reason="BadQuery", message="no query", candidate_only=True),)
    story.world.edit(replicas=6)
    assert story.play(10).status.phase is Phase.INVALID
    assert story.desired()["a"] == 6


def test_at_rest_a_problem_of_stable_scales_nothing() -> None:
    story = Story(candidate={"deployment": "a"})
    story.play(30)
    story.world.problems = (
        Problem(reason="BadQuery", message="no query", candidate_only=True),
        Problem(reason="ServiceNotFound", message="There is no Service emotion."),
    )
    story.world.edit(replicas=14)
    story.play(10)
    assert story.desired()["a"] == 10


def test_deployment_of_another_rollout_is_refused() -> None:
    story = Story()
    observed = story.observed
    claimed = Workload(name="b", claimed_by="older")
    workloads = {**observed.workloads, "b": claimed}
    observed = Observation(uid="u", generation=1, candidate_name="b", name="emotion", workloads=workloads)
    decision = decide(
        spec=story.world.spec, status=ModelRolloutStatus(), observed=observed, now=story.world.time
    )
    assert decision.status.reason == Reason.CONFLICTING_ROLLOUT and not decision.scales
    assert "older" in decision.status.message


@pytest.mark.parametrize("invalid", [False, True])
@pytest.mark.parametrize("phase", list(Phase))
def test_deletion_in_each_phase_ends_on_stable(phase: Phase, invalid: bool) -> None:
    story = Story(
        observation={"duration": "7d"}, shadow={"duration": "60s"}, validations=[SMOKE], replicas=6,
        criteria=[{**SIMPLE, "phases": ["Shadow", "Progressing", "Observing"]}],
    )  # fmt: skip
    _bring_to(story, phase)
    assert story.status.phase is phase
    serving = story.status.stable
    story.world.invalid, story.world.deleting = invalid, True
    for _ in range(100):
        story.tick()
        if story.world.gone:
            break
        story.world.now += 5
    assert story.world.gone and serving is not None
    counts = story.desired()
    assert counts[serving] == 6 and sum(counts.values()) == 6
    assert "emotion-shadow" not in story.world.deployments


def _bring_to(story: Story, phase: Phase) -> None:
    match phase:
        case Phase.IDLE:
            story.world.edit(candidate={"deployment": "a"})
        case Phase.PAUSED:
            story.until_weight(50)
            story.world.command(Verb.PAUSE)
        case Phase.ROLLED_BACK | Phase.ROLLING_BACK:
            story.until_weight(50)
            story.world.set_mode("errors", sim.BAD)
        case Phase.INVALID:
            story.until_weight(50)
            story.world.problems = (Problem(reason="ServiceNotFound", message="none"),)
        case Phase.SUCCEEDED:
            story.until_weight(50)
            story.world.command(Verb.PROMOTE_FULL)
        case Phase.PROGRESSING:
            story.until_weight(50)
            return
    story.until(phase)


@pytest.mark.parametrize("missing", [("a",), ("b",), ("a", "b")])
def test_deletion_with_missing_deployments_leaves_nobody_waiting(missing: tuple[str, ...]) -> None:
    story = Story(replicas=6)
    story.until_weight(50)
    for name in missing:
        del story.world.deployments[name]
    story.world.deleting = True
    story.play(60)
    assert story.world.gone
    if missing == ("a",):
        assert story.desired()["b"] == 3  # all that still serves is left alone


def test_deletion_of_a_first_version_leaves_it_serving() -> None:
    story = Story(stable=None)
    story.play(5)
    story.world.deleting = True
    story.play(5)
    assert story.world.gone and story.desired()["b"] == 10


# -- schedule ---------------------------------------------------------------------------------------------

NIGHTS = {"timeZone": "UTC", "windows": [{"days": ["Mon"], "from": "10:00", "to": "11:00"}]}


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


# -- what it says -----------------------------------------------------------------------------------------


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


def test_transition_time_moves_only_with_the_status_of_a_condition() -> None:
    story = Story()
    story.until_weight(10)
    before = get_condition(story.status.conditions, ConditionType.PROGRESSING)
    story.until_weight(50)
    after = get_condition(story.status.conditions, ConditionType.PROGRESSING)
    assert before is not None and after is not None
    assert before.message != after.message
    assert before.last_transition_time == after.last_transition_time


def test_pending_before_the_first_answer() -> None:
    story = Story()
    decision = story.tick()
    assert [entry.state for entry in decision.status.criteria] == [CriterionState.PENDING]
    assert decision.evaluate == ("errors",)


def test_contradicting_clocks_hold_the_advance_but_not_a_rollback() -> None:
    story = Story()
    story.until_weight(10)
    story.world.clock_uncertain = True
    story.play(600)
    assert story.status.step is not None and story.status.step.weight == 10
    assert story.status.reason == Reason.CLOCK_UNCERTAIN
    said = get_condition(story.status.conditions, ConditionType.CLOCK_IN_SYNC)
    assert said is not None and said.status is ConditionStatus.UNKNOWN
    story.world.set_mode("errors", sim.BAD)
    status = story.until(Phase.ROLLED_BACK)
    assert status.rollback is not None and status.rollback.reason == Reason.CRITERION_BREACHED


def test_a_skewed_clock_is_said_and_holds_nothing() -> None:
    story = Story()
    story.world.clock_skewed = True
    story.until_weight(50)
    said = get_condition(story.status.conditions, ConditionType.CLOCK_IN_SYNC)
    assert said is not None and (said.status, said.reason) == (ConditionStatus.FALSE, Reason.CLOCK_SKEWED)
    story.world.clock_skewed = False
    status = story.until(Phase.SUCCEEDED)
    assert get_condition(status.conditions, ConditionType.CLOCK_IN_SYNC) is None
