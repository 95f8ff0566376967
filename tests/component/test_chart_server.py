"""The chart of the inference server: combinations render, replicas are left alone, nonsense is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from modelrollout.api.spec import ModelRolloutSpec
from modelrollout.api.workload import Validation
from modelrollout.cluster.workloads.validation_jobs import JobOrder, build_job
from modelrollout.cluster.writer import RolloutRef
from tests.support.charts import (
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

Json = dict[str, Any]

CHOICES: list[list[Json]] = [
    [{}, {"rollout": {"candidate": "v1-1"}}, {"rollout": {"enabled": False}}],
    [{}, {"podMonitor": {"enabled": True, "labels": {"release": "prometheus"}}}],
    [
        {},
        {"networkPolicy": {"enabled": True}},
        {"networkPolicy": {"enabled": True, "ingressFrom": [{"namespaceSelector": {}}]}},
        {"networkPolicy": {"enabled": True, "extraEgress": [{"ports": [{"port": 443, "protocol": "TCP"}]}]}},
    ],
    [{}, {"podDisruptionBudget": {"enabled": False}}],
    [
        {},
        {"admin": {"secretName": "admin"}},
        {"admin": {"secretName": "a", "ingressFrom": [{"podSelector": {}}]}},
    ],
    [{}, {"tests": {"enabled": False}}],
    [{}, {"image": {"digest": "sha256:" + "0" * 64}}, {"imagePullSecrets": [{"name": "registry"}]}],
    [
        {},
        {
            "versions": {
                "v2": {"image": {"tag": "2"}, "env": {"INFERENCE_WORKERS": "2"}, "podAnnotations": {"a": "b"}}
            }
        },
    ],
    [{}, {"fullnameOverride": "classifier", "nameOverride": "classifier"}],
    [
        {},
        {
            "env": {"INFERENCE_LOG_OUTPUTS": "none"},
            "extraVolumes": [{"name": "models", "emptyDir": {}}],
            "extraVolumeMounts": [{"name": "models", "mountPath": "/models/own"}],
            "podAnnotations": {"c": "d"},
            "podLabels": {"team": "ml"},
            "nodeSelector": {"kubernetes.io/os": "linux"},
            "tolerations": [{"operator": "Exists"}],
            "affinity": {"nodeAffinity": {}},
        },
    ],
]


@pytest.fixture(scope="module")
def rendered() -> list[tuple[Json, list[Json]]]:
    """Every combination of values with what it renders."""
    return [(values, render(SERVER, values, release="emotion")) for values in combinations(CHOICES)]


def test_lint_finds_nothing() -> None:
    assert "0 chart(s) failed" in helm("lint", "--strict", str(SERVER))


def test_the_service_selects_every_version_and_each_deployment_only_its_own(
    rendered: list[tuple[Json, list[Json]]],
) -> None:
    for values, objects in rendered:
        selector = only(objects, "Service")["spec"]["selector"]
        selectors = []
        for deployment in of_kind(objects, "Deployment"):
            labels = deployment["spec"]["template"]["metadata"]["labels"]
            assert selector.items() <= labels.items(), values
            assert "helm.sh/chart" not in labels, "an upgrade of the chart must not restart every pod"
            own = deployment["spec"]["selector"]["matchLabels"]
            assert own.items() <= labels.items()
            assert selector.keys() - own.keys(), (
                "no label is left by which pods can be taken out of the Service"
            )
            selectors.append(tuple(sorted(own.items())))
        assert len(set(selectors)) == len(selectors) >= 2


def test_every_pod_is_restricted(rendered: list[tuple[Json, list[Json]]]) -> None:
    for values, objects in rendered:
        for name, spec in pod_specs(objects):
            assert not list(restricted_violations(spec)), (name, values)
            volumes = {volume["name"] for volume in spec["volumes"]}
            assert {m["name"] for c in spec["containers"] for m in c["volumeMounts"]} <= volumes


def test_only_stable_starts_with_pods(rendered: list[tuple[Json, list[Json]]]) -> None:
    for _, objects in rendered:
        counts = {
            d["metadata"]["name"].split("-", 1)[1]: d["spec"]["replicas"]
            for d in of_kind(objects, "Deployment")
        }
        assert counts.pop("v1-0") == 4
        assert set(counts.values()) == {0}


def test_the_rollout_is_one_that_the_operator_accepts(rendered: list[tuple[Json, list[Json]]]) -> None:
    for values, objects in rendered:
        rollouts = of_kind(objects, "ModelRollout")
        assert len(rollouts) == values.get("rollout", {}).get("enabled", True)
        for rollout in rollouts:
            spec = ModelRolloutSpec.model_validate(rollout["spec"])
            names = {d["metadata"]["name"] for d in of_kind(objects, "Deployment")}
            assert spec.stable is not None
            assert {spec.stable.deployment, spec.candidate.deployment} <= names
            assert spec.service == only(objects, "Service")["metadata"]["name"]


def test_the_network_policy_admits_whom_it_must(rendered: list[tuple[Json, list[Json]]]) -> None:
    """Once it is said who may send requests, validations of the operator and `helm test` still may."""
    job = JobOrder(
        name="smoke-1",
        run="1",
        validation=Validation(name="smoke", image="checks:1"),
        candidate_url="http://emotion-candidate",
        owner=RolloutRef(namespace="sys", name="emotion", uid="1", resource_version="1"),
    )
    validation = build_job(job)["spec"]["template"]["metadata"]["labels"]
    for values, objects in rendered:
        for policy in of_kind(objects, "NetworkPolicy"):
            given = values["networkPolicy"].get("ingressFrom")
            rule, *others = policy["spec"]["ingress"]
            assert all(port["port"] == "admin" for other in others for port in other["ports"])
            assert ("from" in rule) == bool(given), values
            peers = rule.get("from", [])
            assert peers[:1] == (given or [])
            selectors = [peer["podSelector"]["matchLabels"] for peer in peers[1:]]
            admitted = [*of_kind(objects, "Pod"), {"metadata": {"labels": validation}}] if given else []
            for pod in admitted:
                assert any(chosen.items() <= pod["metadata"]["labels"].items() for chosen in selectors), pod
            assert len(selectors) == len(admitted)
            assert values["networkPolicy"].get("extraEgress", []) == policy["spec"]["egress"][2:]


def test_the_server_accepts_the_environment() -> None:
    from inference_server.settings import Settings

    deployment = of_kind(render(SERVER, release="emotion"), "Deployment")[0]
    container = deployment["spec"]["template"]["spec"]["containers"][0]
    environment = {e["name"]: e.get("value", "pod-1") for e in container["env"]}
    settings = Settings.from_environment(environment)
    grace = deployment["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
    assert settings.drain + settings.shutdown_grace < grace
    assert str(settings.artifacts) == "/models/emotion-1.0"
    assert settings.port == container["ports"][0]["containerPort"]


def test_without_a_secret_there_is_no_admin_port() -> None:
    text = json.dumps(render(SERVER, {"networkPolicy": {"enabled": True}}))
    assert "ADMIN" not in text and '"admin"' not in text


def test_the_admin_port_has_its_token_from_a_secret_and_is_closed_to_clients() -> None:
    closed = {"networkPolicy": {"enabled": True}, "admin": {"secretName": "reloads", "secretKey": "key"}}
    objects = render(SERVER, closed)
    deployment = of_kind(objects, "Deployment")[0]["spec"]["template"]["spec"]
    container = deployment["containers"][0]
    environment = {each["name"]: each.get("value") for each in container["env"]}
    assert environment["INFERENCE_ADMIN_TOKEN_FILE"] == "/etc/inference/admin/token"
    assert environment["INFERENCE_ADMIN_PORT"] == "8081"
    assert {"name": "admin", "containerPort": 8081} in container["ports"]
    secret = {"secretName": "reloads", "items": [{"key": "key", "path": "token"}]}
    assert {"name": "admin", "secret": secret} in deployment["volumes"]
    assert {"name": "admin", "mountPath": "/etc/inference/admin", "readOnly": True} in container[
        "volumeMounts"
    ]
    assert {port["targetPort"] for port in only(objects, "Service")["spec"]["ports"]} == {"http"}

    def let_in(values: Json) -> list[Json]:
        policy = only(render(SERVER, values), "NetworkPolicy")
        return [
            rule for rule in policy["spec"]["ingress"] if any(p["port"] == "admin" for p in rule["ports"])
        ]

    assert let_in(closed) == []
    some = [{"namespaceSelector": {"matchLabels": {"team": "ml"}}}]
    assert [r["from"] for r in let_in({**closed, "admin": {"secretName": "a", "ingressFrom": some}})] == [
        some
    ]


REFUSED: list[tuple[Json, str]] = [
    ({"stable": "v9"}, "stable is"),
    ({"rollout": {"candidate": "v9"}}, "rollout.candidate is"),
    ({"versions": {"V 2": {}}}, "V 2"),
    ({"versions": {"v2": {"replicas": 3}}}, "replicas"),
    ({"replicas": 0}, "replicas"),
    ({"env": {"INFERENCE_WORKERS": 2}}, "INFERENCE_WORKERS"),
    ({"rollout": {"spec": {"replicas": 3}}}, "replicas"),
    ({"rollout": {"spec": {"stable": {}}}}, "stable"),
    ({"service": {"port": 0}}, "port"),
    ({"admin": {"port": 8080}}, "port"),
    ({"admin": {"token": "in the values"}}, "token"),
    ({"image": {"digest": "sha256:short"}}, "digest"),
    ({"podMonitor": {"interval": "10"}}, "interval"),
    ({"candidate": "v1-1"}, "candidate"),
]


@pytest.mark.parametrize(("values", "named"), REFUSED, ids=[json.dumps(v)[:60] for v, _ in REFUSED])
def test_wrong_values_are_refused_by_name(values: Json, named: str) -> None:
    with pytest.raises(RenderError) as refused:
        render(SERVER, values)
    assert named in str(refused.value)
