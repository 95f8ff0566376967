"""Webhooks: each transition that spec.notifications asks for, as a CloudEvent; retried, and never waited
for.
"""

from __future__ import annotations

import asyncio
import base64
import logging
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp

from modelrollout.api.base import format_timestamp
from modelrollout.api.constants import API_VERSION, GROUP, KIND
from modelrollout.api.schedule import Notification
from modelrollout.cluster import paths
from modelrollout.cluster.connection import KubeApi
from modelrollout.cluster.errors import ApiError
from modelrollout.decision.types import Decision, Transition
from modelrollout.operator.metrics import OperatorMetrics
from modelrollout.operator.store import Tracked

logger = logging.getLogger(__name__)

QUEUE_LENGTH: Final = 1000
WORKERS: Final = 4
ATTEMPTS: Final = 5
SECONDS: Final = 5.0
ANY_HOST: Final = "*"


@dataclass(frozen=True, kw_only=True)
class Message:
    """One CloudEvent on its way to one webhook."""

    notification: Notification
    namespace: str
    rollout: str
    event: Mapping[str, Any]


def cloud_event(rollout: Tracked, transition: Transition, *, now: datetime, number: int) -> dict[str, Any]:
    """The CloudEvent (version 1.0, structured mode). The same transition keeps its id over all attempts."""
    status = rollout.status
    assert transition.announcement is not None
    return {
        "specversion": "1.0",
        "id": f"{rollout.uid}-{rollout.resource_version}-{number}",
        "source": f"/apis/{API_VERSION}/namespaces/{rollout.namespace}/modelrollouts/{rollout.name}",
        "type": f"{GROUP}.{KIND.lower()}.{transition.announcement.value}",
        "subject": rollout.name,
        "time": format_timestamp(now),
        "datacontenttype": "application/json",
        "data": {
            "namespace": rollout.namespace,
            "name": rollout.name,
            "reason": transition.reason,
            "message": transition.message,
            "criterion": transition.criterion,
            "phase": status.phase,
            "stable": status.stable,
            "candidate": status.candidate,
            "weight": status.weight.desired if status.weight else None,
            "run": status.run.id if status.run else None,
        },
    }


class Notifier:
    """Sends CloudEvents from a queue. A slow or broken webhook delays nothing but other webhooks' queue."""

    def __init__(self, api: KubeApi, metrics: OperatorMetrics, *, allowed_hosts: Sequence[str]) -> None:
        self._api = api
        self._metrics = metrics
        self._allowed = frozenset(allowed_hosts)
        self._queue: asyncio.Queue[Message] = asyncio.Queue(QUEUE_LENGTH)
        self._jitter = random.Random()  # noqa: S311 - spreads retries, no secret

    def notify(self, rollout: Tracked, decision: Decision) -> None:
        """Queues what the rollout's notifications want of a decision that has been carried out."""
        spec = rollout.spec
        if spec is None or not spec.notifications:
            return
        now = datetime.now(UTC)
        for number, transition in enumerate(decision.transitions):
            if transition.announcement is None:
                continue
            event = cloud_event(rollout, transition, now=now, number=number)
            for wanted in spec.notifications:
                if not wanted.events or transition.announcement in wanted.events:
                    self._put(
                        Message(
                            notification=wanted,
                            namespace=rollout.namespace,
                            rollout=rollout.name,
                            event=event,
                        )
                    )

    async def run(self) -> None:
        """Sends until cancelled."""
        timeout = aiohttp.ClientTimeout(total=SECONDS)
        async with (
            aiohttp.ClientSession(timeout=timeout, auto_decompress=False) as session,
            asyncio.TaskGroup() as group,
        ):
            for _ in range(WORKERS):
                group.create_task(self._work(session))

    def host_allowed(self, url: str) -> bool:
        """Whether the operator's settings allow a webhook at that address."""
        return ANY_HOST in self._allowed or (urlsplit(url).hostname or "") in self._allowed

    def _put(self, message: Message) -> None:
        try:
            self._queue.put_nowait(message)
        except asyncio.QueueFull:
            self._done(message, "dropped", "too many notifications wait")

    async def _work(self, session: aiohttp.ClientSession) -> None:
        while True:
            message = await self._queue.get()
            try:
                await self._send(session, message)
            except Exception:
                logger.exception("A notification failed in an unexpected way.")
                self._metrics.notifications.labels("failed").inc()

    async def _send(self, session: aiohttp.ClientSession, message: Message) -> None:
        url = message.notification.url
        if not self.host_allowed(url):
            hosts = ", ".join(sorted(self._allowed)) or "none"
            self._done(message, "refused", f"its host is not among the allowed ones ({hosts})")
            return
        pause, seen = 0.5, ""
        for attempt in range(1, ATTEMPTS + 1):
            try:
                headers = await self._headers(message)
                async with session.post(
                    url, json=message.event, headers=headers, allow_redirects=False
                ) as answer:
                    if answer.status < 300:
                        self._metrics.notifications.labels("sent").inc()
                        return
                    seen = f"HTTP {answer.status}"
                    if answer.status < 500 and answer.status not in {408, 425, 429}:
                        break
            except (aiohttp.ClientError, TimeoutError, OSError, ApiError) as error:
                seen = str(error) or type(error).__name__
            if attempt < ATTEMPTS:
                await asyncio.sleep(pause * self._jitter.uniform(0.5, 1.5))
                pause *= 3
        self._done(message, "failed", seen)

    async def _headers(self, message: Message) -> dict[str, str]:
        headers = {"Content-Type": "application/cloudevents+json; charset=utf-8"}
        reference = message.notification.authorization
        if reference is not None:
            path = f"{paths.collection(paths.CORE, 'secrets', message.namespace)}/{reference.name}"
            secret = await self._api.get(path)
            encoded = (secret.get("data") or {}).get(reference.key)
            if encoded is not None:
                headers["Authorization"] = base64.b64decode(encoded).decode().strip()
            elif not reference.optional:
                raise ApiError(0, "NoSuchKey", f"Secret {reference.name} has no key {reference.key}")
        return headers

    def _done(self, message: Message, outcome: str, why: str) -> None:
        self._metrics.notifications.labels(outcome).inc()
        logger.warning(
            "Notification %s was not delivered: %s.",
            message.notification.name,
            why,
            extra={"namespace": message.namespace, "rollout": message.rollout},
        )
