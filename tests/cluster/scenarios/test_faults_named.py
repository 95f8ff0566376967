"""Each fault between operator and API server alone: the same end as without, and nothing wrong on the way."""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.support import manifests as m
from tests.support.cluster_tool import ControlPlane
from tests.support.crd import install
from tests.support.exporter import Exporter
from tests.support.faults.history import violations
from tests.support.faults.observer import Recorder
from tests.support.faults.plan import FaultPlan
from tests.support.faulty_api import FaultyApi
from tests.support.operator_process import OperatorProcess
from tests.support.prometheus import Prometheus
from tests.support.scene import Scene
from tests.support.world import World

SEED = os.environ.get("FAULT_SEED", "1")
"""Another one: `make test-named-faults FAULT_SEED=7`."""
CUT_SECONDS = float(os.environ.get("FAULT_SECONDS", "60"))
CHECK = {"name": "smoke", "image": "registry.invalid/check:1", "beforeWeights": [50]}
PLAN = m.steps(25, 50, duration="1s")


@dataclass(frozen=True)
class Fault:
    """One kind of fault.

    Attributes:
        rates, at_most: As of `FaultPlan`.
        environment: Settings of the operator.
    """

    rates: Mapping[str, float]
    at_most: Mapping[str, int] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)

    def plan(self) -> FaultPlan:
        """With the seed of the run."""
        return FaultPlan(SEED, self.rates, at_most=self.at_most)


RELISTED = {"gone": 0.3, "cut": 0.1}
"""So that lists happen while a rollout runs, not only at the start."""
FAULTS = {
    "none": Fault({}),
    "watches cut": Fault({"cut": 0.3}),
    "events late": Fault({"delay": 0.2}),
    "events twice": Fault({"duplicate": 0.5}),
    "events out of order": Fault({"swap": 0.4}),
    "410": Fault({"gone": 0.5, "cut": 0.2}),
    "stale lists": Fault({"stale-list": 0.7, **RELISTED}),
    "slow lists": Fault({"slow-list": 0.5, **RELISTED}),
    "answers lost": Fault({"error-before": 0.15, "error-after": 0.15, "conflict": 0.1}),
    "no answers": Fault(
        {"timeout-before": 0.2, "timeout-after": 0.2}, {"timeout-before": 2, "timeout-after": 2}
    ),
    "crash before a write": Fault({"crash-before": 0.4}, {"crash-before": 8}),
    "crash after a write": Fault({"crash-after": 0.4}, {"crash-after": 8}),
    # What no later event tells is found by a list: every five minutes, here every ten seconds.
    "an event lost": Fault({"lose": 0.15}, environment={"MODELROLLOUT_RESYNC": "10"}),
    "silent watches": Fault({"silence": 0.5}, {"silence": 4}),
}


@contextmanager
def under(
    scene: Scene, plan: FaultPlan, environment: Mapping[str, str] | None = None
) -> Iterator[tuple[FaultyApi, OperatorProcess]]:
    """An operator that reaches the API server through the faults; prints them at the end."""
    with FaultyApi(scene.plane, scene.directory, plan=plan) as api:
        operator = OperatorProcess(
            kubeconfig=api.kubeconfig,
            log=scene.directory / "operator-0.log",
            prometheus=scene.prometheus.url,
            namespace=scene.world.namespace,
            lease_namespace=scene.world.namespace,
            environment=environment,
        )
        api.crash = operator.crash
        try:
            with operator:
                operator.wait_leading()
                yield api, operator
        finally:
            print(plan.report())
            print(operator.tail(100))


def promote(scene: Scene, plan: Sequence[m.Manifest] = PLAN, *, seconds: float) -> None:
    """emotion-1 to emotion-2, with a validation before 50 %."""
    scene.stage(versions=3)
    scene.apply(plan=plan, validations=[CHECK])
    scene.world.until_phase("Succeeded", seconds=seconds)


def roll_back(scene: Scene, *, seconds: float) -> None:
    """emotion-2 to emotion-3, whose values are bad from 25 % on."""
    scene.change(candidate={"deployment": "emotion-3"}, steps=m.steps(25, 50, duration="1h"))
    scene.until(
        lambda s: s["run"]["candidate"] == "emotion-3" and "reachedAt" in (s.get("step") or {}),
        what="emotion-3 at 25 %",
        seconds=seconds,
    )
    scene.say(2, "emotion-3")
    scene.world.until_phase("RolledBack", seconds=seconds)


def expect_the_end(scene: Scene, *, seconds: float) -> None:
    """The end state without faults."""
    wanted = {"emotion-1": 0, "emotion-2": 4, "emotion-3": 0}
    scene.world.until(
        lambda: {name: scene.world.ready_of_all("emotion")[name] for name in wanted} == wanted,
        what="all traffic on emotion-2",
        seconds=seconds,
    )
    assert {name: scene.world.replicas(name) for name in wanted} == wanted
    status = scene.status()
    assert status["stable"] == "emotion-2"
    assert [run["result"] for run in status["history"]] == ["RolledBack", "Succeeded"]
    assert status["history"][0]["reason"] == "CriterionBreached", status["history"]


def expect_a_clean_history(recorder: Recorder) -> None:
    """Nothing wrong on the way, and one Job for the one validation."""
    changes = recorder.changes()
    assert violations(changes) == []
    jobs = {change.obj["metadata"]["uid"] for change in changes if change.kind == "Job"}
    started = {c.obj["status"]["run"]["id"] for c in changes if (c.obj.get("status") or {}).get("run")}
    assert len(started) == 2, "one run each"
    assert len(jobs) in (1, 2), "one Job a step, and none for a run that was rolled back before it"


def run_both(scene: Scene, recorder: Recorder, *, seconds: float = 120) -> None:
    """One rollout to Succeeded, the next one to RolledBack."""
    promote(scene, seconds=seconds)
    roll_back(scene, seconds=seconds)
    expect_the_end(scene, seconds=seconds)
    expect_a_clean_history(recorder)


@pytest.mark.takes(seconds=30)
@pytest.mark.timeout(500)
@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_changes_neither_the_end_nor_what_holds_on_the_way(scene: Scene, name: str) -> None:
    fault, plan = FAULTS[name], FAULTS[name].plan()
    with Recorder(scene.world) as recorder, under(scene, plan, fault.environment):
        run_both(scene, recorder)
    assert set(fault.rates) <= set(plan.counts), f"not every fault happened: {plan.counts}"


@contextmanager
def cutting(api: FaultyApi) -> Iterator[None]:
    """One open watch after the other breaks, at random times."""
    draw, over = random.Random(SEED), threading.Event()

    def cut() -> None:
        while not over.wait(draw.uniform(0.1, 1.5)):
            api.cut_a_watch(draw)

    thread = threading.Thread(target=cut)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(10)


@pytest.mark.takes(seconds=90)
@pytest.mark.timeout(CUT_SECONDS + 300)
def test_every_watch_cut_at_random_changes_neither(scene: Scene) -> None:
    """For a minute; FAULT_SECONDS=600 for ten, as `make nightly` does."""
    plan, started = FaultPlan(SEED, {}), time.monotonic()
    length = f"{CUT_SECONDS / 2:.0f}s"
    with (
        Recorder(scene.world) as recorder,
        under(scene, plan) as (api, _),
        cutting(api),
    ):
        promote(scene, m.steps(25, 50, duration=length), seconds=CUT_SECONDS + 120)
        roll_back(scene, seconds=120)
        expect_the_end(scene, seconds=120)
        expect_a_clean_history(recorder)
    assert time.monotonic() - started > CUT_SECONDS
    assert plan.counts["cut"] > CUT_SECONDS / 4, plan.counts


@pytest.fixture
def own_scene(metrics: tuple[Exporter, Prometheus], tmp_path: Path) -> Iterator[Scene]:
    """A stage on a control plane of its own, whose API server may be restarted."""
    exporter, prometheus = metrics
    with ControlPlane.start(scheduler=True, kwok_nodes=1) as plane, ExitStack() as stack:
        install(plane)
        plane.kubectl("create", "namespace", "restarts")
        world = World(plane, "restarts")
        world.prepare_lease()
        scene = Scene(world=world, exporter=exporter, prometheus=prometheus, directory=tmp_path, stack=stack)
        yield scene
        for pod in scene.pods.values():
            pod.remove()


@pytest.mark.takes(seconds=60)
@pytest.mark.timeout(400)
def test_a_restarted_api_server_changes_neither(own_scene: Scene) -> None:
    scene, plane = own_scene, own_scene.plane
    assert isinstance(plane, ControlPlane)
    with Recorder(scene.world) as recorder:
        operator = scene.operator()
        operator.wait_leading()
        scene.stage(versions=3)
        scene.apply(plan=m.steps(25, 50, duration="5s"), validations=[CHECK])
        for weight in (25, 50):
            scene.at_weight(weight, seconds=90)
            plane.restart("kube-apiserver")
        scene.world.until_phase("Succeeded", seconds=120)
        roll_back(scene, seconds=120)
        expect_the_end(scene, seconds=120)
        expect_a_clean_history(recorder)
