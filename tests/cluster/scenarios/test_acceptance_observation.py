"""What is kept of stable while the new version is observed, and how it comes back."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.support import manifests as m
from tests.support.operator_process import OperatorProcess
from tests.support.scene import VALUE, Scene, condition

pytestmark = pytest.mark.usefixtures("operator")
PARKED = "modelrollout.dev/parked"
SERVING = {"serving": "yes"}
FAST = m.steps(25, 50, duration="1s")


def stage(scene: Scene) -> None:
    """As `scene.stage()`, with a label that the Service selects by and the Deployments do not."""
    scene.world.create(
        m.service(selector={"app": "emotion", **SERVING}),
        m.deployment("emotion-1", replicas=4, labels=SERVING),
        m.deployment("emotion-2", labels=SERVING),
    )
    scene.export("emotion-1", "emotion-2")
    scene.world.until(lambda: scene.world.ready("emotion", "emotion-1") == 4, what="stable serves")


def pods(scene: Scene, deployment: str) -> dict[str, dict[str, Any]]:
    """The Deployment's pods that are not going away, by uid."""
    return {
        pod["metadata"]["uid"]: pod
        for pod in scene.world.list("Pod")
        if pod["metadata"]["labels"].get("version") == deployment
        and "deletionTimestamp" not in pod["metadata"]
    }


def observe(scene: Scene, **observation: Any) -> dict[str, Any]:
    """Rolls out as far as the observation and waits until clients reach the new version only."""
    scene.apply(plan=FAST, observation={"duration": "1h", **observation}, criteria=[VALUE])
    status = scene.world.until_phase("Observing", seconds=60)
    scene.world.until(
        lambda: scene.ready() == {"emotion-1": 0, "emotion-2": 4}, what="all on the new version"
    )
    return status


def kept(scene: Scene, *, status: str) -> dict[str, Any]:
    """Waits for that status of the condition StableKept and returns the condition."""
    found = scene.until(
        lambda s: condition(s, "StableKept").get("status") == status, what=f"StableKept {status}", seconds=60
    )
    return condition(found, "StableKept")


def test_full_keeps_all_pods_outside_the_service_and_the_same_pods_come_back(scene: Scene) -> None:
    stage(scene)
    observe(scene)
    told = kept(scene, status="True")
    assert (told["reason"], "4 of 4" in told["message"]) == ("Parked", True), told
    parked = pods(scene, "emotion-1")
    assert len(parked) == 4
    assert {pod["metadata"]["labels"][PARKED] for pod in parked.values()} == {"emotion"}
    assert scene.world.replicas("emotion-1") == 4
    deadline = time.monotonic() + 3
    while time.monotonic() < deadline:
        assert scene.ready() == {"emotion-1": 0, "emotion-2": 4}, "a client reached a kept pod"
        time.sleep(0.05)
    scene.say(2)
    scene.world.until_phase("RolledBack", seconds=60)
    scene.on_stable()
    back = pods(scene, "emotion-1")
    assert set(back) == set(parked), "going back started pods although ready ones were kept"
    for pod in back.values():
        assert PARKED not in pod["metadata"]["labels"]
        assert PARKED not in (pod["metadata"].get("annotations") or {})
        assert pod["metadata"]["labels"]["serving"] == "yes"
    assert not condition(scene.status(), "StableKept"), "only told while something is observed"


def test_a_copied_candidate_goes_on_serving_while_stable_is_kept(scene: Scene) -> None:
    """Its pods have all labels of stable's: only their owner tells them apart."""
    world = scene.world
    world.create(
        m.service(selector={"app": "emotion", **SERVING}),
        m.deployment("emotion-1", replicas=4, labels=SERVING),
    )
    world.until(lambda: world.ready("emotion", "emotion-1") == 4, what="stable serves")
    change = {"image": "registry.invalid/model:2"}
    world.create(m.rollout(candidate=change, plan=FAST, observation={"duration": "1h"}))
    copy = world.until_phase("Observing", seconds=60)["run"]["candidate"]
    kept(scene, status="True")
    world.until(
        lambda: world.ready_of_all("emotion") == {copy: 4}, what="clients reach the copy and nothing else"
    )
    parked = [pod for pod in world.list("Pod") if PARKED in pod["metadata"]["labels"]]
    assert {pod["metadata"]["name"].rsplit("-", 2)[0] for pod in parked} == {"emotion-1"}
    assert len(parked) == 4
    scene.command("abort")
    world.until_phase("RolledBack", seconds=60)
    world.until(lambda: world.ready("emotion", "emotion-1") == 4, what="all on stable again")


def test_a_kept_pod_that_is_replaced_is_taken_out_again(scene: Scene) -> None:
    stage(scene)
    observe(scene)
    kept(scene, status="True")
    victim = next(iter(pods(scene, "emotion-1").values()))
    scene.world.delete("Pod", victim["metadata"]["name"])
    scene.world.until(
        lambda: (
            (now := pods(scene, "emotion-1"))
            and victim["metadata"]["uid"] not in now
            and len(now) == 4
            and all(PARKED in pod["metadata"]["labels"] for pod in now.values())
        ),
        what="the new pod is outside too",
    )
    scene.world.until(lambda: scene.ready() == {"emotion-1": 0, "emotion-2": 4}, what="no client reaches it")
    assert scene.status()["phase"] == "Observing"


def test_an_operator_killed_while_pods_are_parked_still_brings_them_back(
    scene: Scene, operator: OperatorProcess
) -> None:
    stage(scene)
    observe(scene)
    kept(scene, status="True")
    operator.kill()
    scene.say(2)
    assert scene.ready() == {"emotion-1": 0, "emotion-2": 4}
    operator.start()
    scene.world.until_phase("RolledBack", seconds=60)
    scene.on_stable()
    assert not any(PARKED in pod["metadata"]["labels"] for pod in pods(scene, "emotion-1").values())


def test_deleting_the_rollout_while_pods_are_parked_brings_them_back(scene: Scene) -> None:
    stage(scene)
    observe(scene)
    kept(scene, status="True")
    scene.world.delete("ModelRollout", "emotion")
    scene.world.until(lambda: scene.world.find("ModelRollout", "emotion") is None, what="it is gone")
    scene.on_stable()
    assert not any(PARKED in pod["metadata"]["labels"] for pod in pods(scene, "emotion-1").values())


def test_scaled_keeps_a_part_which_goes_when_the_observation_is_over(scene: Scene) -> None:
    stage(scene)
    observe(scene, keepStable="Scaled", scaled="50%")
    assert "2 of 2" in kept(scene, status="True")["message"]
    assert len(pods(scene, "emotion-1")) == 2
    scene.change(observation={"duration": "1s"})
    deadline = time.monotonic() + 60
    while scene.status()["phase"] != "Succeeded" or scene.world.replicas("emotion-1"):
        assert scene.ready()["emotion-1"] == 0, "an old pod served again on its way out"
        assert time.monotonic() < deadline, scene.status()
        time.sleep(0.02)
    scene.world.until(lambda: not pods(scene, "emotion-1"), what="the old version sleeps")
    assert scene.ready() == {"emotion-1": 0, "emotion-2": 4}


def test_none_keeps_nothing_and_says_so(scene: Scene) -> None:
    stage(scene)
    observe(scene, keepStable="None")
    assert kept(scene, status="False")["reason"] == "NotAskedFor"
    assert scene.world.replicas("emotion-1") == 0


def test_full_without_a_label_to_park_by_says_so_and_keeps_nothing(scene: Scene) -> None:
    scene.stage()  # the Service selects by app alone, as do the Deployments
    observe(scene)
    told = kept(scene, status="False")
    assert told["reason"] == "CannotPark"
    assert "app" in told["message"], told
    assert "Service emotion" in told["message"], told
    assert scene.world.replicas("emotion-1") == 0
    scene.say(2)
    scene.world.until_phase("RolledBack", seconds=60)
    scene.on_stable()
