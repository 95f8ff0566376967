"""What the scenarios share: a Prometheus a worker, a namespace and operator a test."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.cluster_tool import Cluster
from tests.support.exporter import Exporter
from tests.support.operator_process import OperatorProcess
from tests.support.prometheus import Prometheus
from tests.support.scene import Scene
from tests.support.world import World


@pytest.fixture(scope="session")
def metrics() -> Iterator[tuple[Exporter, Prometheus]]:
    """An exporter and a Prometheus that scrapes it every second."""
    with Exporter.start() as exporter, Prometheus.start(exporter=exporter) as prometheus:
        yield exporter, prometheus


@pytest.fixture
def scene(
    cluster_with_crd: Cluster,
    namespace: str,
    metrics: tuple[Exporter, Prometheus],
    tmp_path: Path,
) -> Iterator[Scene]:
    """An empty stage; the operator is started by the test or by `operator`."""
    exporter, prometheus = metrics
    world = World(cluster_with_crd, namespace)
    world.prepare_lease()
    with ExitStack() as stack:
        scene = Scene(world=world, exporter=exporter, prometheus=prometheus, directory=tmp_path, stack=stack)
        yield scene
        for pod in scene.pods.values():
            pod.remove()
    world.free()  # the operator has stopped


@pytest.fixture
def operator(scene: Scene) -> OperatorProcess:
    """A running operator that leads."""
    process = scene.operator()
    process.wait_leading()
    return process
