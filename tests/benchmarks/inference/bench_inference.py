"""Latency and throughput of the inference server, start to ready, and memory.

`python tests/benchmarks/inference/bench_inference.py --artifacts DIR` starts real servers with the given
artefacts, pinned to one core and then to two, and asks them with 1, 8 and 64 clients, each sending its next
request when it has its answer. Prints JSON and a table in Markdown. The clients run on the cores that the
server does not use, if there are any; otherwise they share them, and the figures are pessimistic. The load
average is part of the result: figures of a busy machine are not to be kept.
"""

from __future__ import annotations

import argparse
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

from inference_server.loadgen.counts import quantile
from inference_server.loadgen.http import HttpClient, LostRequestError
from inference_server.validation.suites import load_cases

ROOT = Path(__file__).resolve().parents[3]
CLIENTS = (1, 8, 64)
COLUMNS = ("clients", "per_second", "mean_ms", "p50_ms", "p95_ms", "p99_ms", "failures")


@contextmanager
def server(artifacts: Path, cores: list[int], **environment: str) -> Iterator[tuple[str, float, int]]:
    """A server pinned to `cores`: its address, seconds from start to ready, process id."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    variables = {
        "PATH": os.environ["PATH"],
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
    bodies = [json.dumps({"text": case["text"]}).encode() for case in load_cases("smoke")]
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


def measure(artifacts: Path, cores: list[int], *, seconds: float, runs: int, batch: int) -> dict[str, Any]:
    """All figures of one set of cores; every latency figure is the run with the median P95."""
    everything = os.sched_getaffinity(0)
    os.sched_setaffinity(0, everything - set(cores) or everything)
    options = {"INFERENCE_MAX_BATCH": str(batch)}
    starts, rows = [], []
    try:
        for _ in range(runs - 1):
            with server(artifacts, cores, **options) as (_, started, _):
                starts.append(started)
        with server(artifacts, cores, **options) as (url, started, pid):
            starts.append(started)
            asyncio.run(closed_loop(url, clients=1, seconds=min(3.0, seconds)))
            idle = resident_mib(pid)
            for clients in CLIENTS:
                results = [
                    asyncio.run(closed_loop(url, clients=clients, seconds=seconds)) for _ in range(runs)
                ]
                rows.append(sorted(results, key=lambda result: result["p95_ms"] or 0)[len(results) // 2])
            memory = resident_mib(pid)
    finally:
        os.sched_setaffinity(0, everything)
    return {
        "cores": len(cores),
        "max_batch": batch,
        "start_to_ready_seconds": {
            "median": round(statistics.median(starts), 2),
            "max": round(max(starts), 2),
        },
        "rss_mib": {"after_warm_up": idle, "after_all": memory},
        "load": rows,
    }


def table(results: list[dict[str, Any]]) -> str:
    """The figures as Markdown."""
    lines = [
        "| cores | batch | clients | requests/s | mean ms | P50 ms | P95 ms | P99 ms | failures |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for result in results:
        lines += [
            "| "
            + " | ".join(map(str, (result["cores"], result["max_batch"], *(row[key] for key in COLUMNS))))
            + " |"
            for row in result["load"]
        ]
    for result in results:
        start, memory = result["start_to_ready_seconds"], result["rss_mib"]
        lines += [
            f"\n{result['cores']} core(s), batch {result['max_batch']}:",
            f"ready after {start['median']} s (median; at most {start['max']} s),",
            f"RSS {memory['after_warm_up']} MiB after the warm-up, {memory['after_all']} MiB at the end.",
        ]
    return "\n".join(lines)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--artifacts", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=10.0, help="per number of clients and run")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument(
        "--batches", type=int, nargs="+", default=[1, 8], help="values of INFERENCE_MAX_BATCH"
    )
    options = parser.parse_args()
    available = sorted(os.sched_getaffinity(0))
    before = os.getloadavg()
    results = [
        measure(options.artifacts, available[:count], seconds=options.seconds, runs=options.runs, batch=batch)
        for count in (1, 2)
        if count <= len(available)
        for batch in options.batches
    ]
    print(
        json.dumps(
            {"load_average_before": before, "machine_cores": len(available), "results": results}, indent=1
        )
    )
    print(f"\nLoad average before: {before[0]:.2f}; cores: {len(available)}.\n\n{table(results)}")


if __name__ == "__main__":
    main()
