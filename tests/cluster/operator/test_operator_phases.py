"""The phases before and after the steps: validations, shadow, baseline, observation; and who is told."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests.cluster.operator.conftest import StartOperator
from tests.support import job_pods
from tests.support import manifests as m
from tests.support.operator_process import OperatorProcess
from tests.support.world import World

CHECK = {"name": "smoke", "image": "registry.invalid/check:1", "args": ["--url=$(CANDIDATE_URL)"]}
COMMAND = "modelrollout.dev/command"


def jobs(world: World) -> list[dict[str, Any]]:
    return world.list("Job")


def test_a_validation_runs_once_before_each_increase_against_candidate_pods_only(
    emotion: World, operator: OperatorProcess
) -> None:
    emotion.create(m.rollout(plan=m.steps(50, duration="1s"), validations=[CHECK]))
    status = emotion.until_phase("Succeeded", seconds=60)
    made = jobs(emotion)
    assert len(made) == 2, [job["metadata"]["name"] for job in made]
    urls = {
        env["value"]
        for job in made
        for env in job["spec"]["template"]["spec"]["containers"][0]["env"]
        if env["name"] == "CANDIDATE_URL"
    }
    place = f"{emotion.namespace}.svc:80"
    assert urls == {f"http://emotion-shadow.{place}", f"http://emotion-candidate.{place}"}
    only = emotion.get("Service", "emotion-candidate")["spec"]["selector"]
    assert only == {"app": "emotion", "version": "emotion-2"}
    assert {entry["state"] for entry in status["validations"]} == {"Succeeded"}
    emotion.until(lambda: emotion.find("Deployment", "emotion-shadow") is None, what="the copy is gone")


def test_a_failed_validation_stops_the_run_where_it_is(emotion: World, operator: OperatorProcess) -> None:
    with job_pods.annotated(emotion, **{job_pods.EXIT_CODE: "1"}):
        late = {**CHECK, "beforeWeights": [100]}
        emotion.create(m.rollout(plan=m.steps(50, duration="1s"), validations=[late]))
        status = emotion.until_phase("Paused", seconds=60)
        assert status["reason"] == "ValidationFailed"
        assert "smoke" in status["message"] and "xit code 1" in status["message"]
        assert emotion.replicas("emotion-1") == 2
        time.sleep(2)
        assert len(jobs(emotion)) == 1


@pytest.mark.takes(seconds=27)
def test_an_image_that_cannot_be_pulled_is_said_and_not_passed(
    emotion: World, operator: OperatorProcess
) -> None:
    with job_pods.annotated(emotion, **{job_pods.IMAGE_ERROR: "true"}):
        late = {**CHECK, "beforeWeights": [100], "timeout": "25s"}
        emotion.create(m.rollout(plan=m.steps(50, duration="1s"), validations=[late]))
        _, message = emotion.until(
            lambda: next((e for e in emotion.events() if e[0] == "ImagePullFailed"), None),
            what="the Event",
            seconds=60,
        )
        assert "registry.invalid/check:1" in message
        status = emotion.until_phase("Paused", seconds=60)
        assert status["validations"][0]["state"] == "TimedOut"
        emotion.until(lambda: not jobs(emotion), what="the Job is ended")
        assert emotion.replicas("emotion-1") == 2


def test_the_shadow_serves_no_client_and_is_taken_down_before_the_first_step(
    emotion: World, operator: OperatorProcess
) -> None:
    emotion.create(m.rollout(plan=m.steps(50, duration="1s"), shadow={"duration": "3s", "replicas": 2}))
    emotion.until(
        lambda: (
            (d := emotion.find("Deployment", "emotion-shadow"))
            and (d.get("status") or {}).get("readyReplicas") == 2
        ),
        what="two pods in the shadow",
    )
    assert emotion.status()["phase"] == "Shadow"
    selector = emotion.get("Service", "emotion-shadow")["spec"]["selector"]
    pods = [
        pod
        for pod in emotion.list("Pod")
        if all(pod["metadata"]["labels"].get(key) == value for key, value in selector.items())
    ]
    assert len(pods) == 2
    assert all("app" not in pod["metadata"]["labels"] for pod in pods)
    assert emotion.ready("emotion", "emotion-1") == 4
    assert emotion.ready("emotion", "emotion-shadow") == 0
    emotion.until_phase("Succeeded", seconds=60)
    emotion.until(lambda: emotion.find("Deployment", "emotion-shadow") is None, what="the copy is gone")
    assert emotion.find("Service", "emotion-shadow") is None


def test_stable_stays_ready_while_the_new_version_is_observed(
    emotion: World, operator: OperatorProcess
) -> None:
    emotion.create(m.rollout(plan=m.steps(50, duration="1s"), observation={"duration": "3s"}))
    emotion.until_phase("Observing")
    emotion.until(lambda: emotion.ready("emotion", "emotion-2") == 4, what="all on the candidate")
    status = emotion.until_phase("Succeeded")
    assert status["stable"] == "emotion-2"
    emotion.until(lambda: emotion.replicas("emotion-1") == 0, what="the old version sleeps")


class Hook:
    """A webhook that refuses the first calls."""

    def __init__(self, refusals: int) -> None:
        self.events: list[tuple[dict[str, Any], dict[str, str]]] = []
        self.left = refusals
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                hook.left -= 1
                if hook.left < 0:
                    hook.events.append((body, dict(self.headers)))
                self.send_response(503 if hook.left >= 0 else 204)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}/hook"


@pytest.fixture
def hook() -> Iterator[Hook]:
    running = Hook(refusals=1)
    yield running
    running.server.shutdown()
    running.server.server_close()


def test_webhooks_hear_of_the_transitions_they_asked_for(
    emotion: World, start_operator: StartOperator, hook: Hook
) -> None:
    operator = start_operator(environment={"MODELROLLOUT_NOTIFICATION_HOSTS": "127.0.0.1"})
    token = base64.b64encode(b"Bearer open-sesame").decode()
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "hook"}, "data": {"token": token}}
    status, answer = emotion.call("POST", f"/api/v1/namespaces/{emotion.namespace}/secrets", secret)
    assert status == 201, answer
    wanted = {
        "name": "chat",
        "url": hook.url,
        "events": ["Started", "Succeeded"],
        "authorization": {"name": "hook", "key": "token"},
    }
    emotion.create(m.rollout(plan=m.steps(50, duration="1s"), notifications=[wanted]))
    emotion.until_phase("Succeeded")
    emotion.until(lambda: len(hook.events) == 2, what="two events")
    bodies = sorted((body for body, _ in hook.events), key=lambda body: str(body["time"]))
    assert [body["type"].rsplit(".", 1)[1] for body in bodies] == ["Started", "Succeeded"]
    assert bodies[0]["specversion"] == "1.0"
    assert bodies[0]["data"]["candidate"] == "emotion-2"
    assert all(headers["Authorization"] == "Bearer open-sesame" for _, headers in hook.events)
    emotion.until(  # it counts what was answered, the hook what it was asked
        lambda: operator.metric("modelrollout_notifications_total", outcome="sent") == 2, what="two are sent"
    )


def test_a_host_that_is_not_allowed_is_never_called(
    emotion: World, start_operator: StartOperator, hook: Hook
) -> None:
    operator = start_operator()
    wanted = {"name": "chat", "url": hook.url}
    emotion.create(m.rollout(plan=m.steps(50, duration="1s"), notifications=[wanted]))
    emotion.until_phase("Succeeded")
    emotion.until(
        lambda: (operator.metric("modelrollout_notifications_total", outcome="refused") or 0) >= 3,
        what="refusals",
    )
    assert hook.left == 1
