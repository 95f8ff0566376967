"""The process ends in time: the deadline begins before anything is waited for."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Coroutine, Iterator
from typing import Any

import pytest

from modelrollout.operator import main
from modelrollout.operator.deadline import REST_SECONDS
from modelrollout.operator.settings import load_settings


class Process:
    """One task, and notes of what was done in which order."""

    def __init__(self, told: list[str], *, fails: bool = False, stubborn: bool = False) -> None:
        self.told, self._fails, self._stubborn = told, fails, stubborn

    def tasks(self) -> Iterator[tuple[str, Coroutine[Any, Any, None]]]:
        yield "work", self._work()

    async def _work(self) -> None:
        if self._fails:
            raise RuntimeError("the task of the test fails")
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            if self._stubborn:
                await asyncio.sleep(20)
            raise

    async def finish_ticks(self) -> None:
        self.told.append("ticks finished")

    async def shut_down(self) -> None:
        self.told.append("shut down")


class Deadline:
    """Notes when it was started and when all was done."""

    def __init__(self, told: list[str]) -> None:
        self.told = told

    def start(self, seconds: float) -> None:
        self.told.append(f"deadline {seconds:.0f}")

    def done(self) -> None:
        self.told.append("done")


async def run(monkeypatch: pytest.MonkeyPatch, **options: Any) -> tuple[int, list[str]]:
    told: list[str] = []

    async def create(_: object) -> Process:
        return Process(told, **options)

    monkeypatch.setattr(main.Process, "create", create)
    monkeypatch.setattr(main, "ExitDeadline", lambda: Deadline(told))
    settings = load_settings(["--prometheus-url", "http://p"], {})
    asyncio.get_running_loop().call_later(0.1, os.kill, os.getpid(), signal.SIGTERM)
    code = await main.run(settings)
    if options.get("fails"):
        await asyncio.sleep(0.3)  # the signal comes to the handlers of this run
    told[0] = told[0].replace(f"{settings.shutdown + REST_SECONDS:.0f}", "in time")
    return code, told


async def test_after_sigterm_the_deadline_begins_first_and_all_is_done_at_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    code, told = await run(monkeypatch)
    assert (code, told) == (0, ["deadline in time", "ticks finished", "shut down", "done"])


async def test_a_task_that_fails_ends_the_process_without_finishing_ticks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    code, told = await run(monkeypatch, fails=True)
    assert (code, told) == (1, ["deadline in time", "shut down"])


async def test_a_task_that_does_not_end_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(main, "CANCEL_SECONDS", 0.1)
    async with asyncio.timeout(10):
        code, told = await run(monkeypatch, stubborn=True)
    assert (code, told[-1]) == (0, "done")
