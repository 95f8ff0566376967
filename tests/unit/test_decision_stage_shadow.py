"""The shadow phase: no client sees the candidate."""

from __future__ import annotations

from typing import Any

import pytest

from modelrollout.api.commands import Verb
from modelrollout.api.conditions import Phase, Reason
from modelrollout.decision import shadow_version
from tests.unit import decision_world as sim
from tests.unit.decision_story import Story

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
