"""A namespace with the CRD, and the operator as a process that watches only it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import manifests
from tests.support.cluster_tool import Cluster
from tests.support.operator_process import OperatorProcess
from tests.support.world import World

StartOperator = Callable[..., OperatorProcess]


@pytest.fixture
def world(cluster_with_crd: Cluster, namespace: str) -> Iterator[World]:
    """A fresh namespace."""
    world = World(cluster_with_crd, namespace)
    world.prepare_lease()
    yield world
    world.free()  # every operator of the test has stopped


@pytest.fixture
def emotion(world: World) -> World:
    """The namespace with a Service, stable `emotion-1` with 4 ready pods, and `emotion-2` with none."""
    world.create(
        manifests.service("emotion"),
        manifests.deployment("emotion-1", replicas=4),
        manifests.deployment("emotion-2"),
    )
    world.until(lambda: world.ready("emotion", "emotion-1") == 4, what="4 ready pods of emotion-1")
    return world


@pytest.fixture
def start_operator(world: World, tmp_path: Path) -> Iterator[StartOperator]:
    """Starts replicas of the operator for the namespace; all of them end with the test."""
    started: list[OperatorProcess] = []

    def start(
        pod_name: str = "operator-0", *, leading: bool = True, ready: bool = True, **options: Any
    ) -> OperatorProcess:
        replica = OperatorProcess(
            kubeconfig=options.pop("kubeconfig", world.plane.kubeconfig),
            log=tmp_path / f"{pod_name}.log",
            namespace=world.namespace,
            lease_namespace=world.namespace,
            pod_name=pod_name,
            **options,
        )
        started.append(replica)
        replica.start(wait_ready=ready)
        if leading:
            replica.wait_leading()
        return replica

    yield start
    for replica in started:
        if replica.running:
            replica.kill()
    for replica in started:
        print(f"--- log of {replica.log.stem}\n{replica.tail(80)}")


@pytest.fixture
def operator(start_operator: StartOperator) -> OperatorProcess:
    """One replica that acts, without a Prometheus."""
    return start_operator()
