"""Shadow comparison: agreement, the queue, the breaker, disagreements for people."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from inference_server.predictors.base import Prediction
from inference_server.shadow import Breaker, ShadowJob, ShadowSender
from tests.support.inference import free_port, server_process, write_fake


def job(*labels: str) -> ShadowJob:
    predictions = [
        Prediction(label=label, confidence=0.9, route="linear_head", scores={}) for label in labels
    ]
    return ShadowJob(request_id="r", texts=["x"] * len(labels), predictions=predictions, version="1")


def value(url: str, name: str, **labels: str) -> float:
    total = 0.0
    for line in httpx.get(f"{url}/metrics").text.splitlines():
        if line.startswith(name + "{") and all(f'{key}="{val}"' in line for key, val in labels.items()):
            total += float(line.rpartition(" ")[2])
    return total


def wait_for(condition: Any, timeout: float = 10.0) -> None:
    ends = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < ends, "it did not happen in time"
        time.sleep(0.02)


def test_two_servers_compare_their_answers_and_the_candidate_counts(tmp_path: Path) -> None:
    artifacts = str(write_fake(tmp_path / "models" / "emotion", version="2"))
    (tmp_path / "token").write_text("a token that is long enough")
    port = free_port()
    admin = {"INFERENCE_ADMIN_TOKEN_FILE": str(tmp_path / "token"), "INFERENCE_ADMIN_PORT": str(port)}
    with server_process(tmp_path / "candidate", INFERENCE_ARTIFACTS=artifacts, **admin) as candidate:
        with server_process(tmp_path / "stable", SHADOW_URL=candidate.url) as stable:
            for _ in range(3):
                assert httpx.post(f"{stable.url}/predict", json={"text": "x"}).json()["version"] == "1"
            httpx.post(f"{stable.url}/predict", json={"texts": ["a", "b"]})
            wait_for(lambda: value(candidate.url, "model_shadow_comparisons_total", agree="true") == 5)
        assert value(candidate.url, "model_predictions_total") == 5
        assert value(candidate.url, "model_requests_total", code="200") == 4
        body = {
            "request_id": "7", "version": "1", "texts": ["label=fear M. Durand", "label=fear", "x"],
            "answers": [{"label": name, "confidence": 0.6} for name in ("joy", "fear", "")],
        }  # fmt: skip
        assert httpx.post(f"{candidate.url}/shadow/compare", json=body).json() == {
            "agree": ["false", "true", "none"]
        }
        kept = httpx.get(
            f"http://127.0.0.1:{port}/shadow/disagreements",
            headers={"authorization": "Bearer a token that is long enough"},
        ).json()
        assert kept["total"] == 1
        item = kept["items"][0]
        assert item["text"] == "label=fear M. [NAME]"
        assert (item["stable_label"], item["candidate_label"], item["candidate_version"]) == (
            "joy",
            "fear",
            "2",
        )
        body["texts"] = ["raise", "x", "x"]
        assert httpx.post(f"{candidate.url}/shadow/compare", json=body).status_code == 500
        assert value(candidate.url, "model_shadow_comparisons_total", agree="none") == 4
        body["answers"] = []
        assert httpx.post(f"{candidate.url}/shadow/compare", json=body).status_code == 422


def test_clients_notice_nothing_when_nobody_listens(tmp_path: Path) -> None:
    with server_process(tmp_path, SHADOW_URL=f"http://127.0.0.1:{free_port()}") as stable:
        with httpx.Client(base_url=stable.url) as client:
            for _ in range(50):
                assert client.post("/predict", json={"text": "x"}).status_code == 200
        wait_for(lambda: value(stable.url, "model_shadow_dropped_total") == 50)
        assert value(stable.url, "model_shadow_dropped_total", reason="breaker_open") > 30
        assert value(stable.url, "model_shadow_dropped_total", reason="error") >= 3
        assert value(stable.url, "model_shadow_comparisons_total") == 0


def test_a_candidate_that_hangs_does_not_slow_clients(tmp_path: Path) -> None:
    async def hang(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(30)

    port = free_port()
    config = uvicorn.Config(
        hang,
        host="127.0.0.1",
        port=port,
        log_level="critical",
        lifespan="off",
        ws="none",
        timeout_graceful_shutdown=1,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        options = {
            "SHADOW_URL": f"http://127.0.0.1:{port}",
            "SHADOW_TIMEOUT_SECONDS": "0.5",
            "SHADOW_QUEUE": "5",
        }
        with server_process(tmp_path, **options) as stable, httpx.Client(base_url=stable.url) as client:
            started = time.monotonic()
            for _ in range(40):
                assert client.post("/predict", json={"text": "x"}).status_code == 200
            assert time.monotonic() - started < 15  # waiting for the shadow would take 20
            wait_for(lambda: value(stable.url, "model_shadow_dropped_total", reason="timeout") >= 3)
            # How the rest splits between a full queue and an open breaker depends on the machine's speed.
            wait_for(lambda: value(stable.url, "model_shadow_dropped_total") == 40)
    finally:
        server.should_exit = True
        thread.join(10)


async def test_jobs_that_still_wait_at_the_end_are_counted() -> None:
    drops: Counter[str] = Counter()
    sender = ShadowSender(
        "http://127.0.0.1:9",
        queue_size=3,
        timeout=1.0,
        dropped=lambda reason, texts: drops.update({reason: texts}),
    )
    for _ in range(5):
        sender.offer(job("joy", "fear"))
    await sender.close()
    assert drops == {"queue_full": 10}


def test_breaker() -> None:
    now = [0.0]
    breaker = Breaker(failures=2, pause=5.0, clock=lambda: now[0])
    assert breaker.allows()
    assert not breaker.failed()
    breaker.succeeded()
    assert not breaker.failed()
    assert breaker.failed(), "the second failure in a row opens it"
    assert not breaker.failed(), "said once"
    assert not breaker.allows()
    now[0] = 5.1
    assert breaker.allows(), "one attempt after the pause"
    assert not breaker.allows(), "and only one"
    breaker.succeeded()
    assert breaker.allows()


@pytest.mark.parametrize(("status", "reason"), [(404, "error"), (503, "refused"), (500, "error")])
async def test_answers_that_are_no_comparison(status: int, reason: str) -> None:
    drops: Counter[str] = Counter()
    sender = ShadowSender(
        "http://shadow", queue_size=3, timeout=1.0, dropped=lambda why, texts: drops.update({why: texts})
    )
    await sender._client.aclose()
    sender._client = httpx.AsyncClient(transport=httpx.MockTransport(lambda _: httpx.Response(status)))
    sender.start()
    sender.offer(job("joy"))
    for _ in range(100):
        await asyncio.sleep(0.01)
        if drops:
            break
    await sender.close()
    assert drops == {reason: 1}
