"""Prometheus stopped, frozen, slow, back again; a heavy query beside light ones."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import pytest

from modelrollout.decision.types import SampleState
from modelrollout.prometheus import PrometheusTarget, PrometheusTargets
from tests.support.exporter import Exporter
from tests.support.prometheus import Prometheus
from tests.support.proxy import SlowProxy
from tests.support.queries import CountingHooks, criterion, evaluator, rollout

pytestmark = pytest.mark.takes(seconds=45)

ONE = criterion("one", query="vector(1)")


@pytest.fixture
def prometheus() -> Iterator[Prometheus]:
    with Prometheus.start() as running:
        yield running


def targets(url: str, timeout: float) -> PrometheusTargets:
    return PrometheusTargets(targets={"default": PrometheusTarget(name="default", url=url, timeout=timeout)})


async def test_a_stopped_server_is_an_error_at_once_and_forgotten_when_it_is_back(
    prometheus: Prometheus,
) -> None:
    queries = rollout("ns", ONE)
    async with evaluator(prometheus.url) as asking:
        assert (await asking.evaluate(queries, patience=0)).metrics_error is None
        prometheus.stop()
        started = time.monotonic()
        answer = await asking.evaluate(queries, patience=0)
        assert time.monotonic() - started < 1.5
        assert answer.metrics_error is not None
        assert (
            "cannot be reached (Connection refused): is it running, is the address right?"
            in answer.metrics_error
        )
        assert answer.samples["one"].state is SampleState.ERROR
        history = await asking.with_history(queries, {"one": answer.samples["one"]}, ["one"])
        assert history["one"].state is SampleState.ERROR
        prometheus.run()
        answer = await asking.evaluate(queries, patience=0)
        assert answer.metrics_error is None
        assert answer.samples["one"].value == 1.0


async def test_a_history_that_cannot_be_read_is_an_error_and_no_breach(prometheus: Prometheus) -> None:
    queries = rollout("ns", criterion("one", query="vector(1)", **{"for": "5s"}))
    async with evaluator(prometheus.url) as asking:
        answer = await asking.evaluate(queries, patience=0)
        prometheus.stop()
        sample = (await asking.with_history(queries, answer.samples, ["one"]))["one"]
    assert sample.state is SampleState.ERROR
    assert sample.history is None
    assert "its past could not be read" in sample.message


async def test_a_frozen_server_costs_one_timeout_not_one_for_each_rollout(prometheus: Prometheus) -> None:
    hooks = CountingHooks()
    rollouts = [rollout(f"ns-{number}", ONE) for number in range(50)]
    async with evaluator(targets(prometheus.url, 2.0), hooks=hooks) as asking:
        await asking.evaluate(rollouts[0], patience=0)
        prometheus.pause()
        try:
            # The first to notice: asked, timed out, and a trivial question timed out too.
            first = await asking.evaluate(rollouts[0], patience=0)
            assert first.metrics_error is not None
            assert "did not answer within 2 s" in first.metrics_error
            hooks.requests.clear()
            probing = asyncio.create_task(asking.evaluate(rollouts[0], patience=0))
            await asyncio.sleep(0.05)
            started = time.monotonic()
            answers = await asyncio.gather(*(asking.evaluate(each, patience=0.01) for each in rollouts[1:]))
            assert time.monotonic() - started < 1.5  # a question of their own would take 2 s
            assert all(answer.metrics_error for answer in answers)
            assert hooks.requests == []
            await probing
        finally:
            prometheus.resume()
        for _ in range(50):
            if (await asking.evaluate(rollouts[0], patience=0)).metrics_error is None:
                break
            await asyncio.sleep(0.1)
        answers = await asyncio.gather(*(asking.evaluate(each, patience=0.01) for each in rollouts))
    assert [answer.metrics_error for answer in answers] == [None] * 50


async def test_a_slow_server_is_waited_for_up_to_the_timeout(prometheus: Prometheus) -> None:
    with SlowProxy(prometheus.url) as proxy:
        async with evaluator(targets(proxy.url, 1.5)) as asking:
            proxy.delay = 0.4
            answer = await asking.evaluate(rollout("ns", ONE), patience=0)
            assert answer.samples["one"].value == 1.0
            proxy.delay = 12.0
            started = time.monotonic()
            answer = await asking.evaluate(rollout("ns", ONE), patience=0)
            took = time.monotonic() - started
    assert answer.metrics_error is not None
    assert "did not answer within 1.5 s" in answer.metrics_error
    assert 2.9 <= took < 8.0  # the question, then the trivial one that shows who is at fault


async def test_connections_are_kept(prometheus: Prometheus) -> None:
    with SlowProxy(prometheus.url) as proxy:
        async with evaluator(proxy.url) as asking:
            for _ in range(20):
                assert (await asking.evaluate(rollout("ns", ONE), patience=0)).metrics_error is None
        assert proxy.connections <= 3


async def test_a_heavy_query_delays_only_its_own_rollout() -> None:
    """A query that takes longer than the timeout is found, and from then on the others do not wait for it."""
    heavy = criterion("heavy", query="max(sum by (a) (rate(demo[1m:1s])) + vector(0))")
    with Exporter.start() as exporter:
        pod = exporter.pod("ns", "emotion-2-7d4b9c8f6-x2vbn")
        with exporter.together():
            for number in range(300):
                pod.set("demo", 1, a=str(number))
        with Prometheus.start(exporter=exporter, scrape_interval=1.0) as prometheus:
            prometheus.wait_for("count(demo) == 300")
            slow = "count(sum by (a) (count_over_time(demo[12h:50ms])))"
            heavy = criterion("heavy", query=slow)
            # few enough that the search for the heavy one, 2 s a question, ends well within its 12 s
            light = [rollout(f"ns-{number}", ONE) for number in range(3)]
            weighty = rollout("ns", heavy)
            async with evaluator(targets(prometheus.url, 2.0)) as asking:

                async def timed(queries: object) -> tuple[float, object]:
                    started = time.monotonic()
                    answer = await asking.evaluate(queries, patience=0.02)  # type: ignore[arg-type]
                    return time.monotonic() - started, answer

                for turn in range(2):
                    results = await asyncio.gather(*(timed(each) for each in (*light, weighty)))
                    for seconds, answer in results[:-1]:
                        assert answer.metrics_error is None  # type: ignore[attr-defined]
                        assert answer.samples["one"].value == 1.0  # type: ignore[attr-defined]
                        assert turn == 0 or seconds < 1.8  # with the heavy one it would take 2 s and more
                    sample = results[-1][1].samples["heavy"]  # type: ignore[attr-defined]
                    assert sample.state is SampleState.ERROR
                    assert "did not answer within 2 s" in sample.message or "gave up" in sample.message
