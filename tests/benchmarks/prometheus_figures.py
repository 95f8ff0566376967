"""What asking Prometheus costs: joined requests of 200 rollouts, and a month of backtest."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta

from modelrollout.api.spec import ModelRolloutSpec
from modelrollout.backtest import Clock, Question, run
from modelrollout.prometheus import (
    Evaluator,
    EvaluatorOptions,
    Limits,
    PrometheusClient,
    PrometheusTarget,
    PrometheusTargets,
    RolloutQueries,
)
from tests.benchmarks.tables import Figure
from tests.support.exporter import Exporter
from tests.support.past import PastWriter, Rate
from tests.support.prometheus import Prometheus
from tests.support.queries import criterion, rollout

ROLLOUTS, RUNS = 200, 7
DAY = 86_400.0


def joined() -> list[Figure]:
    """CPU of one round of 200 rollouts with 3 criteria each, by the size of a request."""
    with Exporter.start() as exporter:
        for number in range(ROLLOUTS):
            with exporter.together():
                for version in (1, 2):
                    exporter.pod("ml", f"m{number}-{version}-7d4b9c8f6-x2vbn").healthy()
        with Prometheus.start(exporter=exporter, scrape_interval=5.0) as prometheus:
            newest = f"m{ROLLOUTS - 1}-2-7d4b9c8f6-x2vbn"
            prometheus.wait_for(f'count_over_time(model_info{{pod="{newest}"}}[1m]) > 4', timeout=120)
            return [figure for legs in (5, 25, 150, 400) for figure in _round(prometheus, legs)]


def _round(prometheus: Prometheus, legs: int) -> list[Figure]:
    criteria = (
        criterion("fallback", preset="fallbackRate", args={"route": "regex"}),
        criterion("mismatch", preset="dimensionMismatch", max=0),
        criterion("latency", preset="latencyP95"),
    )
    rollouts = [
        rollout("ml", *criteria, key=str(number), candidate=f"m{number}-2", stable=f"m{number}-1")
        for number in range(ROLLOUTS)
    ]
    ours, theirs, wall = asyncio.run(_rounds(prometheus, rollouts, legs))
    what = f"200 rollouts x 3 criteria, at most {legs} questions a request"
    return [
        Figure(f"{what}: operator's CPU", "s", tuple(ours)),
        Figure(f"{what}: Prometheus' CPU", "s", tuple(theirs)),
        Figure(f"{what}: until all are answered", "s", tuple(wall)),
    ]


async def _rounds(
    prometheus: Prometheus, rollouts: list[RolloutQueries], legs: int
) -> tuple[list[float], list[float], list[float]]:
    options = EvaluatorOptions(limits=Limits(legs=legs))
    evaluator = Evaluator(PrometheusTargets.single(prometheus.url), options=options)
    ours: list[float] = []
    theirs: list[float] = []
    wall: list[float] = []
    for turn in range(RUNS + 1):
        before = time.process_time(), prometheus.cpu_seconds(), time.monotonic()
        answers = await asyncio.gather(*(evaluator.evaluate(each, patience=0.1) for each in rollouts))
        after = time.process_time(), prometheus.cpu_seconds(), time.monotonic()
        assert all(sample.value is not None for answer in answers for sample in answer.samples.values())
        if turn:  # the first round makes connections and threads
            for figures, end, start in zip((ours, theirs, wall), after, before, strict=True):
                figures.append(end - start)
    await evaluator.close()
    return ours, theirs, wall


def backtest() -> list[Figure]:
    """30 days of 5 criteria at 1 min, on the candidate and on stable, from a Prometheus that has them."""
    end = float(int(time.time() - 3600) // 60 * 60)
    start = end - 30 * DAY
    past = PastWriter(start=start, end=end, scrape=60.0)
    for pod in ("emotion-1-5f6d7c8b9-k4mn2", "emotion-2-7d4b9c8f6-x2vbn"):
        breach = pod.startswith("emotion-2")
        past.model("ml", pod, errors=_hour(15 * DAY, 0.1 if breach else 0.0))
    with Prometheus.start() as prometheus:
        past.write(prometheus)
        target = PrometheusTarget(name="past", url=prometheus.url, timeout=60.0)
        client = PrometheusClient(target)
        clock = Clock(
            start=datetime.fromtimestamp(start, UTC),
            end=datetime.fromtimestamp(end, UTC),
            step=timedelta(minutes=1),
        )
        question = Question(name="emotion", namespace="ml", spec=_spec(), clock=clock)
        wall, cpu = [], []
        for _ in range(RUNS):
            before = time.monotonic(), time.process_time()
            report = run(question, client)
            wall.append(time.monotonic() - before[0])
            cpu.append(time.process_time() - before[1])
            assert report.outcome.criterion == "errors"
        client.close()
    what = "30 days, 5 criteria at 1 min, candidate and stable"
    return [Figure(what, "s", tuple(wall)), Figure(f"{what}: our CPU", "s", tuple(cpu))]


def _hour(first: float, share: float) -> Rate:
    return lambda t: share if first <= t < first + 3600 else 0.0


def _spec() -> ModelRolloutSpec:
    criteria = [
        {"name": "errors", "preset": "errorRate", "max": "1%", "for": "15m", "minSamples": 100},
        {"name": "fallback", "preset": "fallbackRate", "args": {"route": "regex"}, "max": "2%", "for": "15m"},
        {"name": "mismatch", "preset": "dimensionMismatch", "max": 0},
        {"name": "latency-p95", "preset": "latencyP95", "max": "200ms"},
        {"name": "latency-p99", "preset": "latencyP99", "max": "500ms", "onBreach": "Warn"},
    ]
    steps = [{"weight": weight, "duration": "5d"} for weight in (10, 20, 50, 75)]
    return ModelRolloutSpec.model_validate(
        {
            "replicas": 10,
            "service": "emotion",
            "stable": {"deployment": "emotion-1"},
            "candidate": {"deployment": "emotion-2"},
            "steps": [*steps, {"weight": 100}],
            "observation": {"duration": "7d"},
            "criteria": criteria,
        }
    )
