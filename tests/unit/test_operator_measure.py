"""Measuring: a slow Prometheus holds up no tick, and a baseline that waits is not asked for all the time."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

import pytest

from modelrollout.decision.types import Sample, SampleState
from modelrollout.operator import measure
from modelrollout.operator.measure import Measurer
from modelrollout.operator.metrics import OperatorMetrics
from modelrollout.operator.rollouts import RolloutState
from modelrollout.operator.store import RolloutStore
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
    return Measurer(cast(Evaluator, evaluator), OperatorMetrics(lambda: True))


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
            OperatorMetrics(lambda: True),
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


class Answering(Silent):
    """An evaluator that answers at once, with an Error for as long as it is `down`."""

    def __init__(self) -> None:
        super().__init__()
        self.down = True

    async def evaluate(self, queries: Any, names: Any, **_: Any) -> Any:
        self.asked += 1
        state = SampleState.ERROR if self.down else SampleState.VALUE
        sample = Sample(state=state, at=datetime.now(UTC), value=None if self.down else 0.0)
        return SimpleNamespace(samples=dict.fromkeys(names, sample), metrics_error=None)

    async def refused(self, _: Any) -> Any:
        return {}


@pytest.mark.parametrize(
    ("interval", "expected"),
    [("1h", [5, 10, 20, 40, 60, 60]), ("15s", [5, 10, 15, 15, 15, 15]), ("1s", [1] * 6)],
)
async def test_an_error_is_asked_again_soon_and_ever_more_rarely_but_never_later_than_the_interval(
    interval: str, expected: list[int]
) -> None:
    evaluator = Answering()
    found = tracked(
        {"phase": "Progressing", "stable": "emotion-1", "run": RUN, "step": STEP},
        evaluation={"interval": interval},
    )

    async def delay() -> float:
        found.evaluate_at = 0.0  # it is over
        await measurer(evaluator).measure(found)
        return found.evaluate_at - time.monotonic()

    assert [round(await delay()) for _ in expected] == expected
    evaluator.down = False
    whole = {"1h": 3600, "15s": 15, "1s": 1}[interval]
    assert round(await delay()) == whole
    evaluator.down = True
    assert round(await delay()) == expected[0], "a success starts the count anew"
    assert evaluator.asked == len(expected) + 2


async def test_missing_data_is_no_error_and_waits_for_the_interval() -> None:
    class Empty(Answering):
        async def evaluate(self, queries: Any, names: Any, **_: Any) -> Any:
            sample = Sample(state=SampleState.NO_DATA, at=datetime.now(UTC))
            return SimpleNamespace(samples=dict.fromkeys(names, sample), metrics_error=None)

    status = {"phase": "Progressing", "stable": "emotion-1", "run": RUN, "step": STEP}
    found = tracked(status, evaluation={"interval": "1h"})
    await measurer(Empty()).measure(found)
    assert found.evaluate_at - time.monotonic() > 3500
