"""The one door of the tests to `hack/devcluster`: clusters, programs of the machine and fixtures.

Tests import from here only (`test_repository_frame.py` checks it), so that a reader of the product need not
read the tool that builds clusters.
"""

from __future__ import annotations

from typing import Any

import pytest

from demo import builder, images
from devcluster import Cluster, ControlPlane, KindCluster, bench, docker, tools
from devcluster.apt import ensure_program
from devcluster.errors import CommandError
from devcluster.kindcluster import names as kind_cluster_names
from devcluster.kindconfig import adapted, load_config
from devcluster.paths import cache_dir
from devcluster.pytest_plugin import (
    control_plane,
    kind_cluster,
    namespace,
    prometheus_server,
)

__all__ = [
    "Cluster",
    "CommandError",
    "ControlPlane",
    "KindCluster",
    "base_images",
    "bench",
    "build_images",
    "cache_dir",
    "control_plane",
    "docker",
    "ensure_program",
    "kind_cluster",
    "kind_cluster_names",
    "kind_settings",
    "namespace",
    "project_images",
    "prometheus_server",
    "tools",
]


def build_images(daemon: docker.Docker, *wanted: images.ProjectImage) -> dict[str, str]:
    """Build images of the project on a daemon of the tool's; references by name."""
    return images.build(builder.as_docker(daemon), wanted, builder.bases(daemon))


def base_images(daemon: docker.Docker) -> dict[str, str]:
    """The images that the project's own are built on there, by build argument."""
    return builder.bases(daemon)


def kind_settings(like: KindCluster) -> dict[str, Any]:
    """kind's configuration for another cluster on the same daemon and of the same node image."""
    settings = adapted(load_config(images.ROOT / "kind-config.yaml"))
    nodes = [{**node, "image": like.node_image} for node in settings["nodes"]]
    return {**settings, "nodes": nodes}


@pytest.fixture(scope="session")
def project_images(kind_cluster: KindCluster) -> dict[str, str]:
    """References of the project's images by name (`operator`, ...), in every node."""
    references = build_images(kind_cluster.docker, *images.ALL)
    kind_cluster.load_images(*references.values())
    return references
