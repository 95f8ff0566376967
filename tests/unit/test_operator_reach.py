"""What the operator tells `decide` about the pods that clients reach, and what it refuses at once."""

from __future__ import annotations

import time
from email.utils import formatdate
from types import SimpleNamespace
from typing import Any

import pytest

from modelrollout.api.constants import LABEL_ROLLOUT, LABEL_VERSION
from modelrollout.cluster import resources
from modelrollout.cluster.cache import ClusterCache
from modelrollout.cluster.clock import ServerClock
from modelrollout.cluster.views import parse_deployment
from modelrollout.cluster.workloads.standby import Parking
from modelrollout.cluster.writer import RolloutRef
from modelrollout.decision.types import Observation
from modelrollout.operator.observe import Observer
from modelrollout.operator.preflight import Inspector
from modelrollout.operator.rollouts import RolloutState
from modelrollout.operator.store import RolloutStore
from tests.support import manifests
from tests.support.cached_cluster import (
    empty_cache,
    endpoint,
    pods,
    see_deployment,
    see_replica_set,
    see_service,
    see_slice,
    stored,
)
from tests.support.fake_kube import FakeKube
from tests.unit.test_operator_rollouts import stored as stored_rollout


class Setup:
    """A rollout from emotion-1 to emotion-2 and the caches that are looked at."""

    def __init__(self, **spec: Any) -> None:
        self.cache = empty_cache()
        see_service(self.cache)
        self.store = RolloutStore(changed=lambda _: None, forgotten=lambda _: None)
        obj = stored_rollout()
        obj["spec"] |= spec
        self.store.apply(obj)
        found = self.store.get(("ns", "emotion"))
        assert found is not None and found.spec is not None
        self.rollout: RolloutState = found
        targets: Any = SimpleNamespace(get=lambda _: None)
        kinds: Any = SimpleNamespace(found=lambda *_: None)
        self.clock = ServerClock()
        self.inspector = Inspector(store=self.store, cache=self.cache, targets=targets, kinds=kinds)

    def observe(self) -> Observation:
        stand_in: Any = SimpleNamespace(problems=lambda _: (), obstacle=lambda *_: "")
        observer = Observer(
            cache=self.cache,
            store=self.store,
            inspector=stand_in,
            jobs=lambda _: {},
            parking=stand_in,
            clock=self.clock,
        )
        return observer.observe(self.rollout)

    def reasons(self) -> list[str]:
        return [problem.reason for problem in self.inspector.problems(self.rollout)]


def test_what_the_answers_tell_of_the_time_is_observed() -> None:
    setup, now = Setup(), time.monotonic()

    def answer(ahead: float) -> tuple[bool, bool]:
        setup.clock.observe(formatdate(time.time() + ahead, usegmt=True), sent=now, received=now)
        observed = setup.observe()
        return observed.clock_skewed, observed.clock_uncertain

    assert answer(0) == (False, False)
    assert answer(900) == (False, True), "an answer that contradicts those before it"
    setup.clock = ServerClock()
    assert answer(900) == (True, False)


def see_pods(cache: ClusterCache) -> None:
    for name in ("emotion-1", "emotion-2"):
        see_deployment(cache, name)
    see_slice(cache, [endpoint(pod) for pod in pods("emotion-1-5d8f7c9b44", 3)])


def test_scenario_44_ready_endpoints_of_other_workloads_are_observed() -> None:
    setup = Setup()
    see_pods(setup.cache)
    see_deployment(setup.cache, "emotion-3")
    see_deployment(setup.cache, "emotion-shadow")
    others = [*pods("emotion-3-5d8f7c9b44", 2), "emotion-batch-x2x9z", *pods("emotion-shadow-5d8f7c9b44", 1)]
    see_slice(setup.cache, [endpoint(pod) for pod in others], name="more")
    see_slice(setup.cache, [endpoint("emotion-batch-00000", ready=False)], name="not-ready")
    observed = setup.observe()
    assert observed.foreign == (
        "Deployment emotion-3",
        "Deployment emotion-3",
        "Deployment emotion-shadow",
        "pod emotion-batch-x2x9z",
    )
    assert observed.workloads["emotion-1"].ready == 3


def test_scenario_43_pods_without_the_ports_are_observed_as_such() -> None:
    setup = Setup()
    see_pods(setup.cache)
    see_slice(setup.cache, [endpoint(p) for p in pods("emotion-2-5d8f7c9b44", 2)], name="b", ports=())
    seen = setup.observe().workloads["emotion-2"]
    assert (seen.ready, seen.without_ports) == (0, 2)


@pytest.mark.parametrize("kind", ["slices", "replica_sets", "services"])
def test_scenario_48_where_endpoints_are_not_known_the_deployments_own_count_stands_in(kind: str) -> None:
    setup = Setup()
    see_pods(setup.cache)
    raw = stored(manifests.deployment("emotion-1"))
    raw["status"] = {"replicas": 2, "readyReplicas": 2}
    setup.cache.deployments.put(parse_deployment(raw))
    assert (setup.observe().workloads["emotion-1"].ready, setup.observe().stale) == (3, ())
    getattr(setup.cache, kind)._freshness[None].denied("no")
    observed = setup.observe()
    assert observed.workloads["emotion-1"].ready == (3 if kind == "services" else 2)
    assert len(observed.stale) == 1 and "forbids it (no)" in observed.stale[0]


async def test_only_pods_of_the_deployments_own_replica_sets_are_taken_out_of_the_service() -> None:
    api: Any = FakeKube()
    cache = ClusterCache(api, namespaces=(None,), listener=lambda *_: None)
    see_service(cache, selector={"app": "emotion", "serving": "yes"})
    raw = manifests.deployment("emotion-1", replicas=1, labels={"serving": "yes"})
    raw["status"] = {"replicas": 1}
    cache.deployments.put(parse_deployment(stored(raw)))
    mine = see_replica_set(cache, "emotion-1", "5d8f7c9b44")
    items = []
    for name, owner in (("mine", mine), ("theirs", "emotion-1-batch"), ("bare", None)):
        owners = [{"kind": "ReplicaSet", "name": owner}] if owner else []
        items.append({"metadata": {"name": name, "ownerReferences": owners}})
        api.put(resources.pod("ns", name), {"metadata": {"namespace": "ns", "name": name, "labels": {}}})
    api.put(resources.collection(resources.CORE, "pods", "ns"), {"items": items})
    ref = RolloutRef(namespace="ns", name="emotion", uid="u", resource_version="1")
    assert await Parking(api, cache).park("emotion-1", service="emotion", owner=ref)
    assert api.writes() == [("PATCH", resources.pod("ns", "mine"))]


def test_every_setting_that_bends_shares_is_explained() -> None:
    setup = Setup()
    see_service(
        setup.cache,
        sessionAffinity="ClientIP",
        internalTrafficPolicy="Local",
        externalTrafficPolicy="Local",
        trafficDistribution="PreferClose",
        publishNotReadyAddresses=True,
        clusterIP="None",
    )
    found = setup.observe().uneven
    assert [problem.reason for problem in found] == [
        "SessionAffinity",
        "LocalTrafficPolicy",
        "LocalTrafficPolicy",
        "TrafficDistribution",
        "NotReadyPublished",
        "HeadlessService",
    ]
    assert all(": " in problem.message for problem in found)


def overlapping(name: str, selector: dict[str, str], **labels: str) -> dict[str, Any]:
    raw = manifests.deployment(name, labels=labels)
    raw["spec"]["selector"] = {"matchLabels": selector}
    return stored(raw)


@pytest.mark.parametrize("wide", ["emotion-1", "emotion-2"])
def test_a_selector_that_matches_the_other_versions_pods_is_refused(wide: str) -> None:
    setup = Setup()
    see_pods(setup.cache)
    assert setup.reasons() == []
    setup.cache.deployments.put(parse_deployment(overlapping(wide, {"app": "emotion"})))
    assert setup.reasons() == ["SelectorsOverlap"]
    message = setup.inspector.problems(setup.rollout)[0].message
    assert "emotion-1" in message and "emotion-2" in message


@pytest.mark.parametrize(
    ("copy", "validations", "refused"),
    [
        ("emotion-2", False, False),  # a candidate copied from stable has its labels and one more
        ("emotion-2", True, False),
        ("emotion-1", False, False),  # back to what stable was copied from
        ("emotion-1", True, True),  # validations of the original would also reach the copy
    ],
)
def test_a_copy_shares_the_labels_of_its_original(copy: str, validations: bool, refused: bool) -> None:
    jobs = [{"name": "smoke", "image": "i"}] if validations else []
    setup = Setup(validations=jobs)
    see_pods(setup.cache)
    original = "emotion-1" if copy == "emotion-2" else "emotion-2"
    for name in (original, copy):
        selector = {"app": "emotion"} | ({LABEL_VERSION: "f1"} if name == copy else {})
        raw = overlapping(name, selector, **({LABEL_VERSION: "f1"} if name == copy else {}))
        if name == copy:
            raw["metadata"]["labels"] = {LABEL_ROLLOUT: "emotion", LABEL_VERSION: "f1"}
        setup.cache.deployments.put(parse_deployment(raw))
    assert ("SelectorsOverlap" in setup.reasons()) is refused


def test_scenario_45_pods_that_names_do_not_tell_apart_are_refused() -> None:
    candidate = "emotion-" + "2" * 50
    setup = Setup(candidate={"deployment": candidate})
    see_deployment(setup.cache, "emotion-1")
    see_deployment(setup.cache, candidate)
    assert setup.reasons() == []
    see_deployment(setup.cache, f"{candidate}-b", app="other")
    assert setup.reasons() == ["AmbiguousNames"]
