"""The report's page and charts, from data made here; test_cli_verbs.py has real data."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelrollout.cli.report.charts import HEIGHT, WIDTH, Frame, Line, draw, value_range
from modelrollout.cli.report.data import CriterionPast, ReportData, gather
from modelrollout.cli.report.page import render
from modelrollout.cli.report.run import ReportError, choose_run
from modelrollout.prometheus import FailureKind, PrometheusClient, PrometheusError
from modelrollout.prometheus.client import RangeQuery

START = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
NOW = START + timedelta(seconds=100)


def at(seconds: float) -> str:
    return (START + timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")


def item(**status: Any) -> dict[str, Any]:
    run = {"id": "run-2", "candidate": "emotion-2", "stable": "emotion-1", "startedAt": at(0), "attempt": 2}
    return {
        "metadata": {"name": "emotion", "namespace": "models"},
        "spec": {
            "criteria": [
                {"name": "latency", "preset": "latencyP95", "max": "200ms", "for": "5s"},
                {
                    "name": "errors",
                    "query": 'up{pod=~"${candidatePods}"}',
                    "compare": {"to": "Stable", "maxIncrease": "50%"},
                },
            ]
        },
        "status": {
            "phase": "RolledBack",
            "message": "Criterion latency breached.",
            "run": {**run, "finishedAt": at(60), "result": "RolledBack"},
            "criteria": [
                {"name": "latency", "state": "Fail", "breached": True, "value": 0.31, "limit": "<= 200ms"}
            ],
            "history": [
                {"id": "run-2", "from": "emotion-1", "to": "emotion-2", "result": "RolledBack",
                 "message": "Criterion latency breached.", "startedAt": at(0), "finishedAt": at(60)},
                {"id": "run-1", "to": "emotion-1", "result": "Succeeded",
                 "startedAt": at(-900), "finishedAt": at(-800)},
            ],
            **status,
        },
    }  # fmt: skip


EVENTS = [
    {"lastTimestamp": at(-850), "reason": "Promoted", "message": "Of the run before.", "type": "Normal"},
    {"lastTimestamp": at(0), "reason": "Started", "message": "<b>Rolling</b> out", "type": "Normal"},
    {"lastTimestamp": at(55), "reason": "CriterionBreached", "message": "Back.", "type": "Warning"},
]


class Recorded(PrometheusClient):
    """Answers from a table: metric or query -> value by seconds after START; else nothing."""

    def __init__(self, table: dict[str, Any], labels: dict[str, str] | None = None) -> None:
        self.table = table
        self.labels = labels or {}

    def query_range(self, promql: str, span: RangeQuery, *, legs: int = 1) -> list[dict[str, Any]]:
        for key, value in self.table.items():
            if key in promql:
                if isinstance(value, Exception):
                    raise value
                count = round((span.end - span.start) / span.step) + 1
                times = [span.start + index * span.step for index in range(count)]
                points = [[time, str(value(time - START.timestamp()))] for time in times]
                return [
                    {
                        "metric": dict((self.labels.get(key) and {"criterion": self.labels[key]}) or {}),
                        "values": points,
                    }
                ]
        return []


class Reader(HTMLParser):
    """Checks that tags are balanced and gathers the text."""

    VOID = frozenset({"meta", "path", "rect"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in self.VOID

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def read(page: str) -> str:
    reader = Reader()
    reader.feed(page)
    assert reader.open == []
    return re.sub(r"\s+", " ", " ".join(reader.text))


def test_without_prometheus_the_page_says_what_is_missing() -> None:
    text = read(render(gather(item(), EVENTS, None, now=NOW)))
    assert "All traffic is back on emotion-1, 1m after the start. Criterion latency breached." in text
    assert "give its address with --prometheus URL" in text
    assert "run-2, attempt 2" in text
    assert "Fail, breached" in text
    assert "at most 50% above stable" in text
    assert "Traffic to the candidate" not in text


def test_events_are_those_of_the_run_and_their_text_is_escaped() -> None:
    page = render(gather(item(), EVENTS, None, now=NOW))
    assert "&lt;b&gt;Rolling&lt;/b&gt; out" in page
    assert "Of the run before." not in page
    assert "<b>" not in page


def test_weights_of_the_run_before_are_left_out() -> None:
    client = Recorded({
        "modelrollout_weight_desired_percent": lambda s: 100 if s < 2 else 25,
        "modelrollout_weight_observed_percent": lambda s: 100 if s < 2 else 24,
    })  # fmt: skip
    data = gather(item(), EVENTS, client, now=NOW)
    assert {value for _, value in data.desired} == {25.0}
    assert max(value for _, value in data.observed) == 24.0
    assert "Most traffic 24 %" in read(render(data))


def test_values_come_from_the_operators_metrics_and_breaches_are_marked() -> None:
    client = Recorded(
        {"modelrollout_criterion_value": lambda s: 0.31 if 20 <= s <= 30 else 0.1},
        {"modelrollout_criterion_value": "latency"},
    )
    data = gather(item(), EVENTS, client, now=NOW)
    begin, end = START.timestamp() + 20, START.timestamp() + 30
    assert data.criteria["latency"].breaches == ((begin, end),)
    page = render(data)
    assert "Outside its limit from 12:00:20 to 12:00:30 (10s)." in read(page)
    assert page.count('<rect class="breach"') == 1
    assert any("weight_desired_percent" in sentence for sentence in data.missing)
    assert any("errors over time" in sentence for sentence in data.missing), "its query found nothing"


def test_an_outage_of_prometheus_is_said_once() -> None:
    error = PrometheusError(FailureKind.CONNECTION, "Prometheus cannot be reached: is it running?")
    data = gather(item(), EVENTS, Recorded({"modelrollout": error}), now=NOW)
    assert data.missing == (f"Weights and criteria over time: {error}",)
    read(render(data))


def test_an_earlier_run_can_be_chosen() -> None:
    data = gather(item(), EVENTS, None, now=NOW, wanted="run-1")
    assert (data.run.result, data.run.before, data.run.to) == ("Succeeded", None, "emotion-1")
    text = read(render(data))
    assert "emotion-1 took over from nothing after 1m40s." in text
    assert "breached" not in text.split("Runs")[0], "the criteria in status are those of the last run"
    assert "Of the run before." in text


def test_a_run_under_way_and_none_at_all() -> None:
    running = item(
        phase="Progressing", run={"id": "r", "candidate": "emotion-2", "startedAt": at(0)}, history=[]
    )
    data = gather(running, [], None, now=NOW)
    assert data.run.end is None
    text = read(render(data))
    assert "Under way for 1m40s." in text
    assert "Events: the API server has none" in text
    with pytest.raises(ReportError, match="nothing has been rolled out yet"):
        choose_run({"metadata": {}, "status": {}}, None)
    with pytest.raises(ReportError, match="there is no run 'x' in status; there: run-2, run-1"):
        choose_run(item(), "x")


def test_a_hold_is_on_the_page_of_the_run_that_is_held_alone() -> None:
    held = {
        "since": at(40),
        "countsFrom": at(40),
        "reason": "NoData",
        "message": "criterion latency: <none>.",
    }
    running = {"id": "run-2", "candidate": "emotion-2", "stable": "emotion-1", "startedAt": at(0)}
    found = item(phase="Progressing", run=running, hold=held)
    found["spec"] |= {"holdDeadline": "10m"}
    text = read(render(gather(found, [], None, now=NOW)))
    assert (
        "Held since 12:00:40 UTC (1m ago), NoData: criterion latency: <none>. It ends when there is" in text
    )
    assert "paused at 12:10:40 UTC (in 9m), by holdDeadline 10m." in text
    before = render(gather(found, [], None, now=NOW, wanted="run-1"))
    assert "Held since" not in before


FINITE = st.floats(-1e12, 1e12)


@given(st.lists(FINITE | st.just(math.inf) | st.just(1.797e308)))
def test_a_chart_shows_every_finite_value(values: list[float]) -> None:
    low, high = value_range(values)
    assert low < high
    assert all(low <= value <= high for value in values if abs(value) < 1e300)


@given(st.lists(st.tuples(st.floats(0, 100), FINITE)), st.booleans())
def test_a_line_stays_in_its_box(points: list[tuple[float, float]], steps: bool) -> None:
    points.sort()
    low, high = value_range([value for _, value in points])
    frame = Frame(start=0, end=100, low=low, high=high)
    line = Line(css="value", points=points, gap=5, steps=steps)
    svg = str(draw(frame, [line], title='a "title" & <more>', text=str).svg)
    assert 'aria-label="a &#34;title&#34; &amp; &lt;more&gt;"' in svg
    for path in re.findall(r' d="([^"]*)"', svg):
        for letter, number in re.findall(r"([MLHV ])(-?[\d.]+)", path):
            assert 0 <= float(number) <= (WIDTH if letter in "MLH" else HEIGHT)


def test_a_gap_in_the_data_is_a_gap_in_the_line() -> None:
    frame = Frame(start=0, end=10, low=0, high=1)
    line = Line(css="value", points=[(0, 0.5), (1, 0.5), (8, 0.5), (9, 0.5)], gap=2.5)
    assert str(draw(frame, [line], title="", text=str).svg).count("M") == 2


def test_neighbouring_breaches_are_one() -> None:
    values = tuple((float(second), 3.0 if second in (2, 3, 6) else 1.0) for second in range(8))
    past = CriterionPast(values=values, high=tuple((second, 2.0) for second, _ in values))
    assert past.breaches == ((2.0, 3.0), (6.0, 6.0))
    below = CriterionPast(values=values, low=tuple((second, 2.0) for second, _ in values))
    assert below.breaches == ((0.0, 1.0), (4.0, 5.0), (7.0, 7.0))


def test_every_kind_of_result_has_its_words() -> None:
    for result, words in (
        ("Succeeded", "took over"),
        ("Aborted", "Aborted after"),
        ("Superseded", "newer candidate"),
    ):
        run = {**item()["status"]["run"], "result": result}
        data = gather(item(run=run, history=[]), EVENTS, None, now=NOW)
        assert isinstance(data, ReportData)
        assert words in read(render(data))
