"""Every write of the operator but Jobs and copies.

Status, scale, finalizer and Events; each behind the lease.

Writes carry the resourceVersion they were decided on. A conflict is not retried here: the caller drops its
decision and makes a new one from what is there now. The scale subresource is the exception: a Deployment's
resourceVersion moves with every pod, so a conflict is looked at once more, and only a change of the replica
count itself counts as one.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

from modelrollout.api.constants import API_VERSION, FINALIZER, KIND
from modelrollout.cluster import resources
from modelrollout.cluster.cache import ClusterCache
from modelrollout.cluster.errors import AlreadyExistsError, ConflictError, NotFoundError
from modelrollout.cluster.fence import FencedApi
from modelrollout.cluster.resources import MERGE_PATCH

COMPONENT: Final = "modelrollout-operator"
SCALE_ATTEMPTS: Final = 4
EVENT_MESSAGE_LENGTH: Final = 1000


@dataclass(frozen=True, kw_only=True, slots=True)
class RolloutRef:
    """A ModelRollout at one version of it."""

    namespace: str
    name: str
    uid: str
    resource_version: str


@dataclass(frozen=True, kw_only=True, slots=True)
class EventNote:
    """What an Event says.

    Attributes:
        severity: Normal or Warning.
        id: Makes the Event the same one when it is recorded again; empty for one that is not repeated.
        at: When it happened; None for now.
    """

    reason: str
    message: str
    severity: str
    id: str = ""
    at: datetime | None = None


class Writer:
    """The operator's hands. One per process."""

    def __init__(self, api: FencedApi, cache: ClusterCache) -> None:
        self._api = api
        self._cache = cache

    async def write_status(self, ref: RolloutRef, status: Mapping[str, Any]) -> str:
        """Replace the status and return the new resourceVersion.

        Raises:
            ConflictError: The object changed since it was read.
            NotFoundError: It is gone.
        """
        body = {
            "apiVersion": API_VERSION,
            "kind": KIND,
            "metadata": {
                "name": ref.name,
                "namespace": ref.namespace,
                "uid": ref.uid,
                "resourceVersion": ref.resource_version,
            },
            "status": status,
        }
        answer = await self._api.request(
            "PUT", f"{resources.rollout(ref.namespace, ref.name)}/status", body=body
        )
        return str(answer["metadata"]["resourceVersion"])

    async def set_finalizers(self, ref: RolloutRef, finalizers: tuple[str, ...]) -> str:
        """Replace the finalizers and return the new resourceVersion. Raises as `write_status` does."""
        body = {
            "metadata": {
                "uid": ref.uid,
                "resourceVersion": ref.resource_version,
                "finalizers": list(finalizers),
            }
        }
        answer = await self._api.request(
            "PATCH", resources.rollout(ref.namespace, ref.name), body=body, content_type=MERGE_PATCH
        )
        return str(answer["metadata"]["resourceVersion"])

    async def scale(self, namespace: str, name: str, replicas: int) -> bool:
        """Set the replicas of a Deployment through its scale subresource; False if they were so already.

        Raises:
            ConflictError: Somebody else changed the count since we saw it.
            NotFoundError: There is no such Deployment.
        """
        seen = self._cache.deployments.get(namespace, name)
        if seen is None:
            raise NotFoundError(404, "NotFound", f"there is no Deployment {name} in namespace {namespace}")
        if seen.desired == replicas:
            return False
        path = f"{resources.deployment(namespace, name)}/scale"
        version, expected = seen.resource_version, seen.desired
        for attempt in range(1, SCALE_ATTEMPTS + 1):
            body = {"metadata": {"uid": seen.uid, "resourceVersion": version}, "spec": {"replicas": replicas}}
            try:
                answer = await self._api.request("PATCH", path, body=body, content_type=MERGE_PATCH)
            except ConflictError:
                now = await self._api.get(path)
                if attempt == SCALE_ATTEMPTS or now["metadata"]["uid"] != seen.uid:
                    raise
                if now["spec"].get("replicas", 0) not in {expected, replicas}:
                    raise
                version = now["metadata"]["resourceVersion"]
            else:
                latest = self._cache.deployments.get(namespace, name)
                if (
                    latest is not None and latest.uid == seen.uid
                ):  # else it was deleted: no event would tell again
                    version = answer["metadata"]["resourceVersion"]
                    self._cache.deployments.put(replace(latest, desired=replicas, resource_version=version))
                return True
        return True

    async def post_event(self, ref: RolloutRef, note: EventNote) -> None:
        """Record an Event about the rollout; one with the id of the note that is there already is the same.

        Raises:
            ApiError: It could not be recorded.
        """
        id_ = note.id or f"{time.time_ns():x}"
        now = (note.at or datetime.now(UTC)).strftime("%Y-%m-%dT%H:%M:%SZ")
        about = {
            "apiVersion": API_VERSION,
            "kind": KIND,
            "name": ref.name,
            "namespace": ref.namespace,
            "uid": ref.uid,
            "resourceVersion": ref.resource_version,
        }
        body = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {
                "name": f"{ref.name[:200]}.{id_}",
                "namespace": ref.namespace,
            },
            "involvedObject": about,
            "reason": note.reason,
            "message": note.message[:EVENT_MESSAGE_LENGTH],
            "type": note.severity,
            "count": 1,
            "firstTimestamp": now,
            "lastTimestamp": now,
            "source": {"component": COMPONENT},
            "reportingComponent": COMPONENT,
            "reportingInstance": COMPONENT,
        }
        with suppress(AlreadyExistsError):
            await self._api.request(
                "POST", resources.collection(resources.CORE, "events", ref.namespace), body=body
            )


def with_finalizer(finalizers: tuple[str, ...]) -> tuple[str, ...]:
    """Return the finalizers with ours among them."""
    return finalizers if FINALIZER in finalizers else (*finalizers, FINALIZER)


def without_finalizer(finalizers: tuple[str, ...]) -> tuple[str, ...]:
    """Return the finalizers without ours."""
    return tuple(name for name in finalizers if name != FINALIZER)
