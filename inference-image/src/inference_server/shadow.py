"""Comparing answers, request by request, between the server that clients hear and one that they do not.

The server that answers clients sends a copy of the request with its own answer in the background, after the
client has been served. The other one predicts too, compares, and counts; so every series of the candidate
lives on the candidate's pods. Nothing here can delay or fail a client's request.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Final

import httpx

from inference_server.masking import logged_text
from inference_server.predictors.base import Prediction

logger = logging.getLogger(__name__)

COMPARE_PATH: Final = "/shadow/compare"
DISAGREEMENT_CHARACTERS: Final = 200
_SENDERS: Final = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class ShadowJob:
    """One answered request, to be compared elsewhere; its items are strings, as the kind encodes them."""

    request_id: str
    texts: Sequence[str]
    predictions: Sequence[Prediction]
    version: str

    def to_json(self) -> dict[str, Any]:
        """Return the body of the comparison."""
        return {
            "request_id": self.request_id,
            "version": self.version,
            "texts": list(self.texts),
            "answers": [{"label": p.label, "confidence": p.confidence} for p in self.predictions],
        }


class Breaker:
    """Opens after failures in a row; then one attempt at a time finds out whether the other side is back.

    Args:
        failures: in a row, that open it.
        pause: seconds between attempts while it is open.
    """

    def __init__(
        self, *, failures: int = 3, pause: float = 5.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._limit = failures
        self._pause = pause
        self._clock = clock
        self._failures = 0
        self._next_attempt = 0.0

    @property
    def open(self) -> bool:
        """Whether the other side is taken for absent."""
        return self._failures >= self._limit

    def allows(self) -> bool:
        """Tell whether to try now; while open, at most once a pause."""
        if not self.open:
            return True
        now = self._clock()
        if now < self._next_attempt:
            return False
        self._next_attempt = now + self._pause
        return True

    def succeeded(self) -> None:
        """Close it."""
        self._failures = 0

    def failed(self) -> bool:
        """Note a failure; true if this one opened it."""
        self._failures += 1
        self._next_attempt = self._clock() + self._pause
        return self._failures == self._limit


class ShadowSender:
    """Posts jobs to ``url`` in the background, from one event loop.

    Args:
        url: base address of the other server.
        queue_size: most jobs that wait; more are dropped.
        timeout: seconds for one comparison.
        dropped: called with the reason and the number of texts for each job that was not compared.
    """

    def __init__(
        self,
        url: str,
        *,
        queue_size: int,
        timeout: float,
        dropped: Callable[[str, int], None],
        breaker: Breaker | None = None,
    ) -> None:
        self._url = url + COMPARE_PATH
        self._queue: asyncio.Queue[ShadowJob] = asyncio.Queue(queue_size)
        self._dropped = dropped
        self._breaker = breaker or Breaker()
        # No keep-alive: a Service spreads connections, not requests, over the candidate's pods.
        self._client = httpx.AsyncClient(
            timeout=httpx.Timeout(timeout, connect=min(timeout, 1.0)),
            limits=httpx.Limits(max_connections=_SENDERS, max_keepalive_connections=0),
            trust_env=False,
        )
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Start sending."""
        self._tasks = [asyncio.create_task(self._run(), name=f"shadow-{n}") for n in range(_SENDERS)]

    def offer(self, job: ShadowJob) -> None:
        """Take a job, or drop it and count; return at once."""
        if not self._breaker.allows():
            self._dropped("breaker_open", len(job.texts))
            return
        try:
            self._queue.put_nowait(job)
        except asyncio.QueueFull:
            self._dropped("queue_full", len(job.texts))

    async def close(self) -> None:
        """End; jobs that wait are dropped."""
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task
        while not self._queue.empty():
            self._dropped("queue_full", len(self._queue.get_nowait().texts))
        await self._client.aclose()

    async def _run(self) -> None:
        while True:
            job = await self._queue.get()
            reason = await self._send(job)
            if reason is None:
                self._breaker.succeeded()
                continue
            self._dropped(reason, len(job.texts))
            if reason != "refused" and self._breaker.failed():
                logger.info(
                    "No server answers comparisons at %s (%s); trying again every few seconds.",
                    self._url,
                    reason,
                )

    async def _send(self, job: ShadowJob) -> str | None:
        """Post one job; the reason if it was not compared."""
        try:
            response = await self._client.post(self._url, json=job.to_json())
        except httpx.TimeoutException:
            return "timeout"
        except (httpx.HTTPError, OSError, ValueError):
            return "error"
        if response.status_code in {413, 422, 503}:
            return "refused"
        return None if response.is_success else "error"


@dataclass(frozen=True, kw_only=True, slots=True)
class Disagreement:
    """Two answers to one text; the text is masked."""

    at: str
    request_id: str
    text: str
    stable_label: str
    stable_confidence: float
    stable_version: str
    candidate_label: str
    candidate_confidence: float
    candidate_version: str


class Disagreements:
    """The last disagreements, for people to review; the oldest go first.

    Args:
        size: how many are kept.
    """

    def __init__(self, size: int) -> None:
        self._items: deque[Disagreement] = deque(maxlen=size)
        self.total = 0

    def add(self, job: ShadowJob, position: int, text: str, own: Prediction, own_version: str) -> None:
        """Keep the disagreement about item ``position`` of ``job``; ``text`` is its readable part."""
        theirs = job.predictions[position]
        self.total += 1
        self._items.append(
            Disagreement(
                at=datetime.now(UTC).isoformat(timespec="milliseconds"),
                request_id=job.request_id,
                text=logged_text(text, limit=DISAGREEMENT_CHARACTERS),
                stable_label=theirs.label,
                stable_confidence=theirs.confidence,
                stable_version=job.version,
                candidate_label=own.label,
                candidate_confidence=own.confidence,
                candidate_version=own_version,
            )
        )

    def newest(self, limit: int) -> list[dict[str, Any]]:
        """At most ``limit`` disagreements, the newest first."""
        items = list(self._items)[-limit:] if limit else []
        return [asdict(item) for item in reversed(items)]


__all__ = ["COMPARE_PATH", "Breaker", "Disagreement", "Disagreements", "ShadowJob", "ShadowSender"]
