"""The few facts kept of each object: small frozen values, compared to see whether anything of interest
changed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from sys import intern
from typing import Any, Final

from modelrollout.api.constants import (
    ANNOTATION_PARKED,
    API_VERSION,
    KIND,
    LABEL_PARKED,
    LABEL_ROLLOUT,
    LABEL_RUN,
    LABEL_VERSION,
)

GENERATED_BASE_LENGTH: Final = 58
"""Longest part of a generated pod name before its five random characters."""
SUFFIX_LENGTH: Final = 5
SHORTEST_CUT_NAME: Final = 46
"""A Deployment's name of at least this length (and a hash of ten) makes pod names of the full 63
characters.
"""

Labels = Mapping[str, str]


@dataclass(frozen=True, kw_only=True, slots=True)
class DeploymentView:
    """A Deployment. `owner` is the uid of the ModelRollout that made it and still owns it."""

    namespace: str
    name: str
    uid: str
    resource_version: str = field(compare=False)
    desired: int
    pods: int
    ready: int
    selector: Labels
    template_labels: Labels
    containers: tuple[str, ...]
    rollout: str | None
    version: str | None
    owner: str | None
    failure: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class SliceView:
    """An EndpointSlice: how many ready endpoints each Deployment has in it."""

    namespace: str
    name: str
    resource_version: str = field(compare=False)
    service: str
    family: str
    ready: Mapping[str, int]
    long_names: tuple[str, ...]

    def ready_of(self, deployment: str) -> int:
        """Ready endpoints that are pods of that Deployment."""
        count = self.ready.get(deployment, 0)
        if self.long_names and len(deployment) >= SHORTEST_CUT_NAME:
            base = f"{deployment}-"[:GENERATED_BASE_LENGTH]
            count += sum(name.startswith(base) for name in self.long_names)
        return count


@dataclass(frozen=True, kw_only=True, slots=True)
class ServiceView:
    """A Service: whom it selects and where it listens. `owner` is the uid of the ModelRollout it was made
    for.
    """

    namespace: str
    name: str
    uid: str
    owner: str | None
    resource_version: str = field(compare=False)
    selector: Labels
    port: int | None


@dataclass(frozen=True, kw_only=True, slots=True)
class JobView:
    """A Job of a validation. `owner` is the uid of its ModelRollout; `ttl` are the seconds that it is kept
    once it has finished (None: for ever).
    """

    namespace: str
    name: str
    uid: str
    owner: str | None
    ttl: int | None
    resource_version: str = field(compare=False)
    rollout: str | None
    run: str | None
    active: int
    succeeded: bool
    failed: bool
    reason: str
    message: str
    created: datetime
    finished: datetime | None


@dataclass(frozen=True, kw_only=True, slots=True)
class AutoscalerView:
    """A HorizontalPodAutoscaler and what it scales."""

    namespace: str
    name: str
    resource_version: str = field(compare=False)
    target_kind: str
    target_name: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ParkedView:
    """A pod that runs outside the Service: whose it is, and the label that puts it back."""

    namespace: str
    name: str
    resource_version: str = field(compare=False)
    rollout: str
    deployment: str
    key: str
    value: str
    ready: bool


def parse_time(text: str) -> datetime:
    """An instant as the API server writes it."""
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def owner_uid(metadata: Mapping[str, Any]) -> str | None:
    """The uid of the ModelRollout that owns an object; None if none does."""
    owners = metadata.get("ownerReferences") or ()
    return next(
        (o["uid"] for o in owners if o["kind"] == KIND and o.get("apiVersion", API_VERSION) == API_VERSION),
        None,
    )


def _labels(value: Mapping[str, str] | None) -> Labels:
    return {intern(key): intern(text) for key, text in (value or {}).items()}


def parse_deployment(obj: Mapping[str, Any]) -> DeploymentView:
    """What is kept of a Deployment."""
    meta, spec, status = obj["metadata"], obj["spec"], obj.get("status") or {}
    labels = meta.get("labels") or {}
    failure = next(
        (
            c.get("message")
            for c in status.get("conditions") or ()
            if c["type"] == "ReplicaFailure" and c["status"] == "True"
        ),
        None,
    )
    return DeploymentView(
        namespace=intern(meta["namespace"]),
        name=meta["name"],
        uid=meta["uid"],
        resource_version=meta["resourceVersion"],
        desired=spec.get("replicas", 1),
        pods=status.get("replicas") or 0,
        ready=status.get("readyReplicas") or 0,
        selector=_labels(spec["selector"].get("matchLabels")),
        template_labels=_labels(spec["template"].get("metadata", {}).get("labels")),
        containers=tuple(intern(c["name"]) for c in spec["template"]["spec"].get("containers") or ()),
        rollout=labels.get(LABEL_ROLLOUT),
        version=labels.get(LABEL_VERSION),
        owner=owner_uid(meta),
        failure=failure,
    )


def owner_of(pod: str) -> str | None:
    """The Deployment a pod name tells: `<deployment>-<hash>-<5 characters>`; None if it was cut or is no
    such name.
    """
    parts = pod.rsplit("-", 2)
    if len(parts) != 3 or len(parts[2]) != SUFFIX_LENGTH or not parts[1].isalnum():
        return None
    return parts[0] if len(pod) < GENERATED_BASE_LENGTH + SUFFIX_LENGTH else None


def parse_slice(obj: Mapping[str, Any]) -> SliceView | None:
    """What is kept of an EndpointSlice; None where it belongs to no Service."""
    meta = obj["metadata"]
    service = (meta.get("labels") or {}).get("kubernetes.io/service-name")
    if not service:
        return None
    ready: dict[str, int] = {}
    long_names: list[str] = []
    for endpoint in obj.get("endpoints") or ():
        target = endpoint.get("targetRef") or {}
        # Absent means ready (the API's own rule for consumers).
        if target.get("kind") != "Pod" or (endpoint.get("conditions") or {}).get("ready") is False:
            continue
        owner = owner_of(target["name"])
        if owner is not None:
            ready[owner] = ready.get(owner, 0) + 1
        elif len(target["name"]) >= GENERATED_BASE_LENGTH + SUFFIX_LENGTH:
            long_names.append(target["name"])
    return SliceView(
        namespace=intern(meta["namespace"]),
        name=meta["name"],
        resource_version=meta["resourceVersion"],
        service=intern(service),
        family=intern(obj.get("addressType", "IPv4")),
        ready=ready,
        long_names=tuple(long_names),
    )


def parse_service(obj: Mapping[str, Any]) -> ServiceView:
    """What is kept of a Service."""
    meta, spec = obj["metadata"], obj["spec"]
    ports = spec.get("ports") or ()
    return ServiceView(
        namespace=intern(meta["namespace"]),
        name=meta["name"],
        uid=meta["uid"],
        owner=owner_uid(meta),
        resource_version=meta["resourceVersion"],
        selector=_labels(spec.get("selector")),
        port=ports[0]["port"] if ports else None,
    )


def parse_job(obj: Mapping[str, Any]) -> JobView:
    """What is kept of a Job."""
    meta, status = obj["metadata"], obj.get("status") or {}
    labels = meta.get("labels") or {}
    ended = {c["type"]: c for c in status.get("conditions") or () if c["status"] == "True"}
    end = ended.get("Complete") or ended.get("Failed")
    return JobView(
        namespace=intern(meta["namespace"]),
        name=meta["name"],
        uid=meta["uid"],
        owner=owner_uid(meta),
        ttl=obj["spec"].get("ttlSecondsAfterFinished"),
        resource_version=meta["resourceVersion"],
        rollout=labels.get(LABEL_ROLLOUT),
        run=labels.get(LABEL_RUN),
        active=status.get("active") or 0,
        succeeded="Complete" in ended,
        failed="Failed" in ended,
        reason=(end or {}).get("reason") or "",
        message=(end or {}).get("message") or "",
        created=parse_time(meta["creationTimestamp"]),
        finished=parse_time(end["lastTransitionTime"]) if end and end.get("lastTransitionTime") else None,
    )


def parse_parked(obj: Mapping[str, Any]) -> ParkedView | None:
    """What is kept of a parked pod; None for one that is going away."""
    meta, status = obj["metadata"], obj.get("status") or {}
    if meta.get("deletionTimestamp"):
        return None
    was = json.loads(meta["annotations"][ANNOTATION_PARKED])
    conditions = {c["type"]: c["status"] for c in status.get("conditions") or ()}
    return ParkedView(
        namespace=intern(meta["namespace"]),
        name=meta["name"],
        resource_version=meta["resourceVersion"],
        rollout=intern(meta["labels"][LABEL_PARKED]),
        deployment=intern(str(was["deployment"])),
        key=intern(str(was["key"])),
        value=intern(str(was["value"])),
        ready=conditions.get("Ready") == "True",
    )


def parse_autoscaler(obj: Mapping[str, Any]) -> AutoscalerView:
    """What is kept of a HorizontalPodAutoscaler."""
    meta, target = obj["metadata"], obj["spec"]["scaleTargetRef"]
    return AutoscalerView(
        namespace=intern(meta["namespace"]),
        name=meta["name"],
        resource_version=meta["resourceVersion"],
        target_kind=intern(target["kind"]),
        target_name=target["name"],
    )
