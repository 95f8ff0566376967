"""Only what clients reach counts as weight, and pods are told by their owners: on a real API server."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support import manifests as m
from tests.support.operator_process import OperatorProcess
from tests.support.world import World

HALF = m.steps(50, duration="1s")
NEVER = {"kwok.modelrollout.dev/never-ready": "true"}


def held(world: World, *, name: str = "emotion", weight: int = 50) -> dict[str, Any]:
    """The status once the candidate's pods have run for a while; the weight must not be reached."""
    world.until(lambda: (world.status(name).get("step") or {}).get("weight") == weight, what="the step")
    world.settled(lambda: world.status(name).get("message"), unchanged=3)
    status = world.status(name)
    assert "reachedAt" not in status["step"], status
    assert status["phase"] == "Progressing"
    return status


def with_port_name(manifest: dict[str, Any], port: str) -> dict[str, Any]:
    manifest["spec"]["template"]["spec"]["containers"][0]["ports"][0]["name"] = port
    return manifest


def test_scenario_43_a_candidate_without_the_named_port_is_never_counted(
    world: World, operator: OperatorProcess
) -> None:
    service = m.service()
    service["spec"]["ports"][0]["targetPort"] = "api"
    world.create(
        service,
        with_port_name(m.deployment("emotion-1", replicas=4), "api"),
        with_port_name(m.deployment("emotion-2"), "other"),
    )
    world.until(lambda: world.ready("emotion", "emotion-1") == 4, what="stable serves")
    world.create(m.rollout(plan=HALF))
    world.until(lambda: "lack a port" in (world.status().get("message") or ""), what="it says why")
    status = held(world)
    assert status["weight"]["observed"] == 0
    assert world.replicas("emotion-1") == 4, "stable gave up pods for endpoints that nobody reaches"


def test_scenario_43_pods_that_are_only_published_before_they_are_ready_are_never_counted(
    world: World, operator: OperatorProcess
) -> None:
    service = m.service()
    service["spec"]["publishNotReadyAddresses"] = True
    world.create(
        service, m.deployment("emotion-1", replicas=4), m.deployment("emotion-2", pod_annotations=NEVER)
    )
    world.until(lambda: world.ready("emotion", "emotion-1") == 4, what="stable serves")
    world.create(m.rollout(plan=HALF))
    world.until(
        lambda: world.ready("emotion", "emotion-2") > 0, what="the API says ready of pods that are not"
    )
    assert held(world)["weight"]["observed"] == 0
    assert world.replicas("emotion-1") == 4
    assert world.condition("UnevenTraffic")["reason"] == "NotReadyPublished"


def other_workloads() -> list[dict[str, Any]]:
    """Workloads whose pods the Service selects and whose names begin as emotion-2 does."""
    template = m.deployment("any", labels={"track": "batch"})["spec"]["template"]
    daemon = {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": "emotion-2-daemon"},
        "spec": {"selector": {"matchLabels": {"track": "batch"}}, "template": template},
    }
    bare = {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {"name": "emotion-2-batch"},
        "spec": {"replicas": 2, "selector": {"matchLabels": {"bare": "y"}}},
    }
    bare["spec"]["template"] = m.deployment("any", labels={"bare": "y"})["spec"]["template"]  # type: ignore[index]
    return [daemon, bare]


def test_scenario_44_45_pods_of_other_workloads_are_counted_named_and_hold_the_step(
    emotion: World, operator: OperatorProcess
) -> None:
    daemon, bare = other_workloads()
    emotion.create(m.deployment("emotion-3", replicas=1), daemon, bare)
    emotion.until(lambda: emotion.ready_of_all("emotion").total() >= 8, what="they are behind the Service")
    emotion.create(m.rollout(plan=HALF))
    found = emotion.until(lambda: emotion.condition("ForeignEndpoints"), what="ForeignEndpoints")
    emotion.until(
        lambda: emotion.status().get("reason") == "ForeignEndpoints" and emotion.status()["weight"],
        what="held before the first step",
    )
    emotion.settled(emotion.status)
    found = emotion.condition("ForeignEndpoints")
    assert found["status"] == "True"
    assert "Deployment emotion-3" in found["message"] and "pod emotion-2-batch-" in found["message"]
    assert emotion.replicas("emotion-2") == 0 and emotion.replicas("emotion-1") == 4
    emotion.until(
        lambda: any(reason == "ForeignEndpoints" for reason, _ in emotion.events()), what="the Event"
    )
    emotion.delete("Deployment", "emotion-3")
    emotion.delete("ReplicaSet", "emotion-2-batch")
    emotion.delete("DaemonSet", "emotion-2-daemon")
    emotion.until_phase("Succeeded", seconds=60)
    assert emotion.condition("ForeignEndpoints") == {}


@pytest.mark.parametrize("length", [46, 50, 54])
def test_scenario_45_long_names_that_begin_alike(
    world: World, operator: OperatorProcess, length: int
) -> None:
    stable = "e" * length
    candidate = f"{stable}-b"
    world.create(m.service(), m.deployment(stable, replicas=4), m.deployment(candidate))
    world.until(lambda: world.ready_of_all("emotion").total() == 4, what="stable serves")
    world.create(m.rollout(stable=stable, candidate=candidate, plan=m.steps(50, duration="1h")))
    world.until(lambda: (world.status().get("step") or {}).get("reachedAt"), what="50% reached")
    status = world.status()
    assert status["weight"]["observed"] == 50
    assert (status["pods"]["stable"]["ready"], status["pods"]["candidate"]["ready"]) == (2, 2)
    assert world.condition("ForeignEndpoints") == {}


def test_scenario_45_names_that_cannot_be_told_apart_are_refused(
    world: World, operator: OperatorProcess
) -> None:
    stable = "e" * 58
    candidate = f"{stable}-b"
    world.create(m.service(), m.deployment(stable, replicas=2), m.deployment(candidate))
    world.create(m.rollout(stable=stable, candidate=candidate))
    world.until(lambda: world.status().get("reason") == "AmbiguousNames", what="refused")
    assert world.replicas(candidate) == 0


def test_a_selector_that_matches_both_versions_is_refused(emotion: World, operator: OperatorProcess) -> None:
    wide = m.deployment("emotion-3")
    wide["spec"]["selector"]["matchLabels"] = {"app": "emotion"}
    emotion.create(wide, m.rollout(candidate="emotion-3"))
    emotion.until(lambda: emotion.status().get("reason") == "SelectorsOverlap", what="refused")
    assert emotion.replicas("emotion-3") == 0
