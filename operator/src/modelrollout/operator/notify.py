"""Webhooks: each transition that spec.notifications asks for, as a CloudEvent; retried, and never waited
for.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urlsplit

from modelrollout.api.base import format_timestamp
from modelrollout.api.constants import API_VERSION, GROUP, KIND
from modelrollout.cluster import paths
from modelrollout.cluster.errors import ApiError
from modelrollout.cluster.fence import FencedApi
from modelrollout.decision.types import Decision, Transition
from modelrollout.operator.delivery import Deliveries, Message
from modelrollout.operator.metrics import OperatorMetrics
from modelrollout.operator.store import Tracked

ANY_HOST: Final = "*"


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
    """Sends CloudEvents to the webhooks that are allowed. One that does not answer delays no other."""

    def __init__(self, api: FencedApi, metrics: OperatorMetrics, *, allowed_hosts: Sequence[str]) -> None:
        self._api = api
        self._allowed = frozenset(allowed_hosts)
        self._deliveries = Deliveries(metrics, headers=self._headers)

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
        await self._deliveries.run()

    def host_allowed(self, url: str) -> bool:
        """Whether the operator's settings allow a webhook at that address."""
        return ANY_HOST in self._allowed or (urlsplit(url).hostname or "") in self._allowed

    def _put(self, message: Message) -> None:
        if self.host_allowed(message.notification.url):
            self._deliveries.put(message)
            return
        hosts = ", ".join(sorted(self._allowed)) or "none"
        self._deliveries.lost(message, "refused", f"its host is not among the allowed ones ({hosts})")

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
