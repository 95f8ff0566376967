"""What is kept of each object of the cluster."""

from __future__ import annotations

from typing import Any

import pytest

from modelrollout.cluster.views import (
    parse_autoscaler,
    parse_deployment,
    parse_job,
    parse_service,
)
from tests.support import manifests


def stored(manifest: dict[str, Any], **meta: Any) -> dict[str, Any]:
    """A manifest as the API server gives it back."""
    manifest["metadata"] |= {"namespace": "ns", "uid": "u1", "resourceVersion": "5", **meta}
    return manifest


def test_a_deployment_keeps_what_decisions_need() -> None:
    raw = stored(manifests.deployment("emotion-1", replicas=3))
    raw["metadata"]["ownerReferences"] = [
        {"kind": "ModelRollout", "uid": "r1"},
        {"kind": "Other", "uid": "o"},
    ]
    raw["metadata"]["labels"] = {"modelrollout.dev/rollout": "emotion"}
    raw["status"] = {
        "replicas": 2,
        "readyReplicas": 1,
        "conditions": [{"type": "ReplicaFailure", "status": "True", "message": "quota"}],
    }
    view = parse_deployment(raw)
    assert (view.desired, view.pods, view.ready, view.owner) == (3, 2, 1, "r1")
    assert (view.rollout, view.failure, view.containers) == ("emotion", "quota", ("server",))
    assert view.selector == {"app": "emotion", "version": "emotion-1"}


def test_a_deployment_without_replicas_or_status_has_the_defaults_of_the_api() -> None:
    raw = stored(manifests.deployment("emotion-1"))
    del raw["spec"]["replicas"]
    view = parse_deployment(raw)
    assert (view.desired, view.pods, view.ready, view.failure) == (1, 0, 0, None)


def test_the_resource_version_alone_is_no_change() -> None:
    raw = stored(manifests.deployment("emotion-1"))
    before = parse_deployment(raw)
    raw["metadata"]["resourceVersion"] = "6"
    assert parse_deployment(raw) == before


def test_a_service_without_selector_or_ports() -> None:
    raw = stored({"spec": {}, "metadata": {"name": "emotion"}})
    view = parse_service(raw)
    assert (view.selector, view.port) == ({}, None)


@pytest.mark.parametrize(
    ("field", "uneven"),
    [
        ({}, ()),
        ({"sessionAffinity": "None", "internalTrafficPolicy": "Cluster", "clusterIP": "10.0.0.1"}, ()),
        ({"sessionAffinity": "ClientIP"}, ("sessionAffinity: ClientIP",)),
        ({"internalTrafficPolicy": "Local"}, ("internalTrafficPolicy: Local",)),
        ({"externalTrafficPolicy": "Local"}, ("externalTrafficPolicy: Local",)),
        ({"trafficDistribution": "PreferClose"}, ("trafficDistribution: PreferClose",)),
        ({"publishNotReadyAddresses": True}, ("publishNotReadyAddresses: true",)),
        ({"clusterIP": "None"}, ("clusterIP: None",)),
    ],
)
def test_what_bends_the_shares_of_a_service(field: dict[str, Any], uneven: tuple[str, ...]) -> None:
    raw = stored(manifests.service())
    raw["spec"] |= field
    view = parse_service(raw)
    assert (view.uneven, view.ports) == (uneven, ("http",))


@pytest.mark.parametrize(
    ("selector", "matches"),
    [
        ({"matchLabels": {"app": "emotion"}}, True),
        ({"matchLabels": {"app": "other"}}, False),
        ({"matchExpressions": [{"key": "version", "operator": "In", "values": ["1", "2"]}]}, True),
        ({"matchExpressions": [{"key": "version", "operator": "In", "values": ["2"]}]}, False),
        ({"matchExpressions": [{"key": "version", "operator": "NotIn", "values": ["2"]}]}, True),
        ({"matchExpressions": [{"key": "version", "operator": "NotIn", "values": ["1"]}]}, False),
        ({"matchExpressions": [{"key": "version", "operator": "Exists"}]}, True),
        ({"matchExpressions": [{"key": "track", "operator": "Exists"}]}, False),
        ({"matchExpressions": [{"key": "track", "operator": "DoesNotExist"}]}, True),
        ({"matchExpressions": [{"key": "version", "operator": "DoesNotExist"}]}, False),
    ],
)
def test_which_pods_a_selector_matches(selector: dict[str, Any], matches: bool) -> None:
    raw = stored(manifests.deployment("emotion-1"))
    raw["spec"]["selector"] = selector
    assert parse_deployment(raw).selects({"app": "emotion", "version": "1"}) is matches


@pytest.mark.parametrize(
    ("conditions", "succeeded", "failed"),
    [
        ([], False, False),
        ([{"type": "Complete", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}], True, False),
        ([{"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded"}], False, True),
        ([{"type": "Failed", "status": "False"}], False, False),
    ],
)
def test_where_a_job_stands(conditions: list[dict[str, str]], succeeded: bool, failed: bool) -> None:
    meta = {
        "namespace": "ns",
        "name": "j",
        "uid": "u",
        "resourceVersion": "1",
        "creationTimestamp": "2026-01-01T00:00:00Z",
        "labels": {"modelrollout.dev/rollout": "emotion"},
    }
    view = parse_job({"metadata": meta, "spec": {}, "status": {"conditions": conditions}})
    assert (view.succeeded, view.failed, view.rollout) == (succeeded, failed, "emotion")


def test_an_autoscaler_names_its_target() -> None:
    raw = stored(manifests.autoscaler("h", kind="Deployment", target="emotion-1"))
    view = parse_autoscaler(raw)
    assert (view.target_kind, view.target_name) == ("Deployment", "emotion-1")
