"""What all tests on a real API server share: one control plane a worker, which knows ModelRollouts."""

from __future__ import annotations

import pytest

from tests.support.cluster_tool import Cluster, control_plane, namespace, prometheus_server
from tests.support.crd import install
from tests.support.faults import scenarios, switch

__all__ = ["control_plane", "namespace", "prometheus_server"]


@pytest.fixture(scope="session")
def cluster_with_crd(control_plane: Cluster) -> Cluster:
    """The control plane, knowing ModelRollouts."""
    install(control_plane)
    return control_plane


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what FAULTS=SEED would change in what it asserts."""
    if not switch.seed():
        return
    left_out = [item for item in items if scenarios.reason(item.nodeid)]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]
