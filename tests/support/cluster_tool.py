"""The one door of the tests to `hack/devcluster`: clusters, programs of the machine and fixtures.

Tests import from here only (`test_repository_frame.py` checks it), so that a reader of the product need not
read the tool that builds clusters.
"""

from __future__ import annotations

from devcluster import Cluster, ControlPlane, KindCluster, bench, docker, images, tools
from devcluster.apt import ensure_program
from devcluster.errors import CommandError
from devcluster.kindcluster import names as kind_cluster_names
from devcluster.paths import cache_dir
from devcluster.pytest_plugin import (
    control_plane,
    kind_cluster,
    namespace,
    project_images,
    prometheus_server,
)

__all__ = [
    "Cluster",
    "CommandError",
    "ControlPlane",
    "KindCluster",
    "bench",
    "cache_dir",
    "control_plane",
    "docker",
    "ensure_program",
    "images",
    "kind_cluster",
    "kind_cluster_names",
    "namespace",
    "project_images",
    "prometheus_server",
    "tools",
]
