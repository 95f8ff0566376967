"""Pods and addresses beside the clients' Service.

The shadow copy, and Services that reach only one version.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from modelrollout.api.constants import (
    CANDIDATE_SUFFIX,
    LABEL_MANAGED_BY,
    LABEL_ROLE,
    LABEL_ROLLOUT,
    LABEL_VERSION,
    MANAGED_BY,
    ROLE_CANDIDATE,
    ROLE_SHADOW,
)
from modelrollout.cluster import resources
from modelrollout.cluster.cache import ClusterCache
from modelrollout.cluster.errors import NotFoundError
from modelrollout.cluster.fence import FencedApi
from modelrollout.cluster.ownership import NameTakenError, create_owned, delete_owned
from modelrollout.cluster.resources import MERGE_PATCH
from modelrollout.cluster.templates import template_hash
from modelrollout.cluster.workloads.candidate import CopyError, owner_reference, plain_spec
from modelrollout.cluster.writer import RolloutRef, Writer
from modelrollout.decision import shadow_name

PORT_FIELDS: Final = ("name", "port", "protocol", "targetPort", "appProtocol")
SERVICE_NAME_LENGTH: Final = 63


@dataclass(frozen=True, kw_only=True, slots=True)
class Shadow:
    """The copy that gets requests nobody waits for: its name, whose pod template it has, how many pods.

    `version` says which candidate with which pod template it is a copy of; `template` is the hash of that.
    """

    deployment: str
    source: str
    replicas: int
    version: str
    template: str | None = None


def build_shadow(
    source: Mapping[str, Any], *, shadow: Shadow, service_selector: Mapping[str, str], owner: RolloutRef
) -> dict[str, Any]:
    """Return the shadow's Deployment.

    The candidate's pods without the labels by which the Service finds pods.
    """
    spec = plain_spec(source)
    marks = {LABEL_MANAGED_BY: MANAGED_BY, LABEL_ROLLOUT: owner.name, LABEL_ROLE: ROLE_SHADOW}
    template = spec["template"]
    meta = template.setdefault("metadata", {})
    kept = {k: v for k, v in (meta.get("labels") or {}).items() if k not in service_selector}
    meta["labels"] = {**kept, **marks}
    spec["selector"] = {"matchLabels": {LABEL_ROLLOUT: owner.name, LABEL_ROLE: ROLE_SHADOW}}
    spec["replicas"] = shadow.replicas
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": shadow.deployment,
            "namespace": owner.namespace,
            # Only here: the pods keep the labels of the candidate, whatever those say of a version.
            "labels": {**marks, LABEL_VERSION: shadow.version},
            "ownerReferences": [owner_reference(owner)],
        },
        "spec": spec,
    }


def build_service(
    client: Mapping[str, Any], *, name: str, role: str, selector: Mapping[str, str], owner: RolloutRef
) -> dict[str, Any]:
    """Return a Service with the ports of the clients' one and another selector."""
    ports = [{key: port[key] for key in PORT_FIELDS if key in port} for port in client["spec"]["ports"]]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": name,
            "namespace": owner.namespace,
            "labels": {LABEL_MANAGED_BY: MANAGED_BY, LABEL_ROLLOUT: owner.name, LABEL_ROLE: role},
            "ownerReferences": [owner_reference(owner)],
        },
        "spec": {"selector": dict(selector), "ports": ports},
    }


class SideKeeper:
    """Makes and removes them; asks the caches first, so that nothing is requested where nothing is to do."""

    def __init__(self, api: FencedApi, cache: ClusterCache, writer: Writer) -> None:
        self._api = api
        self._cache = cache
        self._writer = writer

    async def ensure_shadow(self, shadow: Shadow, *, service: str, owner: RolloutRef) -> None:
        """Make the copy and its Service, with the number of pods asked for.

        A copy of another candidate is removed; the watch tells when it is gone, and the next call makes it.

        Raises:
            CopyError: What is to be copied is gone.
            NameTakenError: Somebody else's object has the name.
        """
        namespace = owner.namespace
        there = self._cache.deployments.get(namespace, shadow.deployment)
        if there is None:
            source = await self._read(resources.deployment(namespace, shadow.source), shadow.source)
            if shadow.template not in {None, template_hash(source["spec"]["template"])}:
                return  # the candidate has just changed; the watch tells, and the run starts again
            client = self._cache.services.get(namespace, service)
            selector = client.selector if client is not None else {}
            body = build_shadow(source, shadow=shadow, service_selector=selector, owner=owner)
            collection = resources.collection(resources.APPS, "deployments", namespace)
            await create_owned(self._api, collection, body, owner)
        elif there.owner != owner.uid:
            path = resources.deployment(namespace, shadow.deployment)
            raise NameTakenError(kind="Deployment", name=shadow.deployment, path=path, owner=owner)
        elif there.version != shadow.version:
            # Its pods would answer for the new candidate. Its Service stays: it selects the next copy's too.
            path = resources.deployment(namespace, shadow.deployment)
            await delete_owned(self._api, path, uid=there.uid)
            return
        elif there.desired != shadow.replicas:
            await self._writer.scale(namespace, shadow.deployment, shadow.replicas)
        selector = {LABEL_ROLLOUT: owner.name, LABEL_ROLE: ROLE_SHADOW}
        await self._ensure_service(
            shadow_name(owner.name), ROLE_SHADOW, selector, client=service, owner=owner
        )

    async def remove_shadow(self, owner: RolloutRef) -> None:
        """Neither the copy nor its Service is there; what others have under that name stays."""
        namespace, name = owner.namespace, shadow_name(owner.name)
        service = self._cache.services.get(namespace, name)
        if service is not None and service.owner == owner.uid:
            await delete_owned(self._api, resources.service(namespace, name), uid=service.uid)
        there = self._cache.deployments.get(namespace, name)
        if there is not None and there.owner == owner.uid:
            await delete_owned(self._api, resources.deployment(namespace, name), uid=there.uid)

    async def candidate_url(self, *, candidate: str, shadowed: bool, service: str, owner: RolloutRef) -> str:
        """Return the address of a Service that reaches only the candidate's pods; made if it is not there.

        `shadowed`: The candidate serves no client yet, so its copy in the shadow answers.

        Raises:
            CopyError: An object is missing.
            NameTakenError: Somebody else's Service has the name.
        """
        client = self._cache.services.get(owner.namespace, service)
        port = client.port if client is not None else None
        if shadowed:
            name = shadow_name(owner.name)
        else:
            name = owner.name[: SERVICE_NAME_LENGTH - len(CANDIDATE_SUFFIX)] + CANDIDATE_SUFFIX
            seen = self._cache.deployments.get(owner.namespace, candidate)
            if seen is None:
                raise CopyError(f"the candidate's Deployment {candidate} is not there")
            await self._ensure_service(name, ROLE_CANDIDATE, seen.selector, client=service, owner=owner)
        return f"http://{name}.{owner.namespace}.svc:{port or 80}"

    async def _ensure_service(
        self, name: str, role: str, selector: Mapping[str, str], *, client: str, owner: RolloutRef
    ) -> None:
        there = self._cache.services.get(owner.namespace, name)
        path = resources.service(owner.namespace, name)
        if there is None:
            original = await self._read(resources.service(owner.namespace, client), client)
            body = build_service(original, name=name, role=role, selector=selector, owner=owner)
            collection = resources.collection(resources.CORE, "services", owner.namespace)
            await create_owned(self._api, collection, body, owner)
        elif there.owner != owner.uid:
            raise NameTakenError(kind="Service", name=name, path=path, owner=owner)
        elif there.selector != selector:
            change = {
                "metadata": {"uid": there.uid},  # another one under that name would be refused
                "spec": {"selector": {**dict.fromkeys(there.selector), **selector}},
            }
            await self._api.request("PATCH", path, body=change, content_type=MERGE_PATCH)

    async def _read(self, path: str, name: str) -> Mapping[str, Any]:
        try:
            return await self._api.get(path)
        except NotFoundError as error:
            raise CopyError(f"{name}, which is to be copied, is not there: create it") from error
