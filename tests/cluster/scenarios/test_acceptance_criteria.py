"""What reverts a candidate, and what must not."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import pytest

from tests.support import manifests as m
from tests.support.operator_process import OperatorProcess
from tests.support.prometheus import Prometheus
from tests.support.scene import VALUE, Scene, condition, seconds_between

pytestmark = pytest.mark.usefixtures("operator")
LONG = m.steps(25, 50, duration="1h")
FAST = m.steps(25, 50, duration="2s")


def holds_at(scene: Scene, weight: int, seconds: float) -> None:
    """Asserts that for so long nothing advances and nothing reverts."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        status = scene.status()
        assert (status["phase"], status["step"]["weight"]) == ("Progressing", weight), status
        time.sleep(0.1)


def criterion(status: dict, name: str) -> dict:  # type: ignore[type-arg]
    """What status says of one criterion."""
    return next(c for c in status["criteria"] if c["name"] == name)


def test_scenario_05_a_bad_metric_for_its_whole_for_takes_the_traffic_back(scene: Scene) -> None:
    scene.stage()
    scene.apply(plan=LONG, criteria=[VALUE | {"for": "6s"}])
    scene.at_weight(25)
    good_until = datetime.now(UTC).isoformat()
    scene.say(2)
    time.sleep(1)
    assert scene.ready()["emotion-2"] == 1, "reverted before `for` was over"
    scene.world.until(lambda: scene.ready()["emotion-2"] == 0, seconds=30, what="no candidate endpoint")
    status = scene.world.until_phase("RolledBack")
    assert seconds_between(good_until, status["rollback"]["startedAt"]) >= 5.5, (
        "decided before `for` was over"
    )
    assert status["rollback"]["criterion"] == "value"
    scene.on_stable()


def test_scenario_06_a_spike_shorter_than_for_does_not_revert(scene: Scene) -> None:
    scene.stage()
    # The step outlasts `for`: a spike that was not forgotten would still take the traffic back in it.
    scene.apply(plan=m.steps(25, duration="15s"), criteria=[VALUE | {"for": "10s"}])
    scene.at_weight(25)
    scene.say(2)
    scene.until(lambda s: criterion(s, "value")["state"] == "Fail", what="the spike is seen")
    scene.say(0.5)
    scene.world.until_phase("Succeeded", seconds=60)
    assert [entry["result"] for entry in scene.status()["history"]] == ["Succeeded"]


def test_scenario_07_one_dimension_mismatch_reverts_at_once(scene: Scene) -> None:
    scene.stage()
    scene.apply(plan=LONG, criteria=[{"name": "dimension", "preset": "dimensionMismatch", "max": 0}])
    scene.at_weight(25)
    scene.until(lambda s: criterion(s, "dimension")["state"] == "Pass", what="the criterion passes")
    scene.pods["emotion-2"].inc("model_dimension_mismatches_total", 1, route="linear_head")
    status = scene.world.until_phase("RolledBack")
    assert status["rollback"]["criterion"] == "dimension"
    scene.on_stable()


@pytest.mark.parametrize("answer", ["NaN", "empty"])
def test_scenario_09_nan_or_an_empty_answer_holds(scene: Scene, answer: str) -> None:
    scene.stage()
    pod = scene.pods["emotion-2"]
    if answer == "NaN":
        pod.set("test_value", float("nan"))
        scene.world.until(
            lambda: (
                scene.prometheus.query(f'test_value{{pod="{pod.name}",namespace="{pod.namespace}"}}')[0][
                    "value"
                ][1]
                == "NaN"
            ),
            what="NaN in Prometheus",
        )
    else:
        pod.drop("test_value")
        series = f'test_value{{pod="{pod.name}",namespace="{pod.namespace}"}}'
        scene.world.until(lambda: not scene.prometheus.query(series), what="no series in Prometheus")
    scene.apply(plan=FAST)
    scene.at_weight(25)
    holds_at(scene, 25, 5)
    told = condition(scene.status(), "MetricsAvailable")
    assert (told["status"], told["reason"]) == ("False", "NoData"), told
    assert "value" in told["message"]
    pod.set("test_value", 0.5)
    scene.world.until_phase("Succeeded", seconds=60)


@pytest.mark.takes(seconds=24)
def test_scenario_10_prometheus_down_holds_and_resumes(
    scene: Scene, operator: OperatorProcess, metrics: tuple[object, Prometheus]
) -> None:
    with Prometheus.start(exporter=scene.exporter) as own:
        operator.stop()
        scene.prometheus = own
        scene.operator("operator-1").wait_leading()
        scene.stage()
        scene.apply(plan=m.steps(25, 50, duration="3s"))
        before = scene.at_weight(25)["step"]
        own.stop()
        scene.until(
            lambda s: condition(s, "MetricsAvailable").get("status") == "False", what="the outage is told"
        )
        holds_at(scene, 25, 12)
        told = condition(scene.status(), "MetricsAvailable")
        assert own.url in told["message"] or "default" in told["message"], told
        assert scene.status()["step"]["reachedAt"] == before["reachedAt"], (
            "the clock of the step was restarted"
        )
        own.run()
        scene.until(lambda s: s["step"]["weight"] > 25, what="going on once Prometheus is back", seconds=30)
        scene.world.until_phase("Succeeded", seconds=60)


def test_scenario_11_too_few_samples_hold_until_there_are_enough(scene: Scene) -> None:
    scene.stage()
    few = {"name": "errors", "preset": "errorRate", "max": 0.05, "window": "10s", "minSamples": 2000}
    scene.apply(plan=FAST, criteria=[few])
    scene.at_weight(25)
    holds_at(scene, 25, 5)
    status = scene.status()
    assert criterion(status, "errors")["state"] == "NoData"
    assert "2000" in condition(status, "MetricsAvailable")["message"]
    scene.pods["emotion-2"].rate("model_requests_total", 1000, code="200")
    scene.world.until_phase("Succeeded", seconds=60)


def test_scenario_12_several_series_are_an_error_that_names_the_query_and_the_count(scene: Scene) -> None:
    scene.stage()
    scene.pods["emotion-2"].set("test_route", 0.1, route="linear_head")
    scene.pods["emotion-2"].set("test_route", 9.0, route="regex")
    query = 'test_route{namespace="${namespace}",pod=~"${candidatePods}"}'
    scene.apply(plan=FAST, criteria=[{"name": "routes", "query": query, "max": 1}])
    scene.at_weight(25)
    scene.until(lambda s: criterion(s, "routes")["state"] == "Error", what="the error")
    holds_at(scene, 25, 4)
    message = condition(scene.status(), "MetricsAvailable")["message"]
    assert "routes" in message
    assert "2" in message


def test_scenario_13_a_dry_run_criterion_that_fails_is_recorded_and_the_rollout_goes_on(scene: Scene) -> None:
    scene.stage()
    scene.say(2)
    scene.apply(plan=FAST, criteria=[VALUE | {"dryRun": True}])
    status = scene.until(
        lambda s: s.get("criteria") and criterion(s, "value")["state"] == "Fail", what="recorded"
    )
    assert status["phase"] == "Progressing"
    scene.world.until_phase("Succeeded", seconds=60)


def test_scenario_17_the_revert_names_the_criterion_its_value_and_its_limit(scene: Scene) -> None:
    scene.stage()
    good = VALUE | {"name": "good", "max": 100}
    scene.apply(plan=LONG, criteria=[good, VALUE])
    scene.at_weight(25)
    scene.say(7.5)
    status = scene.world.until_phase("RolledBack")
    message = status["rollback"]["message"]
    assert "value" in message
    assert "7.5" in message
    assert "1" in message
    assert "good" not in message
    assert any(reason == "CriterionBreached" and "7.5" in text for reason, text in scene.world.events()), (
        scene.world.events()
    )
