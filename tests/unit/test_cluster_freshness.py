"""Whether what a watch told can be relied on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from modelrollout.cluster import informer as informer_module
from modelrollout.cluster import resources
from modelrollout.cluster.cache import ClusterCache
from modelrollout.cluster.errors import ApiError, ApiUnavailableError, ForbiddenError
from modelrollout.cluster.freshness import QUIET_WATCHES, STALE_SECONDS, Freshness
from modelrollout.cluster.informer import Informer
from modelrollout.cluster.source import Source
from tests.support.cached_cluster import endpoint, pods, see_deployment, see_service, see_slice
from tests.support.fake_kube import FakeKube
from tests.unit.test_cluster_informer import Script, Thing, event, page, parse, play, thing

BOOKMARK = event("BOOKMARK", {"metadata": {"resourceVersion": "44"}})


class Clock:
    """A clock that the test sets."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_what_was_heard_lately_is_current() -> None:
    clock = Clock()
    seen = Freshness(clock=clock)
    clock.now += STALE_SECONDS
    assert seen.stale() == "" and seen.age == STALE_SECONDS
    clock.now += 1
    assert "nothing was heard for 45 s" in seen.stale()
    seen.failed("connection refused")
    assert seen.stale() == "connection refused" and not seen.trusted
    seen.heard()
    assert seen.stale() == "" and seen.trusted and seen.age == 0


def test_a_right_that_is_missing_is_said_at_once_and_until_the_watch_works_again() -> None:
    seen = Freshness(clock=Clock())
    seen.denied("no")
    assert "forbids" in seen.stale() and not seen.trusted
    seen.listed(after_silence=False, news=0)
    assert "forbids" in seen.stale(), "a list alone does not show that the watch works"
    seen.heard()
    assert seen.stale() == ""


def test_a_watch_that_is_silent_although_something_changed_is_not_relied_on() -> None:
    seen = Freshness(clock=Clock())
    seen.listed(after_silence=True, news=0)
    assert seen.stale() == ""
    seen.listed(after_silence=True, news=1)
    assert "in silence" in seen.stale()
    for _ in range(QUIET_WATCHES):
        assert "in silence" in seen.stale()
        seen.listed(after_silence=True, news=0)
    assert seen.stale() == "", "of a kind without bookmarks nothing was missed for a while"


def test_silence_alone_says_nothing() -> None:
    """An API server that was started anew sends no bookmarks of a kind until something of it changes."""
    seen = Freshness(clock=Clock())
    seen.heard()
    for _ in range(10):
        seen.listed(after_silence=True, news=0)
        assert seen.stale() == "" and seen.trusted


def test_a_frozen_watch_is_not_relied_on_until_one_speaks() -> None:
    seen = Freshness(clock=Clock())
    seen.frozen()
    seen.listed(after_silence=False, news=0)
    assert "frozen" in seen.stale()
    seen.heard()
    assert seen.stale() == ""


async def test_scenario_48_a_denied_watch_is_said_and_listed_again_until_it_is_allowed() -> None:
    refused = ApiError(403, "Forbidden", "no")
    script = Script(
        [page(10, thing("a", 1)), refused, page(20, thing("a", 2, size=3))], [[BOOKMARK], [refused]]
    )
    informer, told = await play(script)
    assert informer.relists == 2
    assert "forbids it (no)" in informer.stale()
    assert script.asked[-1]["timeoutSeconds"] == str(informer_module.PROVING_SECONDS)
    assert told[-1][1].size == 3


async def test_scenario_48_a_watch_that_works_again_is_relied_on_again() -> None:
    refused = ApiError(403, "Forbidden", "no")
    informer, _ = await play(Script([page(10), page(20)], [[refused], [BOOKMARK]]))
    assert informer.stale() == ""


async def test_a_broken_connection_alone_makes_nothing_stale() -> None:
    broken = ApiUnavailableError(0, "ClientError", "reset")
    script = Script([page(10)], [[broken]])
    informer, _ = await play(script)
    assert informer.stale() == "" and informer.relists == 1
    assert script.asked[-1]["timeoutSeconds"] == str(informer_module.PROVING_SECONDS)


class Open:
    """A first watch that never ends, or ends in silence; what changed meanwhile is in the next list."""

    def __init__(self, *, seconds: float, changed: bool) -> None:
        self.seconds, self.changed = seconds, changed
        self.lists = 0
        self.proved = asyncio.Event()
        self.go_on = asyncio.Event()

    async def get(self, path: str, query: Mapping[str, str] | None = None) -> dict[str, Any]:
        self.lists += 1
        return page(10 * self.lists, thing("a", 10 * self.lists, size=self.lists if self.changed else 0))

    async def watch(self, path: str, query: Mapping[str, str]) -> AsyncIterator[dict[str, Any]]:
        if self.lists == 1:
            await asyncio.sleep(self.seconds)
            return
        self.proved.set()
        await self.go_on.wait()
        yield BOOKMARK
        await asyncio.Event().wait()


@pytest.mark.parametrize(
    ("seconds", "changed", "why"),
    [(3600.0, False, "frozen"), (3600.0, True, "frozen"), (0.05, True, "in silence"), (0.05, False, "")],
)
async def test_scenario_48_a_frozen_or_silent_watch_is_noticed_listed_again_and_has_to_prove_itself(
    monkeypatch: pytest.MonkeyPatch, seconds: float, changed: bool, why: str
) -> None:
    monkeypatch.setattr(informer_module, "WATCH_SECONDS", (1, 2))
    monkeypatch.setattr(informer_module, "GRACE_SECONDS", -0.8)
    monkeypatch.setattr(informer_module, "SHORTEST_WATCH", 0.01)
    api: Any = Open(seconds=seconds, changed=changed)
    informer: Informer[Thing] = Informer(
        api,
        Source(group_version="/apis/x/v1", plural="things", parse=parse),
        namespaces=(None,),
        on_change=lambda old, new: None,
    )
    task = asyncio.create_task(informer.run())
    async with asyncio.timeout(10):
        await api.proved.wait()
    assert api.lists == 2
    assert why in informer.stale() and bool(informer.stale()) == bool(why)
    seen = informer.get("ns", "a")
    assert seen is not None and seen.size == (2 if changed else 0), "what was missed is known by the list"
    api.go_on.set()
    await asyncio.sleep(0.05)
    assert informer.stale() == ""
    task.cancel()


async def test_what_clients_reach_is_read_whatever_the_watch_told() -> None:
    api: Any = FakeKube()
    cache = ClusterCache(api, namespaces=(None,), listener=lambda *_: None)
    see_service(cache)
    see_deployment(cache, "emotion-1")
    one, two, three = pods("emotion-1-5d8f7c9b44", 3)
    see_slice(cache, [endpoint(one)], name="changed")
    see_slice(cache, [endpoint(two)], name="gone")
    see_slice(cache, [endpoint(one)], name="other", service="other")
    metadata = {"namespace": "ns", "name": "changed", "resourceVersion": "900000"}
    metadata["labels"] = {"kubernetes.io/service-name": "emotion"}  # type: ignore[assignment]
    now = {"metadata": metadata, "ports": [{"name": "http"}], "endpoints": [endpoint(three), endpoint(one)]}
    path = resources.collection(resources.DISCOVERY, "endpointslices", "ns")
    api.put(path, {"items": [now]})
    api.objects[path]["metadata"]["resourceVersion"] = "900001"
    await cache.read_endpoints("ns", "emotion")
    assert cache.ready("ns", "emotion", ["emotion-1"]) == {"emotion-1": 2}
    assert sorted(part.name for part in cache.slices) == ["changed", "other"]
    see_slice(cache, [endpoint(two)], name="made-since")
    api.objects[path]["metadata"]["resourceVersion"] = "1"
    await cache.read_endpoints("ns", "emotion")
    assert cache.ready("ns", "emotion", ["emotion-1"]) == {"emotion-1": 3}, "newer than what was read"
    api.failures.append(ForbiddenError(403, "Forbidden", "no"))
    await cache.read_endpoints("ns", "emotion")
    assert "forbids" in cache.slices.stale("ns")
