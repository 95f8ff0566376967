"""The load generator: an honest rate, every loss counted by its cause, live counts, a summary on SIGTERM."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from inference_server.loadgen.counts import Counts, quantile
from inference_server.loadgen.http import HttpClient, LostRequestError
from inference_server.loadgen.run import LoadGenerator, Plan
from tests.support.inference import ROOT, free_port, server_process

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def serving(handle: Handler) -> AsyncIterator[str]:
    """The address of a server that handles connections so; none of them outlives the block."""
    tasks: set[asyncio.Task[None]] = set()

    async def tracked(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await handle(reader, writer)
        except asyncio.CancelledError:
            pass
        finally:
            writer.transport.abort()

    server = await asyncio.start_server(tracked, "127.0.0.1", 0)
    yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/predict"
    server.close()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks)
    await asyncio.sleep(0.02)


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (b"", "closed"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", "closed"),
        (b"what?\r\n\r\n", "protocol"),
        (None, "timeout"),
    ],
)
async def test_every_way_to_lose_a_request_has_its_name(reply: bytes | None, reason: str) -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        if reply is None:
            await asyncio.sleep(1)
        else:
            writer.write(reply)
            await writer.drain()

    async with serving(handle) as url:
        with pytest.raises(LostRequestError, match=reason):
            await HttpClient(url, 0.3, keep_alive=False).post(b"{}")


async def test_a_refused_connection_has_its_name() -> None:
    with pytest.raises(LostRequestError, match="refused"):
        await HttpClient(f"http://127.0.0.1:{free_port()}/", 1.0, keep_alive=False).post(b"{}")


async def test_the_rate_is_kept_however_slow_the_server_is() -> None:
    """Open loop: a server that answers after half a second still gets its 40 requests a second."""
    connections = 0

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await reader.readuntil(b"\r\n\r\n")
        await asyncio.sleep(0.5)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-Model-Version: 7\r\nX-Pod-Name: a\r\n\r\n")
        await writer.drain()

    async with serving(handle) as url:
        result = await LoadGenerator(Plan(url=url, rate=40, duration=1.5, bodies=(b"{}",))).run()
    assert result["sent"] == 60
    assert result["ok"] == connections == 60
    assert result["by_version"] == {"7": 60}
    assert result["by_pod"] == {"a": 60}
    assert result["latency_ms"]["p50"] >= 500


async def test_what_cannot_be_sent_is_said() -> None:
    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(1)

    async with serving(hang) as url:
        result = await LoadGenerator(
            Plan(url=url, rate=100, duration=0.5, timeout=0.8, max_in_flight=10, bodies=(b"{}",))
        ).run()
    assert (result["sent"], result["skipped"]) == (10, 40)
    assert result["lost"] == {"timeout": 10}
    assert result["failed"] == 10


def test_the_command_reports_live_and_sums_up_on_sigterm(tmp_path: Path) -> None:
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT / "inference-image" / "src")}
    with server_process(tmp_path) as server:
        port = free_port()
        command = [
            sys.executable,
            "-m",
            "inference_server",
            "loadgen",
            "--url",
            server.url,
            "--rate",
            "50",
            "--port",
            str(port),
        ]
        process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
        try:
            assert process.stdout is not None
            assert json.loads(process.stdout.readline()) == {"counts_port": port}
            first = json.loads(process.stdout.readline())
            assert first["sent"] > 10
            live = httpx.get(f"http://127.0.0.1:{port}/").json()
            assert live["sent"] >= first["sent"]
            process.send_signal(signal.SIGTERM)
            output, _ = process.communicate(timeout=20)
        finally:
            process.kill()
        final = json.loads(output.splitlines()[-1])
        assert process.returncode == 0
        assert final["final"] is True
        assert final["sent"] == final["ok"] == sum(final["by_status"].values())
        assert final["failed"] == final["in_flight"] == 0
        assert final["by_pod"] == {"emotion-1-abc12-xyz34": final["ok"]}


def test_the_exit_code_says_that_requests_were_lost() -> None:
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT / "inference-image" / "src")}
    command = [sys.executable, "-m", "inference_server", "loadgen", "--rate", "20", "--duration", "0.5"]
    done = subprocess.run(
        [*command, "--url", f"http://127.0.0.1:{free_port()}"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    final = json.loads(done.stdout.splitlines()[-1])
    assert final["lost"] == {"refused": 10}
    refused = subprocess.run(
        [*command, "--url", "https://x"], env=environment, capture_output=True, text=True, check=False
    )
    assert refused.returncode == 2
    assert "http://model:80" in refused.stderr


def test_quantiles_and_thinning() -> None:
    assert quantile([], 0.5) is None
    assert [quantile([1.0, 2.0, 3.0, 4.0], share) for share in (0.5, 0.75, 0.95, 1.0)] == [
        2000,
        3000,
        4000,
        4000,
    ]
    counts = Counts()
    started = time.monotonic()
    for number in range(450_000):
        counts.answered(200, version="1", pod="a", seconds=number / 450_000)
    assert time.monotonic() - started < 20
    assert len(counts.latencies) <= 200_000
    middle = counts.to_json(elapsed=1)["latency_ms"]["p50"]
    assert middle == pytest.approx(500, rel=0.05)
    assert counts.ok == 450_000
