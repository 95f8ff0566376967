"""What is kept of each object of the cluster."""

from __future__ import annotations

from typing import Any

import pytest

from modelrollout.cluster.views import (
    owner_of,
    parse_autoscaler,
    parse_deployment,
    parse_job,
    parse_service,
    parse_slice,
)
from tests.support import manifests


def stored(manifest: dict[str, Any], **meta: Any) -> dict[str, Any]:
    """A manifest as the API server gives it back."""
    manifest["metadata"] |= {"namespace": "ns", "uid": "u1", "resourceVersion": "5", **meta}
    return manifest


def slice_of(
    *pods: tuple[str, bool | None], kind: str = "Pod", service: str | None = "emotion"
) -> dict[str, Any]:
    endpoints = [
        {"conditions": {} if ready is None else {"ready": ready}, "targetRef": {"kind": kind, "name": name}}
        for name, ready in pods
    ]
    labels = {"kubernetes.io/service-name": service} if service else {}
    meta = {"namespace": "ns", "name": "s1", "resourceVersion": "5", "labels": labels}
    return {"metadata": meta, "addressType": "IPv4", "endpoints": endpoints}


@pytest.mark.parametrize(
    ("pod", "owner"),
    [
        ("emotion-5d4f8c7b9-x2x9z", "emotion"),
        ("emotion-2-4-1-5d4f8c7b9-x2x9z", "emotion-2-4-1"),
        ("emotion-x2x9z", None),
        ("emotion-5d4f8c7b9-toolong", None),
        ("emotion", None),
        ("", None),
    ],
)
def test_a_pod_name_tells_its_deployment(pod: str, owner: str | None) -> None:
    assert owner_of(pod) == owner


def test_only_ready_pods_count_and_absent_means_ready() -> None:
    view = parse_slice(
        slice_of(("a-1111111111-aaaaa", True), ("a-1111111111-bbbbb", False), ("b-2222222222-aaaaa", None))
    )
    assert view is not None
    assert (view.ready_of("a"), view.ready_of("b"), view.ready_of("c")) == (1, 1, 0)


def test_a_deployment_whose_name_begins_like_another_is_not_mistaken() -> None:
    view = parse_slice(slice_of(("emotion-2-1111111111-aaaaa", True)))
    assert view is not None
    assert (view.ready_of("emotion"), view.ready_of("emotion-2")) == (0, 1)


def test_pod_names_that_were_cut_still_tell_a_long_deployment_name() -> None:
    deployment = "a" * 60
    pod = f"{deployment}-1234567890-"[:58] + "x2x9z"
    view = parse_slice(slice_of((pod, True)))
    assert view is not None
    assert len(pod) == 63
    assert (view.ready_of(deployment), view.ready_of("a")) == (1, 0)


def test_endpoints_that_are_no_pods_or_of_no_service_do_not_count() -> None:
    view = parse_slice(slice_of(("a-1111111111-aaaaa", True), kind="Node"))
    assert view is not None and view.ready_of("a") == 0
    assert parse_slice(slice_of(service=None)) is None


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
