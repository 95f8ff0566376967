"""What one rollout asks never changes, delays or starves what another one is told: queries that try to leave
their parentheses, yield very many series, never end, or are answered in part."""

from __future__ import annotations

import asyncio
import itertools
import os
import statistics
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from modelrollout.decision.types import SampleState
from modelrollout.prometheus import PrometheusTarget, PrometheusTargets
from modelrollout.prometheus.answers import MOST_BYTES
from modelrollout.prometheus.query_union import Answer, is_self_contained, joined, labelled, split
from tests.support.past import write_blocks
from tests.support.prometheus import Prometheus
from tests.support.queries import CountingHooks, criterion, evaluator, rollout

pytestmark = pytest.mark.takes(seconds=85)

MANY = 200_000
ONE = criterion("one", query="vector(1)")
FRAGMENTS = (
    *("vector(1)", "vector(0)", "up", "1", "scalar(vector(2))", "-", "+", "== bool 0", "sum", "by (pod)"),
    *("sum(", "label_replace(", "vector(", "(", ")", "[5m]", "[1h:1m]", "[", "]", "{", "}", "{a='b'}", ","),
    *(" or ", " and ", " unless ", " on () ", " group_left ", " offset 5m", " @ 0", " @ end()", " bool "),
    *('"', "'", "`", '"x"', "'x'", "`x`", "\\", '\\"', "\\x41", "\\u2028", "#", "# x", "\n", "\r", "\r\n"),
    *(
        "\u2028",
        "\u2029",
        "\u0085",
        "\ufeff",
        "\ufffd",
        "\x00",
        "\x0b",
        "\x1b",
        "\t",
        "é",
        "👍",
        "/*",
        "//",
        ";",
    ),
    *(
        '"__mro_id"',
        '"victim"',
        '""',
        ', "__mro_id", "victim", "", "")',
        "time()",
        "NaN",
        "Inf",
        "{__name__=~'.*'}",
    ),
)
QUERIES = st.one_of(
    st.lists(st.sampled_from(FRAGMENTS), max_size=14).map("".join),
    st.lists(st.sampled_from(FRAGMENTS), max_size=8).map(lambda parts: f"vector(0) {''.join(parts)}"),
    st.text(alphabet=st.characters(exclude_categories=("Cs",)), max_size=30),
)
ATTACKS = (
    'vector(0) # \r)), "__mro_id", "victim", "", "") or label_replace(topk(2, (vector(9)',
    'vector(0) # \r, "__mro_id", "victim", "", "") or label_replace(vector(9)',
    'vector(0) # \r), "a", "b", "", "") or label_replace((vector(9), "__mro_id", "victim", "", "") # (',
    'vector(0)), "a", "b", "", "") or label_replace((vector(9)',
    'label_replace(vector(9), "__mro_id", "victim", "", "")',
    "vector(0) #",
    "vector(0) # \u2028)",
    "{",
    "",
)


@pytest.fixture(scope="module")
def empty() -> Iterator[Prometheus]:
    with Prometheus.start() as running:
        yield running


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(QUERIES)
@example(ATTACKS[0])
@example(ATTACKS[1])
@example(ATTACKS[2])
@example(ATTACKS[3])
@example(ATTACKS[4])
@example(ATTACKS[5])
@example(ATTACKS[6])
@example(ATTACKS[7])
@example(ATTACKS[8])
def test_a_query_is_refused_or_changes_nothing_for_its_neighbours(empty: Prometheus, query: str) -> None:
    """Even if it knew the ids of the others, which it cannot, and whichever of them it is between."""
    if not is_self_contained(query):
        return  # asked alone, where it has no neighbours
    parts = [
        labelled("vector(7)", "victim"),
        labelled(query, "own"),
        labelled("vector(8) # eight", "neighbour"),
        labelled("vector(1) > 2", "nothing"),
    ]
    answer = _ask(empty, joined(parts))
    alone = _ask(empty, query)
    if answer.status_code != requests.codes.ok:
        assert answer.json()["errorType"] in {"bad_data", "execution"}
        return
    answers = split(answer.json()["data"]["result"])
    own = answers.pop("own", None)
    assert {id_: each.values for id_, each in answers.items()} == {"victim": (7.0,), "neighbour": (8.0,)}
    assert alone.status_code == requests.codes.ok, "joined it must not become valid"
    assert own is None or own.values is None or len(own.values) <= 2
    assert (own is None) == (not alone.json()["data"]["result"])


def _ask(prometheus: Prometheus, query: str) -> requests.Response:
    return requests.post(f"{prometheus.url}/api/v1/query", data={"query": query}, timeout=10)


@pytest.mark.parametrize("attack", ATTACKS)
async def test_no_rollout_answers_for_another_one(empty: Prometheus, attack: str) -> None:
    """The whole way, with the ids of the process: a breach is neither hidden nor made."""
    good = [rollout(f"team-{number}", criterion("seven", query="vector(7)")) for number in range(3)]
    bad = rollout("evil", criterion("attack", query=attack or " "))
    async with evaluator(empty.url) as asking:
        for _ in range(2):
            answers = await asyncio.gather(*(asking.evaluate(each, patience=0.05) for each in (*good, bad)))
            assert [answer.samples["seven"].value for answer in answers[:-1]] == [7.0] * 3
            assert [answer.metrics_error for answer in answers] == [None] * 4


@pytest.mark.parametrize("number", ["0 / 0", "1 / 0", "-1 / 0", "5"])
async def test_one_series_keeps_its_number_and_its_labels_when_it_is_joined(
    empty: Prometheus, number: str
) -> None:
    query = f'label_replace(vector(1), "pod", "a", "", "") * ({number})'
    both = split(
        _ask(empty, joined([labelled(query, "a"), labelled("vector(1)", "b")])).json()["data"]["result"]
    )
    (alone,) = empty.query(query)
    assert repr(both["a"].values) == repr((float(alone["value"][1]),))
    assert both["b"] == Answer(both["a"].at, (1.0,))


# -- very many series -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def crowded() -> Iterator[Prometheus]:
    """A server with 200,000 series of one name."""
    with Prometheus.start() as running:
        at = time.time() - 5
        rows = (f'crowd{{namespace="ns",pod="pod-{n}",path="/v1/{n}/{n}"}} 1 {at:.3f}' for n in range(MANY))
        write_blocks(running, ["# TYPE crowd gauge", *rows, "# EOF", ""])
        assert running.query("count(crowd)")[0]["value"][1] == str(MANY)
        yield running


def _resident() -> int:
    """Memory of this process in MiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") // 1024**2


async def test_very_many_series_are_an_error_of_their_rollout_alone(crowded: Prometheus) -> None:
    """Acceptance scenario 49: the others are answered at once, and memory stays where it was."""
    light = [rollout(f"ns-{number}", ONE) for number in range(20)]
    heavy = rollout("heavy", criterion("crowd", query='crowd{namespace="ns"}'), ONE)
    async with evaluator(_patient(crowded.url)) as asking:

        async def timed() -> float:
            started = time.monotonic()
            answers = await asyncio.gather(*(asking.evaluate(each, patience=0.05) for each in light))
            assert [answer.samples["one"].value for answer in answers] == [1.0] * 20
            return time.monotonic() - started

        await timed()
        before, peak, stop = _resident(), [0], threading.Event()
        watch = threading.Thread(target=_watch_memory, args=(peak, stop))
        watch.start()
        try:
            # as the operator does: a spec is tried before its run starts, then evaluated with the others
            trial = asyncio.create_task(asking.refused(heavy))
            took = [await timed()]
            assert not trial.done()
            assert await trial == {}
            for _ in range(3):
                alone = asyncio.create_task(asking.evaluate(heavy, patience=0.05))
                took.append(await timed())
                answer = await alone
                assert answer.metrics_error is None
                assert answer.samples["one"].value == 1.0
                assert answer.samples["crowd"].state is SampleState.ERROR
                assert f"yields {MANY} series, expected one: put sum" in answer.samples["crowd"].message
        finally:
            stop.set()
            watch.join()
    assert statistics.median(took) < 1.0, took
    assert peak[0] - before < 40, (before, peak)


async def test_very_many_series_beside_others_cost_them_one_round_at_most(crowded: Prometheus) -> None:
    """Data can become many after the trial: found among the others, asked apart from then on."""
    light, heavy = rollout("light", ONE), rollout("heavy", criterion("crowd", query="crowd"))
    async with evaluator(_patient(crowded.url)) as asking:
        for _ in range(2):
            answers = await asyncio.gather(*(asking.evaluate(each, patience=0.1) for each in (light, heavy)))
            assert answers[0].samples["one"].value == 1.0
            assert f"yields {MANY} series" in answers[1].samples["crowd"].message
        alone = asyncio.create_task(asking.evaluate(heavy, patience=0.1))
        await asking.evaluate(light, patience=0.1)
        assert not alone.done()
        await alone


def _patient(url: str) -> PrometheusTargets:
    """A timeout with room for a busy machine."""
    return PrometheusTargets(targets={"default": PrometheusTarget(name="default", url=url, timeout=10.0)})


def _watch_memory(peak: list[int], stop: threading.Event) -> None:
    while not stop.wait(0.01):
        peak[0] = max(peak[0], _resident())


async def test_an_answer_beyond_the_limit_is_not_read_to_its_end(crowded: Prometheus) -> None:
    """A question that cannot be joined is asked as it is: no more than the limit of its answer is read."""
    query = "crowd[1h]"
    async with evaluator(_patient(crowded.url)) as asking:
        asked = await asyncio.gather(
            asking.evaluate(rollout("heavy", criterion("crowd", query=query)), patience=0.05),
            asking.evaluate(rollout("light", ONE), patience=0.05),
        )
    assert f"larger than {MOST_BYTES // 1024**2} MiB" in asked[0].samples["crowd"].message
    assert asked[0].metrics_error is None
    assert asked[1].samples["one"].value == 1.0


async def test_the_past_of_many_series_is_an_error_too(crowded: Prometheus) -> None:
    queries = rollout("heavy", criterion("crowd", query="crowd", **{"for": "4s"}))
    async with evaluator(_patient(crowded.url)) as asking:
        found = await asking.evaluate(rollout("heavy", criterion("crowd", query="vector(9)")), patience=0)
        started = time.monotonic()
        sample = (await asking.with_history(queries, found.samples, ["crowd"]))["crowd"]
    assert sample.state is SampleState.ERROR
    assert "several series" in sample.message
    assert time.monotonic() - started < 15


async def test_one_series_again_ends_the_error(empty: Prometheus) -> None:
    """What was found to yield several series is asked as usual once it yields one."""
    until = time.time() + 2
    query = f'vector(1) or label_replace(vector(time()) < {until}, "a", "x", "", "")'
    queries = rollout("ns", criterion("c", query=query))
    async with evaluator(empty.url) as asking:
        first = await asking.evaluate(queries, patience=0)
        await asyncio.sleep(2.2)
        answers = [await asking.evaluate(queries, patience=0) for _ in range(2)]
    assert "yields 2 series" in first.samples["c"].message
    assert [answer.samples["c"].value for answer in answers] == [1.0, 1.0]


# -- an answer that never ends ----------------------------------------------------------------------------


class _Dripping(BaseHTTPRequestHandler):
    """Sends the beginning of an answer, and then a byte now and then for ever."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        try:
            for _ in itertools.count():
                self.wfile.write(b"1\r\n \r\n")
                time.sleep(0.05)
        except OSError:
            return

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name of the base class
        pass


async def test_an_answer_that_never_ends_ends_with_the_timeout() -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Dripping)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    url = f"http://127.0.0.1:{server.server_port}"
    targets = PrometheusTargets(targets={"default": PrometheusTarget(name="default", url=url, timeout=0.5)})
    try:
        async with evaluator(targets) as asking:
            started = time.monotonic()
            answer = await asking.evaluate(rollout("ns", ONE), patience=0)
            seconds = time.monotonic() - started
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
    assert answer.metrics_error is not None
    assert "did not answer within 0.5 s" in answer.metrics_error
    assert seconds < 3.0  # the question, and the trivial one after it


# -- answers in part --------------------------------------------------------------------------------------


@pytest.fixture
def partial() -> Iterator[Prometheus]:
    """A server that reads some series from a store which is not there: it answers 200 with a warning."""
    config = (
        "remote_read:\n"
        "- url: http://127.0.0.1:9/read\n"
        "  read_recent: true\n"
        '  required_matchers: {store: "away"}\n'
    )
    with Prometheus.start(config=config) as running:
        yield running


async def test_a_warning_makes_the_answer_an_error_of_that_query_alone(partial: Prometheus) -> None:
    query = 'sum(events{store="away"}) or vector(0)'
    raw = _ask(partial, query).json()
    assert raw["status"] == "success"
    assert raw["warnings"], "the server is to answer 200 with a warning"
    hooks = CountingHooks()
    good = [rollout(f"team-{number}", ONE) for number in range(6)]
    bad = rollout("bad", criterion("events", query=query, **{"for": "3s"}))
    async with evaluator(partial.url, hooks=hooks) as asking:
        for turn in range(2):
            hooks.requests.clear()
            answers = await asyncio.gather(*(asking.evaluate(each, patience=0.05) for each in (*good, bad)))
            assert [answer.samples["one"].value for answer in answers[:-1]] == [1.0] * 6
            sample = answers[-1].samples["events"]
            assert answers[-1].metrics_error is None
            assert sample.state is SampleState.ERROR
            assert "may rest on a part of the data" in sample.message
            assert query in sample.message
            if turn:
                assert len(hooks.requests) <= 3
        past = await asking.with_history(bad, {"events": answers[0].samples["one"]}, ["events"])
    assert past["events"].state is SampleState.ERROR
    assert "part of the data" in past["events"].message


async def test_a_store_that_is_away_for_everybody_does_not_multiply_the_questions(
    partial: Prometheus,
) -> None:
    hooks = CountingHooks()
    rollouts = [
        rollout(f"team-{n}", criterion("events", query=f'sum(events{{store="away",n="{n}"}})'))
        for n in range(60)
    ]
    async with evaluator(partial.url, hooks=hooks) as asking:
        answers = await asyncio.gather(*(asking.evaluate(each, patience=0.1) for each in rollouts))
    assert {answer.samples["events"].state for answer in answers} == {SampleState.ERROR}
    assert len(hooks.requests) < 60
