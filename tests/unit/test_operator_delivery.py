"""Webhooks: each target has a queue of its own, so a dead one delays only itself; what is lost is counted."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from modelrollout.api.schedule import Notification
from modelrollout.api.schedule import Transition as Announcement
from modelrollout.api.unreported import UnreportedTransition
from modelrollout.operator import delivery
from modelrollout.operator.delivery import Deliveries, Message
from modelrollout.operator.metrics import OperatorMetrics
from modelrollout.operator.rollouts import RolloutState
from modelrollout.operator.webhooks import Notifier
from tests.support.webhook import Webhook
from tests.unit.test_operator_rollouts import stored

NEVER = 0


async def no_headers(_: Message) -> dict[str, str]:
    return {}


@asynccontextmanager
async def sending() -> AsyncIterator[tuple[Deliveries, OperatorMetrics]]:
    metrics = OperatorMetrics(lambda: True)
    deliveries = Deliveries(metrics, headers=no_headers)
    task = asyncio.create_task(deliveries.run())
    try:
        yield deliveries, metrics
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def message(url: str, number: int = 0, namespace: str = "ns") -> Message:
    return Message(
        notification=Notification(name="chat", url=url),
        namespace=namespace,
        rollout="emotion",
        event={"id": str(number), "time": f"{number:09}"},
    )


def outcome(metrics: OperatorMetrics, name: str) -> float:
    return float(
        metrics.registry.get_sample_value("modelrollout_notifications_total", {"outcome": name}) or 0
    )


async def until(check: Callable[[], Any], seconds: float = 10.0) -> float:
    """Waits until the check is true; how long that took, in seconds."""
    started = time.monotonic()
    while not check():
        assert time.monotonic() - started < seconds
        await asyncio.sleep(0.01)
    return time.monotonic() - started


def hook(stack: AsyncExitStack, answer: int) -> Webhook:
    return stack.enter_context(Webhook(lambda _: answer))


async def test_dead_webhooks_do_not_delay_the_others() -> None:
    """Four of them delayed every other by 47 s when all shared four workers."""
    async with AsyncExitStack() as stack, sending() as (deliveries, metrics):
        dead = [hook(stack, NEVER) for _ in range(8)]
        alive = hook(stack, 204)
        for number in range(3):
            for each in dead:
                deliveries.put(message(each.url, number))
        for number in range(20):
            deliveries.put(message(alive.url, number))
        assert await until(lambda: outcome(metrics, "sent") == 20) < delivery.SECONDS / 2
        assert [call.body["id"] for call in alive.calls] == [str(number) for number in range(20)]


async def test_an_error_that_nobody_foresaw_costs_its_own_message_alone(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with AsyncExitStack() as stack, sending() as (deliveries, metrics):
        alive, other = hook(stack, 204), hook(stack, 204)
        broken = replace(message(alive.url), event={"id": object()})
        deliveries.put(broken)
        deliveries.put(message(alive.url, 1))
        deliveries.put(message(other.url, 2))
        await until(lambda: outcome(metrics, "sent") == 2)
        assert outcome(metrics, "failed") == 1
    assert "JSON serializable" in caplog.text


async def test_failing_targets_leave_the_slots_of_working_ones_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "SLOTS", 2)
    monkeypatch.setattr(delivery, "SECONDS", 0.5)
    async with AsyncExitStack() as stack, sending() as (deliveries, metrics):
        dead = [hook(stack, NEVER) for _ in range(4)]
        alive = hook(stack, 204)
        for each in dead:
            for number in range(5):
                deliveries.put(message(each.url, number))
        await until(lambda: all(each.calls for each in dead))
        await asyncio.sleep(0.6)  # each of them has failed once
        deliveries.put(message(alive.url))
        assert await until(lambda: outcome(metrics, "sent") == 1) < 0.4


async def test_one_namespace_cannot_fill_the_queue_of_another(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(delivery, "TARGET_LENGTH", 4)
    monkeypatch.setattr(delivery, "TOTAL_LENGTH", 6)
    metrics = OperatorMetrics(lambda: True)
    deliveries = Deliveries(metrics, headers=no_headers)  # nothing is sent yet
    with caplog.at_level(logging.WARNING):
        for number in range(10):
            deliveries.put(message("http://one.invalid/", number))
        assert outcome(metrics, "dropped") == 6
        assert caplog.text.count("too many wait") == 1  # the rest is only counted
        for number in range(3):
            deliveries.put(message("http://one.invalid/", number, namespace="other"))
    waiting = {key[0]: len(target.waiting) for key, target in deliveries._targets.items()}
    assert waiting == {"ns": 3, "other": 3}
    assert outcome(metrics, "dropped") == 7
    assert caplog.text.count("too many wait") == 1


async def test_what_is_dropped_is_logged_again_after_a_delivery(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(delivery, "TARGET_LENGTH", 1)
    with caplog.at_level(logging.INFO), Webhook() as alive:
        async with sending() as (deliveries, metrics):
            await asyncio.sleep(0)
            for number in range(4):
                deliveries.put(message(alive.url, number))
            await until(lambda: outcome(metrics, "sent") == 1)
            assert "3 notifications were dropped" in caplog.text
            for number in range(4):
                deliveries.put(message(alive.url, number))
            await until(lambda: outcome(metrics, "sent") == 2)
    assert caplog.text.count("too many wait") == 2


def started() -> UnreportedTransition:
    return UnreportedTransition(
        id="1",
        at=datetime(2026, 1, 1, tzinfo=UTC),
        reason="Started",
        message="It starts.",
        announcement=Announcement.STARTED,
    )


@pytest.mark.parametrize(("allowed", "sent"), [(("127.0.0.1",), 1), (("hooks.example",), 0), ((), 0)])
async def test_nothing_is_sent_to_a_host_that_the_settings_do_not_allow(
    allowed: tuple[str, ...], sent: int, caplog: pytest.LogCaptureFixture
) -> None:
    metrics = OperatorMetrics(lambda: True)
    notifier = Notifier(None, metrics, allowed_hosts=allowed)  # type: ignore[arg-type]
    done: list[bool] = []
    with Webhook() as alive:
        obj = stored()
        obj["spec"]["notifications"] = [{"name": "chat", "url": alive.url}]
        task = asyncio.create_task(notifier.run())
        with caplog.at_level(logging.WARNING):
            notifier.notify(RolloutState.of(obj), started(), done.append)
            await until(lambda: outcome(metrics, "sent") + outcome(metrics, "refused") == 1)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert done == [True], "delivered or given up"
    assert len(alive.calls) == sent
    assert ("not among the allowed ones" in caplog.text) is (sent == 0)
