"""Measuring: a slow Prometheus holds up no tick, and a baseline that waits is not asked for all the time."""

from __future__ import annotations

import asyncio
import time
from typing import Any, cast

import pytest

from modelrollout.decision.types import SampleState
from modelrollout.operator import measure
from modelrollout.operator.measure import Measurer
from modelrollout.operator.metrics import OperatorMetrics
from modelrollout.operator.rollouts import RolloutState, RolloutStore
from modelrollout.prometheus import Evaluator, PrometheusClient, PrometheusError, PrometheusTarget
from modelrollout.prometheus.batcher import Asker, Question
from modelrollout.prometheus.errors import FailureKind
from tests.unit.test_operator_rollouts import stored

CRITERION = {"name": "errors", "preset": "errorRate", "max": "1%"}
RUN = {"id": "r1", "candidate": "emotion-2", "stable": "emotion-1", "startedAt": "2026-01-01T00:00:00Z"}
STEP = {"index": 0, "weight": 25, "startedAt": "2026-01-01T00:00:01Z", "reachedAt": "2026-01-01T00:00:02Z"}


class Silent:
    """An evaluator whose server has not answered yet."""

    def __init__(self) -> None:
        self.asked = 0

    async def evaluate(self, *_: Any, **__: Any) -> Any:
        self.asked += 1
        await asyncio.Event().wait()

    async def refused(self, _: Any) -> Any:
        await asyncio.Event().wait()

    def forget(self, key: str) -> None: ...

    def next_delay(self, _key: str, interval: float) -> float:
        return interval


def tracked(status: dict[str, Any], **spec: Any) -> RolloutState:
    store = RolloutStore(changed=lambda _: None, forgotten=lambda _: None)
    obj = stored(status=status)
    obj["spec"] |= {"criteria": [CRITERION], **spec}
    store.apply(obj)
    rollout = store.get(("ns", "emotion"))
    assert rollout is not None
    return rollout


def measurer(evaluator: Silent) -> Measurer:
    return Measurer(cast(Evaluator, evaluator), OperatorMetrics(list, lambda: True))


async def test_criteria_that_are_not_answered_in_time_are_errors_and_the_tick_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(measure, "MEASURE_SECONDS", 0.05)
    rollout = tracked({"phase": "Progressing", "stable": "emotion-1", "run": RUN, "step": STEP})
    await asyncio.wait_for(measurer(Silent()).measure(rollout), timeout=5)
    assert rollout.samples["errors"].state is SampleState.ERROR
    assert "did not answer" in (rollout.metrics_error or "")
    assert rollout.refused_queries is None, "what is unknown is asked again"


async def test_pods_are_asked_for_by_the_names_of_their_replica_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "MEASURE_SECONDS", 0.05)
    sets = {"emotion-1": ("emotion-1-5d8f7c9b44",), "emotion-2": ("emotion-2-7c9b445d8f",)}
    compared = {
        "name": "c",
        "query": "q{pod=~'${candidatePods}'}",
        "compare": {"to": "Stable", "maxIncrease": "1%"},
    }
    rollout = tracked(
        {"phase": "Progressing", "stable": "emotion-1", "run": RUN, "step": STEP}, criteria=[compared]
    )

    async def asked() -> tuple[str, str | None]:
        asking = Measurer(
            cast(Evaluator, Silent()),
            OperatorMetrics(list, lambda: True),
            replica_sets=lambda _, name: sets[name],
        )
        await asking.measure(rollout)
        assert rollout.queries is not None
        query = rollout.queries.queries["c"]
        return query.value, query.stable_value

    assert await asked() == (
        "q{pod=~'emotion-2-7c9b445d8f-[a-z0-9]{5}'}",
        "q{pod=~'emotion-1-5d8f7c9b44-[a-z0-9]{5}'}",
    )
    sets["emotion-2"] = ("emotion-2-7c9b445d8f", "emotion-2-88888")
    rollout.evaluate_at = 0.0
    value, _ = await asked()
    assert "(emotion-2-7c9b445d8f-|emotion-2-88888-)[a-z0-9]{5}" in value, (
        "a new ReplicaSet is asked for at once"
    )


async def test_a_baseline_that_is_missing_is_asked_for_again_after_a_while_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(measure, "MEASURE_SECONDS", 0.05)
    evaluator = Silent()
    compared = {**CRITERION, "compare": {"to": "Baseline", "maxIncrease": "10%"}}
    del compared["max"]
    found = tracked(
        {"phase": "Validating", "stable": "emotion-1", "run": RUN},
        criteria=[compared],
        baseline={"window": "24h"},
    )
    for _ in range(3):
        await measurer(evaluator).measure(found)
    assert evaluator.asked == 1
    assert found.evaluate_at > time.monotonic()
    assert "did not answer" in (found.metrics_error or "")


class Slow:
    """A client each of whose real questions costs a second and ends in a timeout."""

    target = PrometheusTarget(name="default", url="http://127.0.0.1:9")

    def __init__(self, clock: list[float]) -> None:
        self.clock, self.asked = clock, 0

    def query(self, promql: str, **_: Any) -> dict[str, Any]:
        if promql == "vector(1)":
            return {"resultType": "vector", "result": []}
        self.asked += 1
        self.clock[0] += 1.0
        raise PrometheusError(FailureKind.TIMEOUT, "too slow")


def test_the_search_for_the_slow_question_is_given_up_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [1000.0]
    monkeypatch.setattr("modelrollout.prometheus.batcher.time.monotonic", lambda: clock[0])
    client = Slow(clock)
    questions = [Question(f"1.{n}", f"up + {n}", f"text {n}", True) for n in range(40)]
    outcomes = Asker(cast(PrometheusClient, client), patience=10).ask([questions])
    assert client.asked <= 12
    assert set(outcomes) == {question.id for question in questions}
    assert all(isinstance(o, PrometheusError) and o.kind is FailureKind.TIMEOUT for o in outcomes.values())
