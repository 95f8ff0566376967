"""The operator's rights as the chart gives them, and an account that has some of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from tests.support.charts import OPERATOR
from tests.support.cluster_tool import Cluster

Rule = dict[str, Any]
ACCOUNT = "operator"


def chart_rules() -> list[Rule]:
    """Every rule of the operator's role in the chart, those behind a value included; read without helm."""
    text = (OPERATOR / "templates" / "rbac.yaml").read_text()
    block = text.partition('{{- define "modelrollout.rules" -}}')[2].partition(
        "{{- if .Values.rbac.create }}"
    )[0]
    rules: list[Rule] = yaml.safe_load("\n".join(line for line in block.splitlines() if "{{" not in line))
    assert rules
    return rules


def rule_name(rule: Rule) -> str:
    """A rule in a few words, such as `apps deployments: get list watch`."""
    groups, resources = " ".join(rule["apiGroups"]).strip(), " ".join(rule["resources"])
    return f"{groups} {resources}: {' '.join(rule['verbs'])}".strip()


LEASES: Rule = {
    "apiGroups": ["coordination.k8s.io"],
    "resources": ["leases"],
    "verbs": ["create", "get", "update"],
}
"""What leader election needs; the chart gives it in the release's namespace, by a role of its own."""


def grant(plane: Cluster, namespace: str, rules: Sequence[Rule], *, lease: bool = True) -> None:
    """Give the account exactly these rights in the namespace, with or without those to its Lease."""
    rbac = "rbac.authorization.k8s.io/v1"
    meta = {"name": ACCOUNT, "namespace": namespace}
    plane.apply(
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta},
        {
            "apiVersion": rbac,
            "kind": "Role",
            "metadata": meta,
            "rules": [*rules, *([LEASES] if lease else [])],
        },
        {
            "apiVersion": rbac,
            "kind": "RoleBinding",
            "metadata": meta,
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": ACCOUNT},
            "subjects": [{"kind": "ServiceAccount", "name": ACCOUNT, "namespace": namespace}],
        },
    )


def account_kubeconfig(plane: Cluster, namespace: str, account: str, target: Path) -> Path:
    """A kubeconfig with nothing but the rights of a service account."""
    token = plane.kubectl("create", "token", account, "-n", namespace, "--duration=1h").strip()
    given = yaml.safe_load(plane.kubeconfig.read_text())
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": given["clusters"][0]["cluster"]}],
        "users": [{"name": "u", "user": {"token": token}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "c",
    }
    target.write_text(yaml.safe_dump(config))
    return target
