"""No write without the lease: of no kind, and not in a repetition either."""

from __future__ import annotations

import ast
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

import modelrollout
from modelrollout.api.workload import Candidate, Validation
from modelrollout.cluster import resources, retries
from modelrollout.cluster.cache import ClusterCache
from modelrollout.cluster.client import KubeApi
from modelrollout.cluster.errors import ApiUnavailableError, NotFoundError, NotLeaderError
from modelrollout.cluster.fence import FencedApi
from modelrollout.cluster.leader_election import Leadership
from modelrollout.cluster.views import ParkedView, parse_deployment, parse_job, parse_service
from modelrollout.cluster.workloads.candidate import CopyKeeper, CopyOrder, owner_reference
from modelrollout.cluster.workloads.shadow import Shadow, SideKeeper
from modelrollout.cluster.workloads.standby import Parking
from modelrollout.cluster.workloads.validation_jobs import JobKeeper, JobOrder
from modelrollout.cluster.writer import EventNote, RolloutRef, Writer
from tests.support import manifests
from tests.support.owned import job

NOTE = EventNote(reason="R", message="m", severity="Normal")
OWNER = RolloutRef(namespace="ns", name="emotion", uid="u1", resource_version="1")
SOURCES = Path(modelrollout.__file__).parent
MAY_HOLD_A_CONNECTION = {"client.py", "fence.py", "leader_election.py", "app.py"}


class Failing(KubeApi):
    """Answers reads and lets every write fail, so that it is tried again; the lease ends with the second."""

    def __init__(self, leadership: Leadership) -> None:  # no connection is made
        self.objects: dict[str, Any] = {}
        self.attempts: list[str] = []
        self.limits: list[float] = []
        self._leadership = leadership
        self._reload = None

    async def _once(
        self, method: str, path: str, query: Any, body: Any, content_type: str, seconds: float
    ) -> bytes:
        if method == "GET":
            if path not in self.objects:
                raise NotFoundError(404, "NotFound", path)
            return json.dumps(self.objects[path]).encode()
        self.attempts.append(f"{method} {path}")
        self.limits.append(seconds)
        if len(self.attempts) == 2:
            self._leadership.end()
        raise ApiUnavailableError(500, "InternalError", "made up by the test")


class Hands:
    """Everything that writes, over one failing API server, with what it needs to have seen."""

    def __init__(self) -> None:
        self.leadership = Leadership.always()
        self.server = Failing(self.leadership)
        api = FencedApi(self.server, self.leadership)
        self.cache = ClusterCache(api, namespaces=(None,), listener=lambda *_: None)
        self.writer = Writer(api, self.cache)
        self.side = SideKeeper(api, self.cache, self.writer)
        self.jobs = JobKeeper(api, self.cache)
        self.copies = CopyKeeper(api)
        self.parking = Parking(api, self.cache)
        stable = manifests.deployment("emotion-1", replicas=4, namespace="ns")
        service = manifests.service(namespace="ns")
        for number, (path, obj) in enumerate(
            ((resources.deployment("ns", "emotion-1"), stable), (resources.service("ns", "emotion"), service))
        ):
            obj["metadata"] |= {"resourceVersion": str(number + 1), "uid": f"uid-{number}"}
            self.server.objects[path] = obj
        stable["metadata"]["ownerReferences"] = [owner_reference(OWNER)]
        self.cache.deployments.put(parse_deployment(stable))
        self.cache.services.put(parse_service(service))

    async def unpark(self) -> None:
        pod = ParkedView(
            namespace="ns",
            name="pod",
            resource_version="3",
            rollout="emotion",
            deployment="emotion-1",
            key="serving",
            value="yes",
            ready=True,
        )
        self.cache.parked.put(pod)
        await self.parking.unpark(["emotion-1"], owner=OWNER)

    async def ensure_shadow(self) -> None:
        shadow = Shadow(deployment="emotion-shadow", source="emotion-1", replicas=1, version="v")
        await self.side.ensure_shadow(shadow, service="emotion", owner=OWNER)

    async def remove_shadow(self) -> None:
        there = manifests.deployment("emotion-shadow", namespace="ns")
        there["metadata"] |= {
            "resourceVersion": "4",
            "uid": "u4",
            "ownerReferences": [owner_reference(OWNER)],
        }
        self.cache.deployments.put(parse_deployment(there))
        await self.side.remove_shadow(OWNER)

    async def candidate_service(self) -> None:
        await self.side.candidate_url(candidate="emotion-1", shadowed=False, service="emotion", owner=OWNER)

    async def change_service(self) -> None:
        there = manifests.service("emotion-candidate", namespace="ns", selector={"app": "other"})
        there["metadata"] |= {
            "resourceVersion": "5",
            "uid": "u5",
            "ownerReferences": [owner_reference(OWNER)],
        }
        self.cache.services.put(parse_service(there))
        await self.candidate_service()

    async def start_job(self) -> None:
        validation = Validation.model_validate({"name": "smoke", "image": "check:1"})
        await self.jobs.start(
            JobOrder(name="job", run="r", validation=validation, candidate_url="http://x", owner=OWNER)
        )

    async def end_job(self) -> None:
        self.cache.jobs.put(parse_job(job("job", owner=OWNER)))
        await self.jobs.end("job", owner=OWNER)

    async def expire_job(self) -> None:
        self.cache.jobs.put(parse_job(job("job", owner=OWNER, succeeded=True)))
        await self.jobs.expire("job", after=0, owner=OWNER)


WRITES: dict[str, Callable[[Hands], Awaitable[Any]]] = {
    "status": lambda hands: hands.writer.write_status(OWNER, {"phase": "Idle"}),
    "finalizers": lambda hands: hands.writer.set_finalizers(OWNER, ()),
    "scale": lambda hands: hands.writer.scale("ns", "emotion-1", 2),
    "event": lambda hands: hands.writer.post_event(OWNER, NOTE),
    "pod": lambda hands: hands.unpark(),
    "shadow": lambda hands: hands.ensure_shadow(),
    "no shadow": lambda hands: hands.remove_shadow(),
    "service": lambda hands: hands.candidate_service(),
    "service's selector": lambda hands: hands.change_service(),
    "job": lambda hands: hands.start_job(),
    "no job": lambda hands: hands.end_job(),
    "job's time to live": lambda hands: hands.expire_job(),
    "copy": lambda hands: hands.copies.create(
        CopyOrder(
            name="emotion-copy",
            stable="emotion-1",
            template=None,
            candidate=Candidate.model_validate({"image": "emotion:2"}),
            owner=OWNER,
        )
    ),
}


@pytest.mark.parametrize("kind", WRITES)
async def test_a_write_is_not_repeated_after_the_lease_ended(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retries, "FIRST_PAUSE", 0.001)
    hands = Hands()
    with pytest.raises(NotLeaderError):
        await WRITES[kind](hands)
    assert len(hands.server.attempts) == 2, hands.server.attempts


@pytest.mark.parametrize("kind", WRITES)
async def test_nothing_is_written_without_the_lease(kind: str) -> None:
    hands = Hands()
    hands.leadership.end()
    with pytest.raises(NotLeaderError):
        await WRITES[kind](hands)
    assert hands.server.attempts == []


async def test_an_attempt_ends_before_another_replica_can_act(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retries, "FIRST_PAUSE", 0.001)
    hands, now = Hands(), 100.0
    leadership = Leadership(clock=lambda: now)
    leadership.extend(105.0, others_from=108.0)
    now = 104.5
    api = FencedApi(hands.server, leadership)
    with pytest.raises(ApiUnavailableError):
        await api.request("PUT", "/api/v1/x", body={}, attempts=1)
    assert hands.server.limits == [3.5]


def test_whoever_acts_in_the_cluster_cannot_hold_an_unfenced_connection() -> None:
    """Only the connection itself, the fence, the election and the wiring know the class at all."""
    knowing = set()
    for path in (
        file for layer in ("cluster", "traffic", "operator") for file in (SOURCES / layer).glob("**/*.py")
    ):
        names = {node.id for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Name)}
        if "KubeApi" in names:
            knowing.add(path.name)
    assert knowing <= MAY_HOLD_A_CONNECTION
