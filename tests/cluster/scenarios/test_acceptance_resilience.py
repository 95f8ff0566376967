"""Crashes, kills, outages, deletions and other people's hands."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.support import manifests as m
from tests.support.faulty_api import FaultyApi
from tests.support.operator_process import OperatorProcess
from tests.support.scene import VALUE, Scene, condition, seconds_between

LONG = m.steps(25, 50, duration="1h")
NEVER_READY = {"pod_annotations": {"kwok.modelrollout.dev/never-ready": "true"}}


def test_scenario_24_a_candidate_that_never_becomes_available_is_taken_back(
    scene: Scene, operator: OperatorProcess
) -> None:
    scene.stage(**NEVER_READY)
    scene.apply(plan=LONG, progressDeadline="4s")
    lowest = 4
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and scene.status().get("phase") != "RolledBack":
        lowest = min(lowest, scene.world.ready("emotion", "emotion-1"))
        time.sleep(0.02)
    status = scene.status()
    assert (status["phase"], status["rollback"]["reason"]) == ("RolledBack", "DeadlineExceeded")
    assert lowest == 4, "stable lost pods to a candidate that never served"
    scene.on_stable()


def test_scenario_25_a_pause_longer_than_the_deadline_is_no_failure(
    scene: Scene, operator: OperatorProcess
) -> None:
    scene.stage()
    scene.apply(plan=m.steps(25, 50, duration="1s"), progressDeadline="10s")
    scene.at_weight(25)
    scene.change(paused=True)
    scene.world.until_phase("Paused")
    time.sleep(12)
    assert scene.status()["phase"] == "Paused"
    scene.change(paused=False)
    scene.world.until_phase("Succeeded")


def test_scenario_28_a_revert_from_75_never_goes_under_the_minimum_capacity(
    scene: Scene, operator: OperatorProcess
) -> None:
    slow = {"kwok.modelrollout.dev/ready-after": "2s"}
    scene.world.create(m.service(), m.deployment("emotion-1", replicas=8, pod_annotations=slow))
    scene.world.create(m.deployment("emotion-2"))
    scene.export("emotion-1", "emotion-2")
    scene.world.until(lambda: scene.ready()["emotion-1"] == 8, what="stable serves")
    scene.apply(replicas=8, plan=m.steps(75, 90, duration="1h"))
    scene.at_weight(75)
    assert scene.ready() == {"emotion-1": 2, "emotion-2": 6}
    scene.say(2)
    lowest = 8
    deadline = time.monotonic() + 40
    while time.monotonic() < deadline and scene.status()["phase"] != "RolledBack":
        lowest = min(lowest, sum(scene.ready().values()))
        time.sleep(0.02)
    assert scene.status()["phase"] == "RolledBack"
    assert 4 <= lowest < 8, f"{lowest} ready pods at the lowest"
    scene.on_stable(8)


DELETED_IN = ["Progressing", "Paused", "RollingBack", "RolledBack", "Observing", "Succeeded"]


@pytest.mark.parametrize("phase", DELETED_IN)
def test_scenario_35_deleted_in_each_phase_leaves_all_traffic_on_stable(
    scene: Scene, operator: OperatorProcess, phase: str
) -> None:
    scene.stage()
    plan = m.steps(25, duration="0s") if phase in ("Observing", "Succeeded") else LONG
    more: dict[str, Any] = {"observation": {"duration": "1h"}} if phase == "Observing" else {}
    if phase == "RollingBack":
        more = {"rollback": {"minCapacity": "100%"}}  # the candidate waits for stable's slow pods
    scene.apply(plan=plan, **more)
    if phase == "Paused":
        scene.at_weight(25)
        scene.change(paused=True)
    if phase.startswith("Roll"):
        scene.at_weight(25)
        if phase == "RollingBack":
            slow = {"kwok.modelrollout.dev/ready-after": "3s"}
            template = {"spec": {"template": {"metadata": {"annotations": slow}}}}
            scene.world.patch("Deployment", "emotion-1", template)
        scene.say(2)
    scene.world.until_phase(phase)
    before = scene.status()["stable"]
    scene.world.delete("ModelRollout", "emotion")
    scene.world.until(lambda: scene.world.find("ModelRollout", "emotion") is None, what="the object is gone")
    stable = before if phase != "Observing" else "emotion-1"
    if phase == "Observing":
        stable = next(name for name in ("emotion-1", "emotion-2") if scene.world.replicas(name) == 4)
    other = {"emotion-1": "emotion-2", "emotion-2": "emotion-1"}[stable]
    assert scene.world.replicas(stable) == 4
    assert scene.world.replicas(other) == 0
    scene.world.until(lambda: scene.ready() == {stable: 4, other: 0}, what="all traffic on stable")


@pytest.mark.takes(seconds=80)
@pytest.mark.timeout(600)
def test_scenario_37_an_unreachable_then_failing_api_server_changes_nothing_in_the_end(scene: Scene) -> None:
    with FaultyApi(scene.plane, scene.directory) as api:
        operator = scene.operator(kubeconfig=api.kubeconfig)
        operator.wait_leading()
        scene.stage()
        scene.apply(plan=m.steps(25, 50, 75, duration="5s"))
        before = scene.at_weight(25)["step"]
        api.cut()
        time.sleep(60)
        assert scene.status()["step"]["weight"] == 25
        api.errors = 0.2
        api.mend()
        scene.world.until(
            lambda: api.injected[500] >= 5 and api.injected[409],
            what="errors of both kinds",
            seconds=120,
        )
        api.errors = 0.05
        status = scene.world.until_phase("Succeeded", seconds=300)
        assert operator.running
    (run,) = status["history"]
    assert run["result"] == "Succeeded"
    assert seconds_between(before["reachedAt"], run["finishedAt"]) >= 60 + 2 * 5
    scene.world.until(
        lambda: scene.ready() == {"emotion-1": 0, "emotion-2": 4}, what="all on the new version"
    )


@pytest.mark.parametrize("gone", ["emotion-1", "emotion-2", "both"])
def test_scenario_35_deleted_although_a_deployment_is_gone(
    scene: Scene, operator: OperatorProcess, gone: str
) -> None:
    scene.stage()
    scene.apply(plan=LONG)
    scene.at_weight(25)
    for name in ("emotion-1", "emotion-2") if gone == "both" else (gone,):
        scene.world.delete("Deployment", name)
    scene.world.delete("ModelRollout", "emotion")
    scene.world.until(lambda: scene.world.find("ModelRollout", "emotion") is None, what="the object is gone")
    if gone == "emotion-2":
        scene.world.until(
            lambda: scene.world.ready("emotion", "emotion-1") == 4, what="all traffic on stable"
        )


def test_scenario_36_what_somebody_scales_by_hand_is_put_right(
    scene: Scene, operator: OperatorProcess
) -> None:
    scene.stage()
    scene.apply(plan=LONG)
    scene.at_weight(25)
    scene.world.patch("Deployment", "emotion-2", {"spec": {"replicas": 4}}, sub="/scale")
    scene.world.patch("Deployment", "emotion-1", {"spec": {"replicas": 1}}, sub="/scale")
    scene.world.until(
        lambda: (scene.world.replicas("emotion-1"), scene.world.replicas("emotion-2")) == (3, 1),
        what="3 and 1 again",
    )
    assert scene.status()["phase"] == "Progressing"


def test_scenario_36_a_deleted_candidate_is_taken_back_and_told(
    scene: Scene, operator: OperatorProcess
) -> None:
    scene.stage()
    scene.apply(plan=LONG)
    scene.at_weight(25)
    scene.world.delete("Deployment", "emotion-2")
    status = scene.until(lambda s: s["phase"] in ("RolledBack", "Invalid"), what="the loss is told")
    assert "emotion-2" in status["message"], status["message"]
    scene.world.until(lambda: scene.world.ready("emotion", "emotion-1") == 4, what="all traffic on stable")


def test_scenario_36_a_deleted_service_is_told_and_heals(scene: Scene, operator: OperatorProcess) -> None:
    scene.stage()
    scene.apply(plan=m.steps(25, 50, duration="4s"))
    scene.at_weight(25)
    scene.world.delete("Service", "emotion")
    scene.until(
        lambda s: condition(s, "Ready").get("reason") == "ServiceNotFound", what="the missing Service is told"
    )
    assert "emotion" in condition(scene.status(), "Ready")["message"]
    scene.world.create(m.service())
    scene.world.until_phase("Succeeded", seconds=60)


def test_scenario_38_the_second_rollout_on_a_deployment_or_service_is_refused(
    scene: Scene, operator: OperatorProcess
) -> None:
    scene.stage(versions=4)
    scene.apply(plan=LONG)
    scene.at_weight(25)
    scene.world.create(m.service("second", selector={"app": "emotion"}))
    scene.world.create(
        m.rollout("same-deployment", stable="emotion-3", candidate="emotion-2", service="second")
    )
    scene.world.create(
        m.rollout("same-service", stable="emotion-4", candidate="emotion-4", service="emotion")
    )
    for name, reason in (("same-deployment", "DeploymentClaimed"), ("same-service", "ServiceClaimed")):
        # not the first reason: the Service made just before may come by its watch after the rollout
        scene.world.until(
            lambda name=name, reason=reason: (
                scene.world.status(name).get("phase") == "Invalid"
                and scene.world.condition("Ready", name).get("reason") == reason
            ),
            what=f"{name} {reason}",
        )
        assert "emotion" in scene.world.condition("Ready", name)["message"]
    assert scene.status()["phase"] == "Progressing"
    assert [scene.world.replicas(f"emotion-{n}") for n in (3, 4)] == [0, 0], (
        "a refused rollout scales nothing"
    )


@pytest.mark.takes(seconds=25)
def test_scenario_39_of_two_replicas_one_acts_and_the_other_takes_over(scene: Scene) -> None:
    first = scene.operator("operator-0")
    first.wait_leading()
    second = scene.operator("operator-1")
    second.wait_ready()
    scene.stage()
    scene.apply(plan=m.steps(25, 50, 75, duration="6s"), criteria=[VALUE])
    scene.at_weight(25)
    assert (first.leads(), second.leads()) == (True, False)
    first.kill()
    second.wait_leading(30)
    first.start()
    deadline = time.monotonic() + 40
    while time.monotonic() < deadline and scene.status()["phase"] != "Succeeded":
        assert not (first.leads() and second.leads()), "two leaders at once"
        time.sleep(0.2)
    assert scene.status()["phase"] == "Succeeded"
    holders = [lease["spec"]["holderIdentity"] for lease in scene.world.list("Lease")]
    assert holders == ["operator-1"]
