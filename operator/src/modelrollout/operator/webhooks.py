"""Webhooks.

Each transition that spec.notifications asks for, as a CloudEvent; retried, and never waited for.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import urlsplit

from modelrollout.api.base import format_timestamp
from modelrollout.api.constants import API_VERSION, GROUP, KIND
from modelrollout.api.unreported import UnreportedTransition
from modelrollout.cluster import resources
from modelrollout.cluster.errors import ApiError
from modelrollout.cluster.fence import FencedApi
from modelrollout.operator.delivery import Deliveries, Message
from modelrollout.operator.events import Done
from modelrollout.operator.metrics import OperatorMetrics
from modelrollout.operator.rollouts import RolloutState

ANY_HOST: Final = "*"


def cloud_event(rollout: RolloutState, entry: UnreportedTransition) -> dict[str, Any]:
    """Return the CloudEvent (version 1.0, structured mode).

    The same transition keeps its id over all attempts, also those of another replica.
    """
    status = rollout.status
    assert entry.announcement is not None
    return {
        "specversion": "1.0",
        "id": f"{rollout.uid}-{entry.id}",
        "source": f"/apis/{API_VERSION}/namespaces/{rollout.namespace}/modelrollouts/{rollout.name}",
        "type": f"{GROUP}.{KIND.lower()}.{entry.announcement.value}",
        "subject": rollout.name,
        "time": format_timestamp(entry.at),
        "datacontenttype": "application/json",
        "data": {
            "namespace": rollout.namespace,
            "name": rollout.name,
            "reason": entry.reason,
            "message": entry.message,
            "criterion": entry.criterion,
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

    def notify(self, rollout: RolloutState, entry: UnreportedTransition, done: Done) -> None:
        """Queues a transition for the notifications that want it.

        `done` is called when the last of them was delivered or given up.
        """
        wanted = rollout.spec.notifications if rollout.spec is not None else ()
        chosen = [
            each
            for each in wanted
            if entry.announcement is not None and (not each.events or entry.announcement in each.events)
        ]
        if not chosen:
            done(True)
            return
        left = list(chosen)

        def one_less() -> None:
            left.pop()
            if not left:
                done(True)

        event = cloud_event(rollout, entry)
        for each in chosen:
            self._put(
                Message(
                    notification=each,
                    namespace=rollout.namespace,
                    rollout=rollout.name,
                    event=event,
                    done=one_less,
                )
            )

    async def run(self) -> None:
        """Send until cancelled."""
        await self._deliveries.run()

    def host_allowed(self, url: str) -> bool:
        """Tell whether the operator's settings allow a webhook at that address."""
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
            path = f"{resources.collection(resources.CORE, 'secrets', message.namespace)}/{reference.name}"
            secret = await self._api.get(path)
            encoded = (secret.get("data") or {}).get(reference.key)
            if encoded is not None:
                headers["Authorization"] = base64.b64decode(encoded).decode().strip()
            elif not reference.optional:
                raise ApiError(0, "NoSuchKey", f"Secret {reference.name} has no key {reference.key}")
        return headers
