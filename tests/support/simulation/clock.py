"""Virtual time: an event loop that jumps to its next timer, and clocks and chance that follow from a seed.

`install` replaces what the process reads the clock from. It must come before the operator is imported, so
that default arguments such as `clock=time.monotonic` are the virtual ones, too: a simulation has a process of
its own. Everything is found this way, also a read of the clock that is written tomorrow.
"""

from __future__ import annotations

import asyncio
import datetime as datetimes
import random
import secrets
import selectors
import sys
import time
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, Final

EPOCH: Final = datetimes.datetime(2026, 1, 5, 9, 0, tzinfo=datetimes.UTC).timestamp()
"""Where virtual wall clocks start: a Monday morning."""
SKEW: ContextVar[float] = ContextVar("skew", default=0.0)
"""Seconds by which the wall clock of the operator that runs in this context is ahead."""

RealRandom: Final = random.Random
_state: dict[str, Any] = {"loop": None, "chance": RealRandom(0)}


class StuckError(Exception):
    """Every task waits and no timer is set: nothing can ever happen again."""


class _Selector(selectors.SelectSelector):
    """Never waits: moves the time of the loop instead."""

    loop: VirtualLoop | None = None

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise StuckError("no task can run and no timer is set")
        if timeout > 0 and self.loop is not None:
            self.loop.advance(timeout)
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose time moves only when nothing is left to run."""

    def __init__(self) -> None:
        self._now = 0.0
        self._blocked = 0.0
        selector = _Selector()
        super().__init__(selector)
        selector.loop = self

    def time(self) -> float:
        """Seconds since the loop was made; in a worker thread with what the thread has slept."""
        return self._now + self._blocked

    def advance(self, seconds: float) -> None:
        """Move the time."""
        self._now += seconds

    def block(self, seconds: float) -> None:
        """A worker thread sleeps, or waits for an answer."""
        self._blocked += seconds

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:  # type: ignore[override]
        """Run it now, on this thread; its result arrives after the time that it slept."""
        future: asyncio.Future[Any] = self.create_future()
        before, self._blocked = self._blocked, 0.0
        result, error = None, None
        try:
            result = func(*args)
        except Exception as raised:  # noqa: BLE001 - it is the caller's
            error = raised
        took, self._blocked = self._blocked, before

        def arrive() -> None:
            if future.done():
                return
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(result)

        self.call_later(took, arrive)
        return future


def _loop() -> VirtualLoop | None:
    found: VirtualLoop | None = _state["loop"]
    return found


def monotonic() -> float:
    """Replaces time.monotonic; never 0, which several parts take for `never`."""
    loop = _loop()
    return _real_monotonic() if loop is None else 1000.0 + loop.time()


def wall() -> float:
    """Replaces time.time."""
    loop = _loop()
    return _real_time() if loop is None else EPOCH + loop.time() + SKEW.get()


def elapsed() -> float:
    """Virtual seconds since the start."""
    loop = _loop()
    return 0.0 if loop is None else loop.time()


def true_time() -> float:
    """The wall clock without anybody's skew."""
    loop = _loop()
    return EPOCH if loop is None else EPOCH + loop.time()


def sleep(seconds: float) -> None:
    """Replaces time.sleep, which only worker threads call."""
    loop = _loop()
    if loop is None:
        _real_sleep(seconds)
    else:
        loop.block(seconds)


_real_monotonic, _real_time, _real_sleep = time.monotonic, time.time, time.sleep


class _AnyDatetime(type(datetimes.datetime)):  # type: ignore[misc]
    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, datetimes.datetime)


class VirtualDatetime(datetimes.datetime, metaclass=_AnyDatetime):
    """datetime whose `now` is virtual."""

    @classmethod
    def now(cls, tz: datetimes.tzinfo | None = None) -> datetimes.datetime:  # type: ignore[override]
        """The virtual wall clock."""
        return datetimes.datetime.fromtimestamp(wall(), tz=tz)


class SeededRandom(random.Random):
    """A Random that, made without a seed, takes one from the seed of the simulation."""

    def __init__(self, seed: Any = None) -> None:
        super().__init__(_state["chance"].random() if seed is None else seed)


def install() -> None:
    """Replace the clocks and chance of this process."""
    time.monotonic, time.time, time.sleep = monotonic, wall, sleep
    time.time_ns = lambda: int(wall() * 1e9)
    random.Random = SeededRandom  # type: ignore[misc]
    secrets.token_hex = lambda nbytes=None: f"{_state['chance'].getrandbits(8 * (nbytes or 16)):x}"
    secrets.token_urlsafe = secrets.token_hex


def replace_datetime() -> None:
    """Give the operator's modules the virtual `datetime`; pydantic's models keep the real one."""
    for name, module in list(sys.modules.items()):
        ours = name.startswith("modelrollout.") and not name.startswith("modelrollout.api")
        if ours and getattr(module, "datetime", None) is datetimes.datetime:
            module.datetime = VirtualDatetime  # type: ignore[attr-defined]


def run(main: Callable[[], Any], seed: int) -> Any:
    """Run a coroutine function on a virtual loop from time 0."""
    random.seed(seed)
    _state["chance"] = RealRandom(seed)
    loop = VirtualLoop()
    _state["loop"] = loop
    asyncio.set_event_loop(loop)
    try:
        return loop.run_until_complete(main())
    finally:
        tasks = asyncio.all_tasks(loop)
        for task in tasks:
            task.cancel()
        if tasks:
            loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        _state["loop"] = None
        asyncio.set_event_loop(None)
        loop.close()
