"""The queue in front of the worker threads: order, bounds, joining, errors."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Sequence

import pytest

from inference_server.batching import Batcher
from inference_server.errors import OverloadedError, PredictionError


class Work:
    """Upper-cases texts; holds until released; notes the size of each call."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.gate = threading.Event()
        self.gate.set()
        self.threads: set[str] = set()

    def __call__(self, texts: Sequence[str]) -> list[str]:
        self.gate.wait(10)
        self.sizes.append(len(texts))
        self.threads.add(threading.current_thread().name)
        if "raise" in texts:
            raise RuntimeError("asked for")
        return [text.upper() for text in texts]


def batcher(work: Work, **options: float) -> Batcher[str]:
    defaults = {"workers": 1, "max_batch": 1, "queue_size": 8, "queue_timeout": 5.0}
    return Batcher(work, **{**defaults, **options})  # type: ignore[arg-type]


async def test_answers_come_in_order_and_from_other_threads() -> None:
    work = Work()
    queue = batcher(work, workers=2)
    answers = await asyncio.gather(*(queue.run([f"a{n}", f"b{n}"]) for n in range(4)))
    assert answers == [[f"A{n}", f"B{n}"] for n in range(4)]
    assert threading.current_thread().name not in work.threads
    queue.close()


async def test_waiting_requests_are_joined_but_a_free_worker_never_waits() -> None:
    work = Work()
    queue = batcher(work, max_batch=4)
    work.gate.clear()
    tasks = [asyncio.create_task(queue.run([str(n)])) for n in range(6)]
    await asyncio.sleep(0.02)
    work.gate.set()
    assert await asyncio.gather(*tasks) == [[str(n)] for n in range(6)]
    assert work.sizes == [1, 4, 1]
    queue.close()


async def test_a_full_queue_refuses_and_says_when_to_come_back() -> None:
    work = Work()
    queue = batcher(work, queue_size=3)
    work.gate.clear()
    tasks = [asyncio.create_task(queue.run([str(n)])) for n in range(4)]
    await asyncio.sleep(0.01)
    assert queue.depth == 3
    with pytest.raises(OverloadedError) as caught:
        await queue.run(["one too many"])
    assert caught.value.retry_after >= 1
    work.gate.set()
    assert len(await asyncio.gather(*tasks)) == 4
    assert queue.depth == 0
    queue.close()


async def test_a_request_larger_than_the_queue_is_taken_when_nobody_waits() -> None:
    queue = batcher(Work(), queue_size=2)
    assert await queue.run(["a", "b", "c"]) == ["A", "B", "C"]
    queue.close()


async def test_who_waited_too_long_is_refused_without_work() -> None:
    work = Work()
    queue = batcher(work, queue_timeout=0.05)
    work.gate.clear()
    first = asyncio.create_task(queue.run(["first"]))
    late = asyncio.create_task(queue.run(["late"]))
    await asyncio.sleep(0.1)
    work.gate.set()
    assert await first == ["FIRST"]
    with pytest.raises(OverloadedError, match="waited"):
        await late
    assert work.sizes == [1]
    queue.close()


async def test_work_for_a_client_that_left_is_not_done() -> None:
    work = Work()
    queue = batcher(work)
    work.gate.clear()
    first = asyncio.create_task(queue.run(["first"]))
    gone = asyncio.create_task(queue.run(["gone"]))
    await asyncio.sleep(0.01)
    gone.cancel()
    await asyncio.sleep(0)
    work.gate.set()
    await first
    await asyncio.sleep(0.02)
    assert work.sizes == [1]
    assert queue.idle
    queue.close()


async def test_a_failure_reaches_only_its_own_requests() -> None:
    queue = batcher(Work())
    results = await asyncio.gather(queue.run(["raise"]), queue.run(["fine"]), return_exceptions=True)
    assert isinstance(results[0], PredictionError)
    assert "asked for" not in str(results[0])
    assert results[1] == ["FINE"]
    queue.close()


async def test_the_event_loop_stays_free_while_workers_are_busy() -> None:
    work = Work()
    queue = batcher(work)
    work.gate.clear()
    task = asyncio.create_task(queue.run(["held"]))
    started = time.monotonic()
    await asyncio.sleep(0.05)
    assert time.monotonic() - started < 0.5
    work.gate.set()
    assert await task == ["HELD"]
    queue.close()
