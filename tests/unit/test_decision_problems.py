"""Problems of the object, and its deletion in every phase."""

from __future__ import annotations

from typing import Any

import pytest

from modelrollout.api.commands import Verb
from modelrollout.api.conditions import Phase, Reason
from modelrollout.api.status import ModelRolloutStatus
from modelrollout.decision import decide
from modelrollout.decision.types import Observation, Problem, Workload
from tests.unit import decision_world as sim
from tests.unit.decision_story import SIMPLE, Story

SMOKE = {"name": "smoke", "image": "i", "timeout": "2m"}


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
