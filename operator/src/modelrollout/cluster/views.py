"""The few facts kept of each object.

Small frozen values, compared to see whether anything of interest changed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
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
from modelrollout.cluster.templates import template_hash

Labels = Mapping[str, str]
Expression = tuple[str, str, tuple[str, ...]]
"""Key, operator (In, NotIn, Exists, DoesNotExist) and values of one of a selector's matchExpressions."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DeploymentView:
    """A Deployment.

    Attributes:
        selector: matchLabels of its selector.
        expressions: matchExpressions of its selector.
        owner: Uid of the ModelRollout that made it and still owns it.
        template: Hash of its pod template.
    """

    namespace: str
    name: str
    uid: str
    resource_version: str = field(compare=False)
    desired: int
    pods: int
    ready: int
    selector: Labels
    expressions: tuple[Expression, ...] = ()
    template_labels: Labels
    template: str
    containers: tuple[str, ...]
    rollout: str | None
    version: str | None
    owner: str | None
    failure: str | None

    def selects(self, labels: Labels) -> bool:
        """Tell whether its selector matches pods with these labels."""
        return all(labels.get(key) == value for key, value in self.selector.items()) and all(
            _matches(labels.get(key), operator, values) for key, operator, values in self.expressions
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class ServiceView:
    """A Service: which pods it selects and where it listens.

    Attributes:
        port: Number of its first port.
        ports: Names of its ports; the empty text for one without a name.
        uneven: Its settings that keep requests from being spread evenly over the pods, as `field: value`.
        owner: Uid of the ModelRollout that it was made for.
    """

    namespace: str
    name: str
    uid: str
    owner: str | None
    resource_version: str = field(compare=False)
    selector: Labels
    port: int | None
    ports: tuple[str, ...] = ()
    uneven: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class JobView:
    """A Job of a validation.

    `owner` is the uid of its ModelRollout; `ttl` are the seconds that it is kept once it has finished (None:
    for ever).
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


def _matches(value: str | None, operator: str, values: tuple[str, ...]) -> bool:
    match operator:
        case "In":
            return value in values
        case "NotIn":
            return value not in values
        case "Exists":
            return value is not None
        case _:
            return value is None


def parse_time(text: str) -> datetime:
    """Return an instant as the API server writes it."""
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def owner_uid(metadata: Mapping[str, Any]) -> str | None:
    """Return the uid of the ModelRollout that owns an object; None if none does."""
    owners = metadata.get("ownerReferences") or ()
    return next(
        (o["uid"] for o in owners if o["kind"] == KIND and o.get("apiVersion", API_VERSION) == API_VERSION),
        None,
    )


def _labels(value: Mapping[str, str] | None) -> Labels:
    return {intern(key): intern(text) for key, text in (value or {}).items()}


def parse_deployment(obj: Mapping[str, Any]) -> DeploymentView:
    """Return what is kept of a Deployment."""
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
        expressions=tuple(
            (e["key"], e["operator"], tuple(e.get("values") or ()))
            for e in spec["selector"].get("matchExpressions") or ()
        ),
        template_labels=_labels(spec["template"].get("metadata", {}).get("labels")),
        template=template_hash(spec["template"]),
        containers=tuple(intern(c["name"]) for c in spec["template"]["spec"].get("containers") or ()),
        rollout=labels.get(LABEL_ROLLOUT),
        version=labels.get(LABEL_VERSION),
        owner=owner_uid(meta),
        failure=failure,
    )


def parse_service(obj: Mapping[str, Any]) -> ServiceView:
    """Return what is kept of a Service."""
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
        ports=tuple(intern(port.get("name") or "") for port in ports),
        uneven=tuple(intern(text) for text in _uneven(spec)),
    )


UNEVEN: Final = {
    "sessionAffinity": ("ClientIP",),
    "internalTrafficPolicy": ("Local",),
    "externalTrafficPolicy": ("Local",),
    "trafficDistribution": (),
    "publishNotReadyAddresses": (True,),
    "clusterIP": ("None",),
}
"""Fields of a Service and the values with which they matter to shares; none: any value does."""


def _uneven(spec: Mapping[str, Any]) -> Iterator[str]:
    for name, values in UNEVEN.items():
        value = spec.get(name)
        if value and (value in values or not values):
            yield f"{name}: {str(value).lower() if value is True else value}"


def parse_job(obj: Mapping[str, Any]) -> JobView:
    """Return what is kept of a Job."""
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
    """Return what is kept of a parked pod; None for one that is going away."""
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
    """Return what is kept of a HorizontalPodAutoscaler."""
    meta, target = obj["metadata"], obj["spec"]["scaleTargetRef"]
    return AutoscalerView(
        namespace=intern(meta["namespace"]),
        name=meta["name"],
        resource_version=meta["resourceVersion"],
        target_kind=intern(target["kind"]),
        target_name=target["name"],
    )
