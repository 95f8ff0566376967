"""CPU work off the event loop: a bounded queue in front of a few worker threads.

Requests that wait for the same free worker may be joined into one call (``max_batch``). Nobody ever waits for
a batch to fill: a free worker takes what is there.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Generic, TypeVar

from inference_server.errors import OverloadedError, PredictionError

logger = logging.getLogger(__name__)

Answer = TypeVar("Answer")


@dataclass(slots=True)
class _Waiting(Generic[Answer]):
    texts: Sequence[str]
    future: asyncio.Future[list[Answer]]
    since: float


class Batcher(Generic[Answer]):
    """Runs ``work(texts) -> one answer per text`` in threads. Use it from one event loop.

    Args:
        work: blocking; called from several threads at once.
        workers: number of threads.
        max_batch: most texts that several requests are joined to; a larger single request stays whole.
        queue_size: most texts that may wait.
        queue_timeout: longest wait in seconds.
    """

    def __init__(
        self,
        work: Callable[[Sequence[str]], list[Answer]],
        *,
        workers: int,
        max_batch: int,
        queue_size: int,
        queue_timeout: float,
    ) -> None:
        self._work = work
        self._free = workers
        self._max_batch = max_batch
        self._queue_size = queue_size
        self._queue_timeout = queue_timeout
        self._waiting: deque[_Waiting[Answer]] = deque()
        self._depth = 0
        self._seconds_per_text = 0.01
        self._workers = workers
        self._executor = ThreadPoolExecutor(workers, thread_name_prefix="predict")

    @property
    def depth(self) -> int:
        """How many texts wait."""
        return self._depth

    @property
    def idle(self) -> bool:
        """Whether a worker is free and nobody waits for it."""
        return self._free > 0 and not self._waiting

    async def run(self, texts: Sequence[str]) -> list[Answer]:
        """Return the answers to ``texts``, in order.

        Raises:
            OverloadedError: the queue is full, or the wait was too long.
            PredictionError: the work itself raised.
        """
        if self._waiting and self._depth + len(texts) > self._queue_size:
            raise OverloadedError(
                f"{self._depth} texts are waiting and the queue holds {self._queue_size}; try again later.",
                retry_after=self._drain_time(),
            )
        loop = asyncio.get_running_loop()
        waiting: _Waiting[Answer] = _Waiting(texts, loop.create_future(), time.monotonic())
        self._waiting.append(waiting)
        self._depth += len(texts)
        self._pump(loop)
        return await waiting.future

    def close(self) -> None:
        """End the threads after the calls that run now; whoever still waits is refused."""
        for waiting in self._waiting:
            if not waiting.future.done():
                waiting.future.set_exception(OverloadedError("The server is ending.", retry_after=1.0))
        self._waiting.clear()
        self._depth = 0
        self._executor.shutdown(wait=True)

    def _drain_time(self) -> float:
        return max(1.0, self._depth * self._seconds_per_text / self._workers)

    def _pump(self, loop: asyncio.AbstractEventLoop) -> None:
        while self._free and (batch := self._take()):
            self._free -= 1
            texts = [text for waiting in batch for text in waiting.texts]
            task = loop.run_in_executor(self._executor, self._work, texts)
            task.add_done_callback(partial(self._finish, loop, batch, time.monotonic()))

    def _take(self) -> list[_Waiting[Answer]]:
        """Return the next requests for one call, without those that were given up or waited for too long."""
        batch: list[_Waiting[Answer]] = []
        size = 0
        now = time.monotonic()
        while self._waiting and (not batch or size + len(self._waiting[0].texts) <= self._max_batch):
            waiting = self._waiting.popleft()
            self._depth -= len(waiting.texts)
            if waiting.future.done():
                continue
            if now - waiting.since > self._queue_timeout:
                waited = f"The request waited for {now - waiting.since:.1f} s; try again later."
                waiting.future.set_exception(OverloadedError(waited, retry_after=self._drain_time()))
                continue
            batch.append(waiting)
            size += len(waiting.texts)
        return batch

    def _finish(
        self,
        loop: asyncio.AbstractEventLoop,
        batch: list[_Waiting[Answer]],
        started: float,
        done: asyncio.Future[list[Answer]],
    ) -> None:
        self._free += 1
        error = None if done.cancelled() else done.exception()
        if error is not None or done.cancelled():
            logger.error("The predictor raised; %d requests get an error.", len(batch), exc_info=error)
            for waiting in batch:
                if not waiting.future.done():
                    failure = PredictionError("The model failed on this request; the server's log says why.")
                    failure.__cause__ = error
                    waiting.future.set_exception(failure)
        else:
            answers = done.result()
            elapsed = (time.monotonic() - started) / max(1, len(answers))
            self._seconds_per_text = 0.9 * self._seconds_per_text + 0.1 * elapsed
            position = 0
            for waiting in batch:
                part = answers[position : position + len(waiting.texts)]
                position += len(waiting.texts)
                if not waiting.future.done():
                    waiting.future.set_result(part)
        self._pump(loop)
