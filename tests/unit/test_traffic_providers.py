"""What every way of splitting traffic must do; a new provider joins by one more entry in PROVIDERS."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from modelrollout.cluster import resources
from modelrollout.cluster.cache import ClusterCache
from modelrollout.cluster.errors import ApiError, NotLeaderError
from modelrollout.cluster.fence import FencedApi
from modelrollout.cluster.leader_election import Leadership
from modelrollout.cluster.views import parse_deployment
from modelrollout.cluster.writer import RolloutRef, Writer
from modelrollout.decision.types import Scale
from modelrollout.traffic.provider import TrafficProvider, TrafficTarget
from modelrollout.traffic.replicas import ReplicasProvider
from tests.support import manifests
from tests.support.cached_cluster import endpoint, pods, see_replica_set, see_service, see_slice
from tests.support.fake_kube import FakeKube

TARGET = TrafficTarget(
    rollout=RolloutRef(namespace="ns", name="emotion", uid="u1", resource_version="1"),
    service="emotion",
    stable="emotion-1",
    candidate="emotion-2",
)


class Cluster:
    """Two Deployments behind a Service, in a fake API server and in the caches."""

    def __init__(self, make: Callable[[Writer, ClusterCache], TrafficProvider]) -> None:
        self.api = FakeKube()
        self.leadership = Leadership.always()
        self.cache = ClusterCache(self.api, namespaces=(None,), listener=lambda *_: None)  # type: ignore[arg-type]
        for name, replicas in (("emotion-1", 4), ("emotion-2", 0)):
            manifest = manifests.deployment(name, replicas=replicas, namespace="ns")
            self.cache.deployments.put(
                parse_deployment(self.api.put(resources.deployment("ns", name), manifest))
            )
            see_replica_set(self.cache, name, "5d8f7c9b44")
        see_service(self.cache)
        self.provider = make(Writer(FencedApi(self.api, self.leadership), self.cache), self.cache)  # type: ignore[arg-type]

    def ready(self, stable: int, candidate: int) -> None:
        """Ready endpoints of both versions."""
        names = [*pods("emotion-1-5d8f7c9b44", stable), *pods("emotion-2-5d8f7c9b44", candidate)]
        see_slice(self.cache, [endpoint(name) for name in names])

    def replicas(self, name: str) -> int:
        return int(self.api.objects[resources.deployment("ns", name)]["spec"]["replicas"])


PROVIDERS = {"Replicas": ReplicasProvider}


@pytest.fixture(params=sorted(PROVIDERS))
def cluster(request: pytest.FixtureRequest) -> Cluster:
    return Cluster(PROVIDERS[request.param])


HALF = (Scale(deployment="emotion-1", replicas=2), Scale(deployment="emotion-2", replicas=2))


async def test_setting_a_weight_sets_the_counts(cluster: Cluster) -> None:
    await cluster.provider.ensure(TARGET)
    assert await cluster.provider.set_weight(TARGET, weight=50, scales=HALF) > 0
    assert (cluster.replicas("emotion-1"), cluster.replicas("emotion-2")) == (2, 2)


async def test_setting_it_again_writes_nothing(cluster: Cluster) -> None:
    await cluster.provider.ensure(TARGET)
    await cluster.provider.set_weight(TARGET, weight=50, scales=HALF)
    before = len(cluster.api.writes())
    await cluster.provider.ensure(TARGET)
    assert await cluster.provider.set_weight(TARGET, weight=50, scales=HALF) == 0
    assert len(cluster.api.writes()) == before


@pytest.mark.parametrize(
    ("stable", "candidate", "weight"), [(4, 0, 0.0), (3, 1, 25.0), (0, 4, 100.0), (0, 0, None)]
)
def test_the_weight_is_read_back_never_assumed(
    cluster: Cluster, stable: int, candidate: int, weight: float | None
) -> None:
    cluster.ready(stable, candidate)
    assert cluster.provider.observed_weight(TARGET) == weight


async def test_one_write_that_fails_stops_no_other_and_is_raised(cluster: Cluster) -> None:
    del cluster.api.objects[resources.deployment("ns", "emotion-1")]
    with pytest.raises(ApiError):
        await cluster.provider.set_weight(TARGET, weight=50, scales=HALF)
    assert cluster.replicas("emotion-2") == 2


async def test_a_failure_is_raised_when_all_writes_have_ended(cluster: Cluster) -> None:
    del cluster.api.objects[resources.deployment("ns", "emotion-1")]
    request = cluster.api.request

    async def slow(method: str, path: str, **options: Any) -> Any:
        if "emotion-2" in path:
            await asyncio.sleep(0.05)
        return await request(method, path, **options)

    cluster.api.request = slow  # type: ignore[method-assign]
    with pytest.raises(ApiError):
        await cluster.provider.set_weight(TARGET, weight=50, scales=HALF)
    assert cluster.replicas("emotion-2") == 2


def test_without_a_candidate_nothing_of_the_traffic_is_its(cluster: Cluster) -> None:
    cluster.ready(4, 0)
    assert cluster.provider.observed_weight(replace(TARGET, candidate=None)) == 0.0


async def test_without_the_lease_nothing_moves(cluster: Cluster) -> None:
    cluster.leadership.end()
    with pytest.raises(NotLeaderError):
        await cluster.provider.set_weight(TARGET, weight=50, scales=HALF)
    assert cluster.api.writes() == []


async def test_removing_is_possible_at_any_time_and_twice(cluster: Cluster) -> None:
    await cluster.provider.remove(TARGET)
    await cluster.provider.ensure(TARGET)
    await cluster.provider.remove(TARGET)
    await cluster.provider.remove(TARGET)
    assert cluster.replicas("emotion-1") == 4
