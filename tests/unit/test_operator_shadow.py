"""The copy outside the Service is that of the candidate of the run, never what is left of another one's."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from modelrollout.api.constants import LABEL_VERSION
from modelrollout.api.status import RunStatus
from modelrollout.cluster import resources
from modelrollout.cluster.cache import ClusterCache
from modelrollout.cluster.clock import ServerClock
from modelrollout.cluster.views import parse_deployment, parse_service
from modelrollout.cluster.workloads.shadow import Shadow, SideKeeper
from modelrollout.cluster.writer import RolloutRef, Writer
from modelrollout.operator.observe import Observer
from modelrollout.operator.store import RolloutStore
from tests.support import manifests
from tests.support.fake_kube import FakeKube
from tests.unit.test_operator_rollouts import stored

OWNER = RolloutRef(namespace="ns", name="emotion", uid="uid-emotion", resource_version="1")
COPY = resources.deployment("ns", "emotion-shadow")
SERVICE = resources.service("ns", "emotion-shadow")


class Setup:
    """Two candidates and the clients' Service in a fake API server, and a cache that sees what it is told."""

    def __init__(self, api: Any) -> None:
        self.api = api
        self.cache = ClusterCache(api, namespaces=(None,), listener=lambda *_: None)
        writer = Writer(api, self.cache)
        self.keeper = SideKeeper(api, self.cache, writer)
        for name in ("emotion-2", "emotion-3"):
            self.api.put(resources.deployment("ns", name), manifests.deployment(name, namespace="ns"))
        self.api.put(resources.service("ns", "emotion"), manifests.service(namespace="ns"))

    def see(self) -> None:
        """The watches tell what is there."""
        self.cache.services.put(parse_service(self.api.objects[resources.service("ns", "emotion")]))
        if SERVICE in self.api.objects:
            self.cache.services.put(parse_service(self.api.objects[SERVICE]))
        if COPY in self.api.objects:
            self.cache.deployments.put(parse_deployment(self.api.objects[COPY]))
        else:
            self.cache.deployments._remove(("ns", "emotion-shadow"))  # as the watch does on DELETED

    async def ensure(self, source: str, version: str) -> None:
        self.see()
        shadow = Shadow(deployment="emotion-shadow", source=source, replicas=1, version=version)
        await self.keeper.ensure_shadow(shadow, service="emotion", owner=OWNER)
        self.see()


async def test_the_copy_of_another_candidate_is_removed_and_made_anew() -> None:
    setup = Setup(FakeKube())
    await setup.ensure("emotion-2", "aaaa")
    await setup.ensure("emotion-2", "aaaa")
    assert len(setup.api.writes()) == 2  # the copy and its Service, once
    await setup.ensure("emotion-3", "bbbb")
    assert COPY not in setup.api.objects and SERVICE in setup.api.objects
    await setup.ensure("emotion-3", "bbbb")
    made = setup.api.objects[COPY]
    assert made["metadata"]["labels"][LABEL_VERSION] == "bbbb"
    assert made["spec"]["template"]["metadata"]["labels"]["version"] == "emotion-3"
    written = len(setup.api.writes())
    await setup.ensure("emotion-3", "bbbb")
    assert len(setup.api.writes()) == written


async def test_a_copy_of_a_former_version_of_the_operator_is_replaced_once() -> None:
    setup = Setup(FakeKube())
    await setup.ensure("emotion-2", "aaaa")
    former = setup.api.objects[COPY]
    del former["metadata"]["labels"][LABEL_VERSION]
    setup.api.put(COPY, former)
    await setup.ensure("emotion-2", "aaaa")
    assert COPY not in setup.api.objects
    await setup.ensure("emotion-2", "aaaa")
    written = len(setup.api.writes())
    await setup.ensure("emotion-2", "aaaa")
    assert len(setup.api.writes()) == written


@pytest.mark.parametrize(
    ("version", "fingerprint", "ready"), [("bbbb", "bbbb", 1), ("aaaa", "bbbb", 0), ("aaaa", None, 0)]
)
async def test_only_the_copy_of_the_runs_candidate_is_seen_as_ready(
    version: str, fingerprint: str | None, ready: int
) -> None:
    setup = Setup(FakeKube())
    await setup.ensure("emotion-3", version)
    setup.api.put(COPY, {**setup.api.objects[COPY], "status": {"replicas": 1, "readyReplicas": 1}})
    setup.see()
    store = RolloutStore(changed=lambda _: None, forgotten=lambda _: None)
    store.apply(stored(candidate="emotion-3"))
    rollout = store.get(("ns", "emotion"))
    assert rollout is not None
    if fingerprint is not None:
        run = RunStatus(
            id="r", candidate="emotion-3", fingerprint=fingerprint, started_at="2026-01-01T00:00:00Z"
        )
        rollout.set_status(rollout.status.model_copy(update={"run": run}), "2")
    stand_in: Any = SimpleNamespace(problems=lambda _: (), obstacle=lambda *_: "")
    observer = Observer(
        cache=setup.cache,
        store=store,
        inspector=stand_in,
        jobs=lambda _: {},
        parking=stand_in,
        clock=ServerClock(),
    )
    seen = observer.observe(rollout).workloads["emotion-shadow"]
    assert (seen.exists, seen.pods, seen.ready) == (True, 1, ready)
