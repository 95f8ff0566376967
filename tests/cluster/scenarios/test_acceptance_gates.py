"""What holds an advance: the schedule, confidence; and who hears of what happens."""

from __future__ import annotations

import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.support import manifests as m
from tests.support.exporter import Pod
from tests.support.scene import Scene, condition
from tests.support.webhook import Webhook

FAST = m.steps(25, 50, duration="1s")
ALL_DAYS = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"]
HOOKS = {"MODELROLLOUT_NOTIFICATION_HOSTS": "127.0.0.1"}


def window(begins: timedelta, ends: timedelta) -> dict[str, Any]:
    """A schedule (UTC) with one window, relative to now."""
    now = datetime.now(UTC)
    times = {"from": f"{now + begins:%H:%M}", "to": f"{now + ends:%H:%M}"}
    return {"timeZone": "UTC", "windows": [{"days": ALL_DAYS, **times}]}


CLOSED = (timedelta(hours=2), timedelta(hours=3))
OPEN = (timedelta(hours=-2), timedelta(hours=2))


@pytest.mark.usefixtures("operator")
def test_a_closed_schedule_holds_the_advance_and_an_open_one_lets_it_go(scene: Scene) -> None:
    scene.stage()
    # the first step is an increase too: it starts in an open window
    scene.apply(plan=m.steps(25, 50, duration="4s"), schedule=window(*OPEN))
    scene.at_weight(25)
    scene.change(schedule=window(*CLOSED))
    status = scene.until(lambda s: s["reason"] == "WaitingForSchedule", what="held by the schedule")
    assert "next window of the schedule" in condition(status, "Progressing")["message"]
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        assert scene.status()["step"]["weight"] == 25
        time.sleep(0.1)
    scene.change(schedule=window(*OPEN))
    scene.world.until_phase("Succeeded", seconds=60)


@pytest.mark.usefixtures("operator")
def test_a_closed_schedule_does_not_hold_a_revert(scene: Scene) -> None:
    scene.stage()
    scene.apply(plan=m.steps(25, 50, duration="4s"), schedule=window(*OPEN))
    scene.at_weight(25)
    scene.change(schedule=window(*CLOSED))
    scene.until(lambda s: s["reason"] == "WaitingForSchedule", what="held by the schedule")
    scene.say(2)
    scene.world.until(lambda: scene.ready()["emotion-2"] == 0, seconds=15, what="no candidate endpoint")
    scene.world.until_phase("RolledBack")
    scene.on_stable()


@pytest.mark.usefixtures("operator")
def test_a_closed_schedule_holds_the_first_step_too(scene: Scene) -> None:
    scene.stage()
    scene.apply(plan=FAST, schedule=window(*CLOSED))
    scene.until(lambda s: s.get("reason") == "WaitingForSchedule", what="held by the schedule")
    time.sleep(3)
    assert scene.ready() == {"emotion-1": 4, "emotion-2": 0}


def errors(pod: Pod, share: float, *, rps: float) -> None:
    """Requests from now on, that share of them with an error."""
    with pod.exporter.together():
        pod.rate("model_requests_total", rps * (1 - share), code="200")
        pod.rate("model_requests_total", rps * share, code="500")


SURE = {"name": "errors", "preset": "errorRate", "max": 0.02, "window": "15s", "confidence": 0.95}


@pytest.mark.usefixtures("operator")
def test_confidence_holds_on_few_samples_and_advances_on_many(scene: Scene) -> None:
    scene.stage(traffic={"emotion-2": lambda pod: errors(pod, 0.01, rps=4)})
    scene.apply(plan=FAST, criteria=[SURE | {"minSamples": 1_000_000}])
    scene.at_weight(25)
    scene.until(lambda s: s["criteria"][0]["state"] == "NoData", what="not sure yet")
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        status = scene.status()
        assert (status["phase"], status["step"]["weight"]) == ("Progressing", 25), status
        time.sleep(0.1)
    assert "sure" in condition(scene.status(), "MetricsAvailable")["message"]
    errors(scene.pods["emotion-2"], 0.01, rps=4000)
    scene.world.until_phase("Succeeded", seconds=90)


@pytest.mark.usefixtures("operator")
def test_confidence_does_not_revert_on_few_samples_and_does_on_many(scene: Scene) -> None:
    scene.stage(traffic={"emotion-2": lambda pod: errors(pod, 0.03, rps=4)})
    scene.apply(plan=FAST, criteria=[SURE | {"minSamples": 1_000_000}])
    scene.at_weight(25)
    deadline = time.monotonic() + 6
    while time.monotonic() < deadline:
        status = scene.status()
        assert (status["phase"], status["step"]["weight"]) == ("Progressing", 25), status
        time.sleep(0.1)
    errors(scene.pods["emotion-2"], 0.03, rps=4000)
    status = scene.world.until_phase("RolledBack", seconds=60)
    assert status["rollback"]["criterion"] == "errors"
    scene.on_stable()


def test_each_transition_reaches_the_webhook_and_is_tried_again_after_a_500(scene: Scene) -> None:
    scene.operator(environment=HOOKS).wait_leading()
    scene.stage()
    with Webhook(answer=lambda number: 500 if number <= 2 else 204) as hook:
        scene.apply(plan=FAST, notifications=[{"name": "chat", "url": hook.url}])
        scene.world.until_phase("Succeeded", seconds=60)
        scene.world.until(
            lambda: any(e["type"].endswith(".Succeeded") for e in hook.accepted()), what="the last event"
        )
        scene.world.until(lambda: len(hook.accepted()) >= 5, what="the events tried again")
        kinds = Counter(event["type"] for event in hook.accepted())
        prefix = "modelrollout.dev.modelrollout"
        assert kinds == {f"{prefix}.Started": 1, f"{prefix}.Step": 3, f"{prefix}.Succeeded": 1}, kinds
        assert len({event["id"] for event in hook.accepted()}) == 5
        refused = {call.body["id"] for call in hook.calls if call.answered == 500}
        assert refused <= {event["id"] for event in hook.accepted()}, "a refused event was never delivered"
        weights = [e["data"]["weight"] for e in hook.accepted() if e["type"].endswith(".Step")]
        assert weights == [25, 50, 100]
        for call in hook.calls:
            assert call.headers["Content-Type"].startswith("application/cloudevents+json")
            assert call.body["specversion"] == "1.0"
            assert call.body["source"].endswith(f"/namespaces/{scene.world.namespace}/modelrollouts/emotion")
            assert call.body["subject"] == "emotion"


def test_a_webhook_that_never_answers_delays_nothing(scene: Scene) -> None:
    operator = scene.operator(environment=HOOKS)
    operator.wait_leading()
    scene.stage()
    with Webhook(answer=lambda _: 0) as hook:
        scene.apply(plan=m.steps(25, duration="1h"), notifications=[{"name": "chat", "url": hook.url}])
        scene.at_weight(25)
        scene.world.until(lambda: hook.calls, what="the webhook is being asked")
        scene.say(2)
        scene.world.until(lambda: scene.ready()["emotion-2"] == 0, seconds=20, what="no candidate endpoint")
        scene.world.until_phase("RolledBack", seconds=30)
    assert operator.stop() == 0, "a webhook kept the operator from ending"
