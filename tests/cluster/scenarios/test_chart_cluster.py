"""The charts on a real API server: it accepts them, the rights they grant are enough, upgrades work."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support import crd
from tests.support import manifests as m
from tests.support.charts import CHARTS, IMAGE, OPERATOR, SERVER, RenderError, helm, merged, pod_specs, render
from tests.support.cluster_tool import Cluster, ControlPlane
from tests.support.operator_process import OperatorProcess
from tests.support.rights import account_kubeconfig
from tests.support.world import World

pytestmark = [pytest.mark.takes(seconds=150), pytest.mark.timeout(600)]

Json = dict[str, Any]
MONITORING = {
    "ServiceMonitor": "servicemonitors",
    "PodMonitor": "podmonitors",
    "PrometheusRule": "prometheusrules",
}
EVERYTHING: Json = {
    "metrics": {
        "serviceMonitor": {"enabled": True},
        "podMonitor": {"enabled": True},
        "prometheusRule": {"enabled": True},
        "dashboards": {"enabled": True},
    },
    "notifications": {"hosts": ["*"], "readSecrets": True},
    "networkPolicy": {"metricsFrom": [{"namespaceSelector": {}}]},
}


@pytest.fixture(scope="module")
def plane() -> Iterator[Cluster]:
    """A control plane of its own: the charts install things that are there once for a cluster."""
    with ControlPlane.start(scheduler=True, kwok_nodes=2) as started:
        for kind, plural in MONITORING.items():
            started.apply(monitoring_crd(kind, plural))
        yield started


@pytest.fixture
def space(plane: Cluster) -> Iterator[str]:
    """A namespace that takes nothing but restricted pods."""
    name = f"chart-{secrets.token_hex(3)}"
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    plane.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
    yield name
    plane.kubectl("delete", "namespace", name, "--wait=false")


def monitoring_crd(kind: str, plural: str) -> Json:
    """A stand-in for a CRD of the Prometheus Operator: it knows the kind and takes every field."""
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.monitoring.coreos.com"},
        "spec": {
            "group": "monitoring.coreos.com",
            "names": {"kind": kind, "plural": plural},
            "scope": "Namespaced",
            "versions": [version],
        },
    }


def release(plane: Cluster, *arguments: str, values: Json | None = None) -> str:
    """helm on this cluster."""
    return helm(
        *arguments,
        "--kubeconfig",
        str(plane.kubeconfig),
        "--values",
        "-",
        stdin=json.dumps(merged(IMAGE, values or {})),
    )


def plain(plane: Cluster, *arguments: str) -> str:
    """helm on this cluster, without values."""
    return helm(*arguments, "--kubeconfig", str(plane.kubeconfig))


@pytest.mark.parametrize(
    "values", [{}, EVERYTHING, {"watchNamespaces": ["default"]}], ids=["default", "all", "namespaced"]
)
def test_the_api_server_accepts_the_operators_chart(plane: Cluster, space: str, values: Json) -> None:
    objects = render(OPERATOR, values, namespace=space)
    said = plane.kubectl(
        "apply", "--server-side", "--dry-run=server", "-f", "-", stdin=yaml.safe_dump_all(objects)
    )
    assert said.count("serverside-applied") == len(objects)


def test_the_api_server_accepts_the_servers_chart(plane: Cluster, space: str) -> None:
    crd.install(plane, seconds=30)
    values = {
        "podMonitor": {"enabled": True},
        "networkPolicy": {"enabled": True},
        "rollout": {"candidate": "v1-1"},
    }
    objects = render(SERVER, values, release="emotion", namespace=space)
    said = plane.kubectl(
        "apply", "--server-side", "--dry-run=server", "-f", "-", stdin=yaml.safe_dump_all(objects)
    )
    assert said.count("serverside-applied") == len(objects)


@pytest.mark.parametrize("chart", [OPERATOR, SERVER], ids=["modelrollout", "inference-server"])
def test_the_pods_are_admitted_where_only_restricted_ones_are(
    plane: Cluster, space: str, chart: Path
) -> None:
    for name, spec in pod_specs(render(chart, namespace=space)):
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"generateName": "try-", "namespace": space},
            "spec": {**spec, "serviceAccountName": "default"},
        }
        said = plane.kubectl("create", "--dry-run=server", "-f", "-", stdin=json.dumps(pod))
        assert "created" in said, name


def test_kustomize_is_accepted(plane: Cluster) -> None:
    rendered = plane.kubectl("kustomize", str(CHARTS / "kustomize"))
    plane.kubectl("create", "namespace", "modelrollout-system")
    try:
        said = plane.kubectl(
            "apply", "--server-side", "--force-conflicts", "--dry-run=server", "-f", "-", stdin=rendered
        )
        objects = [document for document in yaml.safe_load_all(rendered) if document]
        assert said.count("serverside-applied") == len(objects)
    finally:
        plane.kubectl("delete", "namespace", "modelrollout-system", "--wait=false")


def test_upgrade_and_uninstall_keep_what_must_be_kept(plane: Cluster, space: str) -> None:
    crd = "crd/modelrollouts.modelrollout.dev"
    plane.kubectl("delete", crd, "--ignore-not-found")
    release(plane, "install", "operator", str(OPERATOR), "-n", space)
    plane.wait("condition=Established", crd)
    assert plane.get("deployment", "operator-modelrollout", "-n", space)["spec"]["replicas"] == 2
    # A field that is taken out of the installed CRD comes back with an upgrade: the CRD belongs to the release.  # noqa: E501 - one command
    column = '[{"op": "remove", "path": "/spec/versions/0/additionalPrinterColumns/0"}]'
    plane.kubectl("patch", crd, "--type=json", f"--patch={column}")
    release(
        plane,
        "upgrade",
        "operator",
        str(OPERATOR),
        "-n",
        space,
        "--force-conflicts",
        values={"replicaCount": 1},
    )
    columns = plane.get(crd)["spec"]["versions"][0]["additionalPrinterColumns"]
    assert columns[0]["name"] == "Phase"
    assert plane.get("deployment", "operator-modelrollout", "-n", space)["spec"]["replicas"] == 1
    plain(plane, "uninstall", "operator", "-n", space)
    assert plane.get(crd)["metadata"]["name"] == "modelrollouts.modelrollout.dev"
    assert not plane.get("deployments", "-n", space)["items"]
    # Installed again, it takes over the CRD that was kept.
    release(plane, "install", "operator", str(OPERATOR), "-n", space)
    plain(plane, "uninstall", "operator", "-n", space)


def test_an_upgrade_of_the_server_leaves_replicas_to_the_rollout(plane: Cluster, space: str) -> None:
    crd.install(plane, seconds=30)
    release(plane, "install", "emotion", str(SERVER), "-n", space)
    plane.kubectl("scale", "deployment/emotion-v1-0", "--replicas=3", "-n", space)
    plane.kubectl("scale", "deployment/emotion-v1-1", "--replicas=1", "-n", space)
    release(plane, "upgrade", "emotion", str(SERVER), "-n", space, values={"rollout": {"candidate": "v1-1"}})
    counts = {
        d["metadata"]["name"]: d["spec"]["replicas"] for d in plane.get("deployments", "-n", space)["items"]
    }
    assert counts == {"emotion-v1-0": 3, "emotion-v1-1": 1}
    assert plane.get("mro", "emotion", "-n", space)["spec"]["candidate"] == {"deployment": "emotion-v1-1"}


def test_an_upgrade_of_the_server_leaves_what_others_set_until_its_value_changes(
    plane: Cluster, space: str
) -> None:
    crd.install(plane, seconds=30)
    release(plane, "install", "emotion", str(SERVER), "-n", space)

    def patch(candidate: Json) -> None:
        change = json.dumps({"spec": {"candidate": candidate}})
        plane.kubectl("patch", "mro", "emotion", "-n", space, "--type=merge", f"--patch={change}")

    def upgraded(values: Json, *flags: str) -> tuple[int, Json]:
        release(plane, "upgrade", "emotion", str(SERVER), "-n", space, *flags, values=values)
        spec = plane.get("mro", "emotion", "-n", space)["spec"]
        return spec["replicas"], spec["candidate"]

    plane.kubectl("scale", "mro", "emotion", "--replicas=6", "-n", space)
    patch({"deployment": "emotion-v1-1"})
    assert upgraded({}) == (6, {"deployment": "emotion-v1-1"})
    assert upgraded({"podLabels": {"a": "b"}}) == (6, {"deployment": "emotion-v1-1"}), "kept once more"
    assert upgraded({"replicas": 5}, "--force-conflicts") == (5, {"deployment": "emotion-v1-1"})
    copy: Json = {"env": [{"name": "INFERENCE_ARTIFACTS", "value": "/models/emotion-1.3"}]}
    patch({"deployment": None, **copy})
    assert upgraded({"replicas": 5}) == (5, copy)
    patch({"deployment": "emotion-v1-0", "env": None})
    asked = {"replicas": 5, "rollout": {"candidate": "v1-1"}}
    assert upgraded(asked, "--force-conflicts") == (5, {"deployment": "emotion-v1-1"})


def test_a_candidate_whose_version_is_taken_out_is_not_kept(plane: Cluster, space: str) -> None:
    crd.install(plane, seconds=30)
    release(plane, "install", "emotion", str(SERVER), "-n", space)
    change = '--patch={"spec": {"candidate": {"deployment": "emotion-v1-1"}}}'
    plane.kubectl("patch", "mro", "emotion", "-n", space, "--type=merge", change)
    values = {"versions": {"v1-1": None}}
    release(plane, "upgrade", "emotion", str(SERVER), "-n", space, "--force-conflicts", values=values)
    assert plane.get("mro", "emotion", "-n", space)["spec"]["candidate"] == {"deployment": "emotion-v1-0"}


def test_a_copy_that_serves_is_none_of_the_versions(plane: Cluster, space: str) -> None:
    crd.install(plane, seconds=30)
    release(plane, "install", "emotion", str(SERVER), "-n", space)
    copy = plane.get("deployment", "emotion-v1-0", "-n", space)
    labels = {**copy["metadata"]["labels"], "app.kubernetes.io/managed-by": "modelrollout"}
    copy["metadata"] = {"name": "emotion-7f3a", "namespace": space, "labels": labels}
    plane.apply(copy)
    status = '--patch={"status": {"phase": "Succeeded", "stable": "emotion-7f3a"}}'
    plane.kubectl("patch", "mro", "emotion", "-n", space, "--subresource=status", "--type=merge", status)
    release(plane, "upgrade", "emotion", str(SERVER), "-n", space)


def test_the_version_that_serves_cannot_be_taken_out(plane: Cluster, space: str) -> None:
    crd.install(plane, seconds=30)
    release(plane, "install", "emotion", str(SERVER), "-n", space)
    status = '--patch={"status": {"phase": "Succeeded", "stable": "emotion-v1-1"}}'
    plane.kubectl("patch", "mro", "emotion", "-n", space, "--subresource=status", "--type=merge", status)
    with pytest.raises(RenderError, match='version "v1-1" serves all clients'):
        release(plane, "upgrade", "emotion", str(SERVER), "-n", space, values={"versions": {"v1-1": None}})


@pytest.mark.parametrize("scope", ["cluster", "namespace"])
def test_the_rights_are_enough_for_every_kind_of_work(
    plane: Cluster, space: str, tmp_path: Path, scope: str
) -> None:
    """A copy with shadow and validations, then another with an observation, with the account of the chart."""
    plain_namespace = f"work-{secrets.token_hex(3)}"
    plane.kubectl("create", "namespace", plain_namespace)
    crd.install(plane, seconds=30)
    values: Json = {"crds": {"install": False}}
    values |= {"watchNamespaces": [plain_namespace]} if scope == "namespace" else {}
    release(plane, "install", "modelrollout", str(OPERATOR), "-n", space, values=values)
    world = World(plane, plain_namespace)
    kubeconfig = account_kubeconfig(plane, space, "modelrollout", tmp_path / "kubeconfig")
    serving = {"serving": "yes"}
    world.create(
        m.service("emotion", selector={"app": "emotion", **serving}),
        m.deployment("emotion-1", replicas=2, labels=serving),
    )
    world.until(lambda: world.ready("emotion", "emotion-1") == 2, what="2 ready pods of emotion-1")
    process = OperatorProcess(
        kubeconfig=kubeconfig,
        log=tmp_path / "operator.log",
        namespace=plain_namespace if scope == "namespace" else None,
        lease_namespace=space,
        environment={"MODELROLLOUT_LEASE_NAME": "modelrollout"},
    )
    validation = {"name": "smoke", "image": "checks:1", "timeout": "1m"}
    try:
        with process:
            process.wait_leading()
            world.create(
                m.rollout(
                    stable="emotion-1",
                    candidate={"image": "emotion:2"},
                    replicas=2,
                    plan=m.steps(50, duration="1s"),
                    criteria=[],
                    validations=[validation],
                    shadow={"duration": "1s"},
                )
            )
            world.until(lambda: world.find("Deployment", "emotion-shadow"), what="a shadow")
            first = world.until_phase("Succeeded", seconds=90)
            more = {"observation": {"duration": "5s"}, "shadow": None, "validations": None}
            world.patch("ModelRollout", "emotion", {"spec": {"candidate": {"image": "emotion:3"}, **more}})
            world.until(
                lambda: world.condition("StableKept").get("reason") == "Parked",
                seconds=60,
                what="pods of stable outside the Service",
            )
            world.until(
                lambda: world.status()["stable"] != first["stable"], seconds=60, what="the other is stable"
            )
            world.delete("ModelRollout", "emotion")
            world.until(lambda: world.find("ModelRollout", "emotion") is None, what="the rollout is gone")
        log = process.log.read_text()
        assert "is forbidden: User" not in log, process.tail()
    finally:
        plain(plane, "uninstall", "modelrollout", "-n", space)
        plane.kubectl("delete", "namespace", plain_namespace, "--wait=false")
