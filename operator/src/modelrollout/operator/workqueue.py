"""When to tick which rollout: a heap of due times, woken early by changes, one tick at a time for each.

Due times are joined into slots, so that the questions of many rollouts to Prometheus travel together.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
import time
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

logger = logging.getLogger(__name__)

K = TypeVar("K", bound=Hashable)

SLOT_SECONDS: Final = 0.25
SHORT_SLOT_SECONDS: Final = 0.02
LONG_WAIT_SECONDS: Final = 2.0
"""Waits of at least this are rounded up to SLOT_SECONDS, shorter ones to SHORT_SLOT_SECONDS."""


@dataclass(slots=True)
class _Entry:
    due: float | None = None
    running: bool = False
    again: float | None = None
    started: float = 0.0


def slot(due: float, wait: float) -> float:
    """Return the due time rounded up to the next slot; all callers in one process share the grid."""
    width = SLOT_SECONDS if wait >= LONG_WAIT_SECONDS else SHORT_SLOT_SECONDS
    return -(-due // width) * width


class WorkQueue(Generic[K]):
    """Keys and when each is due. `run` processes them.

    Args:
        accepts: Whether a wake counts now; one that does not is dropped.
        observe_lag: Is told how late each one began, in seconds.
    """

    def __init__(
        self,
        *,
        accepts: Callable[[], bool] = lambda: True,
        observe_lag: Callable[[float], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._accepts = accepts
        self._observe_lag = observe_lag
        self._clock = clock
        self._entries: dict[K, _Entry] = {}
        self._heap: list[tuple[float, int, K]] = []
        self._sequence = 0
        self._changed = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._active = False
        self._draining = False

    def __len__(self) -> int:
        return len(self._entries)

    def resume(self) -> None:
        """Let ticks happen from now on; after `drain` none does."""
        if self._draining:
            return
        self._active = True
        self._changed.set()

    def pause(self) -> None:
        """No further tick starts; those under way go on."""
        self._active = False

    def wake(self, key: K, after: float = 0.0) -> None:
        """Make a tick due in `after` seconds, or earlier if it was due earlier."""
        if not self._accepts():
            return
        entry = self._entries.setdefault(key, _Entry())
        due = slot(self._clock() + after, after) if after else self._clock()
        if entry.running:
            entry.again = due if entry.again is None else min(due, entry.again)
        elif entry.due is None or due < entry.due:
            self._set(key, entry, due)

    def forget(self, key: K) -> None:
        """Drop a key that is gone; a tick under way ends by itself."""
        self._entries.pop(key, None)

    def overdue(self) -> float:
        """Return seconds by which the latest tick is late or a running one has been running.

        0 if all is well.
        """
        if not self._active:
            return 0.0
        now = self._clock()
        times = [e.started if e.running else e.due for e in self._entries.values()]
        return max((now - at for at in times if at is not None), default=0.0)

    async def run(self, tick: Callable[[K], Awaitable[float | None]]) -> None:
        """Start ticks as they fall due, until cancelled.

        `tick(key)` returns the seconds until the next one of that key; None for none by the clock.
        """
        while True:
            self._changed.clear()
            delay = self._start_due(tick) if self._active else None
            try:
                async with asyncio.timeout(delay):
                    await self._changed.wait()
            except TimeoutError:
                continue

    async def drain(self, seconds: float) -> None:
        """Wait for the ticks under way, then cancel what is left of them. No tick starts any more."""
        self._draining = True
        self.pause()
        tasks = set(self._tasks)
        if tasks:
            _, pending = await asyncio.wait(tasks, timeout=seconds)
            for task in pending:
                task.cancel()
            await asyncio.gather(*pending, return_exceptions=True)

    def _set(self, key: K, entry: _Entry, due: float) -> None:
        entry.due = due
        self._sequence += 1
        heapq.heappush(self._heap, (due, self._sequence, key))
        if self._heap[0][2] == key:
            self._changed.set()

    def _start_due(self, tick: Callable[[K], Awaitable[float | None]]) -> float | None:
        now = self._clock()
        while self._heap:
            due, _, key = self._heap[0]
            entry = self._entries.get(key)
            if entry is None or entry.due != due or entry.running:
                heapq.heappop(self._heap)  # superseded by an earlier or later due time
                continue
            if due > now:
                return due - now
            heapq.heappop(self._heap)
            entry.due, entry.running, entry.started = None, True, now
            self._observe_lag(now - due)
            task = asyncio.create_task(self._run_one(tick, key, entry))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return None

    async def _run_one(self, tick: Callable[[K], Awaitable[float | None]], key: K, entry: _Entry) -> None:
        wait: float | None = None
        try:
            wait = await tick(key)
        finally:
            entry.running = False
            if self._entries.get(key) is entry:
                now = self._clock()
                due = None if wait is None else slot(now + wait, wait)
                if entry.again is not None:
                    due = entry.again if due is None else min(due, entry.again)
                    entry.again = None
                if due is not None:
                    self._set(key, entry, due)
