"""What all tests on a real API server share: one control plane a worker, which knows ModelRollouts."""

from __future__ import annotations

import pytest

from tests.support.cluster_tool import Cluster, control_plane, namespace, prometheus_server
from tests.support.crd import install

__all__ = ["control_plane", "namespace", "prometheus_server"]


@pytest.fixture(scope="session")
def cluster_with_crd(control_plane: Cluster) -> Cluster:
    """The control plane, knowing ModelRollouts."""
    install(control_plane)
    return control_plane
