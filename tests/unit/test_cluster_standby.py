"""Which pods are outside the Service is known from answers to writes and lists, not only from a watch."""

from __future__ import annotations

import json
from typing import Any

from modelrollout.api.constants import ANNOTATION_PARKED, LABEL_PARKED
from modelrollout.cluster import resources
from modelrollout.cluster.cache import ClusterCache
from modelrollout.cluster.errors import ForbiddenError
from modelrollout.cluster.views import parse_deployment, parse_parked
from modelrollout.cluster.workloads.standby import Parking
from modelrollout.cluster.writer import RolloutRef
from tests.support import manifests
from tests.support.cached_cluster import see_replica_set, see_service, stored
from tests.support.fake_kube import FakeKube

OWNER = RolloutRef(namespace="ns", name="emotion", uid="uid-emotion", resource_version="1")
POD = resources.pod("ns", "mine")
PODS = resources.collection(resources.CORE, "pods", "ns")


class Setup:
    """One pod of stable behind the Service. No watch runs."""

    def __init__(self) -> None:
        self.api: Any = FakeKube()
        self.cache = ClusterCache(self.api, namespaces=(None,), listener=lambda *_: None)
        self.parking = Parking(self.api, self.cache)
        see_service(self.cache, selector={"app": "emotion", "serving": "yes"})
        raw = manifests.deployment("emotion-1", replicas=1, labels={"serving": "yes"})
        raw["status"] = {"replicas": 1}
        self.cache.deployments.put(parse_deployment(stored(raw)))
        owner = {"kind": "ReplicaSet", "name": see_replica_set(self.cache, "emotion-1", "5d8f7c9b44")}
        labels = {"app": "emotion", "serving": "yes"}
        meta = {"namespace": "ns", "name": "mine", "labels": labels, "ownerReferences": [owner]}
        self.list(self.api.put(POD, {"metadata": meta}))

    def list(self, *items: dict[str, Any]) -> None:
        self.api.put(PODS, {"items": list(items)})

    async def park(self) -> None:
        assert await self.parking.park("emotion-1", service="emotion", owner=OWNER)

    async def unpark(self) -> None:
        assert await self.parking.unpark(["emotion-1"], owner=OWNER) == frozenset()

    def known(self) -> list[str]:
        return [pod.name for pod in self.cache.parked_of("ns", "emotion")]


async def test_a_pod_outside_is_known_from_the_answer_and_put_back_without_a_watch() -> None:
    setup = Setup()
    await setup.park()
    assert setup.known() == ["mine"]
    await setup.unpark()
    assert setup.known() == []
    assert setup.api.objects[POD]["metadata"]["labels"] == {"app": "emotion", "serving": "yes"}


async def test_an_answer_that_is_older_than_what_the_watch_told_changes_nothing() -> None:
    setup = Setup()
    await setup.park()
    newer = json.loads(json.dumps(setup.api.objects[POD]))
    newer["metadata"]["resourceVersion"] = "900"
    view = parse_parked(newer)
    assert view is not None
    setup.cache.parked.put(view)
    await setup.unpark()
    assert setup.known() == ["mine"]


async def test_a_pod_that_is_gone_is_forgotten() -> None:
    setup = Setup()
    await setup.park()
    del setup.api.objects[POD]
    await setup.unpark()
    assert setup.known() == []


async def test_a_look_finds_pods_that_no_watch_told_and_forgets_those_that_are_back() -> None:
    setup = Setup()
    note = {"deployment": "emotion-1", "key": "serving", "value": "yes"}
    labels = {LABEL_PARKED: "emotion", "serving": "modelrollout-parked"}
    meta = {"namespace": "ns", "name": "mine", "labels": labels}
    meta["annotations"] = {ANNOTATION_PARKED: json.dumps(note)}
    setup.list(setup.api.put(POD, {"metadata": meta}))
    await setup.parking.look_again(OWNER)
    assert setup.known() == ["mine"]
    setup.list()
    await setup.parking.look_again(OWNER)
    assert setup.known() == []


async def test_a_refused_look_leaves_what_is_known_and_stops_nothing() -> None:
    setup = Setup()
    await setup.park()
    setup.api.failures.append(ForbiddenError(403, "Forbidden", "pods is forbidden"))
    await setup.parking.look_again(OWNER)
    assert setup.known() == ["mine"]
    assert setup.cache.stale("ns") == ()
