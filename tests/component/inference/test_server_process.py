"""Real processes: the end of a pod under load, bursts, slow clients, artefacts that cannot be loaded."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections import Counter
from pathlib import Path

import httpx
import pytest

from inference_server.loadgen.http import HttpClient, LostRequestError
from inference_server.loadgen.run import LoadGenerator, Plan
from tests.support.inference import free_port, server_process, write_fake


async def test_no_request_is_lost_while_a_pod_leaves(tmp_path: Path) -> None:
    """A client goes on sending after SIGTERM, until its router has learned of it: all of it is answered."""
    with server_process(tmp_path, INFERENCE_DRAIN_SECONDS="6") as server:
        fresh = LoadGenerator(
            Plan(
                url=f"{server.url}/predict", rate=25, bodies=(b'{"text": "slow"}', b'{"text": "label=fear"}')
            )
        )
        alive = LoadGenerator(
            Plan(
                url=f"{server.url}/predict",
                rate=25,
                keep_alive=True,
                bodies=(b'{"text": "slow"}', b'{"text": "x"}'),
            )
        )
        tasks = [asyncio.create_task(generator.run()) for generator in (fresh, alive)]
        await asyncio.sleep(1)
        server.terminate()
        told = time.monotonic()
        async with httpx.AsyncClient(base_url=server.url) as client:
            ready = await client.get("/v2/health/ready")
            while ready.status_code != 503 and time.monotonic() - told < 4:
                await asyncio.sleep(0.02)
                ready = await client.get("/v2/health/ready")
            assert (ready.status_code, ready.json()["state"]) == (503, "draining")
            assert (await client.get("/v2/health/live")).status_code == 200
        await asyncio.sleep(1.2)
        fresh.stop()
        alive.stop()
        results = await asyncio.gather(*tasks)
        code = await asyncio.to_thread(server.process.wait, 20)
        assert code == 0
        assert 5.9 <= time.monotonic() - told < 16
    for result in results:
        assert result["failed"] == 0, result
        assert result["ok"] == result["sent"] > 40


async def test_answers_in_flight_at_the_end_of_the_drain_are_finished(tmp_path: Path) -> None:
    options = {"INFERENCE_WORKERS": "2", "INFERENCE_QUEUE_TIMEOUT_SECONDS": "30"}
    with server_process(tmp_path, INFERENCE_DRAIN_SECONDS="0", **options) as server:
        async with httpx.AsyncClient(base_url=server.url, timeout=30) as client:
            texts = {"texts": ["very slow"] * 8}  # 1.6 s of work; the third waits for one of the other two
            tasks = [asyncio.create_task(client.post("/predict", json=texts)) for _ in range(3)]
            deadline = time.monotonic() + 30
            while not (await client.get("/model/status")).json()["waiting_texts"]:
                assert time.monotonic() < deadline
                await asyncio.sleep(0.02)
            server.terminate()
            assert [(await task).status_code for task in tasks] == [200] * 3
        assert await asyncio.to_thread(server.process.wait, 30) == 0


def test_a_second_sigterm_ends_the_drain(tmp_path: Path) -> None:
    with server_process(tmp_path, INFERENCE_DRAIN_SECONDS="60") as server:
        server.terminate()
        deadline = time.monotonic() + 20
        while httpx.get(f"{server.url}/v2/health/ready").status_code != 503:  # two at once may count as one
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert server.process.poll() is None
        server.terminate()
        assert server.process.wait(30) == 0


async def test_a_burst_of_ten_thousand_requests_is_bounded_and_survived(tmp_path: Path) -> None:
    """Everything gets an answer, 200 or 503 with Retry-After, and the server is its old self afterwards."""
    options = {"INFERENCE_QUEUE_SIZE": "64", "INFERENCE_WORKERS": "2"}
    seen: Counter[str] = Counter()
    with server_process(tmp_path, **options) as server:
        client = HttpClient(f"{server.url}/predict", timeout=30, keep_alive=True)
        body = json.dumps({"text": "slow"}).encode()
        left = iter(range(10_000))

        async def worker() -> None:
            for _ in left:
                try:
                    answer = await client.post(body)
                except LostRequestError as error:
                    seen[f"lost {error}"] += 1
                    continue
                seen[str(answer.status)] += 1
                if answer.status == 503:
                    assert int(answer.headers["retry-after"]) >= 1

        started = time.monotonic()
        await asyncio.gather(*(worker() for _ in range(200)))
        assert time.monotonic() - started < 60
        assert set(seen) == {"200", "503"}, seen
        assert sum(seen.values()) == 10_000
        async with httpx.AsyncClient() as probe:
            answer = await probe.post(f"{server.url}/predict", json={"text": "x"})
            assert answer.status_code == 200
            page = (await probe.get(f"{server.url}/metrics")).text
        memory = float(
            next(ln for ln in page.splitlines() if ln.startswith("process_resident")).rpartition(" ")[2]
        )
        assert memory < 250e6
        counted = {code: _value(page, "model_requests_total", code) for code in ("200", "503")}
        assert counted == {"200": seen["200"] + 1, "503": seen["503"]}
        await client.close()


def _value(page: str, name: str, code: str) -> float:
    lines = (line for line in page.splitlines() if line.startswith(f'{name}{{code="{code}"'))
    return float(next(lines).rpartition(" ")[2])


def _send_slowly(url: str, start: bytes, *, pause: float, limit: float) -> tuple[bytes, float]:
    """Send `start`, then a byte every `pause` seconds; what came back, and when the server closed."""
    host, port = url.removeprefix("http://").split(":")
    began = time.monotonic()
    with socket.create_connection((host, int(port))) as connection:
        connection.settimeout(pause)
        connection.sendall(start)
        received = b""
        while time.monotonic() - began < limit:
            try:
                part = connection.recv(4096)
            except TimeoutError:
                try:
                    connection.sendall(b"a")
                except OSError:
                    break
                continue
            except OSError:
                break
            if not part:
                break
            received += part
        return received, time.monotonic() - began


def test_clients_that_send_slowly_are_cut_off(tmp_path: Path) -> None:
    options = {"INFERENCE_HEADER_TIMEOUT_SECONDS": "0.5", "INFERENCE_BODY_TIMEOUT_SECONDS": "0.5"}
    with server_process(tmp_path, **options) as server:
        received, seconds = _send_slowly(
            server.url, b"POST /predict HTTP/1.1\r\nX-Slow: ", pause=0.1, limit=8
        )
        assert received == b""
        assert seconds < 5
        head = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{"
        received, seconds = _send_slowly(server.url, head, pause=0.1, limit=8)
        assert received.startswith(b"HTTP/1.1 408"), received
        assert seconds < 5
        # A connection that is merely idle between two requests keeps its own, longer time.
        with httpx.Client(base_url=server.url) as client:
            assert client.post("/predict", json={"text": "x"}).status_code == 200
            time.sleep(0.8)
            assert client.post("/predict", json={"text": "x"}).status_code == 200
        page = httpx.get(f"{server.url}/metrics").text
        assert _value(page, "model_requests_total", "408") == 1


def test_a_server_lives_while_it_loads_and_is_not_ready(tmp_path: Path) -> None:
    artifacts = write_fake(tmp_path / "models" / "emotion", seconds=3)
    with server_process(tmp_path, ready=False, INFERENCE_ARTIFACTS=str(artifacts)) as server:
        deadline = time.monotonic() + 40
        while time.monotonic() < deadline:
            try:
                if httpx.get(f"{server.url}/v2/health/live").status_code == 200:
                    break
            except httpx.TransportError:
                time.sleep(0.02)
        ready = httpx.get(f"{server.url}/v2/health/ready")
        assert (ready.status_code, ready.json()["state"]) == (503, "starting")
        assert httpx.get(f"{server.url}/health/startup").status_code == 503
        server.wait_ready()
        assert httpx.get(f"{server.url}/health/startup").status_code == 200


def test_a_model_that_cannot_be_loaded_ends_the_process_with_a_sentence(tmp_path: Path) -> None:
    broken = write_fake(tmp_path / "models" / "broken", broken=True)
    for artifacts, words in ((broken, "expected SHA-256 aaaa"), (tmp_path / "none", "there is no such file")):
        with server_process(tmp_path, ready=False, INFERENCE_ARTIFACTS=str(artifacts)) as server:
            assert server.process.wait(60) == 3
            assert words in server.log.read_text()


def test_a_taken_port_and_a_wrong_option_end_the_process_with_a_sentence(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        with server_process(tmp_path, ready=False, INFERENCE_PORT=port) as server:
            assert server.process.wait(60) == 3
            assert "address already in use" in server.log.read_text()
    options = {"INFERENCE_ADDED_LATENCY_MS": "300", "INFERENCE_PORT": str(free_port())}
    with server_process(tmp_path, module="inference_server", ready=False, **options) as server:
        assert server.process.wait(60) == 1
        assert "INFERENCE_ALLOW_FAULTS=1" in server.log.read_text()
        assert "Traceback" not in server.log.read_text()


def test_a_full_disk_for_the_log_does_not_stop_answers(tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    logs.mkdir()
    for day in range(2):
        name = time.strftime("predictions_%Y-%m-%d.jsonl", time.gmtime(time.time() + 86400 * day))
        (logs / name).symlink_to("/dev/full")
    options = {"INFERENCE_LOG_OUTPUTS": "file", "INFERENCE_LOG_DIR": str(logs)}
    with server_process(tmp_path, **options) as server, httpx.Client(base_url=server.url) as client:
        for _ in range(20):
            assert client.post("/predict", json={"text": "x"}).status_code == 200
        deadline = time.monotonic() + 5
        failed = 0.0
        while failed < 20 and time.monotonic() < deadline:
            page = client.get("/metrics").text
            lines = [
                ln
                for ln in page.splitlines()
                if ln.startswith("model_log_dropped_total") and "write_failed" in ln
            ]
            failed = float(lines[0].rpartition(" ")[2])
            time.sleep(0.02)
        assert failed == 20


def test_another_model_is_loaded_on_the_admin_port_alone(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("only for those who may")
    port = free_port()
    write_fake(tmp_path / "models" / "next", version="2")
    options = {"INFERENCE_ADMIN_TOKEN_FILE": str(token), "INFERENCE_ADMIN_PORT": str(port)}
    body = {"artifacts": "next"}
    right = {"authorization": "Bearer only for those who may"}
    with server_process(tmp_path, INFERENCE_DRAIN_SECONDS="0", **options) as server:
        admin = f"http://127.0.0.1:{port}/model/reload"
        assert httpx.post(f"{server.url}/model/reload", json=body, headers=right).status_code == 404
        assert httpx.post(admin, json=body).status_code == 403
        assert httpx.post(admin, json=body, headers=right).json()["version"] == "2"
        assert httpx.post(f"{server.url}/predict", json={"text": "x"}).json()["version"] == "2"
        server.terminate()
        assert server.process.wait(30) == 0
        with pytest.raises(httpx.ConnectError):
            httpx.post(admin, json=body, headers=right)


def test_without_a_token_nothing_listens_on_the_admin_port(tmp_path: Path) -> None:
    with server_process(tmp_path, INFERENCE_LOG_LEVEL="INFO") as server:
        assert "No admin port" in server.log.read_text()


def test_an_admin_port_that_is_taken_ends_the_server(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("only for those who may")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        options = {
            "INFERENCE_ADMIN_TOKEN_FILE": str(token),
            "INFERENCE_ADMIN_PORT": str(taken.getsockname()[1]),
        }
        with server_process(tmp_path, ready=False, **options) as server:
            assert server.process.wait(30) != 0
