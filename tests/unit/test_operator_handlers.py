"""When the watch of ModelRollouts counts as dead: only if it owes an event that never comes."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from modelrollout.cluster import resources
from modelrollout.cluster.cache import ClusterCache
from modelrollout.cluster.fence import FencedApi
from modelrollout.cluster.leader_election import Leadership
from modelrollout.cluster.writer import RolloutRef, Writer
from modelrollout.operator import handlers
from modelrollout.operator.handlers import Expectation, KopfWatcher
from tests.support.fake_kube import FakeKube


class Clock:
    """Seconds that a test moves."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_an_event_that_comes_before_the_answer_to_the_write_leaves_nothing_owed() -> None:
    clock = Clock()
    expectation = Expectation(clock)
    expectation.heard("7")
    expectation.expect("7")
    clock.now = 100.0
    assert expectation.silence() == 0.0


def test_an_event_after_the_answer_settles_it_and_one_of_an_earlier_version_does_not() -> None:
    clock = Clock()
    expectation = Expectation(clock)
    expectation.expect("9")
    clock.now = 30.0
    assert expectation.silence() == 30.0
    expectation.heard("8")
    clock.now = 50.0
    assert expectation.silence() == 20.0, "it lives, but owes 9 still"
    expectation.heard("9")
    clock.now = 100.0
    assert expectation.silence() == 0.0


def test_of_two_writes_the_later_one_counts_and_the_time_from_the_first() -> None:
    clock = Clock()
    expectation = Expectation(clock)
    expectation.heard("1")
    expectation.expect("100")
    clock.now = 10.0
    expectation.expect("99")
    expectation.expect("101")
    clock.now = 41.0
    assert expectation.silence() == 41.0
    expectation.heard("101")
    assert expectation.silence() == 0.0


def test_a_new_watch_owes_nothing() -> None:
    clock = Clock()
    expectation = Expectation(clock)
    expectation.expect("5")
    expectation.forget()
    clock.now = 100.0
    assert expectation.silence() == 0.0


@pytest.mark.parametrize("first", ["event", "answer"])
async def test_a_healthy_watch_is_not_restarted_whichever_comes_first(
    first: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The event of a status write may be handled before the writer sees the answer."""
    monkeypatch.setattr(handlers, "SILENCE_SECONDS", 0.1)
    api: Any = FakeKube()
    heard: list[str | None] = []
    watcher = KopfWatcher(namespaces=(), credentials=None, on_event=lambda kind, _: heard.append(kind))  # type: ignore[arg-type]
    fenced = FencedApi(api, Leadership.always())
    cache = ClusterCache(fenced, namespaces=(None,), listener=lambda *_: None)
    writer = Writer(fenced, cache, rollout_written=watcher.expect)
    path = resources.rollout("ns", "emotion")
    uid = api.put(path, {"metadata": {"name": "emotion"}})["metadata"]
    request = api.request

    async def answered_late(*words: Any, **options: Any) -> Any:
        answer = await request(*words, **options)
        if first == "event":
            watcher._heard("MODIFIED", answer)
        return answer

    api.request = answered_late
    ended = asyncio.Event()
    watching = asyncio.create_task(watcher._until_dead(ended))
    await asyncio.sleep(0)
    ref = RolloutRef(namespace="ns", name="emotion", uid=uid["uid"], resource_version=uid["resourceVersion"])
    await writer.write_status(ref, {"phase": "Idle"})
    if first == "answer":
        watcher._heard("MODIFIED", api.objects[path])
    await asyncio.sleep(0.3)
    assert heard == ["MODIFIED"]
    assert not watching.done(), "a healthy watch was given up"
    watching.cancel()


async def test_whatever_kopf_ends_with_is_logged_and_it_is_started_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An error in its thread would else be printed past the log."""
    begun: list[threading.Event] = []
    again = threading.Event()

    async def operator(*, stop_flag: threading.Event, **_: Any) -> None:
        begun.append(stop_flag)
        if len(begun) == 1:
            raise AttributeError("a defect of a library")
        again.set()
        await asyncio.to_thread(stop_flag.wait)

    monkeypatch.setattr(handlers.kopf, "operator", operator)
    monkeypatch.setattr(handlers, "RESTART_SECONDS", 0.01)
    watcher = KopfWatcher(namespaces=(), credentials=None, on_event=lambda *_: None)  # type: ignore[arg-type]
    running = asyncio.create_task(watcher.run())
    assert await asyncio.to_thread(again.wait, 30)
    assert "a defect of a library" in caplog.text
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert begun[1].is_set(), "the second one was told to stop"
