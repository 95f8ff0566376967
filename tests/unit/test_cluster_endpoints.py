"""Which endpoints count: those that clients reach, each once, and whose they are by their pods' owners."""

from __future__ import annotations

from typing import Any

import pytest

from modelrollout.cluster.cache import ClusterCache
from modelrollout.cluster.endpoints import parse_replica_set, parse_slice
from tests.support.cached_cluster import (
    empty_cache,
    endpoint,
    pods,
    see_deployment,
    see_replica_set,
    see_service,
    see_slice,
)


@pytest.fixture
def cache() -> ClusterCache:
    """Service emotion, and Deployments emotion-1 and emotion-2."""
    cache = empty_cache()
    see_service(cache)
    see_deployment(cache, "emotion-1")
    see_deployment(cache, "emotion-2")
    return cache


ONE, TWO = pods("emotion-1-5d8f7c9b44", 3), pods("emotion-2-5d8f7c9b44", 3)


@pytest.mark.parametrize(
    ("conditions", "counts"),
    [
        ({}, True),
        ({"ready": None, "serving": None, "terminating": None}, True),
        ({"ready": False, "serving": False}, False),
        ({"ready": True, "serving": False}, False),  # publishNotReadyAddresses says so of every pod
        ({"ready": True, "serving": True, "terminating": True}, False),
        ({"ready": False, "serving": True, "terminating": True}, False),
    ],
)
def test_scenario_43_only_pods_that_are_ready_serving_and_stay_count(
    cache: ClusterCache, conditions: dict[str, Any], counts: bool
) -> None:
    see_slice(cache, [endpoint(TWO[0], **conditions)])
    assert cache.ready("ns", "emotion", ["emotion-2"]) == {"emotion-2": int(counts)}
    assert cache.endpoints("ns", "emotion").unowned == ()


@pytest.mark.parametrize("ports", [(), ("metrics",), ("",)])
def test_scenario_43_endpoints_without_the_ports_of_the_service_do_not_count(
    cache: ClusterCache, ports: tuple[str, ...]
) -> None:
    """As the API server makes them for pods that lack the port which targetPort names."""
    see_slice(cache, [endpoint(pod) for pod in ONE])
    see_slice(cache, [endpoint(pod) for pod in TWO], name="emotion-b", ports=ports)
    found = cache.endpoints("ns", "emotion")
    assert (found.ready, found.without_ports) == ({"emotion-1": 3}, {"emotion-2": 3})


def test_scenario_43_every_port_of_the_service_is_needed(cache: ClusterCache) -> None:
    see_service(cache, "both", ports=[{"name": "http", "port": 80}, {"name": "grpc", "port": 81}])
    see_slice(cache, [endpoint(TWO[0])], service="both")
    see_slice(cache, [endpoint(ONE[0])], service="both", name="full", ports=("http", "grpc", "more"))
    assert cache.endpoints("ns", "both").ready == {"emotion-1": 1}


def test_a_port_without_a_name_is_matched_as_one(cache: ClusterCache) -> None:
    see_service(cache, "plain", ports=[{"port": 80}])
    raw = {"metadata": {"namespace": "ns", "name": "s", "resourceVersion": "1", "labels": {}}}
    raw["metadata"]["labels"] = {"kubernetes.io/service-name": "plain"}  # type: ignore[index]
    view = parse_slice({**raw, "ports": [{"name": "", "port": 8080}], "endpoints": [endpoint(ONE[0])]})
    assert view is not None
    cache.slices.put(view)
    assert cache.endpoints("ns", "plain").ready == {"emotion-1": 1}


def test_a_pod_counts_once_in_all_slices_and_address_families(cache: ClusterCache) -> None:
    see_slice(cache, [endpoint(pod) for pod in (*ONE, *TWO[:1])])
    see_slice(cache, [endpoint(pod) for pod in (*ONE, *TWO[:1])], name="emotion-6", family="IPv6")
    see_slice(cache, [endpoint("stray-abcde")], name="emotion-7")
    see_slice(cache, [endpoint("stray-abcde")], name="emotion-8", family="IPv6")
    found = cache.endpoints("ns", "emotion")
    assert (found.ready, found.unowned) == ({"emotion-1": 3, "emotion-2": 1}, ("pod stray-abcde",))


def test_a_pod_that_one_slice_serves_with_all_ports_is_reached(cache: ClusterCache) -> None:
    see_slice(cache, [endpoint(TWO[0])])
    see_slice(cache, [endpoint(TWO[0])], name="emotion-6", family="IPv6", ports=())
    found = cache.endpoints("ns", "emotion")
    assert (found.ready, found.without_ports) == ({"emotion-2": 1}, {})


def test_scenario_44_what_is_no_pod_of_a_deployment_is_named(cache: ClusterCache) -> None:
    see_slice(
        cache,
        [
            endpoint(ONE[0]),
            {"addresses": ["10.9.9.9"], "conditions": {"ready": True}},
            {"addresses": ["10.9.9.8"], "targetRef": {"kind": "Node", "name": "n1"}},
        ],
    )
    found = cache.endpoints("ns", "emotion")
    assert (found.ready, found.unowned) == ({"emotion-1": 1}, ("Node n1", "address 10.9.9.9"))


@pytest.mark.parametrize(
    "pod",
    [
        "emotion-1-batch-x2x9z",  # of a Job, a DaemonSet or a ReplicaSet emotion-1-batch
        "emotion-1-x2x9z",
        "emotion-1-0",  # of a StatefulSet
        "emotion-1",
        "emotion-1-5d8f7c9b4-x2x9z",  # looks like one, but there is no such ReplicaSet
        "x",
    ],
)
def test_scenario_45_a_pod_whose_name_begins_like_a_deployment_is_not_taken_for_its_own(
    cache: ClusterCache, pod: str
) -> None:
    see_replica_set(cache, "emotion-1", "batch", kind="Rollout")  # a controller of another kind
    see_slice(cache, [endpoint(pod)])
    found = cache.endpoints("ns", "emotion")
    assert (found.ready, found.unowned) == ({}, (f"pod {pod}",))


@pytest.mark.parametrize("length", range(46, 64))
def test_scenario_45_long_names_that_begin_alike_are_told_apart_or_refused(length: int) -> None:
    short = "e" * length
    long = f"{short}-b"
    cache = empty_cache()
    see_service(cache)
    see_deployment(cache, short, template_hash="5d8f7c9b44")
    see_deployment(cache, long, template_hash="7c9b445d8f")
    mine, theirs = pods(f"{short}-5d8f7c9b44", 2), pods(f"{long}-7c9b445d8f", 3, first=50)
    see_slice(cache, [endpoint(pod) for pod in (*mine, *theirs)])
    found = cache.endpoints("ns", "emotion")
    if f"{short}-"[:58] == f"{long}-"[:58]:
        assert found.ready == {} and len(found.unowned) == 5
        assert (cache.namesakes("ns", short), cache.namesakes("ns", long)) == ((long,), (short,))
    else:
        assert found.ready == {short: 2, long: 3}
        assert cache.namesakes("ns", short) == ()


def test_an_adopted_replica_set_counts_whatever_it_is_called(cache: ClusterCache) -> None:
    owner = {"kind": "Deployment", "name": "emotion-1", "uid": "uid-emotion-1", "controller": True}
    meta = {"namespace": "ns", "name": "found", "resourceVersion": "1", "ownerReferences": [owner]}
    view = parse_replica_set({"metadata": meta})
    assert view is not None
    cache.replica_sets.put(view)
    see_slice(cache, [endpoint("found-x2x9z")])
    assert cache.endpoints("ns", "emotion").ready == {"emotion-1": 1}
    assert cache.replica_sets_of("ns", "emotion-1") == ("emotion-1-5d8f7c9b44", "found")


def test_pods_of_a_former_deployment_of_the_same_name_are_not_this_ones(cache: ClusterCache) -> None:
    see_replica_set(cache, "emotion-1", "66666", uid="former")
    see_slice(cache, [endpoint("emotion-1-66666-x2x9z")])
    assert cache.endpoints("ns", "emotion").ready == {}
    assert cache.replica_sets_of("ns", "emotion-1") == ("emotion-1-5d8f7c9b44",)


def test_a_replica_set_that_is_gone_owns_nothing(cache: ClusterCache) -> None:
    see_slice(cache, [endpoint(ONE[0])])
    cache.replica_sets._remove(("ns", "emotion-1-5d8f7c9b44"))  # as the watch does on DELETED
    assert cache.endpoints("ns", "emotion").unowned == (f"pod {ONE[0]}",)
    assert cache.replica_sets_of("ns", "emotion-1") == ()


def test_endpoints_of_a_service_that_is_gone_count_for_nothing(cache: ClusterCache) -> None:
    see_slice(cache, [endpoint(ONE[0])], service="gone")
    assert cache.ready("ns", "gone", ["emotion-1"]) == {"emotion-1": 0}


def test_a_slice_of_no_service_is_not_kept() -> None:
    assert parse_slice({"metadata": {"namespace": "ns", "name": "s", "resourceVersion": "1"}}) is None
