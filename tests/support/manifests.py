"""Manifests for tests: Deployments, Services and ModelRollouts as dicts, small and complete."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Manifest = dict[str, Any]

IMAGE = "registry.invalid/model:1"
"""Never pulled: kwok pods only look as if they ran."""


def deployment(
    name: str,
    *,
    app: str = "emotion",
    replicas: int = 0,
    image: str = IMAGE,
    labels: Mapping[str, str] | None = None,
    pod_annotations: Mapping[str, str] | None = None,
    env: Mapping[str, str] | None = None,
    namespace: str | None = None,
) -> Manifest:
    """A Deployment whose pods carry `app: <app>` (for the Service) and `version: <name>`."""
    pod_labels = {"app": app, "version": name, **(labels or {})}
    container: Manifest = {"name": "server", "image": image, "ports": [{"containerPort": 8080}]}
    if env:
        container["env"] = [{"name": key, "value": value} for key, value in env.items()]
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": _meta(name, namespace),
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": app, "version": name}},
            "template": {
                "metadata": {"labels": pod_labels, "annotations": dict(pod_annotations or {})},
                "spec": {"containers": [container], "terminationGracePeriodSeconds": 0},
            },
        },
    }


def service(
    name: str = "emotion", *, selector: Mapping[str, str] | None = None, namespace: str | None = None
) -> Manifest:
    """A Service that selects the pods of every version (`app: <name>`)."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": _meta(name, namespace),
        "spec": {
            "selector": dict(selector) if selector is not None else {"app": name},
            "ports": [{"name": "http", "port": 80, "targetPort": 8080}],
        },
    }


def steps(*weights: int, duration: str = "1s") -> list[Manifest]:
    """Steps of these weights, each of the duration, and 100 at the end."""
    return [*({"weight": weight, "duration": duration} for weight in weights), {"weight": 100}]


def rollout(
    name: str = "emotion",
    *,
    stable: str | None = "emotion-1",
    candidate: str | Mapping[str, Any] = "emotion-2",
    replicas: int = 4,
    interval: str = "1s",
    plan: Sequence[Manifest] | None = None,
    criteria: Sequence[Manifest] = (),
    namespace: str | None = None,
    **more: Any,
) -> Manifest:
    """A ModelRollout. `candidate` is a Deployment's name or the whole of spec.candidate; `more` are fields of
    spec."""
    spec: Manifest = {
        "replicas": replicas,
        "service": more.pop("service", name),
        "candidate": {"deployment": candidate} if isinstance(candidate, str) else dict(candidate),
        "steps": list(plan) if plan is not None else steps(25, 50),
        "evaluation": {"interval": interval},
        **more,
    }
    if stable is not None:
        spec["stable"] = {"deployment": stable}
    if criteria:
        spec["criteria"] = list(criteria)
    return {
        "apiVersion": "modelrollout.dev/v1alpha1",
        "kind": "ModelRollout",
        "metadata": _meta(name, namespace),
        "spec": spec,
    }


def autoscaler(name: str, *, kind: str, target: str, namespace: str | None = None) -> Manifest:
    """A HorizontalPodAutoscaler on a Deployment or a ModelRollout."""
    version = "apps/v1" if kind == "Deployment" else "modelrollout.dev/v1alpha1"
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": _meta(name, namespace),
        "spec": {
            "scaleTargetRef": {"apiVersion": version, "kind": kind, "name": target},
            "minReplicas": 1,
            "maxReplicas": 10,
        },
    }


def _meta(name: str, namespace: str | None) -> Manifest:
    return {"name": name} if namespace is None else {"name": name, "namespace": namespace}
