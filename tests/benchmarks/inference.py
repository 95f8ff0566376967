"""Latency and throughput of the inference server, start to ready, memory, and the image.

Real servers with the artefacts that the image ships, pinned to one core and then to two, asked by 1, 8 and
64 clients, each of which sends its next request when it has its answer. The clients run on the cores that the
server does not use, if there are any; otherwise they share them, and the figures are pessimistic.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from demo import images
from inference_server.loadgen.counts import quantile
from inference_server.loadgen.http import HttpClient, LostRequestError
from inference_server.validation.suites import load_cases
from tests.benchmarks.tables import Figure
from tests.support.cluster_tool import build_images, cache_dir, docker

ROOT = Path(__file__).resolve().parents[2]
CLIENTS = (1, 8, 64)
KEPT = (
    ("per_second", "requests a second", "/s"),
    ("mean_ms", "mean latency", "ms"),
    ("p50_ms", "P50 latency", "ms"),
    ("p95_ms", "P95 latency", "ms"),
    ("p99_ms", "P99 latency", "ms"),
    ("failures", "failed requests", ""),
)


@contextmanager
def server(artifacts: Path, cores: list[int], **environment: str) -> Iterator[tuple[str, float, int]]:
    """A server pinned to `cores`: its address, seconds from start to ready, process id."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    variables = {
        "PATH": os.environ["PATH"],
        **{name: value for name, value in os.environ.items() if name.startswith("INFERENCE_")},
        "PYTHONPATH": str(ROOT / "inference-image" / "src"),
        "INFERENCE_ARTIFACTS": str(artifacts.resolve()),
        "INFERENCE_HOST": "127.0.0.1",
        "INFERENCE_PORT": str(port),
        "INFERENCE_LOG_OUTPUTS": "file",
        "INFERENCE_DRAIN_SECONDS": "0",
        **environment,
    }
    pin = ["taskset", "--cpu-list", ",".join(map(str, cores))]
    url = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryDirectory() as logs:
        command = [*pin, sys.executable, "-m", "inference_server", "serve"]
        began = time.monotonic()
        process = subprocess.Popen(
            command, env={**variables, "INFERENCE_LOG_DIR": logs}, stderr=subprocess.DEVNULL
        )
        try:
            while not ready(url):
                if process.poll() is not None or time.monotonic() - began > 60:
                    raise SystemExit(f"the server did not become ready (exit code {process.returncode})")
                time.sleep(0.01)
            yield url, time.monotonic() - began, process.pid
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)


def ready(url: str) -> bool:
    """Whether the server says so."""
    try:
        return httpx.get(f"{url}/v2/health/ready", timeout=1).status_code == 200
    except httpx.TransportError:
        return False


async def closed_loop(url: str, *, clients: int, seconds: float) -> dict[str, Any]:
    """Each client sends its next request when it has its answer; latencies in milliseconds."""
    bodies = [
        json.dumps({"text": case["text"]}).encode()
        for case in load_cases("smoke", package="inference_server.predictors.emotion.validation")
    ]
    http = HttpClient(f"{url}/predict", timeout=30, keep_alive=True)
    latencies: list[float] = []
    failures = 0
    ends = time.monotonic() + seconds

    async def client(first: int) -> None:
        nonlocal failures
        number = first
        while time.monotonic() < ends:
            began = time.monotonic()
            try:
                failed = (await http.post(bodies[number % len(bodies)])).status != 200
            except LostRequestError:
                failed = True
            failures += failed
            if not failed:
                latencies.append(time.monotonic() - began)
            number += 7

    began = time.monotonic()
    await asyncio.gather(*(client(number) for number in range(clients)))
    elapsed = time.monotonic() - began
    await http.close()
    ordered = sorted(latencies)
    return {
        "clients": clients,
        "requests": len(ordered),
        "failures": failures,
        "per_second": round(len(ordered) / elapsed, 1),
        "mean_ms": round(statistics.fmean(ordered) * 1000, 2) if ordered else None,
        **{
            f"{name}_ms": quantile(ordered, share)
            for name, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))
        },
    }


def resident_mib(pid: int) -> float:
    """Resident memory of a process in MiB."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return round(pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20), 1)


def figures(*, seconds: float = 4.0, runs: int = 5) -> list[Figure]:
    """Everything of the server, on one core and on two."""
    artifacts = _artifacts()
    cores = sorted(os.sched_getaffinity(0))
    found: list[Figure] = []
    for count in (1, 2):
        if count <= len(cores):
            found += _on(cores[:count], artifacts, seconds=seconds, runs=runs)
    return found


def image() -> list[Figure]:
    """Size of the image, by the Docker daemon that builds it."""
    daemon = docker.obtain()
    reference = build_images(daemon, images.INFERENCE)["inference-server"]
    size = float(daemon.run("image", "inspect", "--format", "{{.Size}}", reference))
    return [Figure("inference image", "MB", (size / 1e6,))]


def _artifacts() -> Path:
    """The encoder and version 1.1, as the image has them; made once."""
    place = cache_dir() / "benchmark-models"
    if not (place / "better" / "manifest.json").exists():
        environment = os.environ | {"PYTHONPATH": str(ROOT / "inference-image" / "src")}
        training = [sys.executable, "-m", "inference_server.training.build_encoder", "--serving-only"]
        subprocess.run([*training, "--out", place / "encoder"], env=environment, check=True)
        rehearsal = [
            sys.executable,
            "-m",
            "inference_server.predictors.emotion.training.rehearsal",
            "--only",
            "better",
        ]
        where = ["--reference-encoder", "--encoder", place / "encoder", "--out", place]
        subprocess.run([*rehearsal, *where], env=environment, check=True)
    return place / "better"


def _on(cores: list[int], artifacts: Path, *, seconds: float, runs: int) -> list[Figure]:
    everything = os.sched_getaffinity(0)
    os.sched_setaffinity(0, everything - set(cores) or everything)
    label = f"{len(cores)} core{'s' if len(cores) > 1 else ''}"
    found: list[Figure] = []
    starts: list[float] = []
    try:
        for _ in range(runs - 1):
            with server(artifacts, cores) as (_, started, _):
                starts.append(started)
        with server(artifacts, cores) as (url, started, pid):
            starts.append(started)
            asyncio.run(closed_loop(url, clients=1, seconds=min(3.0, seconds)))
            for clients in CLIENTS:
                results = [
                    asyncio.run(closed_loop(url, clients=clients, seconds=seconds)) for _ in range(runs)
                ]
                found += [
                    Figure(
                        f"{label}, {clients} client(s): {name}", unit, tuple(r[key] or 0.0 for r in results)
                    )
                    for key, name, unit in KEPT
                ]
            memory = resident_mib(pid)
    finally:
        os.sched_setaffinity(0, everything)
    started_figure = Figure(f"{label}: start to ready", "s", tuple(starts))
    return [*found, started_figure, Figure(f"{label}: RSS after all of it", "MiB", (memory,))]
