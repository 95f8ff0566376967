"""The lease: one acts at a time, whoever may not act knows it, and a dead one is followed."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from modelrollout.cluster import resources
from modelrollout.cluster.errors import ApiUnavailableError, ConflictError, NotLeaderError
from modelrollout.cluster.leader_election import RELEASE_ATTEMPTS, Elector, Leadership, LeaseSettings
from tests.support.fake_kube import FakeKube

PATH = resources.lease("ns", "lock")


class Replica:
    """One competitor with short times."""

    def __init__(self, api: FakeKube, identity: str) -> None:
        self.leadership = Leadership()
        settings = LeaseSettings(
            namespace="ns",
            name="lock",
            identity=identity,
            lease_seconds=1.0,
            renew_seconds=0.5,
            retry_seconds=0.05,
        )
        self.elector = Elector(api, settings, self.leadership)  # type: ignore[arg-type]
        self.task: asyncio.Task[None] | None = None

    def start(self) -> Replica:
        self.task = asyncio.create_task(self.elector.run())
        return self

    def kill(self) -> None:
        assert self.task is not None
        self.task.cancel()


def give_back(api: FakeKube) -> None:
    """A Lease under which somebody has acted and that nobody holds now."""
    spec = {"holderIdentity": "", "acquireTime": "2026-01-05T09:00:00.000000Z", "leaseDurationSeconds": 1}
    api.put(PATH, {"metadata": {"name": "lock"}, "spec": spec})


@asynccontextmanager
async def replicas(api: FakeKube, *names: str) -> AsyncIterator[list[Replica]]:
    if PATH not in api.objects:
        give_back(api)
    started = []
    for name in names:
        started.append(Replica(api, name).start())
        await asyncio.sleep(0.1)
    yield started
    for replica in started:
        replica.kill()


async def until_held(replica: Replica, seconds: float = 20.0) -> None:
    async with asyncio.timeout(seconds):
        await replica.leadership.acquired.wait()


async def test_the_first_one_acts_and_the_second_waits() -> None:
    async with replicas(FakeKube(), "a", "b") as (first, second):
        await until_held(first)
        await asyncio.sleep(0.6)
        assert first.leadership.held
        assert not second.leadership.held


async def test_a_dead_one_is_followed_after_the_lease_has_run_out() -> None:
    async with replicas(FakeKube(), "a", "b") as (first, second):
        await until_held(first)
        first.kill()
        loop = asyncio.get_running_loop()
        killed = loop.time()
        await until_held(second)
        assert loop.time() - killed >= 0.5
        assert not first.leadership.held


async def test_at_no_moment_two_act_though_the_server_comes_and_goes() -> None:
    api = FakeKube()
    both = 0
    async with replicas(api, "a", "b") as (first, second):
        await until_held(first)
        for round_ in range(60):
            if round_ % 7 == 0:
                api.failures += [ApiUnavailableError(0, "", "down")] * 8
            await asyncio.sleep(0.03)
            both += first.leadership.held and second.leadership.held
    assert both == 0


async def test_a_restart_under_the_same_name_takes_its_own_lease_at_once() -> None:
    api = FakeKube()
    async with replicas(api, "a") as (first,):
        await until_held(first)
        first.kill()
        again = Replica(api, "a").start()
        await until_held(again, seconds=0.8)
        again.kill()


async def test_giving_it_back_lets_the_other_one_in_at_once() -> None:
    api = FakeKube()
    async with replicas(api, "a", "b") as (first, second):
        await until_held(first)
        first.kill()
        await first.elector.release()
        assert not first.leadership.held
        await until_held(second, seconds=0.8)


async def test_an_outage_longer_than_the_lease_stops_the_acting_and_heals() -> None:
    api = FakeKube()
    async with replicas(api, "a") as (first,):
        await until_held(first)
        api.failures += [ApiUnavailableError(0, "", "down")] * 200
        async with asyncio.timeout(3):
            await first.leadership.lost.wait()
        with pytest.raises(NotLeaderError):
            first.leadership.require()
        api.failures.clear()
        await until_held(first)


async def test_of_two_that_try_at_once_one_gets_a_conflict() -> None:
    api = FakeKube()
    api.delay = 0.01
    async with replicas(api):
        pair = [Replica(api, name).start() for name in ("a", "b")]
        await asyncio.sleep(0.3)
        assert sum(replica.leadership.held for replica in pair) == 1
        for replica in pair:
            replica.kill()


async def test_of_two_that_find_no_lease_only_one_acts_and_not_before_a_leases_length() -> None:
    api = FakeKube()
    pair = [Replica(api, name).start() for name in ("a", "b")]
    started = asyncio.get_running_loop().time()
    async with asyncio.timeout(10):
        await asyncio.wait(
            [asyncio.create_task(replica.leadership.acquired.wait()) for replica in pair],
            return_when=asyncio.FIRST_COMPLETED,
        )
    assert asyncio.get_running_loop().time() - started >= 1.0
    assert sum(replica.leadership.held for replica in pair) == 1
    for replica in pair:
        replica.kill()


async def test_a_deleted_lease_never_gives_two_leaders() -> None:
    """Deleted at any moment of the holder's time, and again while the new one is young."""
    api, seed = FakeKube(), random.Random(21)
    both = looks = acting = 0
    async with replicas(api, "a", "b") as (first, second):
        await until_held(first)
        for _ in range(6):
            del api.objects[PATH]
            until = asyncio.get_running_loop().time() + seed.uniform(0.2, 1.8)
            while asyncio.get_running_loop().time() < until:
                await asyncio.sleep(0.002)
                looks += 1
                both += first.leadership.held and second.leadership.held
                acting += first.leadership.held or second.leadership.held
        await asyncio.sleep(1.5)
        assert first.leadership.held or second.leadership.held
    assert (both, looks > 500, acting > 0) == (0, True, True)


async def test_a_restart_under_the_same_name_does_not_act_early_under_a_young_lease() -> None:
    """The Lease was deleted: another replica may act still, whatever our name in the new one says."""
    api = FakeKube()
    young = Replica(api, "a").start()
    await asyncio.sleep(0.2)
    assert api.objects[PATH]["spec"]["holderIdentity"] == "a"
    young.kill()
    again = Replica(api, "a").start()
    await asyncio.sleep(0.7)
    assert not again.leadership.held
    await until_held(again)
    again.kill()


async def test_leadership_counts_from_the_question_and_ends_before_the_lease() -> None:
    """Not from the answer, which may be late, and not for as long as others respect the lease."""
    api = FakeKube()
    give_back(api)
    api.delay = 0.1
    now = 0.0
    replica = Replica(api, "a")
    leadership = replica.leadership
    asked = time.monotonic()
    replica.start()
    await until_held(replica)
    leadership._clock = lambda: now  # frozen: what was granted is read back
    now = asked + 0.5 + 0.02
    assert not leadership.held
    now = asked + 0.4
    assert leadership.held
    assert leadership.require() == pytest.approx(0.6, abs=0.02)
    replica.kill()


async def test_giving_it_back_is_tried_again_after_a_conflict(caplog: pytest.LogCaptureFixture) -> None:
    """A renewal was under way while the lease was read."""
    api = FakeKube()
    async with replicas(api, "a", "b") as (first, second):
        await until_held(first)
        request = api.request
        refused = []

        async def conflicting(method: str, path: str, **options: Any) -> Any:
            if method == "PUT" and not options["body"]["spec"]["holderIdentity"] and not refused:
                refused.append(path)
                raise ConflictError(409, "Conflict", "the object has been modified")
            return await request(method, path, **options)

        api.request = conflicting  # type: ignore[method-assign]
        with caplog.at_level("INFO"):
            await first.elector.release()
        assert refused
        assert "The lease was given back" in caplog.text
        await until_held(second, seconds=0.8)


async def test_whoever_gave_it_back_does_not_take_it_again() -> None:
    api = FakeKube()
    async with replicas(api, "a") as (first,):
        await until_held(first)
        await first.elector.release()
        await asyncio.sleep(0.6)
        assert not first.leadership.held
        assert api.objects[PATH]["spec"]["holderIdentity"] == ""


class Answering(FakeKube):
    """Notes how long each request may take, and calls back when the answer to a GET is there."""

    def __init__(self) -> None:
        super().__init__()
        self.limits: list[tuple[str, int, float]] = []
        self.read: Callable[[], None] = lambda: None
        self.writing = asyncio.Event()

    async def request(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        if method == "PUT" and self.delay:
            self.writing.set()
        self.limits.append((method, options["attempts"], options["seconds"]))
        answer = await super().request(method, path, **options)
        if method == "GET":
            self.read()
        return answer


async def test_a_renewal_under_way_does_not_take_it_again() -> None:
    api = Answering()
    give_back(api)
    replica = Replica(api, "a")
    while not replica.leadership.held:
        replica.leadership.extend(
            time.monotonic() + 60 if await replica.elector._try(time.monotonic()) else 0
        )

    def released() -> None:
        replica.elector._released = True

    api.read, before = released, len(api.writes())
    assert not await replica.elector._try(time.monotonic())
    assert len(api.writes()) == before


async def test_a_renewal_that_was_sent_before_the_lease_is_given_back_allows_nothing_after_it() -> None:
    api = Answering()
    async with replicas(api, "a") as (first,):
        await until_held(first)
        api.delay = 0.1
        async with asyncio.timeout(10):
            await api.writing.wait()
        release = asyncio.create_task(first.elector.release())
        held = []
        for _ in range(60):
            await asyncio.sleep(0.01)
            held.append(first.leadership.held)
        await release
        assert not any(held), "the answer to a renewal made it act again"


async def test_giving_it_back_takes_at_most_six_seconds_whatever_the_api_server_answers() -> None:
    api = Answering()
    async with replicas(api, "a") as (first,):
        await until_held(first)
        first.kill()
        api.limits.clear()
        api.failures = [ApiUnavailableError(503, "ServiceUnavailable", "busy") for _ in range(9)]
        await first.elector.release()
    assert [attempts for _, attempts, _ in api.limits] == [1, 1]
    longest = RELEASE_ATTEMPTS * 2 * max(seconds for _, _, seconds in api.limits)  # read and write, each time
    assert longest <= 6


async def test_leadership_ends_by_itself_when_nobody_extends_it() -> None:
    now = 100.0
    leadership = Leadership(clock=lambda: now)
    leadership.extend(105.0)
    leadership.require()
    now = 105.0
    assert not leadership.held
    with pytest.raises(NotLeaderError):
        leadership.require()


async def test_no_election_means_always() -> None:
    assert Leadership.always().held


async def test_a_lease_that_ran_out_for_a_moment_is_noticed_by_whoever_waits_for_its_loss() -> None:
    """Ticks were dropped in that moment: the engine has to wake everything again."""
    now = [0.0]
    leadership = Leadership(clock=lambda: now[0])
    leadership.extend(5.0)
    losses = asyncio.create_task(leadership.lost.wait())
    await asyncio.sleep(0)
    now[0] = 2.0
    leadership.extend(7.0)
    await asyncio.sleep(0)
    assert not losses.done()
    now[0] = 7.1
    leadership.extend(12.0)
    await asyncio.wait_for(losses, timeout=1)
    assert leadership.held and leadership.acquired.is_set() and not leadership.lost.is_set()
