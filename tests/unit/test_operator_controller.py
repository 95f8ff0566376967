"""The controller: what goes wrong with one rollout is shown there and hurts no other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest

from modelrollout.cluster import resources, watch_check
from modelrollout.cluster.cache import ClusterCache
from modelrollout.cluster.errors import ApiUnavailableError, ConflictError, NotFoundError, NotLeaderError
from modelrollout.cluster.fence import FencedApi
from modelrollout.cluster.leader_election import Leadership
from modelrollout.cluster.watch_check import NotWatchedError
from modelrollout.cluster.writer import Writer
from modelrollout.operator.controller import Controller
from modelrollout.operator.events import EventRecorder
from modelrollout.operator.metrics import OperatorMetrics
from modelrollout.operator.reconcile import Reconciler
from modelrollout.operator.rollouts import Key, RolloutState
from modelrollout.operator.store import RolloutStore
from modelrollout.operator.wakeups import Wakeups
from modelrollout.operator.workqueue import WorkQueue
from tests.support.fake_kube import FakeKube
from tests.unit.test_operator_rollouts import stored


class Ticks:
    """Stands in for the reconciler: raises what the test wants, per rollout."""

    def __init__(self) -> None:
        self.errors: dict[str, list[Exception]] = {}
        self.done: list[str] = []

    async def reconcile(self, rollout: RolloutState) -> float | None:
        waiting = self.errors.get(rollout.name)
        if waiting:
            raise waiting.pop(0)
        self.done.append(rollout.name)
        return None


class World:
    """A controller over a fake API server."""

    def __init__(self) -> None:
        self.api: Any = FakeKube()
        self.leadership = Leadership()
        self.metrics = OperatorMetrics(lambda: self.leadership.held)
        self.queue: WorkQueue[Key] = WorkQueue(accepts=lambda: self.leadership.held)
        self.store = RolloutStore(changed=self.queue.wake, forgotten=lambda old: self.queue.forget(old.key))
        cache = ClusterCache(self.api, namespaces=(None,), listener=lambda *_: None)
        fenced = FencedApi(self.api, self.leadership)
        writer = Writer(fenced, cache)
        self.wakeups = Wakeups(self.store, self.queue)
        self.ticks = Ticks()
        self.controller = Controller(
            api=fenced,
            store=self.store,
            queue=self.queue,
            wakeups=self.wakeups,
            reconciler=cast(Reconciler, self.ticks),
            writer=writer,
            reporter=EventRecorder(writer, self.metrics),
            leadership=self.leadership,
            metrics=self.metrics,
            scopes=(None,),
            check=cache.rollouts,
        )
        self.check = cache.rollouts

    def add(self, name: str) -> RolloutState:
        self.store.apply(self.api.put(resources.rollout("ns", name), stored(name)))
        self.queue.wake(("ns", name))
        rollout = self.store.get(("ns", name))
        assert rollout is not None
        return rollout

    def count(self, outcome: str) -> float:
        return float(
            self.metrics.registry.get_sample_value("modelrollout_ticks_total", {"outcome": outcome}) or 0
        )


@asynccontextmanager
async def leading() -> AsyncIterator[World]:
    world = World()
    tasks = [asyncio.create_task(world.controller.run()), asyncio.create_task(world.controller.lead())]
    world.leadership.extend(float("inf"))
    await asyncio.sleep(0.02)
    yield world
    for task in tasks:
        task.cancel()
    await world.queue.drain(0.1)


async def until(check: Any) -> None:
    async with asyncio.timeout(10):
        while not check():  # noqa: ASYNC110 - anything may make it true
            await asyncio.sleep(0.01)


async def test_an_error_is_shown_counted_and_overcome_and_others_go_on() -> None:
    async with leading() as world:
        world.ticks.errors["bad"] = [RuntimeError("boom")]
        world.add("bad")
        world.add("good")
        await until(lambda: world.ticks.done == ["good", "bad"])
        status = world.api.objects[resources.rollout("ns", "bad")]["status"]
        condition = next(c for c in status["conditions"] if c["type"] == "Stalled")
        assert condition["status"] == "True"
        assert "boom" in condition["message"]
        assert (world.count("error"), world.count("done")) == (1, 2)


async def test_the_same_error_again_writes_nothing_again(caplog: pytest.LogCaptureFixture) -> None:
    async with leading() as world:
        world.ticks.errors["bad"] = [RuntimeError("boom")] * 2
        rollout = world.add("bad")
        await until(lambda: world.ticks.done)
        writes = [path for method, path in world.api.writes() if path.endswith("/status")]
        assert len(writes) == 1
        assert rollout.failures == 0
        assert caplog.text.count("boom") >= 2


async def test_a_conflict_reads_the_object_again_and_is_no_error() -> None:
    async with leading() as world:
        world.ticks.errors["one"] = [ConflictError(409, "Conflict", "changed")]
        rollout = world.add("one")
        world.api.put(resources.rollout("ns", "one"), stored("one", replicas=9, meta={"generation": 2}))
        await until(lambda: world.ticks.done)
        assert rollout.spec is not None and rollout.spec.replicas == 9
        assert (world.count("conflict"), world.count("error")) == (1, 0)


async def test_conflicts_in_a_row_are_tried_again_ever_more_slowly_until_a_tick_succeeds() -> None:
    world = World()
    world.leadership.extend(float("inf"))
    rollout = world.add("one")
    world.ticks.errors["one"] = [ConflictError(409, "Conflict", "changed")] * 12
    waits = [await world.controller._tick(rollout.key) or 0.0 for _ in range(12)]
    assert waits[0] < 0.1
    assert waits[3] > 0.15
    assert 1.5 <= waits[-1] <= 4.5
    await world.controller._tick(rollout.key)
    world.ticks.errors["one"] = [ConflictError(409, "Conflict", "changed")]
    assert (await world.controller._tick(rollout.key) or 1.0) < 0.1


async def test_a_wake_of_what_is_gone_leaves_nothing_in_the_queue() -> None:
    async with leading() as world:
        world.queue.wake(("ns", "gone"))
        await asyncio.sleep(0.1)
        assert len(world.queue) == 0


async def test_an_outage_is_waited_for_without_a_write() -> None:
    async with leading() as world:
        world.ticks.errors["one"] = [ApiUnavailableError(503, "", "down")]
        world.add("one")
        await until(lambda: world.ticks.done)
        assert world.api.writes() == []


async def test_an_object_that_is_gone_is_forgotten() -> None:
    async with leading() as world:
        world.ticks.errors["one"] = [NotFoundError(404, "NotFound", "gone")]
        world.add("one")
        del world.api.objects[resources.rollout("ns", "one")]
        await until(lambda: len(world.store) == 0)
        assert len(world.queue) == 0


async def test_nothing_is_ticked_without_the_lease_and_everything_with_it() -> None:
    async with leading() as world:
        world.leadership.end()
        await asyncio.sleep(0.02)
        world.add("one")
        world.add("two")
        world.wakeups.object_changed("deployments", "ns", "emotion-1")
        await asyncio.sleep(0.2)
        assert world.ticks.done == []
        world.leadership.extend(float("inf"))
        await until(lambda: sorted(world.ticks.done) == ["one", "two"])


async def test_a_lease_lost_in_the_middle_of_a_tick_is_no_error() -> None:
    async with leading() as world:
        world.ticks.errors["one"] = [NotLeaderError("lost")]
        world.add("one")
        await until(lambda: not world.ticks.errors["one"])
        await asyncio.sleep(0.05)
        assert world.count("error") == 0


async def test_a_change_wakes_those_that_name_the_object_and_nobody_else() -> None:
    async with leading() as world:
        for name in ("one", "two"):
            world.api.put(resources.rollout("ns", name), stored(name, service=name, stable=f"{name}-1"))
            world.store.apply(world.api.objects[resources.rollout("ns", name)])
            world.queue.wake(("ns", name))
            rollout = world.store.get(("ns", name))
            assert rollout is not None
            world.store.refresh_claims(rollout)
        await until(lambda: len(world.ticks.done) >= 2)
        await asyncio.sleep(0.2)
        world.ticks.done.clear()
        world.wakeups.object_changed("deployments", "ns", "two-1")
        world.wakeups.object_changed("services", "ns", "unknown")
        await asyncio.sleep(0.2)
        assert world.ticks.done == ["two"]


async def test_a_list_finds_what_the_watch_did_not_tell() -> None:
    async with leading() as world:
        path = resources.collection(resources.ROLLOUTS, "modelrollouts", None)
        items = [stored("lost", version=5)]
        world.api.objects[path] = {"metadata": {}, "items": items}
        world.add("gone")
        del world.api.objects[resources.rollout("ns", "gone")]
        await world.controller.list_rollouts()
        assert [rollout.name for rollout in world.store] == ["lost"]
        await until(lambda: "lost" in world.ticks.done)


@pytest.mark.parametrize("made_again", [False, True])
async def test_a_list_under_way_brings_nothing_back_that_is_deleted_meanwhile(made_again: bool) -> None:
    world = World()
    path = resources.collection(resources.ROLLOUTS, "modelrollouts", None)
    rollout = world.add("one")
    world.api.objects[path] = {"metadata": {}, "items": [stored("one", version=101)]}
    world.api.delay = 0.02
    listing = asyncio.create_task(world.controller.list_rollouts())
    await asyncio.sleep(0)
    world.store.remove(rollout.key, uid=rollout.uid, version="102")
    if made_again:
        world.store.apply(stored("one", version=103, uid="another"))
    await listing
    assert [seen.uid for seen in world.store] == (["another"] if made_again else [])


async def test_a_read_that_found_nothing_does_not_remove_what_was_made_meanwhile() -> None:
    world = World()
    rollout = world.add("one")
    del world.api.objects[resources.rollout("ns", "one")]
    world.api.delay = 0.02
    reading = asyncio.create_task(world.controller._look_again(rollout.key))
    await asyncio.sleep(0)
    world.store.remove(rollout.key, uid=rollout.uid, version="102")
    world.store.apply(stored("one", version=103, uid="another"))
    await reading
    assert [seen.uid for seen in world.store] == ["another"]


async def test_the_list_is_repeated_for_ever() -> None:
    async with leading() as world:
        path = resources.collection(resources.ROLLOUTS, "modelrollouts", None)
        world.api.objects[path] = {"metadata": {}, "items": [stored("lost", version=5)]}
        task = asyncio.create_task(world.controller.resync(0.01))
        await until(lambda: len([1 for _, seen, _ in world.api.requests if seen == path]) >= 6)
        task.cancel()
        assert [rollout.name for rollout in world.store] == ["lost"]


async def test_news_of_a_list_that_kopf_never_tells_end_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch_check, "LATE_SECONDS", 0.2)
    world = World()
    path = resources.collection(resources.ROLLOUTS, "modelrollouts", None)
    world.api.objects[path] = {"metadata": {}, "items": [stored("untold", version=5)]}
    async with asyncio.timeout(5):
        with pytest.raises(NotWatchedError):
            await world.controller.resync(0.02)
    assert world.check.stale("ns")


async def test_what_kopf_told_before_is_no_news_of_a_list() -> None:
    world = World()
    path = resources.collection(resources.ROLLOUTS, "modelrollouts", None)
    world.api.objects[path] = {"metadata": {}, "items": [stored("told", version=5)]}
    world.store.apply(stored("told", version=5))
    await world.controller.list_rollouts()
    assert not world.check.waiting
