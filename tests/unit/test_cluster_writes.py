"""Writes: fenced by the lease and by resourceVersions, and what the operator makes has the right form."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from modelrollout.api.constants import LABEL_VERSION
from modelrollout.api.workload import Validation
from modelrollout.cluster import resources
from modelrollout.cluster.cache import ClusterCache
from modelrollout.cluster.errors import ConflictError, NotFoundError, NotLeaderError
from modelrollout.cluster.fence import FencedApi
from modelrollout.cluster.leader_election import Leadership
from modelrollout.cluster.views import parse_deployment
from modelrollout.cluster.workloads.shadow import Shadow, build_service, build_shadow
from modelrollout.cluster.workloads.validation_jobs import JobOrder, build_job
from modelrollout.cluster.writer import EventNote, RolloutRef, Writer, with_finalizer, without_finalizer
from tests.support import manifests
from tests.support.fake_kube import FakeKube

DEPLOYMENT = resources.deployment("ns", "emotion-1")
ROLLOUT = resources.rollout("ns", "emotion")
OWNER = RolloutRef(namespace="ns", name="emotion", uid="u1", resource_version="1")


class Setup:
    """A Deployment in the fake API server and in the cache, and a writer."""

    def __init__(self, replicas: int = 4) -> None:
        self.api = FakeKube()
        self.leadership = Leadership.always()
        self.cache = ClusterCache(self.api, namespaces=(None,), listener=lambda *_: None)  # type: ignore[arg-type]
        self.fenced = FencedApi(self.api, self.leadership)  # type: ignore[arg-type]
        self.writer = Writer(self.fenced, self.cache)
        stored = self.api.put(
            DEPLOYMENT, manifests.deployment("emotion-1", replicas=replicas, namespace="ns")
        )
        self.cache.deployments.put(parse_deployment(stored))

    def touch(self, **spec: Any) -> None:
        """Somebody else changes the Deployment and the cache does not know yet."""
        stored = self.api.objects[DEPLOYMENT]
        stored["spec"] |= spec
        self.api.put(DEPLOYMENT, stored)

    @property
    def replicas(self) -> int:
        return int(self.api.objects[DEPLOYMENT]["spec"]["replicas"])


async def test_scaling_to_what_is_there_asks_nothing() -> None:
    setup = Setup()
    assert not await setup.writer.scale("ns", "emotion-1", 4)
    assert setup.api.requests == []


async def test_after_a_scale_the_cache_knows_at_once() -> None:
    setup = Setup()
    assert await setup.writer.scale("ns", "emotion-1", 2)
    assert not await setup.writer.scale("ns", "emotion-1", 2)
    assert setup.replicas == 2
    assert len(setup.api.writes()) == 1


async def test_a_conflict_over_something_else_is_looked_at_again_and_scaled() -> None:
    setup = Setup()
    setup.touch(paused=True)
    assert await setup.writer.scale("ns", "emotion-1", 2)
    assert setup.replicas == 2


async def test_a_count_that_somebody_else_changed_is_not_overwritten() -> None:
    setup = Setup()
    setup.touch(replicas=7)
    with pytest.raises(ConflictError):
        await setup.writer.scale("ns", "emotion-1", 2)
    assert setup.replicas == 7


async def test_a_deployment_made_anew_under_the_same_name_is_another_one() -> None:
    setup = Setup()
    setup.api.objects[DEPLOYMENT]["metadata"]["uid"] = "another"
    setup.touch()
    with pytest.raises(ConflictError):
        await setup.writer.scale("ns", "emotion-1", 2)
    assert setup.replicas == 4


async def test_the_answer_to_a_scale_does_not_bring_back_what_was_deleted_meanwhile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    setup = Setup()
    request = setup.api.request

    async def deleting(*words: Any, **options: Any) -> Any:
        answer = await request(*words, **options)
        setup.cache.deployments._remove(("ns", "emotion-1"))  # as the watch does on DELETED
        return answer

    monkeypatch.setattr(setup.api, "request", deleting)
    assert await setup.writer.scale("ns", "emotion-1", 2)
    assert setup.cache.deployments.get("ns", "emotion-1") is None


async def test_a_deployment_that_is_not_there_cannot_be_scaled() -> None:
    with pytest.raises(NotFoundError):
        await Setup().writer.scale("ns", "other", 2)


async def test_without_the_lease_nothing_is_written() -> None:
    setup = Setup()
    setup.api.put(ROLLOUT, {"metadata": {"name": "emotion"}})
    setup.leadership.end()
    with pytest.raises(NotLeaderError):
        await setup.writer.scale("ns", "emotion-1", 2)
    with pytest.raises(NotLeaderError):
        await setup.writer.write_status(OWNER, {"phase": "Idle"})
    with pytest.raises(NotLeaderError):
        await setup.writer.set_finalizers(OWNER, ())
    with pytest.raises(NotLeaderError):
        await setup.writer.post_event(OWNER, EventNote(reason="R", message="m", severity="Normal"))
    assert setup.api.writes() == []


async def test_a_status_decided_on_an_older_version_is_refused() -> None:
    setup = Setup()
    stored = setup.api.put(ROLLOUT, {"metadata": {"name": "emotion"}})
    version = stored["metadata"]["resourceVersion"]
    ref = RolloutRef(namespace="ns", name="emotion", uid=stored["metadata"]["uid"], resource_version=version)
    newer = await setup.writer.write_status(ref, {"phase": "Idle"})
    assert int(newer) > int(version)
    with pytest.raises(ConflictError):
        await setup.writer.write_status(ref, {"phase": "Progressing"})
    assert setup.api.objects[ROLLOUT]["status"] == {"phase": "Idle"}


async def test_an_event_that_is_told_again_is_the_same_event() -> None:
    setup = Setup()
    note = EventNote(
        reason="RollingBack",
        message="Back.",
        severity="Warning",
        id="18862f0",
        at=datetime(2026, 1, 5, 9, 0, tzinfo=UTC),
    )
    for _ in range(2):
        await setup.writer.post_event(OWNER, note)
    events = [obj for path, obj in setup.api.objects.items() if "/events/" in path]
    assert [event["metadata"]["name"] for event in events] == ["emotion.18862f0"]
    assert events[0]["firstTimestamp"] == "2026-01-05T09:00:00Z"


def test_finalizers_of_others_stay() -> None:
    ours = "modelrollout.dev/return-traffic"
    assert with_finalizer(("x",)) == ("x", ours)
    assert with_finalizer((ours, "x")) == (ours, "x")
    assert without_finalizer((ours, "x")) == ("x",)


def test_the_shadow_is_out_of_reach_of_the_service() -> None:
    shadow = Shadow(deployment="emotion-shadow", source="emotion-2", replicas=2, version="0123456789")
    made = build_shadow(
        manifests.deployment("emotion-2"), shadow=shadow, service_selector={"app": "emotion"}, owner=OWNER
    )
    labels = made["spec"]["template"]["metadata"]["labels"]
    assert "app" not in labels
    assert labels["version"] == "emotion-2"
    assert made["metadata"]["labels"][LABEL_VERSION] == "0123456789" and LABEL_VERSION not in labels
    assert made["spec"]["selector"]["matchLabels"].items() <= labels.items()
    assert made["spec"]["replicas"] == 2


def test_a_side_service_listens_where_the_clients_service_does() -> None:
    client = manifests.service("emotion")
    client["spec"]["ports"][0]["nodePort"] = 30000
    made = build_service(client, name="emotion-shadow", role="shadow", selector={"x": "y"}, owner=OWNER)
    assert made["spec"] == {
        "selector": {"x": "y"},
        "ports": [{"name": "http", "port": 80, "targetPort": 8080}],
    }


def test_a_job_runs_once_has_a_deadline_and_knows_the_candidate() -> None:
    validation = Validation(
        name="smoke", image="check:1", timeout="10m", ttl="1h", image_pull_secrets=("pull",)
    )
    order = JobOrder(
        name="emotion-smoke-1-abc", run="r1", validation=validation, candidate_url="http://c", owner=OWNER
    )
    spec = build_job(order)["spec"]
    pod = spec["template"]["spec"]
    assert (spec["backoffLimit"], pod["restartPolicy"]) == (0, "Never")
    assert spec["activeDeadlineSeconds"] > 600
    assert pod["containers"][0]["env"] == [{"name": "CANDIDATE_URL", "value": "http://c"}]
    assert pod["imagePullSecrets"] == [{"name": "pull"}]


def test_a_job_keeps_the_restricted_standard_and_has_no_rights_nobody_asked_for() -> None:
    def pod(**more: Any) -> dict[str, Any]:
        validation = Validation(name="smoke", image="check:1", **more)
        order = JobOrder(name="job", run="r1", validation=validation, candidate_url="http://c", owner=OWNER)
        spec: dict[str, Any] = build_job(order)["spec"]["template"]["spec"]
        return spec

    usual = pod()
    assert usual["securityContext"] == {"seccompProfile": {"type": "RuntimeDefault"}, "runAsNonRoot": True}
    context = usual["containers"][0]["securityContext"]
    assert context == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    assert usual["automountServiceAccountToken"] is False
    assert "runAsNonRoot" not in pod(run_as_root=True)["securityContext"]
    assert "automountServiceAccountToken" not in pod(service_account="checker")
