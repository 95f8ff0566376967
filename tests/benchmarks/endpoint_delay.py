"""From fewer replicas, or other labels on pods, to the Service's EndpointSlices, hop by hop.

The controllers of Kubernetes alone, without an operator: what they take, it cannot mend.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from tests.benchmarks.rig import progress
from tests.benchmarks.tables import Figure
from tests.support import manifests as m
from tests.support.cluster_tool import ControlPlane
from tests.support.faults.observer import Change, Recorder
from tests.support.world import World

LANES = 3
"""Services at a time, each in a namespace of its own: the runs mostly wait."""
LEAVING = 3
STALE = "informer cache is out of date"
SERVING = {"serving": "yes"}
"""A label that the Service selects by and the Deployment does not, as `parking_key` asks for."""
BATCHES = "--endpointslice-updates-batch-period"
Leave = Callable[[World, Sequence[str]], None]


@dataclass(frozen=True)
class Run:
    """Seconds of one run.

    Attributes:
        scaled: From the write until the ReplicaSet has the new count; None where it keeps its own.
        left: From the write until the last pod is told to have left.
        followed: From there until no endpoint is left.
        repeated: Whether the EndpointSlice controller had to repeat a sync of this Service.
    """

    scaled: float | None
    left: float
    followed: float
    repeated: bool


def hops(runs: int = 30) -> list[Figure]:
    """Each way to leave the Service under each setting of the controller manager."""
    figures: list[Figure] = []
    with ControlPlane.start(scheduler=True, kwok_nodes=3) as plane, ThreadPoolExecutor(LANES) as lanes:
        worlds = [_world(plane, number) for number in range(LANES)]
        for setting, flags, ways in SETTINGS:
            if flags:
                plane.restart("kube-controller-manager", *flags)
            for what, count, leave in ways:
                label = f"{setting}: {what}"
                with progress(f"{label}, {runs} runs"):
                    parts = lanes.map(partial(_lane, plane, count, leave, runs // LANES), worlds)
                    figures += _figures(label, [run for part in parts for run in part])
    return figures


def _world(plane: ControlPlane, number: int) -> World:
    world = World(plane, f"hops-{number}")
    plane.kubectl("create", "namespace", world.namespace)
    world.create(
        m.service(selector={"app": "emotion", **SERVING}),
        m.deployment("emotion-1", replicas=4, labels=SERVING),
        m.deployment("emotion-2", labels=SERVING),
    )
    return world


def _scaled(world: World, pods: Sequence[str]) -> None:
    world.patch("Deployment", "emotion-2", {"spec": {"replicas": 0}}, sub="/scale")


def _detached(world: World, pods: Sequence[str]) -> None:
    """All at once, as the operator does."""
    change = {"metadata": {"labels": {"serving": "no"}}}
    with ThreadPoolExecutor(len(pods)) as pool:
        list(pool.map(lambda name: world.patch("Pod", name, change), pods))


ONE = ("1 pod scaled down", 1, _scaled)
MORE = (f"{LEAVING} pods scaled down", LEAVING, _scaled)
DETACHED = (f"{LEAVING} pods' labels changed", LEAVING, _detached)
Way = tuple[str, int, Leave]
SETTINGS: tuple[tuple[str, tuple[str, ...], tuple[Way, ...]], ...] = (
    ("as installed", (), (ONE, MORE, DETACHED)),
    ("20 syncs at once", ("--concurrent-service-endpoint-syncs=20",), (MORE,)),
    ("batch period 100 ms", (f"{BATCHES}=100ms",), (MORE, DETACHED)),
    ("batch period 500 ms", (f"{BATCHES}=500ms",), (MORE,)),
)


def _lane(plane: ControlPlane, count: int, leave: Leave, runs: int, world: World) -> list[Run]:
    return [_run(plane, world, count, leave) for _ in range(runs)]


def _run(plane: ControlPlane, world: World, count: int, leave: Leave) -> Run:
    kinds = ("ReplicaSet", "Pod", "EndpointSlice")
    with _candidates(world, count) as pods, Recorder(world, kinds=kinds) as recorder:
        time.sleep(0.3)  # until the watches are open
        before = _repeated_syncs(plane, world)
        start = time.monotonic()
        leave(world, pods)
        world.until(lambda: world.ready("emotion", "emotion-2") == 0, what="no endpoint", every=0.1)
        time.sleep(0.2)
        seen = [change for change in recorder.changes() if start <= change.at < float("inf")]
        repeated = _repeated_syncs(plane, world) > before
    scaled = [c.at for c in seen if c.kind == "ReplicaSet" and not c.obj["spec"]["replicas"]]
    left: dict[str, float] = {}
    for change in seen:
        if change.kind == "Pod" and change.obj["metadata"]["name"] in pods and _has_left(change):
            left.setdefault(change.obj["metadata"]["name"], change.at)
    without = [c.at for c in seen if c.kind == "EndpointSlice" and not _serves(c, pods)]
    last = max(left.values())
    return Run(scaled[0] - start if scaled else None, last - start, min(without) - last, repeated)


def _figures(label: str, runs: Sequence[Run]) -> Iterator[Figure]:
    scaled = tuple(run.scaled for run in runs if run.scaled is not None)
    if scaled:
        yield Figure(f"{label}: write → ReplicaSet scaled", "s", scaled)
    yield Figure(f"{label}: write → last pod told to have left", "s", tuple(run.left for run in runs))
    for repeated in (False, True):
        values = tuple(run.followed for run in runs if run.repeated is repeated)
        if values:
            which = "a repeated sync" if repeated else "one sync"
            yield Figure(f"{label}: last pod → no endpoint, {which}", "s", values)


@contextmanager
def _candidates(world: World, count: int) -> Iterator[list[str]]:
    """So many ready pods of emotion-2, and none afterwards."""
    world.patch("Deployment", "emotion-2", {"spec": {"replicas": count}}, sub="/scale")
    world.until(lambda: world.ready("emotion", "emotion-2") == count, what="the pods are ready")
    time.sleep(1.2)  # a sync that is repeated comes within a second
    yield _pods(world)
    world.patch("Deployment", "emotion-2", {"spec": {"replicas": 0}}, sub="/scale")
    world.until(lambda: not _pods(world), what="the pods are gone")


def _pods(world: World) -> list[str]:
    names = (p["metadata"]["name"] for p in world.list("Pod"))
    return [name for name in names if name.startswith("emotion-2-")]


def _has_left(change: Change) -> bool:
    meta = change.obj["metadata"]
    return change.type == "DELETED" or "deletionTimestamp" in meta or meta["labels"]["serving"] != "yes"


def _serves(change: Change, pods: Sequence[str]) -> bool:
    return any(
        endpoint["targetRef"]["name"] in pods and endpoint["conditions"].get("ready") is not False
        for endpoint in change.obj.get("endpoints") or ()
    )


def _repeated_syncs(plane: ControlPlane, world: World) -> int:
    lines = plane.log("kube-controller-manager").read_text(errors="replace").splitlines()
    return sum(STALE in line and world.namespace in line for line in lines)
