"""The open loop: a request is due every 1/rate seconds, whether the last ones were answered or not."""

from __future__ import annotations

import asyncio
import json
import random
import signal
import sys
import time
from dataclasses import dataclass, field
from typing import Any

from inference_server.loadgen.counts import Counts
from inference_server.loadgen.http import HttpClient, LostRequestError


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What to send.

    Attributes:
        url: with the path to post to.
        rate: requests a second.
        duration: seconds, or ``None`` until a signal.
        timeout: seconds for one request.
        keep_alive: use connections again.
        max_in_flight: more open requests than this are not sent but counted as skipped, to bound memory.
        port: of the live counts; ``None`` for none, 0 for a free one.
        seed: of the order of the bodies.
        bodies: what to send, in an order of chance, again and again.
    """

    url: str
    rate: float
    duration: float | None = None
    timeout: float = 10.0
    keep_alive: bool = False
    max_in_flight: int = 2000
    port: int | None = None
    seed: int = 42
    bodies: tuple[bytes, ...] = ()


@dataclass(slots=True)
class LoadGenerator:
    """Runs a plan; ``counts`` is live."""

    plan: Plan
    counts: Counts = field(default_factory=Counts)
    _stop: asyncio.Event = field(default_factory=asyncio.Event)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _started: float = field(default_factory=time.monotonic)

    def stop(self) -> None:
        """Send no more; answers that are due are still waited for."""
        self._stop.set()

    def snapshot(self) -> dict[str, Any]:
        """Return the counts up to now."""
        return self.counts.to_json(elapsed=time.monotonic() - self._started)

    async def run(self) -> dict[str, Any]:
        """Send until the plan ends or :meth:`stop`; one JSON line a second; the final counts."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)
        client = HttpClient(self.plan.url, self.plan.timeout, self.plan.keep_alive)
        server = None
        if self.plan.port is not None:
            server = await asyncio.start_server(self._serve_counts, "0.0.0.0", self.plan.port)  # noqa: S104
            _print({"counts_port": server.sockets[0].getsockname()[1]})
        reporter = asyncio.create_task(self._report())
        self._started = time.monotonic()
        await self._send_all(client)
        if self._tasks:
            await asyncio.wait(self._tasks)
        reporter.cancel()
        await client.close()
        if server is not None:
            server.close()
        return {**self.snapshot(), "final": True, "rate": self.plan.rate, "url": self.plan.url}

    async def _send_all(self, client: HttpClient) -> None:
        bodies = _bodies(self.plan)
        start = time.monotonic()
        number = 0
        while not self._stop.is_set():
            due = start + number / self.plan.rate
            if self.plan.duration is not None and due - start >= self.plan.duration:
                return
            delay = due - time.monotonic()
            if delay > 0:
                try:
                    async with asyncio.timeout(delay):
                        await self._stop.wait()
                    return
                except TimeoutError:
                    pass
            elif number % 50 == 0:
                await asyncio.sleep(0)  # behind schedule: let answers be read all the same
            number += 1
            if len(self._tasks) >= self.plan.max_in_flight:
                self.counts.skipped += 1
                continue
            self.counts.sent += 1
            task = asyncio.create_task(self._one(client, bodies[number % len(bodies)], due))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _one(self, client: HttpClient, body: bytes, due: float) -> None:
        try:
            answer = await client.post(body)
        except LostRequestError as error:
            self.counts.lost[str(error)] += 1
            return
        self.counts.answered(
            answer.status,
            version=answer.headers.get("x-model-version", ""),
            pod=answer.headers.get("x-pod-name", ""),
            seconds=time.monotonic() - due,
        )

    async def _report(self) -> None:
        while True:
            await asyncio.sleep(1)
            _print(self.snapshot())

    async def _serve_counts(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer any request with the counts; a probe and a test need no more."""
        try:
            async with asyncio.timeout(5):
                await reader.readuntil(b"\r\n\r\n")
                body = json.dumps(self.snapshot()).encode()
                head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
                writer.write(head.encode() + b"Connection: close\r\n\r\n" + body)
                await writer.drain()
        except (TimeoutError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # whoever asked has gone
        finally:
            writer.close()


def _bodies(plan: Plan) -> list[bytes]:
    bodies = list(plan.bodies)
    random.Random(plan.seed).shuffle(bodies)  # noqa: S311 - an order, not a secret
    return bodies


def _print(line: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()
