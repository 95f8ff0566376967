"""One server's queue.

Questions that come close together leave together; an outage is felt once, not by everyone.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from modelrollout.prometheus.batcher import Asker, Question, Rendered
from modelrollout.prometheus.client import PrometheusClient
from modelrollout.prometheus.errors import FailureKind, PrometheusError
from modelrollout.prometheus.samples import Outcome

logger = logging.getLogger(__name__)

_QUARANTINE_THREADS: Final = 2


Now = Callable[[], datetime]
"""Tells the time, UTC."""


def utc_now() -> datetime:
    """Return the time of this machine."""
    return datetime.now(UTC)


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """How much goes into one request, and how many requests are under way at once to one server.

    150 questions are about 30 rollouts of 3 criteria. Up to there a larger request saves us time and costs
    Prometheus none; beyond, Prometheus pays more than we save (docs/design/prometheus.md has the figures).
    """

    legs: int = 150
    characters: int = 200_000
    concurrency: int = 3


@dataclass(frozen=True, eq=False, slots=True)
class Waiting:
    """The questions of one rollout for one evaluation, and who waits for the outcomes.

    Attributes:
        rendered: All questions of the rollout.
        questions: Those that are asked.
        future: Gets the outcomes.
        trial: They have not been asked before: nobody else's questions go with them.
    """

    rendered: Rendered
    questions: Sequence[Question]
    future: asyncio.Future[Reply]
    trial: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Reply:
    """What came of them.

    Attributes:
        at: When they were asked, by our clock.
        asked: The same by the event loop's monotonic clock.
        outcomes: By id of the question; empty if `outage` is set.
        outage: Why the server as a whole gave no answer.
    """

    at: datetime
    asked: float
    outcomes: dict[str, Outcome]
    outage: PrometheusError | None = None


class RequestQueue:
    """Everything that is asked of one server.

    Used from one event loop; requests are made in threads of its own.
    """

    def __init__(self, client: PrometheusClient, limits: Limits, *, now: Now = utc_now) -> None:
        self._now = now
        self.client = client
        self._limits = limits
        self._asker = Asker(client)
        self._waiting: list[Waiting] = []
        self._timer: asyncio.TimerHandle | None = None
        self._under_way = 0
        self._outage: PrometheusError | None = None
        prefix = f"prometheus-{client.target.name}"
        self._threads = ThreadPoolExecutor(limits.concurrency, thread_name_prefix=prefix)
        self._quarantine = ThreadPoolExecutor(_QUARANTINE_THREADS, thread_name_prefix=f"{prefix}-slow")

    @property
    def threads(self) -> ThreadPoolExecutor:
        """For requests that are not joined, such as range queries."""
        return self._threads

    def put(self, waiting: Waiting, patience: float) -> None:
        """Take questions; they leave within `patience` seconds, with whatever else has come until then."""
        self._waiting.append(waiting)
        loop = asyncio.get_running_loop()
        when = loop.time() + patience
        if self._timer is None or when < self._timer.when():
            if self._timer is not None:
                self._timer.cancel()
            self._timer = loop.call_at(when, self._leave)

    def _leave(self) -> None:
        """Send what waits.

        If enough is under way it waits on, and leaves as one with what comes meanwhile.
        """
        self._timer = None
        self._waiting = [
            each for each in self._waiting if not each.future.done()
        ]  # some do not wait any more
        while self._waiting and self._under_way < (1 if self._outage else self._limits.concurrency):
            batch = self._take()
            if batch:
                self._send(batch, self._threads)
        if self._waiting and self._outage is not None:
            self._refuse(self._outage)

    def _take(self) -> list[Waiting]:
        """Return the next batch.

        Rollouts with a question that is new or made trouble lately go their own way.
        """
        batch: list[Waiting] = []
        legs = characters = 0
        while self._waiting:
            waiting = self._waiting[0]
            new = waiting.trial and self._outage is None
            if new or self._asker.makes_trouble(waiting.questions):
                self._send([self._waiting.pop(0)], self._quarantine)
                continue
            legs += len(waiting.questions)
            characters += sum(len(question.text) for question in waiting.questions)
            if batch and (legs > self._limits.legs or characters > self._limits.characters):
                break
            batch.append(self._waiting.pop(0))
        return batch

    def _refuse(self, outage: PrometheusError) -> None:
        """While the server is silent one request at a time finds out whether it is back.

        No question waits behind it.
        """
        loop, waiting, self._waiting = asyncio.get_running_loop(), self._waiting, []
        reply = Reply(at=self._now(), asked=loop.time(), outcomes={}, outage=outage)
        for each in waiting:
            _resolve(each, reply)

    def _send(self, batch: list[Waiting], threads: ThreadPoolExecutor) -> None:
        joins = threads is self._threads
        self._under_way += joins
        task = asyncio.get_running_loop().create_task(self._exchange(batch, threads, joins=joins))
        task.add_done_callback(_log_crash)

    async def _exchange(self, batch: list[Waiting], threads: ThreadPoolExecutor, *, joins: bool) -> None:
        loop = asyncio.get_running_loop()
        at, asked = self._now(), loop.time()
        outcomes: dict[str, Outcome] = {}
        outage: PrometheusError | None = None
        known = self._outage
        try:
            outcomes = await loop.run_in_executor(threads, self._ask, batch, joins, known)
        except PrometheusError as error:
            outage = error
        except Exception as error:
            logger.exception("An evaluation failed in a way that was not foreseen.")
            outage = PrometheusError(FailureKind.SERVER, f"unexpected {type(error).__name__}: {error}")
        finally:
            self._under_way -= joins
            reply = Reply(at=at, asked=asked, outcomes=outcomes, outage=outage)
            for each in batch:
                _resolve(each, reply)
        self._outage = outage
        if self._waiting and self._timer is None:
            self._leave()

    def _ask(self, batch: list[Waiting], joins: bool, known: PrometheusError | None) -> dict[str, Outcome]:
        """In a thread. What waited for a thread while the server fell silent is not asked any more.

        `known` is the outage that was known when it was sent. In that one it is asked all the same: it may
        be the only question that could find out that the server is back.
        """
        if not joins and self._outage is not None and self._outage is not known:
            raise self._outage
        return self._asker.ask([each.questions for each in batch])

    async def close(self) -> None:
        """End all waits; requests under way end with their timeout."""
        if self._timer is not None:
            self._timer.cancel()
        for each in self._waiting:
            each.future.cancel()
        self._waiting.clear()
        for threads in (self._threads, self._quarantine):
            threads.shutdown(wait=False, cancel_futures=True)
        self.client.close()


def _resolve(waiting: Waiting, reply: Reply) -> None:
    if not waiting.future.done():
        waiting.future.set_result(reply)


def _log_crash(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        logger.error("Sending questions to Prometheus failed: %s.", error, exc_info=error)
