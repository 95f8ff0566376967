"""Paths of the resources that the operator touches. RBAC in the chart mirrors this list."""

from __future__ import annotations

from typing import Final

from modelrollout.api.constants import GROUP, PLURAL, VERSION

JSON: Final = "application/json"
MERGE_PATCH: Final = "application/merge-patch+json"

CORE: Final = "/api/v1"
APPS: Final = "/apis/apps/v1"
BATCH: Final = "/apis/batch/v1"
AUTOSCALING: Final = "/apis/autoscaling/v2"
DISCOVERY: Final = "/apis/discovery.k8s.io/v1"
COORDINATION: Final = "/apis/coordination.k8s.io/v1"
ROLLOUTS: Final = f"/apis/{GROUP}/{VERSION}"


def collection(group_version: str, plural: str, namespace: str | None = None) -> str:
    """Return the path of all objects of a kind in one namespace, or in all of them (None)."""
    return f"{group_version}/namespaces/{namespace}/{plural}" if namespace else f"{group_version}/{plural}"


def rollout(namespace: str, name: str) -> str:
    """Return the path of one ModelRollout."""
    return f"{collection(ROLLOUTS, PLURAL, namespace)}/{name}"


def deployment(namespace: str, name: str) -> str:
    """Return the path of one Deployment."""
    return f"{collection(APPS, 'deployments', namespace)}/{name}"


def service(namespace: str, name: str) -> str:
    """Return the path of one Service."""
    return f"{collection(CORE, 'services', namespace)}/{name}"


def pod(namespace: str, name: str) -> str:
    """Return the path of one Pod."""
    return f"{collection(CORE, 'pods', namespace)}/{name}"


def job(namespace: str, name: str) -> str:
    """Return the path of one Job."""
    return f"{collection(BATCH, 'jobs', namespace)}/{name}"


def lease(namespace: str, name: str) -> str:
    """Return the path of one Lease."""
    return f"{collection(COORDINATION, 'leases', namespace)}/{name}"
