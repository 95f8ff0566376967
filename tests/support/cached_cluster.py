"""The caches of the operator without an API server: Deployments, their ReplicaSets and what is ready."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from modelrollout.cluster.cache import ClusterCache
from modelrollout.cluster.endpoints import SERVICE_NAME_LABEL, parse_replica_set, parse_slice, pod_prefix
from modelrollout.cluster.views import parse_deployment, parse_service
from tests.support import manifests

READY = {"ready": True, "serving": True, "terminating": False}


VERSIONS = itertools.count(1)


def stored(manifest: dict[str, Any]) -> dict[str, Any]:
    """A manifest as the API server gives it back, in namespace `ns`, newer than any before."""
    name = manifest["metadata"]["name"]
    manifest["metadata"] |= {"namespace": "ns", "uid": f"uid-{name}", "resourceVersion": str(next(VERSIONS))}
    return manifest


def see_replica_set(
    cache: ClusterCache,
    deployment: str,
    template_hash: str,
    *,
    uid: str | None = None,
    kind: str = "Deployment",
) -> str:
    """Tells of a ReplicaSet that a Deployment controls; its name."""
    name = f"{deployment}-{template_hash}"
    owner = {"kind": kind, "name": deployment, "uid": uid or f"uid-{deployment}", "controller": True}
    raw = stored({"metadata": {"name": name, "ownerReferences": [owner]}})
    view = parse_replica_set(raw)
    if view is not None:
        cache.replica_sets.put(view)
    return name


def see_deployment(
    cache: ClusterCache, name: str, *, template_hash: str = "5d8f7c9b44", **manifest: Any
) -> None:
    """Tells of a Deployment and of the ReplicaSet that its controller made for it."""
    cache.deployments.put(parse_deployment(stored(manifests.deployment(name, **manifest))))
    see_replica_set(cache, name, template_hash)


def see_service(cache: ClusterCache, name: str = "emotion", **fields: Any) -> None:
    """Tells of a Service; `fields` are of its spec."""
    manifest = stored(manifests.service(name))
    manifest["spec"] |= fields
    cache.services.put(parse_service(manifest))


def pods(replica_set: str, count: int, *, first: int = 0) -> list[str]:
    """Names of pods that the API server would generate."""
    return [f"{pod_prefix(replica_set)}{number:05d}" for number in range(first, first + count)]


def endpoint(pod: str, **conditions: bool | None) -> dict[str, Any]:
    """A ready endpoint of a pod, or one with these conditions instead (None: left out)."""
    said = {key: value for key, value in {**READY, **conditions}.items() if value is not None}
    return {"addresses": ["10.0.0.1"], "conditions": said, "targetRef": {"kind": "Pod", "name": pod}}


def see_slice(
    cache: ClusterCache,
    endpoints: Sequence[Mapping[str, Any]],
    *,
    name: str = "emotion-a",
    service: str = "emotion",
    ports: Sequence[str] = ("http",),
    family: str = "IPv4",
) -> None:
    """Tells of an EndpointSlice."""
    raw = stored({"metadata": {"name": name, "labels": {SERVICE_NAME_LABEL: service}}})
    raw |= {
        "addressType": family,
        "ports": [{"name": port, "port": 8080} for port in ports],
        "endpoints": list(endpoints),
    }
    view = parse_slice(raw)
    assert view is not None
    cache.slices.put(view)


def empty_cache() -> ClusterCache:
    """Caches that have been told nothing."""
    return ClusterCache(None, namespaces=(None,), listener=lambda *_: None)  # type: ignore[arg-type]
