"""Which pods clients reach through a Service, and which Deployment each of them belongs to.

An endpoint names its pod. A pod carries the name of its ReplicaSet (cut where the whole would be too long)
and five random characters, and the ReplicaSet names the Deployment that controls it. So a pod is told by the
owner of its ReplicaSet and never by what a Deployment is called: pods of a Job, a DaemonSet or a ReplicaSet
without a Deployment belong to none, whatever their names begin with.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from sys import intern
from typing import Any, Final

SERVICE_NAME_LABEL: Final = "kubernetes.io/service-name"
GENERATED_BASE_LENGTH: Final = 58
"""Longest part of a generated pod name before its five random characters."""
SUFFIX_LENGTH: Final = 5

DeploymentOf = Callable[[str], str | None]
"""Name of a pod to the name of its Deployment; None for a pod of anything else."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ReplicaSetView:
    """A ReplicaSet that a Deployment controls."""

    namespace: str
    name: str
    resource_version: str = field(compare=False)
    deployment: str
    deployment_uid: str


@dataclass(frozen=True, kw_only=True, slots=True)
class SliceView:
    """An EndpointSlice: the ports it carries and what is ready behind it.

    Attributes:
        ports: Names of its ports; a port without a name is the empty text.
        pods: Names of the pods that are ready, serving and not terminating.
        others: The same for endpoints that are no pods: what they are, for people.
    """

    namespace: str
    name: str
    resource_version: str = field(compare=False)
    service: str
    ports: frozenset[str]
    pods: tuple[str, ...]
    others: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadyEndpoints:
    """The ready endpoints of a Service, each pod once however many slices and address families name it.

    Attributes:
        ready: Endpoints that clients reach, by Deployment.
        without_ports: Ready pods, by Deployment, whose slices lack a port of the Service: not reached.
        unowned: What clients reach that belongs to no Deployment: names, sorted.
    """

    ready: Mapping[str, int]
    without_ports: Mapping[str, int]
    unowned: tuple[str, ...]


def pod_prefix(replica_set: str) -> str:
    """Return what the names of a ReplicaSet's pods begin with; five random characters follow."""
    return f"{replica_set}-"[:GENERATED_BASE_LENGTH]


def parse_replica_set(obj: Mapping[str, Any]) -> ReplicaSetView | None:
    """Return what is kept of a ReplicaSet (its metadata is enough); None for one without a Deployment."""
    meta = obj["metadata"]
    owner = next((o for o in meta.get("ownerReferences") or () if o.get("controller")), None)
    if owner is None or owner["kind"] != "Deployment":
        return None
    return ReplicaSetView(
        namespace=intern(meta["namespace"]),
        name=meta["name"],
        resource_version=meta["resourceVersion"],
        deployment=intern(owner["name"]),
        deployment_uid=intern(owner["uid"]),
    )


def parse_slice(obj: Mapping[str, Any]) -> SliceView | None:
    """Return what is kept of an EndpointSlice; None where it belongs to no Service."""
    meta = obj["metadata"]
    service = (meta.get("labels") or {}).get(SERVICE_NAME_LABEL)
    if not service:
        return None
    pods: list[str] = []
    others: list[str] = []
    for endpoint in obj.get("endpoints") or ():
        if not _is_ready(endpoint.get("conditions") or {}):
            continue
        target = endpoint.get("targetRef") or {}
        if target.get("kind") == "Pod":
            pods.append(target["name"])
        elif target.get("name"):
            others.append(f"{target.get('kind', 'object')} {target['name']}")
        else:
            others.extend(f"address {address}" for address in endpoint["addresses"][:1])
    return SliceView(
        namespace=intern(meta["namespace"]),
        name=meta["name"],
        resource_version=meta["resourceVersion"],
        service=intern(service),
        ports=frozenset(intern(port.get("name") or "") for port in obj.get("ports") or ()),
        pods=tuple(pods),
        others=tuple(others),
    )


def _is_ready(conditions: Mapping[str, Any]) -> bool:
    """Tell whether the pod behind an endpoint is ready and stays.

    `ready` alone does not tell: with publishNotReadyAddresses it is true for every pod. `serving` is what the
    pod itself says. Absent means true for both (the API's own rule for consumers).
    """
    ready = conditions.get("ready") is not False and conditions.get("serving") is not False
    return ready and not conditions.get("terminating")


def count(slices: Iterable[SliceView], ports: Iterable[str], deployment_of: DeploymentOf) -> ReadyEndpoints:
    """Return the ready endpoints behind a Service with ports of these names."""
    wanted = frozenset(ports)
    reached: set[str] = set()
    cut_off: set[str] = set()
    others: set[str] = set()
    for part in slices:
        if wanted <= part.ports:
            reached.update(part.pods)
            others.update(part.others)
        else:
            cut_off.update(part.pods)
    ready: dict[str, int] = {}
    for pod in reached:
        owner = deployment_of(pod)
        if owner is None:
            others.add(f"pod {pod}")
        else:
            ready[owner] = ready.get(owner, 0) + 1
    without: dict[str, int] = {}
    for pod in cut_off - reached:
        owner = deployment_of(pod)
        if owner is not None:
            without[owner] = without.get(owner, 0) + 1
    return ReadyEndpoints(ready=ready, without_ports=without, unowned=tuple(sorted(others)))


class ReplicaSetIndex:
    """The ReplicaSets of Deployments, by what their pods' names begin with and by Deployment."""

    def __init__(self) -> None:
        self._by_prefix: dict[tuple[str, str], dict[str, ReplicaSetView]] = {}
        self._by_deployment: dict[tuple[str, str], dict[str, ReplicaSetView]] = {}

    def change(self, old: ReplicaSetView | None, new: ReplicaSetView | None) -> None:
        """Take over a change of one ReplicaSet."""
        if old is not None:
            for index, key in self._places(old):
                held = index.get(key, {})
                held.pop(old.name, None)
                if not held:
                    index.pop(key, None)
        if new is not None:
            for index, key in self._places(new):
                index.setdefault(key, {})[new.name] = new

    def owners(self, namespace: str, pod: str) -> frozenset[tuple[str, str]]:
        """Name and uid of the Deployments whose pods can have that name; several where names were cut."""
        found = self._by_prefix.get((namespace, pod[:-SUFFIX_LENGTH]), {})
        return frozenset((view.deployment, view.deployment_uid) for view in found.values())

    def of(self, namespace: str, deployment: str) -> tuple[ReplicaSetView, ...]:
        """Return the ReplicaSets of a Deployment of that name."""
        return tuple(self._by_deployment.get((namespace, deployment), {}).values())

    def namesakes(self, namespace: str, deployment: str) -> frozenset[str]:
        """Other Deployments whose pods' names begin as those of this one do."""
        return frozenset(
            other.deployment
            for view in self.of(namespace, deployment)
            for other in self._by_prefix[namespace, pod_prefix(view.name)].values()
            if other.deployment != deployment
        )

    def _places(
        self, view: ReplicaSetView
    ) -> tuple[tuple[dict[tuple[str, str], dict[str, ReplicaSetView]], tuple[str, str]], ...]:
        return (
            (self._by_prefix, (view.namespace, pod_prefix(view.name))),
            (self._by_deployment, (view.namespace, view.deployment)),
        )
