"""Many rollouts, one Prometheus: joined requests, bad queries beside good ones, the past, and the rhythm of
scrapes."""

from __future__ import annotations

import asyncio
import itertools
import math
import random
import signal
import statistics
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest

from modelrollout.decision.types import SampleState
from modelrollout.prometheus import EvaluatorOptions, Limits
from tests.support.exporter import Exporter
from tests.support.prometheus import Prometheus
from tests.support.queries import CountingHooks, criterion, evaluator, rollout

pytestmark = pytest.mark.takes(seconds=75)

_numbers = itertools.count()
ERROR_RATE = criterion("errors", preset="errorRate")
LATENCY = criterion("latency", preset="latencyP95", max="200ms")
MISMATCH = criterion("mismatch", preset="dimensionMismatch", max=0)


@pytest.fixture(scope="module")
def exporter() -> Iterator[Exporter]:
    with Exporter.start() as running:
        for number in range(40):
            running.pod(f"team-{number}", "emotion-2-7d4b9c8f6-x2vbn", version="2").healthy()
        yield running


@pytest.fixture(scope="module")
def prometheus(exporter: Exporter) -> Iterator[Prometheus]:
    with Prometheus.start(exporter=exporter, scrape_interval=1.0) as running:
        running.wait_for('count_over_time(up{namespace="team-39"}[1m]) > 4')
        yield running


async def test_rollouts_that_come_together_leave_together(prometheus: Prometheus) -> None:
    hooks = CountingHooks()
    rollouts = [rollout(f"team-{number}", ERROR_RATE, LATENCY, MISMATCH) for number in range(20)]
    async with evaluator(prometheus.url, hooks=hooks) as asking:
        answers = await asyncio.gather(*(asking.evaluate(each, patience=0.05) for each in rollouts))
    assert len(hooks.requests) == 1
    # value and count of two criteria, the value of the third, and the newest scrape
    assert hooks.requests[0]["legs"] == 20 * 6
    for answer in answers:
        assert {name: sample.state for name, sample in answer.samples.items()} == dict.fromkeys(
            ("errors", "latency", "mismatch"), SampleState.VALUE
        )
        assert answer.samples["latency"].value == pytest.approx(0.04875)
        assert answer.fresh_at is not None


async def test_a_request_never_grows_beyond_its_limit(prometheus: Prometheus) -> None:
    hooks = CountingHooks()
    options = EvaluatorOptions(limits=Limits(legs=20))
    rollouts = [rollout(f"team-{number}", ERROR_RATE, MISMATCH) for number in range(20)]
    async with evaluator(prometheus.url, hooks=hooks, options=options) as asking:
        answers = await asyncio.gather(*(asking.evaluate(each, patience=0.05) for each in rollouts))
    assert max(request["legs"] for request in hooks.requests) <= 20
    assert len(hooks.requests) == 4
    assert all(answer.samples["errors"].value == 0.0 for answer in answers)


async def test_only_the_criteria_named_are_asked_for(prometheus: Prometheus) -> None:
    async with evaluator(prometheus.url) as asking:
        answer = await asking.evaluate(rollout("team-0", ERROR_RATE, LATENCY), ["latency", "nonsense"], 0)
    assert set(answer.samples) == {"latency", "nonsense"}
    assert answer.samples["nonsense"].message == "there is no criterion nonsense"


BAD = {
    "syntax": ("sum(", "1:5: parse error: unclosed left parenthesis"),
    "unknown-function": ("frobnicate(up)", "unknown function with name"),
    "many-to-many": ("up * on () up", "many-to-many|duplicate series"),
    "break-out": ('vector(1), "__mro_id", "0.0", "", "") or label_replace(vector(666)', "parse error"),
    "early-close": ("vector(1)) or (vector(2)", "unexpected right parenthesis"),
    "open-string": ('up{pod="', "unterminated quoted string"),
    "several": ('up{namespace=~"team-.*"}', "yields 40 series, expected one: put sum"),
    "range": ("up[1m]", "yields a range or a text"),
    "text": ('"hello"', "yields a range or a text"),
}


@pytest.mark.parametrize("kind", BAD)
async def test_a_bad_query_is_named_and_blinds_nobody(prometheus: Prometheus, kind: str) -> None:
    query, said = BAD[kind]
    hooks = CountingHooks()
    good = [rollout(f"team-{number}", ERROR_RATE, MISMATCH) for number in range(12)]
    bad = rollout("team-12", ERROR_RATE, criterion("bad", query=query), MISMATCH)
    async with evaluator(prometheus.url, hooks=hooks) as asking:
        for turn in range(3):
            hooks.requests.clear()
            answers = await asyncio.gather(*(asking.evaluate(each, patience=0.05) for each in (*good, bad)))
            for answer in answers:
                assert answer.metrics_error is None
                assert answer.samples["errors"].value == 0.0
                assert answer.samples["mismatch"].value == 0.0
            sample = answers[-1].samples["bad"]
            assert sample.state is SampleState.ERROR
            assert "criterion bad: the query" in sample.message
            assert query in sample.message
            assert any(part in sample.message for part in said.split("|")), sample.message
            if turn:  # the culprit is known: one request for the others, two for its rollout
                assert len(hooks.requests) <= 3


async def test_a_scalar_joins_once_it_is_known(prometheus: Prometheus) -> None:
    hooks = CountingHooks()
    rollouts = [rollout("team-0", criterion("four", query="2 + 2")), rollout("team-1", ERROR_RATE)]
    async with evaluator(prometheus.url, hooks=hooks) as asking:
        for _ in range(3):
            hooks.requests.clear()
            answers = await asyncio.gather(*(asking.evaluate(each, patience=0.05) for each in rollouts))
            assert answers[0].samples["four"].value == 4.0
            assert answers[1].samples["errors"].value == 0.0
    assert len(hooks.requests) == 1


async def test_a_comment_at_the_end_of_a_query_swallows_nothing(prometheus: Prometheus) -> None:
    queries = rollout("team-0", criterion("commented", query="vector(3) # three"), ERROR_RATE)
    async with evaluator(prometheus.url) as asking:
        answer = await asking.evaluate(queries, patience=0)
    assert (answer.samples["commented"].value, answer.samples["errors"].value) == (3.0, 0.0)


async def test_infinite_and_no_numbers(prometheus: Prometheus) -> None:
    queries = rollout(
        "team-0",
        criterion("up", query="vector(1) / 0"),
        criterion("down", query="vector(-1) / 0"),
        criterion("nan", query="vector(0) / 0"),
        criterion("nothing", query="vector(1) > 2"),
    )
    async with evaluator(prometheus.url) as asking:
        samples = (await asking.evaluate(queries, patience=0)).samples
    assert (samples["up"].value, samples["down"].value) == (math.inf, -math.inf)
    assert "infinite" in samples["up"].message
    assert [samples[name].state for name in ("nan", "nothing")] == [SampleState.NO_DATA] * 2
    assert "yields NaN" in samples["nan"].message
    assert "yields nothing" in samples["nothing"].message


async def test_an_unknown_server_is_refused_by_name(prometheus: Prometheus) -> None:
    queries = rollout("team-0", ERROR_RATE)
    elsewhere = type(queries)(**{**vars(queries), "target": "elsewhere"})
    async with evaluator(prometheus.url) as asking:
        answer = await asking.evaluate(elsewhere, patience=0)
        history = await asking.with_history(elsewhere, answer.samples, ["errors"])
    assert answer.metrics_error is not None
    assert "'elsewhere' is not in the operator's settings (there: default)" in answer.metrics_error
    assert answer.samples["errors"].state is SampleState.ERROR
    assert history["errors"].state is SampleState.ERROR


async def test_a_new_set_of_criteria_takes_the_place_of_the_old(prometheus: Prometheus) -> None:
    async with evaluator(prometheus.url) as asking:
        first = await asking.evaluate(rollout("team-0", ERROR_RATE), patience=0)
        second = await asking.evaluate(rollout("team-0", LATENCY), patience=0)
        asking.forget("team-0")
        third = await asking.evaluate(rollout("team-0", MISMATCH), patience=0)
    assert [list(each.samples) for each in (first, second, third)] == [["errors"], ["latency"], ["mismatch"]]


async def test_a_rollout_without_criteria_asks_nothing(prometheus: Prometheus) -> None:
    hooks = CountingHooks()
    async with evaluator(prometheus.url, hooks=hooks) as asking:
        assert (await asking.evaluate(rollout("team-0"), patience=0)).samples == {}
    assert hooks.requests == []


async def test_the_past_is_read_back_point_by_point(exporter: Exporter, prometheus: Prometheus) -> None:
    """A value that was good and then bad: the points say when it turned."""
    namespace = f"past-{next(_numbers)}"
    pod = exporter.pod(namespace, "emotion-2-7d4b9c8f6-x2vbn", version="2")
    pod.set("custom", 1)
    query = f'max(custom{{namespace="{namespace}"}})'
    prometheus.wait_for(f'custom{{namespace="{namespace}"}} offset 4s')
    pod.set("custom", 9)
    prometheus.wait_for(f"{query} == 9")
    (series,) = prometheus.query(f'custom{{namespace="{namespace}"}}[1m]')
    turned = datetime.fromtimestamp(min(at for at, value in series["values"] if value == "9"), tz=UTC)
    await asyncio.sleep(3)
    queries = rollout(namespace, criterion("custom", query=query, **{"for": "6s"}))
    async with evaluator(prometheus.url) as asking:
        answer = await asking.evaluate(queries, patience=0)
        samples = await asking.with_history(queries, answer.samples, ["custom"])
    points = samples["custom"].history
    assert points is not None
    assert len(points) == 7
    assert abs(points[-1].at - answer.at) < timedelta(milliseconds=50)
    assert points[-1].at - points[0].at == timedelta(seconds=6)
    for point in points:
        if abs(point.at - turned) > timedelta(seconds=0.8):
            assert point.value == (9.0 if point.at > turned else 1.0)


async def test_the_past_has_gaps_where_there_was_nothing_or_too_little(
    exporter: Exporter, prometheus: Prometheus
) -> None:
    namespace = f"past-{next(_numbers)}"
    pod = exporter.pod(namespace, "emotion-2-7d4b9c8f6-x2vbn", version="2")
    pod.set("custom", 5)
    value, count = (f'max({name}{{namespace="{namespace}"}})' for name in ("custom", "counted"))
    prometheus.wait_for(f'custom{{namespace="{namespace}"}} offset 2s')
    pod.set("counted", 10)
    prometheus.wait_for(f'counted{{namespace="{namespace}"}} offset 2s')
    fields = {"query": value, "samplesQuery": count, "minSamples": 10, "for": "1m"}
    queries = rollout(namespace, criterion("custom", **fields))
    async with evaluator(prometheus.url) as asking:
        answer = await asking.evaluate(queries, patience=0)
        points = (await asking.with_history(queries, answer.samples, ["custom"]))["custom"].history
    assert points is not None
    assert len(points) == 61
    assert points[0].value is None  # before it existed
    assert points[-1].value == 5.0
    known = [point for point in points if point.value is not None]
    existed = prometheus.query(f"count_over_time({value}[1m:1s])")
    assert 2 <= len(known) <= int(existed[0]["value"][1]) - 1  # it existed earlier than it had samples


async def test_the_past_of_stable_comes_with_it(exporter: Exporter, prometheus: Prometheus) -> None:
    namespace = f"past-{next(_numbers)}"
    for version, value in (("1", 2.0), ("2", 6.0)):
        exporter.pod(namespace, f"emotion-{version}-7d4b9c8f6-x2vbn").set("custom", value)
    query = 'max(custom{namespace="${namespace}",pod=~"${candidatePods}"})'
    prometheus.wait_for(f'count(custom{{namespace="{namespace}"}} offset 5s) == 2')
    compare = {"to": "Stable", "maxIncrease": "50%"}
    queries = rollout(namespace, criterion("custom", query=query, compare=compare, **{"for": "2s"}))
    async with evaluator(prometheus.url) as asking:
        answer = await asking.evaluate(queries, patience=0)
        sample = (await asking.with_history(queries, answer.samples, ["custom"]))["custom"]
    assert (sample.value, sample.reference) == (6.0, 2.0)
    assert sample.history is not None
    assert [(point.value, point.reference) for point in sample.history] == [(6.0, 2.0)] * 3


@pytest.mark.parametrize(
    ("query", "state", "said"),
    [
        ("2 + 2", SampleState.VALUE, ""),
        ("vector(2) # two", SampleState.VALUE, ""),
        (
            'label_replace(vector(1), "a", "x", "", "") or label_replace(vector(2), "a", "y", "", "")',
            SampleState.ERROR,
            "yields 2 series",
        ),
    ],
)
async def test_the_past_of_queries_that_cannot_be_joined(
    prometheus: Prometheus, query: str, state: SampleState, said: str
) -> None:
    queries = rollout("team-0", criterion("c", query=query, **{"for": "3s"}))
    async with evaluator(prometheus.url) as asking:
        answer = await asking.evaluate(queries, patience=0)
        fetched = await asking.with_history(queries, answer.samples, ["c"])
    assert fetched["c"].state is state
    assert said in fetched["c"].message
    if state is SampleState.VALUE:
        assert fetched["c"].history is not None
        assert all(point.value is not None for point in fetched["c"].history)


async def test_ticks_follow_the_scrapes_of_each_pod(tmp_path: object) -> None:
    """Each pod is a target with a phase of its own: the evaluations come just after its scrapes, at the same
    rate."""
    with Exporter.start() as exporter:
        for number in range(3):
            exporter.pod(f"phase-{number}", "emotion-2-7d4b9c8f6-x2vbn", version="2").healthy()
        with Prometheus.start(exporter=exporter, scrape_interval=1.0, per_pod_targets=True) as prometheus:
            for number in range(3):
                prometheus.wait_for(f'count_over_time(up{{namespace="phase-{number}"}}[1m]) > 2', timeout=40)
            async with evaluator(prometheus.url) as asking:
                started = time.monotonic()

                async def ages(
                    key: str, namespace: str, delay: Callable[[], float]
                ) -> tuple[list[float], float]:
                    """How old the newest scrape was at each of 20 questions, and the seconds they took."""
                    queries, found = rollout(namespace, ERROR_RATE, key=key), []
                    for _ in range(20):
                        await asyncio.sleep(delay())
                        answer = await asking.evaluate(queries, patience=0.01)
                        assert answer.fresh_at is not None
                        found.append((answer.at - answer.fresh_at).total_seconds())
                    return found, time.monotonic() - started

                # Beside each one that follows, one that comes at random, once a second on average: on a busy
                # machine scrapes and answers take a while, for both.
                chance = random.Random(3)
                names = [f"phase-{number}" for number in range(3)]
                following = [ages(n, n, lambda n=n: asking.next_delay(n, 1.0)) for n in names]
                wandering = [ages(f"random-{n}", n, lambda: chance.uniform(0.5, 1.5)) for n in names]
                everything = await asyncio.gather(*following, *wandering)
    usual = statistics.mean(itertools.chain(*(found for found, _ in everything[3:])))
    usual_seconds = statistics.mean(seconds for _, seconds in everything[3:])
    for found, seconds in everything[:3]:
        assert statistics.median(found[6:]) < usual - 0.1, (found, usual)
        assert 0.6 * usual_seconds < seconds < 1.5 * usual_seconds


async def test_data_that_is_no_longer_scraped_is_no_data() -> None:
    options = EvaluatorOptions(least_stale=1.5, unknown_stale=2.0)
    with Exporter.start() as exporter:
        exporter.pod("stale", "emotion-2-7d4b9c8f6-x2vbn", version="2").healthy()
        with Prometheus.start(exporter=exporter, scrape_interval=0.5) as prometheus:
            prometheus.wait_for('count_over_time(up{namespace="stale"}[1m]) > 4')
            queries = rollout("stale", ERROR_RATE)
            async with evaluator(prometheus.url, options=options) as asking:
                assert (await asking.evaluate(queries, patience=0)).samples["errors"].value == 0.0
                # Scrapes hang and fail. The window of the rate still yields a value, but it is of the past.
                exporter.process.send_signal(signal.SIGSTOP)
                try:
                    deadline = time.monotonic() + 20
                    while time.monotonic() < deadline:
                        sample = (await asking.evaluate(queries, patience=0)).samples["errors"]
                        if sample.state is SampleState.NO_DATA:
                            break
                        await asyncio.sleep(0.2)
                finally:
                    exporter.process.send_signal(signal.SIGCONT)
    assert sample.state is SampleState.NO_DATA
    assert "see whether Prometheus still scrapes them" in sample.message
