"""The operator's chart: every combination of its switches renders, and what it renders hangs together."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
import yaml

from modelrollout.cli.live import live_values
from modelrollout.cluster.plain_client import PlainKubeApi
from tests.support.charts import (
    OPERATOR,
    ROOT,
    SERVER,
    RenderError,
    combinations,
    helm,
    of_kind,
    only,
    pod_specs,
    render,
    restricted_violations,
)
from tests.support.cluster_tool import tools

pytestmark = pytest.mark.takes(seconds=40)

Json = dict[str, Any]
SECRET = {
    "url": "https://prometheus.example:8443/prefix",
    "secretName": "credentials",
    "secretKeys": {"bearerToken": "token", "ca": "ca.crt"},
}
BASIC = {
    "url": "https://other.example",
    "username": "operator",
    "secretName": "basic",
    "secretKeys": {"password": "password"},
    "headers": {"X-Scope-OrgID": "team-a"},
    "timeout": 2.5,
}


def switch(*path: str) -> list[Json]:
    """Both positions of a boolean."""

    def nested(value: bool) -> Json:
        result: Any = value
        for key in reversed(path):
            result = {key: result}
        return dict(result)

    return [nested(True), nested(False)]


CHOICES: list[list[Json]] = [
    [{}, {"watchNamespaces": ["team-a", "team-b"]}],
    [{}, {"prometheus": {"default": SECRET}}, {"prometheus": {"default": SECRET, "other": BASIC}}],
    switch("crds", "install"),
    switch("crds", "keep"),
    switch("rbac", "create"),
    switch("rbac", "copies"),
    switch("rbac", "validations"),
    switch("rbac", "observation"),
    switch("rbac", "userRoles"),
    [
        {},
        {"serviceAccount": {"create": False, "name": "given"}},
        {"serviceAccount": {"annotations": {"a": "b"}}},
    ],
    switch("podDisruptionBudget", "enabled"),
    switch("networkPolicy", "enabled"),
    [
        {},
        {
            "networkPolicy": {
                "metricsFrom": [{"namespaceSelector": {}}],
                "prometheusPorts": [10902],
                "webhookPorts": [],
                "extraEgress": [{"ports": [{"port": 8443, "protocol": "TCP"}]}],
            }
        },
    ],
    switch("metrics", "serviceMonitor", "enabled"),
    switch("metrics", "podMonitor", "enabled"),
    switch("metrics", "prometheusRule", "enabled"),
    switch("metrics", "prometheusRule", "operatorAlerts"),
    switch("metrics", "prometheusRule", "modelAlerts"),
    switch("metrics", "dashboards", "enabled"),
    switch("tests", "enabled"),
    [{}, {"notifications": {"hosts": ["chat.example"], "readSecrets": True}}],
    [{}, {"image": {"digest": "sha256:" + "0" * 64}, "imagePullSecrets": [{"name": "registry"}]}],
    [
        {},
        {
            "replicaCount": 1,
            "nodeSelector": {"kubernetes.io/os": "linux"},
            "tolerations": [{"operator": "Exists"}],
            "affinity": {"nodeAffinity": {}},
            "topologySpreadConstraints": [],
            "priorityClassName": "system-cluster-critical",
            "podAnnotations": {"a": "b"},
            "podLabels": {"team": "ml"},
            "metrics": {
                "serviceMonitor": {"labels": {"release": "prometheus"}},
                "podMonitor": {"labels": {"release": "prometheus"}},
                "prometheusRule": {"labels": {"release": "prometheus"}},
                "dashboards": {"annotations": {"folder": "ML"}},
            },
        },
    ],
    [{}, {"fullnameOverride": "operator-of-models"}, {"nameOverride": "rollouts"}],
]


@pytest.fixture(scope="module")
def rendered() -> list[tuple[Json, list[Json]]]:
    """Every combination of values with what it renders."""
    return [(values, render(OPERATOR, values)) for values in combinations(CHOICES)]


def flag(values: Json, *path: str, default: bool = True) -> bool:
    """A switch of a combination."""
    found: Any = values
    for key in path:
        found = found.get(key, {}) if isinstance(found, dict) else {}
    return found if isinstance(found, bool) else default


def test_lint_finds_nothing() -> None:
    said = helm("lint", "--strict", str(OPERATOR))
    assert "0 chart(s) failed" in said
    assert "WARNING" not in said


def test_every_three_switches_meet_in_every_position() -> None:
    found = combinations(CHOICES)
    assert 30 <= len(found) <= 120
    assert any(flag(v, "rbac", "copies") and not flag(v, "rbac", "create") for v in found)


def test_objects_are_unique_and_labelled(rendered: list[tuple[Json, list[Json]]]) -> None:
    for values, objects in rendered:
        names = [(o["kind"], o["metadata"].get("namespace"), o["metadata"]["name"]) for o in objects]
        assert len(names) == len(set(names)), values
        for item in objects:
            assert item["metadata"]["labels"]["app.kubernetes.io/instance"] == "demo", item


def test_switches_decide_which_objects_there_are(rendered: list[tuple[Json, list[Json]]]) -> None:
    for values, objects in rendered:
        kinds = {item["kind"] for item in objects}
        rule = flag(values, "metrics", "prometheusRule", "enabled", default=False) and (
            flag(values, "metrics", "prometheusRule", "operatorAlerts")
            or flag(values, "metrics", "prometheusRule", "modelAlerts")
        )
        expected = {
            "CustomResourceDefinition": flag(values, "crds", "install"),
            "PodDisruptionBudget": flag(values, "podDisruptionBudget", "enabled"),
            "NetworkPolicy": flag(values, "networkPolicy", "enabled"),
            "ServiceMonitor": flag(values, "metrics", "serviceMonitor", "enabled", default=False),
            "PodMonitor": flag(values, "metrics", "podMonitor", "enabled", default=False),
            "PrometheusRule": rule,
            "Pod": flag(values, "tests", "enabled"),
            "ServiceAccount": flag(values, "serviceAccount", "create"),
            "ClusterRoleBinding": flag(values, "rbac", "create") and not values.get("watchNamespaces"),
            "Deployment": True,
            "Service": True,
        }
        assert {kind for kind, there in expected.items() if there} == kinds & set(expected), values
        dashboards = [o for o in of_kind(objects, "ConfigMap") if "dashboard" in o["metadata"]["name"]]
        on = flag(values, "metrics", "dashboards", "enabled", default=False)
        assert len(dashboards) == (2 if on else 0), values
        assert all(o["metadata"]["labels"]["grafana_dashboard"] == "1" for o in dashboards)


def test_every_pod_is_restricted_and_finds_what_it_mounts(rendered: list[tuple[Json, list[Json]]]) -> None:
    for values, objects in rendered:
        maps = {item["metadata"]["name"] for item in of_kind(objects, "ConfigMap")}
        for name, spec in pod_specs(objects):
            assert not list(restricted_violations(spec)), (name, values)
            volumes = {volume["name"]: volume for volume in spec.get("volumes", [])}
            for container in spec["containers"]:
                assert {mount["name"] for mount in container["volumeMounts"]} == set(volumes), name
                assert container["resources"]["limits"]["memory"], name
            for volume in volumes.values():
                if "configMap" in volume:
                    assert volume["configMap"]["name"] in maps


def test_the_account_is_bound_wherever_it_watches(rendered: list[tuple[Json, list[Json]]]) -> None:
    for values, objects in rendered:
        account = only(objects, "Deployment")["spec"]["template"]["spec"]["serviceAccountName"]
        bindings = [*of_kind(objects, "RoleBinding"), *of_kind(objects, "ClusterRoleBinding")]
        if not flag(values, "rbac", "create"):
            assert not bindings
            continue
        roles = {(o["kind"], o["metadata"].get("namespace"), o["metadata"]["name"]) for o in objects}
        for binding in bindings:
            assert [s["name"] for s in binding["subjects"]] == [account]
            role = (
                binding["roleRef"]["kind"],
                binding["metadata"].get("namespace"),
                binding["roleRef"]["name"],
            )
            assert role in roles, values
        places = {o["metadata"].get("namespace") for o in bindings}
        watched = set(values.get("watchNamespaces", [])) or {None}
        assert places == watched | {"sys"}


def allowed(role: Json) -> Iterator[tuple[str, str]]:
    """Pairs of resource and verb that a role grants."""
    for rule in role["rules"]:
        for resource in rule["resources"]:
            yield from ((resource, verb) for verb in rule["verbs"])


def pairs(**verbs: str) -> set[tuple[str, str]]:
    """Pairs of resource and verb; an underscore stands for a slash."""
    return {(name.replace("_", "/"), verb) for name, each in verbs.items() for verb in each.split()}


# What the operator asks the API server for: each path and method in cluster/, controller.py and webhooks.py.
ALWAYS_GRANTED = pairs(
    modelrollouts="get list watch patch",
    modelrollouts_status="update",
    deployments="get list watch",
    deployments_scale="get patch",
    replicasets="get list watch",
    services="get list watch",
    endpointslices="list watch",
    horizontalpodautoscalers="list watch",
    jobs="list watch",
    events="create",
    statefulsets="get",
    daemonsets="get",
    rollouts="get",
)
GRANTED_IF = {
    "rbac.copies": pairs(deployments="create patch delete", services="create patch delete"),
    "rbac.validations": pairs(jobs="get create patch delete", pods="list", pods_log="get"),
    "rbac.observation": pairs(pods="list watch patch"),
    "notifications.readSecrets": pairs(secrets="get"),
}


def test_privileges_are_the_least(rendered: list[tuple[Json, list[Json]]]) -> None:
    for values, objects in rendered:
        for role in [*of_kind(objects, "Role"), *of_kind(objects, "ClusterRole")]:
            grants = set(allowed(role))
            assert not any("*" in pair for pair in grants)
            if role["metadata"]["name"].endswith(("-view", "-edit", "-leader")):
                continue
            expected = set(ALWAYS_GRANTED)
            for value, grants_of_it in GRANTED_IF.items():
                expected |= (
                    grants_of_it if flag(values, *value.split("."), default="rbac" in value) else set()
                )
            assert grants == expected, values


def test_prometheus_servers_reach_the_operator() -> None:
    objects = render(OPERATOR, {"prometheus": {"default": SECRET, "other": BASIC}})
    config = yaml.safe_load(of_kind(objects, "ConfigMap")[0]["data"]["prometheus.yaml"])
    assert config == {
        "default": {
            "url": "https://prometheus.example:8443/prefix",
            "bearerTokenFile": "/etc/modelrollout/credentials/default/token",
            "caFile": "/etc/modelrollout/credentials/default/ca.crt",
        },
        "other": {
            "url": "https://other.example",
            "username": "operator",
            "passwordFile": "/etc/modelrollout/credentials/other/password",
            "headers": {"X-Scope-OrgID": "team-a"},
            "timeout": 2.5,
        },
    }
    mounts = only(objects, "Deployment")["spec"]["template"]["spec"]["containers"][0]["volumeMounts"]
    assert {"/etc/modelrollout/credentials/default", "/etc/modelrollout/credentials/other"} <= {
        mount["mountPath"] for mount in mounts
    }
    from modelrollout.prometheus import PrometheusTargets

    assert set(PrometheusTargets.from_mapping(config).targets) == {"default", "other"}


@pytest.mark.parametrize(
    ("values", "ports"),
    [
        ({"prometheus": {"default": SECRET, "other": BASIC}}, {443, 8443, 9090}),
        # A policy sees the port of the pod behind the Service: 9090, unless told otherwise.
        ({"prometheus": {"default": {"url": "http://prometheus-server.monitoring.svc"}}}, {80, 9090}),
        ({"networkPolicy": {"prometheusPorts": [8080, 10902]}}, {8080, 10902}),
    ],
)
def test_network_policy_lets_out_to_the_ports_of_prometheus(values: Json, ports: set[int]) -> None:
    policy = only(render(OPERATOR, values), "NetworkPolicy")
    assert {port["port"] for port in policy["spec"]["egress"][2]["ports"]} == ports
    assert {port["port"] for rule in policy["spec"]["egress"] for port in rule["ports"]} == ports | {
        53,
        443,
        6443,
    }


def test_the_notes_say_which_ports_of_prometheus_are_let_out() -> None:
    def notes(*arguments: str) -> str:
        return helm(
            "install", "demo", str(OPERATOR), "--dry-run=client", "--set=image.repository=x", *arguments
        ).split("NOTES:")[1]

    url = ("--set", "prometheus.default.url=http://prometheus-server")
    assert "lets the operator out to TCP 80, 9090" in notes(*url)
    assert "networkPolicy.prometheusPorts" in notes()
    for known in ("networkPolicy.enabled=false", "networkPolicy.prometheusPorts={80}"):
        assert "networkPolicy.prometheusPorts" not in notes(*url, "--set", known)


def test_the_port_of_prometheus_can_be_changed_for_kustomize_as_its_comment_says(tmp_path: Path) -> None:
    """The lines that are commented out work, and mean the rule for Prometheus."""
    shutil.copytree(ROOT / "charts" / "kustomize", tmp_path, dirs_exist_ok=True)
    file = tmp_path / "kustomization.yaml"
    before, patches = file.read_text().split("# patches:")
    file.write_text(before + "patches:" + patches.replace("\n# ", "\n"))
    command = [tools.kubectl(), "kustomize", tmp_path]
    said = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout
    egress = only(list(yaml.safe_load_all(said)), "NetworkPolicy")["spec"]["egress"]
    assert [rule["ports"][0]["port"] for rule in egress] == [53, 443, 10902, 443]


@pytest.mark.parametrize("name", [{"nameOverride": "rollouts"}, {"fullnameOverride": "rollouts"}])
async def test_the_plugin_finds_the_operators_pods_whatever_the_chart_calls_them(name: Json) -> None:
    deployment = only(render(OPERATOR, name), "Deployment")["spec"]
    labels = deployment["template"]["metadata"]["labels"]
    pod = {"metadata": {"name": "operator-0", "namespace": "sys"}, "spec": deployment["template"]["spec"]}

    class Api:
        async def request(self, _method: str, _path: str, *, query: Json, attempts: int) -> Json:
            wanted = dict(pair.split("=") for pair in query["labelSelector"].split(","))
            assert not wanted.items() <= deployment["selector"]["matchLabels"].items(), "it can never change"
            return {"items": [pod] if wanted.items() <= labels.items() else []}

        async def read_text(self, path: str) -> str:
            assert path == "/api/v1/namespaces/sys/pods/operator-0:8080/proxy/metrics"
            sample = 'modelrollout_criterion_value{criterion="errors",name="emotion",namespace="ml"} 0.25'
            return f"modelrollout_leader 1.0\n{sample}\n"

    live = await live_values(cast(PlainKubeApi, Api()), None, "ml", "emotion")
    assert live.values == {"errors": 0.25}


def test_dashboards_can_do_without_labels_of_their_own() -> None:
    values = {"metrics": {"dashboards": {"enabled": True, "labels": {"grafana_dashboard": None}}}}
    found = [
        o for o in of_kind(render(OPERATOR, values), "ConfigMap") if "dashboard" in o["metadata"]["name"]
    ]
    assert len(found) == 2
    assert all("app.kubernetes.io/name" in item["metadata"]["labels"] for item in found)
    assert not any("grafana_dashboard" in item["metadata"]["labels"] for item in found)


def test_a_changed_list_of_servers_makes_new_pods() -> None:
    def checksum(url: str) -> str:
        deployment = only(render(OPERATOR, {"prometheus": {"default": {"url": url}}}), "Deployment")
        return str(deployment["spec"]["template"]["metadata"]["annotations"]["checksum/prometheus"])

    assert checksum("http://a:9090") != checksum("http://b:9090")


def test_the_environment_is_what_the_operator_reads() -> None:
    """Each variable of the Deployment is a setting the operator knows, and it accepts them all."""
    from modelrollout.operator.settings import load_settings

    deployment = only(
        render(OPERATOR, {"watchNamespaces": ["b", "a"], "log": {"level": "debug"}, "maxClockSkew": 7.5}),
        "Deployment",
    )
    container = deployment["spec"]["template"]["spec"]["containers"][0]
    environment = {e["name"]: e.get("value", "from-the-pod") for e in container["env"]}
    environment.pop("MODELROLLOUT_PROMETHEUS_CONFIG")
    settings = load_settings([], {**environment, "MODELROLLOUT_PROMETHEUS_URL": "http://prometheus:9090"})
    assert settings.namespaces == ("a", "b")
    assert settings.identity == settings.lease_namespace == "from-the-pod"
    assert settings.lease_name == deployment["metadata"]["name"]
    assert (settings.log_level, settings.log_format) == ("debug", "json")
    assert settings.max_clock_skew == 7.5
    assert settings.port == container["ports"][0]["containerPort"]
    assert settings.shutdown < deployment["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]


def server(**more: Any) -> Json:
    """Values with one Prometheus server that has a Secret."""
    return {"prometheus": {"default": {"url": "http://p", "secretName": "s", **more}}}


REFUSED: list[tuple[Json, str]] = [
    ({"replicas": 3}, "replicas"),
    ({"replicaCount": -1}, "replicaCount"),
    ({"replicaCount": "two"}, "replicaCount"),
    ({"prometheus": {"default": {"url": "prometheus:9090"}}}, "prometheus"),
    ({"prometheus": {"default": {"url": "http://user:secret@prometheus:9090"}}}, "url"),
    ({"prometheus": {"default": {"url": "http://p", "bearerToken": "t"}}}, "bearerToken"),
    ({"prometheus": {"default": {"url": "http://p", "secretKeys": {"ca": "ca.crt"}}}}, "secretName"),
    ({"prometheus": {"default": {"url": "http://p", "username": "u"}}}, "secretKeys"),
    (server(username="u", secretKeys={"ca": "ca.crt"}), "'password'"),
    (server(secretKeys={"password": "p"}), "'username'"),
    (server(username="u", secretKeys={"password": "p", "bearerToken": "t"}), "two ways to log in"),
    (server(secretKeys={"key": "tls.key"}), "'cert'"),
    (server(insecureSkipVerify=True, secretKeys={"ca": "ca.crt"}), "give one of them"),
    ({"prometheus": {"Default": {"url": "http://p"}}}, "Default"),
    ({"log": {"level": "verbose"}}, "level"),
    ({"image": {"digest": "latest"}}, "digest"),
    ({"image": {"pullPolicy": "Sometimes"}}, "pullPolicy"),
    ({"watchNamespaces": ["Team A"]}, "watchNamespaces"),
    ({"watchNamespaces": "team-a"}, "watchNamespaces"),
    ({"rbac": {"admin": True}}, "rbac"),
    ({"notifications": {"hosts": ["https://chat.example/hook"]}}, "hosts"),
    ({"crds": {"install": "yes"}}, "install"),
    ({"networkPolicy": {"apiServerPorts": []}}, "apiServerPorts"),
    ({"networkPolicy": {"apiServerPorts": [70000]}}, "apiServerPorts"),
    ({"metrics": {"podMonitor": {"interval": "often"}}}, "interval"),
    ({"metrics": {"prometheusRule": {"thresholds": {"regexFallback": 2}}}}, "regexFallback"),
    ({"metrics": {"prometheusRule": {"thresholds": {"f1": 0.5}}}}, "thresholds"),
    ({"metrics": {"prometheusRule": {"runbookURL": "the runbook"}}}, "runbookURL"),
    ({"metrics": {"prometheusRule": {"enabled": True, "thresholds": {"latencyP95": None}}}}, "latencyP95"),
    ({"networkPolicy": {"prometheusPorts": [0]}}, "prometheusPorts"),
    ({"podDisruptionBudget": {"maxUnavailable": 0}}, "maxUnavailable"),
    ({"serviceAccount": {"create": False}}, "serviceAccount.name"),
    ({"maxClockSkew": 0.1}, "maxClockSkew"),
    ({"maxClockSkew": "2s"}, "maxClockSkew"),
]


@pytest.mark.parametrize(("values", "named"), REFUSED, ids=[json.dumps(v)[:60] for v, _ in REFUSED])
def test_wrong_values_are_refused_by_name(values: Json, named: str) -> None:
    with pytest.raises(RenderError) as refused:
        render(OPERATOR, values)
    assert named in str(refused.value)


def test_no_threshold_can_be_left_out() -> None:
    """An alert without one would ask Prometheus for the name of the value."""
    schema: Any = json.loads((OPERATOR / "values.schema.json").read_text())
    for name in ("metrics", "prometheusRule", "thresholds"):
        schema = schema["properties"][name]
    given = yaml.safe_load((OPERATOR / "values.yaml").read_text())["metrics"]["prometheusRule"]["thresholds"]
    assert set(schema["required"]) == set(schema["properties"]) == set(given)


def test_the_chart_has_the_generated_crd() -> None:
    assert (OPERATOR / "files" / "modelrollout-crd.yaml").read_text() == (
        ROOT / "crds" / "modelrollout.yaml"
    ).read_text()


def test_the_crd_is_rendered_unchanged_but_for_its_metadata() -> None:
    generated = yaml.safe_load((ROOT / "crds" / "modelrollout.yaml").read_text())
    crd = only(render(OPERATOR), "CustomResourceDefinition")
    assert crd["spec"] == generated["spec"]
    assert crd["metadata"]["name"] == generated["metadata"]["name"]
    assert crd["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}


def test_what_is_generated_is_up_to_date(tmp_path: Path) -> None:
    """Dashboards, the chart's CRD and the manifests for kustomize are what `make generate` writes."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "hack" / "devcluster" / "src")}
    script = ROOT / "hack" / "dashboards" / "generate.py"
    subprocess.run([sys.executable, str(script), str(tmp_path)], check=True, env=environment, timeout=120)
    written = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file())
    assert len(written) == 5
    for path in written:
        assert (tmp_path / path).read_text() == (ROOT / "charts" / path).read_text(), f"{path}: make generate"


@pytest.mark.parametrize(("chart", "image"), [(OPERATOR, "operator"), (SERVER, "inference-server")])
def test_the_repository_of_the_image_is_asked_for_in_a_sentence(chart: Path, image: str) -> None:
    """A default would be pulled from a public hub, where the name may belong to anybody."""
    with pytest.raises(RenderError, match=f"such as --set image.repository=registry.example/{image}"):
        helm("template", "demo", str(chart))
    digest = "sha256:" + "0" * 64
    values = {"image": {"repository": "registry.example/pinned", "digest": digest, "tag": "ignored"}}
    for name, spec in pod_specs(render(chart, values)):
        assert {c["image"] for c in spec["containers"]} == {f"registry.example/pinned@{digest}"}, name
