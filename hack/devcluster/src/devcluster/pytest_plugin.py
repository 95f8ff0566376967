"""Fixtures for tests on real clusters: load with `pytest_plugins = ["devcluster.pytest_plugin"]` or `-p`.

* `control_plane` (session): API server with controllers, scheduler and three fake nodes; one for each xdist
  worker. With `USE_EXISTING_CLUSTER=1` it is the cluster that `KUBECONFIG` names.
* `namespace`: a fresh namespace in it, deleted afterwards.
* `kind_cluster` (session): the kind cluster of kind-config.yaml.
* `prometheus_server`: a factory of Prometheus servers that end with the test.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from devcluster import kindcluster
from devcluster.cluster import Cluster, existing
from devcluster.controlplane import ControlPlane
from devcluster.kindcluster import KindCluster
from devcluster.prometheus import Config, Prometheus

KWOK_NODES = 3


def uses_existing_cluster() -> bool:
    """Tell whether the environment asks for the cluster of `KUBECONFIG` instead of one of the tool's own."""
    return os.environ.get("USE_EXISTING_CLUSTER", "").lower() in {"1", "true", "yes"}


@pytest.fixture(scope="session")
def control_plane() -> Iterator[Cluster]:
    """Yield a control plane for the session; a test that breaks it on purpose starts its own instead."""
    if uses_existing_cluster():
        yield existing()
        return
    with ControlPlane.start(scheduler=True, kwok_nodes=KWOK_NODES) as started:
        yield started


@pytest.fixture
def namespace(control_plane: Cluster) -> Iterator[str]:
    """Yield the name of a namespace that only this test uses."""
    name = f"test-{secrets.token_hex(4)}"
    made = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
    status, answer = control_plane.request("POST", "/api/v1/namespaces", made, timeout=60)
    assert status == 201, answer
    yield name
    control_plane.request("DELETE", f"/api/v1/namespaces/{name}", timeout=60)


@pytest.fixture
def prometheus_server() -> Iterator[Callable[[Config | str], Prometheus]]:
    """Start a Prometheus server with the given configuration; all of them end with the test."""
    with ExitStack() as stack:
        yield lambda config: stack.enter_context(Prometheus.start(config))


@pytest.fixture(scope="session")
def kind_cluster() -> Iterator[KindCluster]:
    """Yield the kind cluster of kind-config.yaml, shared with whoever started it before.

    Removed if this session started it.

    `DEVCLUSTER_KEEP=1` keeps it for the next session.
    """
    found = KindCluster.attach(kindcluster.default_name())
    yield found or KindCluster.up()
    if found is None and os.environ.get("DEVCLUSTER_KEEP") != "1":
        kindcluster.kind_down(kindcluster.default_name())
