"""What the demo puts into the cluster beside the two charts: Prometheus and the load."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any, Final

import yaml

from demo import discovery

Json = dict[str, Any]

OPERATOR_NAMESPACE: Final = "modelrollout-system"
MONITORING_NAMESPACE: Final = "monitoring"
DEMO_NAMESPACE: Final = "demo"
LOAD_POD: Final = "load"
LOAD_PORT: Final = 8081
PROMETHEUS_PORT: Final = 9090
TARGETS: Final = PurePosixPath("/targets/pods.json")

_RESTRICTED: Final[Json] = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}


def _user(number: int) -> Json:
    return {
        "runAsNonRoot": True,
        "runAsUser": number,
        "fsGroup": number,
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def namespace(name: str) -> Json:
    """Return a namespace that takes nothing but restricted pods."""
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}


def prometheus_config() -> str:
    """Scrape every pod that the discovery beside it finds, each second."""
    job = {
        "job_name": "pods",
        "honor_labels": True,  # the operator's series are about a namespace that is not its own
        "file_sd_configs": [{"files": [str(TARGETS)]}],
    }
    settings = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "5s"}
    return yaml.safe_dump({"global": settings, "scrape_configs": [job]}, sort_keys=False)


def prometheus(image: str) -> list[Json]:
    """Return a Prometheus that finds its targets by itself and keeps two hours."""
    meta: Json = {"name": "prometheus", "namespace": MONITORING_NAMESPACE}
    labels = {"app.kubernetes.io/name": "prometheus"}
    files = {"prometheus.yml": prometheus_config(), "discovery.py": Path(discovery.__file__).read_text()}
    port = {"name": "web", "port": PROMETHEUS_PORT}
    deployment = {
        "replicas": 1,
        "strategy": {"type": "Recreate"},
        "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": _prometheus_pod(image)},
    }
    return [
        *_prometheus_account(meta),
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": files},
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": meta,
            "spec": {"selector": labels, "ports": [port]},
        },
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta, "spec": deployment},
    ]


def _prometheus_account(meta: Json) -> list[Json]:
    """Return its ServiceAccount, which may list pods."""
    group = "rbac.authorization.k8s.io"
    name = {"name": "demo-prometheus"}
    rules = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}]
    binding = {
        "roleRef": {"apiGroup": group, "kind": "ClusterRole", **name},
        "subjects": [{"kind": "ServiceAccount", **meta}],
    }
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta},
        {"apiVersion": f"{group}/v1", "kind": "ClusterRole", "metadata": name, "rules": rules},
        {"apiVersion": f"{group}/v1", "kind": "ClusterRoleBinding", "metadata": name, **binding},
    ]


def _prometheus_pod(image: str) -> Json:
    shared = {"image": image, "imagePullPolicy": "IfNotPresent", "securityContext": _RESTRICTED}
    mounts = [
        {"name": "config", "mountPath": "/etc/prometheus"},
        {"name": "data", "mountPath": "/data"},
        {"name": "targets", "mountPath": str(TARGETS.parent)},
    ]
    server = {
        **shared,
        "name": "prometheus",
        "args": [
            "--config.file=/etc/prometheus/prometheus.yml",
            "--storage.tsdb.path=/data",
            "--storage.tsdb.retention.time=2h",
        ],
        "ports": [{"name": "web", "containerPort": PROMETHEUS_PORT}],
        "readinessProbe": {"httpGet": {"path": "/-/ready", "port": "web"}, "periodSeconds": 1},
        "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "1Gi"}},
        "volumeMounts": mounts,
    }
    finder = {
        **shared,
        "name": "discovery",
        "command": ["python3", "/etc/prometheus/discovery.py", str(TARGETS)],
        "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"memory": "128Mi"}},
        "volumeMounts": mounts,
    }
    return {
        "serviceAccountName": "prometheus",
        "securityContext": _user(65534),
        "containers": [server, finder],
        "volumes": [
            {"name": "config", "configMap": {"name": "prometheus"}},
            {"name": "data", "emptyDir": {}},
            {"name": "targets", "emptyDir": {}},
        ],
    }


def load(image: str, *, rate: float) -> Json:
    """Return a pod that sends French and English sentences at a constant rate and counts the answers."""
    container = {
        "name": "load",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "args": [
            "loadgen",
            f"--url=http://emotion.{DEMO_NAMESPACE}.svc",
            f"--rate={rate:g}",
            f"--port={LOAD_PORT}",
            "--timeout=30",
        ],
        "securityContext": _RESTRICTED,
        "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"memory": "512Mi"}},
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": LOAD_POD, "namespace": DEMO_NAMESPACE},
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": 3,
            "securityContext": _user(65532),
            "containers": [container],
        },
    }
