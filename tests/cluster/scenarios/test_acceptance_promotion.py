"""How a candidate becomes the stable version, and what people can do on the way."""

from __future__ import annotations

import time
from itertools import pairwise
from typing import Any

import pytest

from tests.support import manifests as m
from tests.support.operator_process import OperatorProcess
from tests.support.scene import Scene, condition, seconds_between

pytestmark = pytest.mark.usefixtures("operator")
LONG = m.steps(25, 50, duration="1h")


def test_scenario_01_the_first_version_goes_straight_to_100(scene: Scene) -> None:
    scene.world.create(m.service(), m.deployment("emotion-1"))
    scene.export("emotion-1")
    scene.say(99, "emotion-1")
    scene.apply(stable=None, candidate="emotion-1")
    status = scene.world.until_phase("Succeeded")
    assert status["stable"] == "emotion-1"
    assert scene.world.replicas("emotion-1") == 4
    assert not [c for c in status.get("criteria", []) if c["state"] == "Fail"], (
        "the first version is not analysed"
    )


def test_scenario_02_healthy_metrics_promote_step_by_step(scene: Scene) -> None:
    scene.stage(replicas=10)
    scene.apply(replicas=10, plan=m.steps(10, 20, 50, 75, duration="2s"), observation={"duration": "2s"})
    steps: dict[int, dict[str, Any]] = {}
    phases: list[str] = []
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline and "Succeeded" not in phases:
        status = scene.status()
        if (step := status.get("step")) and "reachedAt" in step:
            steps.setdefault(step["weight"], step)
        if status.get("phase") and status["phase"] not in phases[-1:]:
            phases.append(status["phase"])
        time.sleep(0.05)
    assert phases[-2:] == ["Observing", "Succeeded"], phases
    assert list(steps)[:4] == [10, 20, 50, 75]
    starts = [(weight, step) for weight, step in steps.items() if weight < 100]
    for (weight, step), (_, following) in pairwise(starts):
        assert seconds_between(step["reachedAt"], following["startedAt"]) >= 2, f"step {weight} ended early"
    status = scene.status()
    assert (status["stable"], status["previousStable"]) == ("emotion-2", "emotion-1")
    assert scene.ready() == {"emotion-1": 0, "emotion-2": 10}
    assert scene.world.replicas("emotion-1") == 0, "the old version stays, at zero"


def test_scenario_20_abort_and_retry_start_again_at_step_one(scene: Scene) -> None:
    scene.stage()
    scene.apply(plan=m.steps(25, 50, duration="1s"), criteria=[])
    first = scene.at_weight(25)["run"]
    scene.command("abort")
    status = scene.until(lambda s: s["phase"] in ("RolledBack", "Idle"), what="aborted")
    assert status["history"][0]["result"] == "Aborted"
    scene.on_stable()
    time.sleep(2)
    assert scene.status()["run"]["id"] == first["id"], "an aborted candidate is not tried again by itself"
    scene.command("retry")
    status = scene.until(lambda s: s["run"]["id"] != first["id"], what="a new run")
    assert status["run"]["attempt"] == first["attempt"] + 1
    assert status["step"]["index"] == 0
    assert status["step"]["startedAt"] > first["startedAt"]
    scene.world.until_phase("Succeeded")


def test_scenario_21_a_newer_candidate_in_the_middle_starts_anew_from_stable(scene: Scene) -> None:
    scene.stage(versions=3)
    scene.apply(plan=LONG)
    first = scene.at_weight(25)["run"]["id"]
    scene.change(candidate={"deployment": "emotion-3"})
    status = scene.until(
        lambda s: s["run"]["id"] != first and s["phase"] == "Progressing", what="the new run"
    )
    assert scene.world.ready("emotion", "emotion-2") == 0, "the former candidate is gone before the new run"
    assert (status["run"]["candidate"], status["run"]["stable"]) == ("emotion-3", "emotion-1")
    assert status["step"]["index"] == 0
    assert status["history"][0]["result"] == "Superseded"


def test_scenario_22_the_candidate_set_back_to_stable_aborts(scene: Scene) -> None:
    scene.stage()
    scene.apply(plan=LONG)
    scene.at_weight(25)
    scene.change(candidate={"deployment": "emotion-1"})
    status = scene.world.until_phase("Idle")
    assert status["history"][0]["result"] == "Aborted"
    assert status["stable"] == "emotion-1"
    scene.on_stable()


def test_scenario_23_the_way_back_to_the_previous_version_scales_up_first(scene: Scene) -> None:
    scene.stage()
    scene.apply(plan=m.steps(50, duration="0s"), criteria=[])
    scene.world.until_phase("Succeeded")
    scene.world.until(lambda: scene.ready() == {"emotion-1": 0, "emotion-2": 4}, what="emotion-2 has it all")
    scene.change(candidate={"deployment": "emotion-1"})
    lowest = 4
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and scene.status()["stable"] != "emotion-1":
        lowest = min(lowest, sum(scene.ready().values()))
        time.sleep(0.02)
    assert scene.status()["stable"] == "emotion-1"
    assert lowest >= 4, "there were fewer ready pods than asked for"
    scene.on_stable()


def test_scenario_27_replicas_changed_in_mid_step_keep_the_ratio(scene: Scene) -> None:
    scene.stage()
    scene.apply(plan=LONG)
    scene.at_weight(25)
    scene.world.patch("ModelRollout", "emotion", {"spec": {"replicas": 8}}, sub="/scale")
    scene.world.until(lambda: scene.ready() == {"emotion-1": 6, "emotion-2": 2}, what="6 and 2 of 8")
    scale = scene.world.call("GET", scene.world.path("ModelRollout", "emotion", "/scale"))[1]
    scene.world.until(lambda: scene.status().get("replicas") == 8, what="status.replicas 8")
    assert scale["status"]["selector"], "an HPA needs the selector"
    scene.world.patch("ModelRollout", "emotion", {"spec": {"replicas": 4}}, sub="/scale")
    scene.world.until(lambda: scene.ready() == {"emotion-1": 3, "emotion-2": 1}, what="3 and 1 of 4")
    assert scene.status()["step"]["weight"] == 25


def test_scenario_33_kubectl_wait_returns_for_paused_succeeded_and_rolled_back(scene: Scene) -> None:
    scene.stage(versions=3)
    scene.apply(plan=m.steps(25, 50, duration="1s"), paused=True)
    namespace = ("-n", scene.world.namespace)
    scene.plane.wait("condition=Paused", "mro/emotion", *namespace, timeout=30)
    scene.change(paused=False)
    scene.plane.wait("condition=Succeeded", "mro/emotion", *namespace, timeout=30)
    scene.say(2, "emotion-3")
    scene.change(candidate={"deployment": "emotion-3"}, steps=LONG)
    scene.plane.wait("condition=RolledBack", "mro/emotion", *namespace, timeout=30)
    assert condition(scene.status(), "Succeeded")["status"] == "False"


def test_the_operator_writes_nothing_while_nothing_changes(scene: Scene, operator: OperatorProcess) -> None:
    scene.stage()
    scene.apply(plan=LONG)
    scene.at_weight(25)

    def requests(**labels: str) -> float:
        return operator.metric("modelrollout_api_requests_total", **labels) or 0

    def written() -> tuple[float, str]:
        """Writes of anything but the lease, and the version of the object."""
        page = operator.get("/metrics")[1]
        lines = [line for line in page.splitlines() if line.startswith("modelrollout_api_requests_total{")]
        mine = [
            float(line.rsplit(" ", 1)[1])
            for line in lines
            if 'method="GET"' not in line and 'kind="leases"' not in line
        ]
        return sum(mine), scene.world.get("ModelRollout", "emotion")["metadata"]["resourceVersion"]

    before, renewed = scene.world.settled(written), requests(method="PUT", kind="leases")
    time.sleep(6)
    assert written() == before, "a quiet tick wrote something besides the lease"
    assert requests(method="PUT", kind="leases") > renewed, "the lease is not counted"
