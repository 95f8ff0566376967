"""When whom: one tick at a time for each, woken early, forgotten, late ones seen."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from modelrollout.operator.workqueue import WorkQueue, slot

Tick = Callable[[str], Awaitable[float | None]]


class Runner:
    """A queue in the background and a record of its ticks."""

    def __init__(self, tick: Tick) -> None:
        self.tick = tick
        self.queue: WorkQueue[str] = WorkQueue()

    async def __aenter__(self) -> WorkQueue[str]:
        self.queue.resume()
        self.task = asyncio.create_task(self.queue.run(self.tick))
        return self.queue

    async def __aexit__(self, *_: object) -> None:
        self.task.cancel()
        await self.queue.drain(0.1)


async def test_a_tick_that_returns_seconds_is_followed_by_another() -> None:
    count = 0

    async def tick(_: str) -> float | None:
        nonlocal count
        count += 1
        return 0.02 if count < 3 else None

    async with Runner(tick) as queue:
        queue.wake("a")
        await asyncio.sleep(0.5)
    assert count == 3


async def test_a_wake_makes_it_earlier_and_never_later() -> None:
    ticks: list[str] = []

    async def tick(key: str) -> float | None:
        ticks.append(key)
        return None

    async with Runner(tick) as queue:
        queue.wake("a", after=60)
        queue.wake("b", after=60)
        queue.wake("a")
        queue.wake("a", after=30)
        await asyncio.sleep(0.2)
    assert ticks == ["a"]


async def test_two_ticks_of_one_key_never_overlap_and_no_wake_is_lost() -> None:
    running = most = count = 0

    async def tick(_: str) -> float | None:
        nonlocal running, most, count
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.05)
        running -= 1
        count += 1
        return None

    async with Runner(tick) as queue:
        queue.wake("a")
        await asyncio.sleep(0.02)
        for _ in range(5):
            queue.wake("a")
        await asyncio.sleep(0.5)
    assert (most, count) == (1, 2)


async def test_a_slow_tick_delays_no_other() -> None:
    done: list[str] = []

    async def tick(key: str) -> float | None:
        await asyncio.sleep(5 if key == "slow" else 0)
        done.append(key)
        return None

    async with Runner(tick) as queue:
        queue.wake("slow")
        queue.wake("fast")
        await asyncio.sleep(0.2)
        assert done == ["fast"]


async def test_paused_nothing_starts_and_late_is_not_late() -> None:
    done: list[str] = []

    async def tick(key: str) -> float | None:
        done.append(key)
        return None

    async with Runner(tick) as queue:
        queue.pause()
        queue.wake("a")
        await asyncio.sleep(0.1)
        assert (done, queue.overdue()) == ([], 0.0)
        queue.resume()
        await asyncio.sleep(0.1)
    assert done == ["a"]


async def test_what_is_forgotten_is_not_ticked() -> None:
    done: list[str] = []

    async def tick(key: str) -> float | None:
        done.append(key)
        return None

    async with Runner(tick) as queue:
        queue.wake("a", after=0.05)
        queue.forget("a")
        await asyncio.sleep(0.2)
    assert done == []
    assert len(queue) == 0


async def test_a_tick_that_hangs_is_overdue() -> None:
    now = 1000.0

    async def tick(_: str) -> float | None:
        await asyncio.Event().wait()
        return None

    queue: WorkQueue[str] = WorkQueue(clock=lambda: now)
    queue.resume()
    task = asyncio.create_task(queue.run(tick))
    queue.wake("a")
    await asyncio.sleep(0.05)
    now += 90
    assert queue.overdue() == pytest.approx(90)
    task.cancel()
    await queue.drain(0.05)


async def test_draining_lets_ticks_end_and_starts_none() -> None:
    done: list[str] = []

    async def tick(key: str) -> float | None:
        await asyncio.sleep(0.1)
        done.append(key)
        return 0.01

    async with Runner(tick) as queue:
        queue.wake("a")
        await asyncio.sleep(0.02)
        await queue.drain(5)
        await asyncio.sleep(0.2)
    assert done == ["a"]


async def test_leadership_that_is_taken_again_while_it_drains_starts_no_tick() -> None:
    done: list[str] = []

    async def tick(key: str) -> float | None:
        done.append(key)
        await asyncio.sleep(0.1)
        return 0.01

    async with Runner(tick) as queue:
        queue.wake("a")
        await asyncio.sleep(0.02)
        draining = asyncio.create_task(queue.drain(5))
        await asyncio.sleep(0.02)
        queue.resume()
        queue.wake("b")
        await draining
        await asyncio.sleep(0.2)
    assert done == ["a"]


@pytest.mark.parametrize("wait", [0.5, 1.0, 10.0, 60.0])
def test_slots_are_never_early_and_hardly_late(wait: float) -> None:
    for start in (0.0, 17.031, 123.456):
        due = start + wait
        late = slot(due, wait) - due
        assert -1e-9 <= late <= wait / 8


def test_those_that_are_due_together_share_a_slot() -> None:
    assert len({slot(100.0 + shift, 10.0) for shift in (0.01, 0.05, 0.1, 0.2)}) == 1
