"""What people and machines see of the operator: logs, health, metrics, CloudEvents."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime

import aiohttp
import kopf

from modelrollout.api.schedule import Transition as Announcement
from modelrollout.api.unreported import UnreportedTransition
from modelrollout.operator.handlers import EndlessBackoff, configure
from modelrollout.operator.health import HealthServer
from modelrollout.operator.logs import JsonFormatter, TextFormatter
from modelrollout.operator.metrics import OperatorMetrics
from modelrollout.operator.rollouts import RolloutState
from modelrollout.operator.webhooks import Notifier, cloud_event
from tests.unit.test_operator_rollouts import stored


def record(message: str, **extra: object) -> logging.LogRecord:
    made = logging.LogRecord("modelrollout.x", logging.WARNING, "f.py", 1, message, (), None)
    vars(made).update(extra)
    return made


def test_a_json_line_has_its_fields() -> None:
    line = json.loads(JsonFormatter().format(record("It ended.", namespace="ns", rollout="emotion")))
    assert line["message"] == "It ended."
    assert (line["level"], line["namespace"], line["rollout"]) == ("warning", "ns", "emotion")
    datetime.fromisoformat(line["time"].replace("Z", "+00:00"))


def test_an_exception_stays_on_one_json_line() -> None:
    try:
        raise ValueError("no\nway")
    except ValueError:
        made = record("It failed.")
        made.exc_info = sys.exc_info()
    text = JsonFormatter().format(made)
    assert "\n" not in text
    assert "ValueError" in json.loads(text)["exception"]


def test_a_text_line_names_the_rollout() -> None:
    assert "[ns/emotion] It ended." in TextFormatter().format(
        record("It ended.", namespace="ns", rollout="emotion")
    )


async def test_health_fails_with_the_reason_and_metrics_are_there() -> None:
    rollout = RolloutState.of(
        stored(status={"phase": "Progressing", "weight": {"desired": 50, "observed": 40}})
    )
    assert not rollout.status_unreadable  # parsed, as a tick does
    metrics = OperatorMetrics(lambda: True)
    metrics.describe([rollout])
    late = [""]
    server = HealthServer(healthy=lambda: late[0], ready=lambda: "not yet", registry=metrics.registry)
    await server.start("127.0.0.1", 0)
    try:
        async with aiohttp.ClientSession(f"http://127.0.0.1:{server.port}") as session:

            async def get(path: str) -> tuple[int, str]:
                async with session.get(path) as answer:
                    return answer.status, await answer.text()

            assert await get("/healthz") == (200, "ok")
            late[0] = "a tick is late"
            assert await get("/healthz") == (503, "a tick is late")
            assert await get("/readyz") == (503, "not yet")
            text = (await get("/metrics"))[1]
    finally:
        await server.stop()
    assert 'modelrollout_phase{name="emotion",namespace="ns",phase="Progressing"} 1.0' in text
    assert 'modelrollout_weight_desired_percent{name="emotion",namespace="ns"} 50.0' in text
    assert 'modelrollout_weight_observed_percent{name="emotion",namespace="ns"} 40.0' in text


def test_a_cloud_event_says_what_happened_where() -> None:
    rollout = RolloutState.of(stored(version=7, status={"phase": "RollingBack", "stable": "emotion-1"}))
    transition = UnreportedTransition(
        id="18862f0",
        at=datetime(2026, 1, 1, tzinfo=UTC),
        reason="CriterionBreached",
        message="too slow",
        criterion="latency",
        announcement=Announcement.ROLLING_BACK,
    )
    event = cloud_event(rollout, transition)
    assert event["type"] == "modelrollout.dev.modelrollout.RollingBack"
    assert event["source"] == "/apis/modelrollout.dev/v1alpha1/namespaces/ns/modelrollouts/emotion"
    assert event["data"]["criterion"] == "latency"
    assert event["id"] == "uid-emotion-18862f0"
    json.dumps(event)


def test_webhooks_may_only_go_where_the_settings_allow() -> None:
    metrics = OperatorMetrics(lambda: True)
    notifier = Notifier(None, metrics, allowed_hosts=("hooks.example.com",))  # type: ignore[arg-type]
    assert notifier.host_allowed("https://hooks.example.com/x")
    for url in (
        "https://hooks.example.com.evil.org/",
        "https://user@evil.org/hooks.example.com",
        "http://169.254.169.254/",
        "http://[::1]/",
    ):
        assert not notifier.host_allowed(url)
    anywhere = Notifier(None, metrics, allowed_hosts=("*",))  # type: ignore[arg-type]
    assert anywhere.host_allowed("http://x/")


def test_kopf_never_gives_up_and_writes_nothing() -> None:
    settings = kopf.OperatorSettings()
    configure(settings)
    assert not settings.posting.enabled
    assert settings.persistence.finalizer != "modelrollout.dev/return-traffic"
    pauses = iter(EndlessBackoff())
    assert all(next(pauses) <= 3 for _ in range(1000))
