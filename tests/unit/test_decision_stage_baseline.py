"""The baseline: recorded before the first step, compared with after it."""

from __future__ import annotations

from modelrollout.api.conditions import Phase, Reason
from tests.unit import decision_world as sim
from tests.unit.decision_story import Story

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
