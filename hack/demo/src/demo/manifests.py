"""What the demo puts into the cluster beside the two charts: Prometheus and the load."""

from __future__ import annotations

from typing import Any, Final

import yaml

Json = dict[str, Any]

OPERATOR_NAMESPACE: Final = "modelrollout-system"
MONITORING_NAMESPACE: Final = "monitoring"
DEMO_NAMESPACE: Final = "demo"
LOAD_POD: Final = "load"
LOAD_PORT: Final = 8081
PROMETHEUS_PORT: Final = 9090

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
    """A namespace that takes nothing but restricted pods."""
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}


def prometheus_config() -> str:
    """Scrapes every annotated pod each second and gives its series the labels `namespace` and `pod`."""

    def keep(source: str, target: str) -> Json:
        return {"source_labels": [f"__meta_kubernetes_{source}"], "target_label": target}

    job = {
        "job_name": "pods",
        "honor_labels": True,  # the operator's series are about a namespace that is not its own
        "kubernetes_sd_configs": [{"role": "pod"}],
        "relabel_configs": [
            {
                "source_labels": ["__meta_kubernetes_pod_annotation_prometheus_io_scrape"],
                "action": "keep",
                "regex": "true",
            },
            {
                "source_labels": ["__meta_kubernetes_pod_phase"],
                "action": "drop",
                "regex": "Pending|Succeeded|Failed",
            },
            {
                "source_labels": ["__meta_kubernetes_pod_container_port_name"],
                "action": "keep",
                "regex": "http",
            },
            keep("namespace", "namespace"),
            keep("pod_name", "pod"),
        ],
    }
    settings = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "5s"}
    return yaml.safe_dump({"global": settings, "scrape_configs": [job]}, sort_keys=False)


def prometheus(image: str) -> list[Json]:
    """A Prometheus that finds its targets by itself and keeps two hours."""
    meta: Json = {"name": "prometheus", "namespace": MONITORING_NAMESPACE}
    labels = {"app.kubernetes.io/name": "prometheus"}
    rules = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"]}]
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "demo-prometheus"}
    subject = {"kind": "ServiceAccount", **meta}
    rbac = "rbac.authorization.k8s.io/v1"
    arguments = [
        "--config.file=/etc/prometheus/prometheus.yml",
        "--storage.tsdb.path=/data",
        "--storage.tsdb.retention.time=2h",
    ]
    container = {
        "name": "prometheus",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "args": arguments,
        "securityContext": _RESTRICTED,
        "ports": [{"name": "web", "containerPort": PROMETHEUS_PORT}],
        "readinessProbe": {"httpGet": {"path": "/-/ready", "port": "web"}, "periodSeconds": 1},
        "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "1Gi"}},
        "volumeMounts": [
            {"name": "config", "mountPath": "/etc/prometheus"},
            {"name": "data", "mountPath": "/data"},
        ],
    }
    pod = {
        "serviceAccountName": "prometheus",
        "securityContext": _user(65534),
        "containers": [container],
        "volumes": [
            {"name": "config", "configMap": {"name": "prometheus"}},
            {"name": "data", "emptyDir": {}},
        ],
    }
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta},
        {"apiVersion": rbac, "kind": "ClusterRole", "metadata": {"name": "demo-prometheus"}, "rules": rules},
        {
            "apiVersion": rbac,
            "kind": "ClusterRoleBinding",
            "metadata": {"name": "demo-prometheus"},
            "roleRef": role,
            "subjects": [subject],
        },
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": meta,
            "data": {"prometheus.yml": prometheus_config()},
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": meta,
            "spec": {"selector": labels, "ports": [{"name": "web", "port": PROMETHEUS_PORT}]},
        },
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": meta,
            "spec": {
                "replicas": 1,
                "strategy": {"type": "Recreate"},
                "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": pod},
            },
        },
    ]


def load(image: str, *, rate: float) -> Json:
    """A pod that sends French and English sentences at a constant rate and counts what becomes of them."""
    container = {
        "name": "load",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "args": [
            "loadgen",
            f"--url=http://emotion.{DEMO_NAMESPACE}.svc",
            f"--rate={rate:g}",
            f"--port={LOAD_PORT}",
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
