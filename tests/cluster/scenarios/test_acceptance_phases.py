"""The phases around the steps: baseline, shadow, observation and what is kept of stable."""

from __future__ import annotations

import time
from itertools import pairwise
from typing import Any

import pytest

from tests.support import manifests as m
from tests.support.exporter import LATENCY_BOUNDS, Pod
from tests.support.scene import VALUE, Scene, seconds_between

pytestmark = pytest.mark.usefixtures("operator")
FAST = m.steps(25, 50, duration="1s")
REGRESSION = {
    "name": "latency",
    "preset": "latencyP95",
    "window": "8s",
    "compare": {"to": "Baseline", "maxIncrease": "20%"},
}


def p95(pod: Pod, seconds: float, *, rps: float = 50.0) -> None:
    """From now on 95 % of the pod's predictions take at most so long, as Prometheus computes it."""
    low, high = next((a, b) for a, b in pairwise(LATENCY_BOUNDS) if a < seconds < b)
    place = (seconds - low) / (high - low)
    faster = (0.95 - place) / (1 - place)  # share below the bucket in which the quantile lies
    assert 0 <= faster < 0.95, "the quantile must lie in the first 95 % of its bucket"
    name, labels = "model_prediction_seconds_bucket", {"route": "linear"}
    with pod.exporter.together():
        for bound in LATENCY_BOUNDS:
            share = 1.0 if bound >= high else faster if bound >= low else 0.0
            pod.rate(name, rps * share, le=str(bound), **labels)
        pod.rate(name, rps, le="+Inf", **labels)


def begin_with_baseline(scene: Scene, candidate: float) -> dict[str, Any]:
    """Stable at a P95 of 120 ms while its baseline is recorded, 200 ms after; returns the recorded entry."""
    scene.stage(
        traffic={"emotion-1": lambda pod: p95(pod, 0.12), "emotion-2": lambda pod: p95(pod, candidate)}
    )
    scene.apply(
        plan=m.steps(25, 50, duration="4s"),
        criteria=[REGRESSION],
        baseline={"window": "8s", "minSamples": 100},
    )
    status = scene.until(lambda s: s.get("baseline"), what="the baseline is recorded")
    p95(scene.pods["emotion-1"], 0.19)  # what is compared with is what was recorded
    entry: dict[str, Any] = status["baseline"][0]
    assert entry["criterion"] == "latency"
    assert entry["value"] == pytest.approx(0.12, rel=0.01)
    assert entry["samples"] >= 100
    return entry


def test_scenario_08_a_p95_25_per_cent_over_the_recorded_baseline_reverts(scene: Scene) -> None:
    begin_with_baseline(scene, candidate=0.12 * 1.25)
    status = scene.world.until_phase("RolledBack")
    assert status["rollback"]["criterion"] == "latency"
    assert "150" in status["rollback"]["message"], status["rollback"]
    scene.on_stable()


def test_scenario_08_a_p95_15_per_cent_over_the_recorded_baseline_advances(scene: Scene) -> None:
    entry = begin_with_baseline(scene, candidate=0.12 * 1.15)
    status = scene.world.until_phase("Succeeded", seconds=60)
    assert status["baseline"] == [entry], "the baseline was measured again in mid-run"


AGREEMENT = {
    "name": "agreement",
    "preset": "shadowAgreement",
    "phases": ["Shadow"],
    "min": 0.75,
    "pauseBelow": 0.85,
    "window": "5s",
    "minSamples": 50,
}


def begin_in_the_shadow(scene: Scene, agreement: float) -> dict[str, Any]:
    """A shadow phase of 9 s in which that share of the answers agrees; checks who can reach the copy."""
    scene.stage()
    scene.apply(
        plan=m.steps(25, 50, duration="2s"),
        shadow={"duration": "9s", "replicas": 2},
        criteria=[AGREEMENT],
    )
    status = scene.until(lambda s: s.get("shadow"), what="the shadow runs")
    assert (status["phase"], status["weight"]["desired"]) == ("Shadow", 0)
    clients = scene.world.get("Service", "emotion")["spec"]["selector"]
    copies = [p for p in scene.world.list("Pod") if p["metadata"]["name"].startswith("emotion-shadow-")]
    assert len(copies) == 2
    for copy in copies:
        labels = copy["metadata"]["labels"]
        assert not clients.items() <= labels.items(), "clients reach the copy"
    scene.world.until(
        lambda: dict(scene.world.ready_of_all("emotion-shadow")) == {"emotion-shadow": 2},
        what="the shadow Service reaches the copy, and nothing else",
    )
    scene.export("emotion-shadow", traffic={"emotion-shadow": lambda pod: agree(pod, agreement)})
    return status


def agree(pod: Pod, share: float) -> None:
    """From now on that share of the answers agrees."""
    with pod.exporter.together():
        pod.rate("model_shadow_comparisons_total", 100 * share, agree="true")
        pod.rate("model_shadow_comparisons_total", 100 * (1 - share), agree="false")


def only_stable_until(scene: Scene, over: Any, *, seconds: float = 60) -> dict[str, Any]:
    """Waits for `over(status)`; until then clients must reach stable's four pods and nothing else."""
    deadline = time.monotonic() + seconds
    while True:
        reached, status = dict(scene.world.ready_of_all("emotion")), scene.status()
        if over(status):
            return status
        assert reached == {"emotion-1": 4}, reached
        assert time.monotonic() < deadline, status
        time.sleep(0.05)


def test_scenario_30_agreement_under_75_per_cent_stops_before_step_1(scene: Scene) -> None:
    begin_in_the_shadow(scene, 0.6)
    status = only_stable_until(scene, lambda s: s["phase"] == "RolledBack")
    assert status["rollback"]["criterion"] == "agreement"
    assert dict(scene.world.ready_of_all("emotion")) == {"emotion-1": 4}
    assert scene.world.replicas("emotion-2") == 0
    scene.world.until(
        lambda: scene.world.find("Deployment", "emotion-shadow") is None, what="the copy is taken away"
    )
    assert scene.world.find("Service", "emotion-shadow") is None


@pytest.mark.takes(seconds=27)
def test_scenario_30_agreement_from_75_to_85_per_cent_pauses(scene: Scene) -> None:
    begin_in_the_shadow(scene, 0.8)
    status = only_stable_until(scene, lambda s: s["phase"] == "Paused")
    assert status["pause"]["criterion"] == "agreement"
    deadline = time.monotonic() + 4
    only_stable_until(scene, lambda s: time.monotonic() > deadline or s["phase"] != "Paused")
    assert scene.status()["phase"] == "Paused"
    agree(scene.pods["emotion-shadow"], 0.95)
    time.sleep(7)  # until nothing else is in the window
    scene.command("resume")
    scene.world.until_phase("Succeeded", seconds=60)


def test_scenario_30_agreement_of_85_per_cent_goes_on_after_the_whole_duration(scene: Scene) -> None:
    began = begin_in_the_shadow(scene, 0.9)["shadow"]["startedAt"]
    status = only_stable_until(scene, lambda s: s.get("step"))
    assert seconds_between(began, status["step"]["startedAt"]) >= 9, "the shadow phase was cut short"
    assert scene.world.until_phase("Succeeded", seconds=60)["stable"] == "emotion-2"
    assert scene.world.find("Deployment", "emotion-shadow") is None


def test_scenario_32_a_breach_in_the_observation_window_restores_the_old_version(scene: Scene) -> None:
    scene.stage()
    scene.apply(plan=FAST, observation={"duration": "1h"}, criteria=[VALUE])
    scene.world.until_phase("Observing", seconds=60)
    scene.world.until(
        lambda: scene.ready() == {"emotion-1": 0, "emotion-2": 4}, what="all on the new version"
    )
    scene.say(2)
    status = scene.world.until_phase("RolledBack", seconds=60)
    assert status["rollback"]["criterion"] == "value"
    assert status["stable"] == "emotion-1"
    assert [entry["result"] for entry in status["history"]] == ["RolledBack"]
    scene.on_stable()


def test_after_a_good_observation_the_old_version_sleeps_and_rollback_wakes_it(scene: Scene) -> None:
    scene.stage()
    scene.apply(plan=FAST, observation={"duration": "3s"}, criteria=[VALUE])
    status = scene.world.until_phase("Succeeded", seconds=60)
    assert (status["stable"], status["previousStable"]) == ("emotion-2", "emotion-1")
    scene.world.until(lambda: scene.world.replicas("emotion-1") == 0, what="the old version sleeps")
    scene.command("rollback")
    scene.until(lambda s: s["stable"] == "emotion-1", what="going back to the old version")
    scene.world.until_phase("RolledBack", seconds=60)
    scene.on_stable()
