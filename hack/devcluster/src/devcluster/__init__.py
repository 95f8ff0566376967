"""Real Kubernetes clusters for tests and demos, on any machine that reaches package registries.

`ControlPlane` is an API server with its controllers and, on demand, fake nodes; `Cluster` is what every kind
of cluster offers; `Prometheus` is a Prometheus server on loopback.
"""

from devcluster.cluster import Cluster
from devcluster.controlplane import ControlPlane
from devcluster.errors import DevClusterError
from devcluster.kindcluster import KindCluster
from devcluster.prometheus import Prometheus, scrape_config

__all__ = ["Cluster", "ControlPlane", "DevClusterError", "KindCluster", "Prometheus", "scrape_config"]
