"""The operator with a real Prometheus and an exporter whose values the test sets."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.cluster.operator.conftest import StartOperator
from tests.support import manifests as m
from tests.support.exporter import Exporter, Pod
from tests.support.prometheus import Prometheus
from tests.support.world import World

pytestmark = [pytest.mark.takes(seconds=120)]

MISMATCH = {"name": "mismatch", "preset": "dimensionMismatch", "max": 0}
LONG = m.steps(50, duration="1h")


@pytest.fixture(scope="module")
def exporter() -> Iterator[Exporter]:
    with Exporter.start() as running:
        yield running


@pytest.fixture(scope="module")
def prometheus(exporter: Exporter) -> Iterator[Prometheus]:
    with Prometheus.start(exporter=exporter, scrape_interval=0.5) as running:
        yield running


@pytest.fixture
def candidate(emotion: World, exporter: Exporter, prometheus: Prometheus) -> Iterator[Pod]:
    """Healthy metrics that look like a pod of the candidate, known to Prometheus."""
    pod = exporter.pod(emotion.namespace, emotion.pod_name("emotion-2"), version="2")
    pod.healthy()
    prometheus.wait_for(
        f'count_over_time(model_requests_total{{namespace="{emotion.namespace}",code="200"}}[1m]) > 3'
    )
    yield pod
    pod.remove()


def at_half(world: World) -> None:
    world.until(
        lambda: (
            (world.status().get("step") or {}).get("reachedAt")
            and world.status()["criteria"][0]["state"] == "Pass"
        ),
        what="50% reached and the criterion passes",
        seconds=60,
    )


def test_a_bad_value_takes_the_traffic_back_and_names_the_criterion(
    emotion: World, candidate: Pod, prometheus: Prometheus, start_operator: StartOperator
) -> None:
    operator = start_operator(prometheus=prometheus.url)
    emotion.create(m.rollout(plan=LONG, criteria=[MISMATCH]))
    at_half(emotion)
    assert operator.metric("modelrollout_criterion_holds", criterion="mismatch") == 0
    assert operator.metric("modelrollout_rollbacks_total", criterion="mismatch") == 0
    candidate.set("model_dimension_mismatches_total", 1, route="linear_head")
    emotion.until(lambda: emotion.replicas("emotion-2") == 0, what="no candidate", seconds=15)
    status = emotion.until_phase("RolledBack")
    assert status["reason"] == "CriterionBreached"
    assert "mismatch" in status["message"] and "1" in status["message"]
    emotion.until(lambda: emotion.ready("emotion", "emotion-1") == 4, what="all on stable")
    assert operator.metric("modelrollout_rollbacks_total", criterion="mismatch") == 1
    assert operator.metric("modelrollout_rollbacks_total", reason="CriterionBreached") == 1
    assert operator.metric("modelrollout_reaction_seconds_count") == 1


def test_a_query_that_prometheus_refuses_is_said_before_anything_is_scaled(
    emotion: World, candidate: Pod, prometheus: Prometheus, start_operator: StartOperator
) -> None:
    start_operator(prometheus=prometheus.url)
    emotion.create(m.rollout(plan=LONG, criteria=[MISMATCH, {"name": "odd", "query": "sum(((", "max": 1}]))
    status = emotion.until_phase("Invalid")
    assert status["reason"] == "BadQuery"
    assert "odd" in status["message"] and "sum(((" in status["message"]
    assert (emotion.replicas("emotion-1"), emotion.replicas("emotion-2")) == (4, 0)
    emotion.patch("ModelRollout", "emotion", {"spec": {"criteria": [MISMATCH]}})
    at_half(emotion)


def test_an_outage_of_prometheus_holds_and_is_said(
    emotion: World, candidate: Pod, prometheus: Prometheus, start_operator: StartOperator
) -> None:
    operator = start_operator(prometheus="http://127.0.0.1:9")
    emotion.create(m.rollout(plan=m.steps(50, duration="1s"), criteria=[MISMATCH]))
    emotion.until(lambda: emotion.ready("emotion", "emotion-2") == 2, what="half")
    condition = emotion.until(
        lambda: (c := emotion.condition("MetricsAvailable")).get("reason") == "PrometheusUnavailable" and c,
        what="the condition",
    )
    assert condition["status"] == "False"
    assert operator.metric("modelrollout_criterion_holds", criterion="mismatch") == 1
    time.sleep(4)
    assert (emotion.replicas("emotion-1"), emotion.replicas("emotion-2")) == (2, 2)
    assert operator.get("/healthz")[0] == 200


@pytest.fixture
def mortal(emotion: World, exporter: Exporter, candidate: Pod) -> Iterator[Prometheus]:
    """A Prometheus of the test's own, to be stopped."""
    with Prometheus.start(exporter=exporter, scrape_interval=0.5) as own:
        own.wait_for(
            f'count_over_time(model_requests_total{{namespace="{emotion.namespace}",code="200"}}[1m]) > 3'
        )
        yield own


def test_no_step_ends_on_what_was_good_before_its_end(
    emotion: World, mortal: Prometheus, start_operator: StartOperator
) -> None:
    """With an interval of an hour, all that is known is from the beginning of the step."""
    start_operator(prometheus=mortal.url)
    plan = m.steps(50, duration="5s")
    emotion.create(m.rollout(plan=plan, criteria=[MISMATCH], evaluation={"interval": "1h"}))
    at_half(emotion)
    mortal.stop()
    held = emotion.until(lambda: emotion.status().get("hold"), what="the hold")
    assert held["reason"] == "PrometheusUnavailable"
    time.sleep(2)
    assert emotion.status()["step"]["weight"] == 50
    assert (emotion.replicas("emotion-1"), emotion.replicas("emotion-2")) == (2, 2)


def test_a_hold_is_told_once_when_it_begins_and_once_when_it_ends(
    emotion: World, mortal: Prometheus, start_operator: StartOperator
) -> None:
    """Also where another operator takes over in the middle of it."""
    first = start_operator(prometheus=mortal.url)
    start_operator("operator-1", leading=False, prometheus=mortal.url)
    plan = m.steps(50, duration="4s")
    emotion.create(m.rollout(plan=plan, criteria=[MISMATCH], evaluation={"interval": "2s"}))
    at_half(emotion)
    mortal.stop()
    emotion.until(lambda: told(emotion).count("PrometheusUnavailable") == 1, what="the Event of the hold")
    assert emotion.status()["hold"]["reason"] == "PrometheusUnavailable"
    first.kill()
    time.sleep(20)  # the lease runs out and the other one acts
    assert emotion.status()["step"]["weight"] == 50
    mortal.run()
    emotion.until_phase("Succeeded", seconds=60)
    assert told(emotion).count("PrometheusUnavailable") == 1
    assert told(emotion).count("HoldEnded") == 1
    assert "hold" not in emotion.status()


def told(world: World) -> list[str]:
    """Reasons of all Events of the rollout."""
    return [reason for reason, _ in world.events()]


def test_steady_ticks_ask_prometheus_and_write_nothing(
    emotion: World, candidate: Pod, prometheus: Prometheus, start_operator: StartOperator
) -> None:
    operator = start_operator(prometheus=prometheus.url)
    emotion.create(m.rollout(plan=LONG, criteria=[MISMATCH]))
    at_half(emotion)

    def asked() -> float:
        return operator.metric("modelrollout_prometheus_requests_total") or 0.0

    def version() -> str:
        return str(emotion.get("ModelRollout", "emotion")["metadata"]["resourceVersion"])

    written, before = emotion.settled(version), asked()
    time.sleep(6)
    assert version() == written
    assert 1 <= asked() - before <= 24
    assert operator.metric("modelrollout_criterion_value", criterion="mismatch") == 0
    assert operator.metric("modelrollout_criterion_limit", criterion="mismatch", bound="max") == 0
    assert operator.metric("modelrollout_weight_observed_percent") == 50
