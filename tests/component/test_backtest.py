"""Backtests over a past that promtool wrote into a real Prometheus, against a replay that spares nothing."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from modelrollout.api.conditions import Phase
from modelrollout.api.criteria import OnBreach
from modelrollout.api.spec import ModelRolloutSpec
from modelrollout.api.status import CriterionState, ModelRolloutStatus
from modelrollout.backtest import BacktestError, BacktestReport, Clock, Question, rehearsal, run
from modelrollout.backtest.tracks import Past
from modelrollout.decision import decide, due_criteria, needs_history, watched_deployments
from modelrollout.decision.types import Observation, Sample, Workload
from modelrollout.prometheus import (
    PrometheusClient,
    PrometheusError,
    PrometheusTarget,
    QueryContext,
    build_rollout,
)
from tests.support.past import PastWriter
from tests.support.prometheus import Prometheus
from tests.support.queries import CountingHooks

HOUR, MINUTE = 3600.0, 60.0
LENGTH = 8 * HOUR
START = float(int(time.time() - LENGTH - HOUR) // 60 * 60)
STABLE, CANDIDATE = "emotion-1-5f6d7c8b9-k4mn2", "emotion-2-7d4b9c8f6-x2vbn"
STEP = timedelta(minutes=1)


def between(first: float, last: float, inside: float, outside: float = 0.0) -> Any:
    """A rate that is `inside` from one time to another."""
    return lambda t: inside if first <= t < last else outside


@pytest.fixture(scope="module")
def prometheus() -> Iterator[Prometheus]:
    past = PastWriter(start=START - HOUR, end=START + LENGTH)
    ago = HOUR  # the data begin an hour before the range
    past.model("bad", STABLE, errors=between(ago + 1 * HOUR, ago + 1.5 * HOUR, 0.05))
    past.model(
        "bad",
        CANDIDATE,
        # a spike of five minutes at 1:00, a breach from 3:00 to 3:40, another one from 6:00 on
        errors=lambda t: (
            0.2
            if any(
                a <= t - ago < b for a, b in ((HOUR, 1.08 * HOUR), (3 * HOUR, 3.67 * HOUR), (6 * HOUR, 9e9))
            )
            else 0.0
        ),
        mismatches=between(ago + 5 * HOUR, ago + 5 * HOUR + 30, 1 / 30),
        latency=between(ago + 2 * HOUR, ago + 4 * HOUR, 0.15, 0.05),
    )
    for pod in (STABLE, CANDIDATE):
        past.model("good", pod)
    with Prometheus.start() as running:
        past.write(running)
        yield running


@pytest.fixture
def hooks() -> CountingHooks:
    return CountingHooks()


@pytest.fixture
def client(prometheus: Prometheus, hooks: CountingHooks) -> Iterator[PrometheusClient]:
    made = PrometheusClient(PrometheusTarget(name="past", url=prometheus.url, timeout=60.0), hooks)
    yield made
    made.close()


def spec(*criteria: Mapping[str, Any], **fields: Any) -> ModelRolloutSpec:
    return ModelRolloutSpec.model_validate(
        {
            "replicas": 10,
            "service": "emotion",
            "stable": {"deployment": "emotion-1"},
            "candidate": {"deployment": "emotion-2"},
            "steps": [
                {"weight": 10, "duration": "2h"},
                {"weight": 20, "duration": "90m", "approval": "Required"},
                {"weight": 50, "duration": "1h"},
                {"weight": 100},
            ],
            "observation": {"duration": "2h"},
            "criteria": list(criteria),
            **fields,
        }
    )


ERRORS = {"name": "errors", "preset": "errorRate", "max": "10%", "for": "15m", "window": "2m"}
MISMATCH = {"name": "mismatch", "preset": "dimensionMismatch", "max": 0, "window": "2m"}
LATENCY = {"name": "latency", "preset": "latencyP95", "max": "100ms", "onBreach": "Warn", "window": "2m"}
AGAINST_STABLE = {
    "name": "slower",
    "preset": "latencyP95",
    "compare": {"to": "Stable", "maxIncrease": "50%"},
    "window": "2m",
    "dryRun": True,
}


def question(given: ModelRolloutSpec, namespace: str = "bad", hours: float = 8) -> Question:
    start = datetime.fromtimestamp(START, UTC)
    clock = Clock(start=start, end=start + timedelta(hours=hours), step=STEP)
    return Question(name="emotion", namespace=namespace, spec=given, clock=clock)


def hours_at(report: BacktestReport, when: datetime) -> float:
    return (when - report.question.clock.start).total_seconds() / HOUR


def firings(report: BacktestReport, name: str, *, stable: bool = False) -> list[tuple[float, float | None]]:
    """Start and end of each firing, in hours from the start."""
    found = next(each for each in report.criteria if each.name == name)
    course = found.stable if stable else found.candidate
    assert course is not None, found.problem
    clock = report.question.clock
    return [
        (hours_at(report, clock.at(f.tick)), None if f.until is None else hours_at(report, clock.at(f.until)))
        for f in course.firings
    ]


def test_a_breach_is_found_where_it_was(client: PrometheusClient) -> None:
    report = run(question(spec(ERRORS, LATENCY)), client)
    first, second = firings(report, "errors")
    # beyond the limit one minute after 3:00 (half of the window), and 15 minutes later it has lasted
    assert first[0] == pytest.approx(3 + 16 / 60, abs=3 / 60)
    assert first[1] == pytest.approx(3.67 + 1 / 60, abs=3 / 60)
    assert second[0] == pytest.approx(6 + 16 / 60, abs=3 / 60)
    assert second[1] is None
    outcome = report.outcome
    assert (outcome.phase, outcome.criterion) == (Phase.ROLLED_BACK, "errors")
    assert hours_at(report, outcome.at) == pytest.approx(first[0], abs=1e-9)
    assert "expected at most 10%" in outcome.message
    assert report.firings_by_step("errors") == {0: 0, 1: 1, 2: 0, 3: 0, None: 1}


def test_the_spike_shorter_than_for_is_no_firing_but_without_for_it_is(client: PrometheusClient) -> None:
    report = run(question(spec({**ERRORS, "for": "0s"})), client)
    assert [round(start) for start, _ in firings(report, "errors")] == [1, 3, 6]
    assert hours_at(report, report.outcome.at) == pytest.approx(1.03, abs=3 / 60)


def test_one_mismatch_fires_at_once(client: PrometheusClient) -> None:
    report = run(question(spec(MISMATCH)), client)
    ((start, end),) = firings(report, "mismatch")
    assert start == pytest.approx(5.0, abs=2 / 60)
    assert end == pytest.approx(5.0 + 2.5 / 60, abs=2 / 60)
    assert report.outcome.criterion == "mismatch"


def test_a_warning_is_told_and_stops_nothing(client: PrometheusClient) -> None:
    report = run(question(spec(LATENCY, AGAINST_STABLE), "bad"), client)
    assert [round(start) for start, _ in firings(report, "latency")] == [2]
    assert [round(start) for start, _ in firings(report, "slower")] == [2]
    assert report.outcome.phase is Phase.SUCCEEDED
    warned = [each for each in report.outcome.events if each.transition.criterion == "latency"]
    assert len(warned) == 1
    slower = next(each for each in report.criteria if each.name == "slower")
    assert slower.candidate is not None
    assert slower.candidate.firings[0].action is OnBreach.WARN
    assert (slower.stable, slower.problem) == (None, "says nothing of stable alone")


def test_a_healthy_rollout_goes_through_its_plan(client: PrometheusClient) -> None:
    report = run(question(spec(ERRORS, MISMATCH, LATENCY), "good"), client)
    assert report.outcome.phase is Phase.SUCCEEDED
    assert [(span.index, span.weight) for span in report.plan] == [
        (0, 10),
        (1, 20),
        (2, 50),
        (3, 100),
        (None, 100),
    ]
    assert [hours_at(report, span.start) for span in report.plan] == pytest.approx(
        [0, 2, 3.5, 4.5, 4.5], abs=0.04
    )
    assert hours_at(report, report.outcome.at) == pytest.approx(6.5, abs=0.1)
    assert report.outcome.spans[:3] == report.plan[:3]
    for each in report.criteria:
        assert each.false_alarms_per_week(report.question.clock) == 0.0
        assert each.candidate is not None
        assert each.candidate.ticks[CriterionState.PASS] == 481


def test_false_alarms_on_stable_are_counted_per_week(client: PrometheusClient) -> None:
    report = run(question(spec({**ERRORS, "max": "2%"})), client)
    ((start, end),) = firings(report, "errors", stable=True)
    assert start == pytest.approx(1 + 16 / 60, abs=3 / 60)
    assert end == pytest.approx(1.5 + 2 / 60, abs=3 / 60)
    rate = report.criteria[0].false_alarms_per_week(report.question.clock)
    assert rate == pytest.approx(7 * 24 / 8)


def test_a_baseline_is_measured_before_the_range(client: PrometheusClient) -> None:
    against = {
        "name": "slower",
        "preset": "latencyP95",
        "window": "2m",
        "compare": {"to": "Baseline", "maxIncrease": "50%"},
    }
    report = run(question(spec(against, baseline={"window": "30m"})), client)
    assert [round(start) for start, _ in firings(report, "slower")] == [2]
    assert report.outcome.criterion == "slower"
    assert firings(report, "slower", stable=True) == []


def test_a_range_that_ends_early_leaves_the_rollout_where_it_is(client: PrometheusClient) -> None:
    report = run(question(spec(ERRORS), "good", hours=3), client)
    assert report.outcome.phase is Phase.PROGRESSING
    assert report.outcome.at == report.question.clock.end
    assert report.outcome.spans[-1].index == 1
    assert report.outcome.spans[-1].end is None


def test_without_data_nothing_fires_and_nothing_advances(client: PrometheusClient) -> None:
    report = run(question(spec(ERRORS), "nowhere"), client)
    assert firings(report, "errors") == []
    assert report.outcome.spans[-1].index == 0
    assert report.criteria[0].false_alarms_per_week(report.question.clock) is None


def test_bad_queries_and_missing_versions_are_refused(client: PrometheusClient) -> None:
    with pytest.raises(PrometheusError, match="parse error"):
        run(question(spec({"name": "bad", "query": "sum(", "max": 1})), client)
    with pytest.raises(BacktestError, match=r"give spec\.stable\.deployment"):
        run(question(spec(ERRORS, stable=None)), client)


def test_shadow_criteria_are_named_as_not_replayed(client: PrometheusClient) -> None:
    shadow = {"name": "agreement", "preset": "shadowAgreement", "min": "75%", "phases": ["Shadow"]}
    report = run(question(spec(shadow, ERRORS, shadow={"duration": "1h"}), "good"), client)
    assert report.criteria[0].candidate is None
    assert "shadow phase only" in report.criteria[0].problem
    assert report.outcome.phase is Phase.SUCCEEDED


def test_a_long_range_is_fetched_in_pieces(
    client: PrometheusClient, hooks: CountingHooks, monkeypatch: Any
) -> None:
    whole = run(question(spec(ERRORS, LATENCY)), client)
    hooks.requests.clear()
    monkeypatch.setattr("modelrollout.backtest.tracks.MOST_POINTS", 100)
    pieces = run(question(spec(ERRORS, LATENCY)), client)
    assert hooks.count(kind="range") >= 20
    assert (pieces.criteria, pieces.outcome) == (whole.criteria, whole.outcome)


def live(
    asked: Question, client: PrometheusClient
) -> tuple[ModelRolloutStatus, list[tuple[datetime, str, str | None]]]:
    """The reconcile loop by hand, at every tick: all samples, the past of every suspect, then decide until at
    rest."""
    given, clock = asked.spec, asked.clock
    context = QueryContext(
        namespace=asked.namespace, rollout="emotion", candidate="emotion-2", stable="emotion-1"
    )
    queries = build_rollout("uid", "default", given.criteria, context).queries
    past = Past(client, clock)
    tracks = dict(zip(queries, past.tracks([(c, queries[c.name]) for c in given.criteria]), strict=True))
    status, counts, told = ModelRolloutStatus(), {"emotion-1": given.replicas, "emotion-2": 0}, []
    for tick in range(clock.ticks):
        now = clock.at(tick)
        samples: dict[str, Sample] = {}
        for _ in range(10):
            for name in due_criteria(given, status):
                samples.setdefault(name, tracks[name].sample(tick))
            for name in needs_history(given, status, samples, now):
                if samples[name].history is None:
                    samples[name] = tracks[name].sample(tick, past.history(queries[name], now))
            watched = {*watched_deployments(given, status, "emotion-2", "emotion"), *counts}
            workloads = {
                name: Workload(
                    name=name,
                    desired=counts.get(name, 0),
                    ready=counts.get(name, 0),
                    pods=counts.get(name, 0),
                )
                for name in watched
            }
            observed = Observation(
                uid="backtest",
                generation=1,
                candidate_name="emotion-2",
                name="emotion",
                workloads=workloads,
                samples=samples,
            )
            decision = decide(spec=given, status=status, observed=observed, now=now)
            rest = decision.status is status and not decision.scales
            status = decision.status
            told += [(now, each.reason, each.criterion) for each in rehearsal.told(decision)]
            counts |= {scale.deployment: scale.replicas for scale in decision.scales}
            if rest:
                break
        if status.phase in (Phase.SUCCEEDED, Phase.ROLLED_BACK):
            break
    return status, told


@pytest.mark.parametrize("namespace", ["bad", "good"])
@pytest.mark.parametrize(
    "criteria",
    [
        (ERRORS, LATENCY, AGAINST_STABLE),
        (MISMATCH, LATENCY),
        ({**ERRORS, "onBreach": "Warn"}, {**LATENCY, "for": "10m"}),
        (
            {**ERRORS, "max": "30%"},
            {**MISMATCH, "phases": ["Observing"]},
            {**LATENCY, "phases": ["Observing"]},
        ),
        ({**ERRORS, "for": "30s", "minSamples": 100}, {**LATENCY, "dryRun": True}),
    ],
    ids=["for", "at-once", "warnings", "phases", "short-for"],
)
def test_a_backtest_tells_what_the_loop_would_have_done_tick_by_tick(
    client: PrometheusClient, namespace: str, criteria: tuple[Mapping[str, Any], ...]
) -> None:
    """Same transitions at the same instants as deciding at every tick with everything fetched."""
    steps = [{"weight": 10, "duration": "2h"}, {"weight": 50, "duration": "90m"}, {"weight": 100}]
    given = spec(*criteria, steps=steps, evaluation={"interval": "1m"})
    asked = question(given, namespace)
    report = run(asked, client)
    status, told = live(asked, client)
    replayed = [
        (each.at, each.transition.reason, each.transition.criterion) for each in report.outcome.events
    ]
    assert replayed == told
    assert report.outcome.phase is status.phase
