"""Queues of webhook deliveries.

One for each target, so that a target that does not answer delays only itself.

A target is one address as one namespace calls it. Each has a worker while messages wait for it; they are sent
in order. A target whose last delivery failed uses slots, connections and name resolution of its own class, so
that any number of dead targets leaves those of the working ones free.
"""

from __future__ import annotations

import asyncio
import logging
import random
import socket
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any, Final

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from modelrollout.api.schedule import Notification
from modelrollout.cluster.errors import ApiError
from modelrollout.operator.metrics import OperatorMetrics

logger = logging.getLogger(__name__)

ATTEMPTS: Final = 5
SECONDS: Final = 5.0
"""Time for one attempt."""
TARGET_LENGTH: Final = 100
"""Messages that wait for one target; more are dropped."""
TOTAL_LENGTH: Final = 2000
"""Messages that wait in all; beyond them the longest queue loses its newest."""
SLOTS: Final = 50
"""Attempts at the same time, for working targets and for failing ones each."""
RESOLVERS: Final = 8
"""Threads that resolve names, for each of the two."""
FAILING_KEPT: Final = 1000
"""Targets remembered as failing while nothing waits for them."""

TargetKey = tuple[str, str]
"""Namespace and address."""


@dataclass(frozen=True, kw_only=True)
class Message:
    """One CloudEvent on its way to one webhook."""

    notification: Notification
    namespace: str
    rollout: str
    event: Mapping[str, Any]
    done: Callable[[], None] = lambda: None
    """Called once: when it was delivered, or given up."""

    @property
    def target(self) -> TargetKey:
        """Where it goes."""
        return (self.namespace, self.notification.url)


@dataclass(kw_only=True)
class _Target:
    """What waits for one target, oldest first; and how many messages it lost since one was delivered."""

    waiting: deque[Message] = field(default_factory=deque)
    dropped: int = 0


class _Resolver(AbstractResolver):
    """Resolves names in threads of its own: a dead name server holds up nobody else's look-ups."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(RESOLVERS, thread_name_prefix="webhook-names")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Return the addresses of a name. Raises OSError if it has none."""
        flags = socket.AI_ADDRCONFIG | socket.AI_NUMERICSERV
        found = await asyncio.get_running_loop().run_in_executor(
            self._pool, lambda: socket.getaddrinfo(host, port, family, socket.SOCK_STREAM, 0, flags)
        )
        return [
            ResolveResult(
                hostname=host,
                host=str(address[0]),
                port=int(address[1]),
                family=kind,
                proto=proto,
                flags=socket.AI_NUMERICHOST,
            )
            for kind, _, proto, _, address in found
        ]

    async def close(self) -> None:
        """Let go of the threads; one that still waits for an answer ends by itself."""
        self._pool.shutdown(wait=False, cancel_futures=True)


class _Lane:
    """Slots and connections that are shared by the targets of one class."""

    def __init__(self) -> None:
        self.slots = asyncio.Semaphore(SLOTS)
        connector = aiohttp.TCPConnector(limit=SLOTS, resolver=_Resolver())
        self.session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=SECONDS), auto_decompress=False, connector=connector
        )


class Deliveries:
    """Sends messages, retries them, and counts what is lost."""

    def __init__(
        self, metrics: OperatorMetrics, *, headers: Callable[[Message], Awaitable[dict[str, str]]]
    ) -> None:
        """`headers` gives those of a message; it may raise ApiError."""
        self._metrics = metrics
        self._headers = headers
        self._targets: dict[TargetKey, _Target] = {}
        self._failing: dict[TargetKey, None] = {}
        self._waiting = 0
        self._group: asyncio.TaskGroup | None = None
        self._lanes: tuple[_Lane, _Lane] | None = None
        self._jitter = random.Random()  # noqa: S311 - spreads retries, no secret

    def put(self, message: Message) -> None:
        """Queue a message; drops one, counted and logged, where too many wait."""
        key = message.target
        target = self._targets.get(key)
        if target is None:
            target = self._targets[key] = _Target()
            self._begin(key)
        if len(target.waiting) >= TARGET_LENGTH:
            self._drop(message, target)
            return
        target.waiting.append(message)
        self._waiting += 1
        if self._waiting > TOTAL_LENGTH:
            longest = max(self._targets.values(), key=lambda one: len(one.waiting))
            self._waiting -= 1
            self._drop(longest.waiting.pop(), longest)

    async def run(self) -> None:
        """Send until cancelled."""
        async with AsyncExitStack() as stack:
            self._lanes = (_Lane(), _Lane())
            for lane in self._lanes:
                stack.push_async_callback(lane.session.close)
            async with asyncio.TaskGroup() as self._group:
                for key in list(self._targets):
                    self._begin(key)
                await asyncio.Event().wait()

    def lost(self, message: Message, outcome: str, why: str) -> None:
        """Count and log a message that is not delivered."""
        self._metrics.notifications.labels(outcome).inc()
        logger.warning(
            "Notification %s was not delivered: %s.",
            message.notification.name,
            why,
            extra={"namespace": message.namespace, "rollout": message.rollout},
        )
        message.done()

    def _drop(self, message: Message, target: _Target) -> None:
        """Count it; only the first since a delivery is logged, since more follow while the target is down."""
        target.dropped += 1
        if target.dropped == 1:
            self.lost(message, "dropped", "too many wait for its address; those that follow are dropped too")
        else:
            self._metrics.notifications.labels("dropped").inc()
            message.done()

    def _begin(self, key: TargetKey) -> None:
        if self._group is not None:
            self._group.create_task(self._work(key), name=f"webhook of {key[0]}")

    async def _work(self, key: TargetKey) -> None:
        """Send what waits for one target, then end; the next message begins another worker."""
        target = self._targets[key]
        while target.waiting:
            message = target.waiting.popleft()
            self._waiting -= 1
            try:
                delivered = await self._send(message)
            except Exception:
                # `_send` handles what a webhook can do. Anything else must not end this task: it would end
                # the tasks of all targets with it, and what is queued would never be sent.
                logger.exception("A notification failed in an unexpected way.")
                self._metrics.notifications.labels("failed").inc()
                message.done()
                delivered = False
            self._remember(key, failing=not delivered)
            if delivered:
                if target.dropped:
                    logger.info("A webhook answers again; %d notifications were dropped.", target.dropped)
                target.dropped = 0
        del self._targets[key]

    def _remember(self, key: TargetKey, *, failing: bool) -> None:
        self._failing.pop(key, None)
        if failing:
            self._failing[key] = None
            if len(self._failing) > FAILING_KEPT:
                del self._failing[next(iter(self._failing))]

    async def _send(self, message: Message) -> bool:
        """Tell whether it was delivered, after as many attempts as that takes."""
        pause, seen = 0.5, ""
        for attempt in range(1, ATTEMPTS + 1):
            try:
                status = await self._attempt(message)
                if status < 300:
                    self._metrics.notifications.labels("sent").inc()
                    message.done()
                    return True
                seen = f"HTTP {status}"
                if status < 500 and status not in {408, 425, 429}:
                    break
            except (aiohttp.ClientError, TimeoutError, OSError, ApiError) as error:
                seen = str(error) or type(error).__name__
            self._remember(message.target, failing=True)
            if attempt < ATTEMPTS:
                await asyncio.sleep(pause * self._jitter.uniform(0.5, 1.5))
                pause *= 3
        self.lost(message, "failed", seen)
        return False

    async def _attempt(self, message: Message) -> int:
        assert self._lanes is not None
        lane = self._lanes[message.target in self._failing]
        async with lane.slots:
            headers = await self._headers(message)
            async with lane.session.post(
                message.notification.url, json=message.event, headers=headers, allow_redirects=False
            ) as answer:
                return answer.status
