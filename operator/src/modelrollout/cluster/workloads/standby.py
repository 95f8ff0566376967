"""Takes pods out of the Service without ending them, and puts them back.

A Service finds pods by labels, and so does a Deployment. A label that only the Service asks for can be
changed on a pod: its endpoint goes within milliseconds, and the Deployment neither notices nor replaces it.
What the label was stands on the pod itself, so that nothing has to be remembered elsewhere.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any, Final

from modelrollout.api.constants import ANNOTATION_PARKED, LABEL_PARKED, PARKED_VALUE
from modelrollout.cluster import resources
from modelrollout.cluster.cache import ClusterCache
from modelrollout.cluster.errors import ForbiddenError, NotFoundError
from modelrollout.cluster.fence import FencedApi
from modelrollout.cluster.resources import MERGE_PATCH
from modelrollout.cluster.source import is_older
from modelrollout.cluster.views import DeploymentView, ParkedView, ServiceView, parse_parked
from modelrollout.cluster.writer import RolloutRef

logger = logging.getLogger(__name__)

RETRY_SECONDS: Final = 300.0
"""How long a refusal by the API server is believed."""


def parking_key(service: ServiceView | None, deployment: DeploymentView) -> str | None:
    """Return the label by which the Service finds the Deployment's pods and the Deployment does not.

    Or None.
    """
    if service is None:
        return None
    keys = (key for key in sorted(service.selector) if key not in deployment.selector)
    return next((key for key in keys if key in deployment.template_labels), None)


class Parking:
    """Parks and unparks pods; asks the caches first, so that nothing is requested where nothing is to do."""

    def __init__(self, api: FencedApi, cache: ClusterCache) -> None:
        self._api = api
        self._cache = cache
        self._refused: dict[str, tuple[str, float]] = {}

    def refusal(self, namespace: str) -> str:
        """Return why no label of a pod can be changed there, a sentence.

        Empty if it can, as far as is known.
        """
        refusal, until = self._refused.get(namespace, ("", 0.0))
        return f"The operator may not change pods: {refusal}" if time.monotonic() < until else ""

    def obstacle(self, service: str, deployment: DeploymentView) -> str:
        """Return why its pods cannot be parked, a sentence; empty if they can."""
        namespace = deployment.namespace
        refusal = self.refusal(namespace)
        if refusal:
            return refusal
        if self._cache.parked.denied:
            return "The operator may not watch pods: give it list, watch and patch for pods."
        view = self._cache.services.get(namespace, service)
        if view is None or parking_key(view, deployment) is not None:
            return ""
        keys = ", ".join(sorted(view.selector))
        return (
            f"Every label that Service {service} selects by ({keys}) is also in the selector of Deployment "
            f"{deployment.name}, so none can be changed on a pod: add one to the pod template and the "
            'Service\'s selector alone, such as serving: "yes".'
        )

    async def park(self, name: str, *, service: str, owner: RolloutRef) -> bool:
        """Take all pods of the Deployment out of the Service; return False if the API server forbids it.

        Raises:
            ApiError: A request failed in another way; some pods may be parked.
        """
        deployment = self._cache.deployments.get(owner.namespace, name)
        view = self._cache.services.get(owner.namespace, service)
        key = parking_key(view, deployment) if deployment is not None else None
        if deployment is None or view is None or key is None:
            return True
        parked = [p for p in self._cache.parked_of(owner.namespace, owner.name) if p.deployment == name]
        serving = self._cache.ready(owner.namespace, service, [name])[name]
        if deployment.pods <= len(parked) and not serving:
            return True
        note = {"deployment": name, "key": key, "value": view.selector[key]}
        change = {
            "labels": {key: PARKED_VALUE, LABEL_PARKED: owner.name},
            "annotations": {ANNOTATION_PARKED: json.dumps(note)},
        }
        try:
            pods = await self._pods_behind(view, deployment)
            await self._patch_all(owner.namespace, ((pod, change) for pod in pods))
        except ForbiddenError as error:
            self._refuse(owner.namespace, error)
            logger.warning("Pods of %s cannot be kept outside the Service: %s", name, error)
            return False
        return True

    async def unpark(self, deployments: Iterable[str], *, owner: RolloutRef) -> frozenset[str]:
        """No pod of these Deployments is outside the Service, but of those returned.

        The API server forbids to put theirs back.

        Raises:
            ApiError: A request failed in another way; some pods may be back.
        """
        names = frozenset(deployments)
        parked = [p for p in self._cache.parked_of(owner.namespace, owner.name) if p.deployment in names]
        try:
            await self._patch_all(owner.namespace, ((pod.name, _way_back(pod)) for pod in parked))
        except ForbiddenError as error:
            if not self.refusal(owner.namespace):
                logger.warning("Pods cannot be put back behind the Service: %s", error)
            self._refuse(owner.namespace, error)
            return frozenset(pod.deployment for pod in parked)
        if parked:
            self._refused.pop(owner.namespace, None)
        return frozenset()

    async def look_again(self, owner: RolloutRef) -> None:
        """Read from the API server which pods of the rollout are outside the Service: a watch may be late.

        Raises:
            ApiError: It did not answer. A refusal is not raised: what is known stays.
        """
        if self._cache.parked.denied:
            return
        known = [(pod.namespace, pod.name) for pod in self._cache.parked_of(owner.namespace, owner.name)]
        with suppress(ForbiddenError):
            await self._cache.parked.refresh(
                owner.namespace, label_selector=f"{LABEL_PARKED}={owner.name}", known=known
            )

    def _refuse(self, namespace: str, error: ForbiddenError) -> None:
        self._refused[namespace] = (error.message, time.monotonic() + RETRY_SECONDS)

    async def _pods_behind(self, service: ServiceView, deployment: DeploymentView) -> list[str]:
        """Return names of the Deployment's pods that the Service selects and that are not going away."""
        labels = {**deployment.selector, **service.selector}
        query = {"labelSelector": ",".join(f"{key}={value}" for key, value in sorted(labels.items()))}
        found = await self._api.get(resources.collection(resources.CORE, "pods", service.namespace), query)
        # By owner: the labels of a candidate that is a copy satisfy stable's selector, too.
        sets = self._cache.replica_sets_of(service.namespace, deployment.name)
        return [
            p["metadata"]["name"]
            for p in found["items"]
            if not p["metadata"].get("deletionTimestamp") and _controlled_by(p, sets)
        ]

    async def _patch_all(self, namespace: str, changes: Iterable[tuple[str, Mapping[str, Any]]]) -> None:
        await asyncio.gather(*(self._patch(namespace, pod, change) for pod, change in changes))

    async def _patch(self, namespace: str, pod: str, change: Mapping[str, Any]) -> None:
        try:
            answer = await self._api.request(
                "PATCH", resources.pod(namespace, pod), body={"metadata": change}, content_type=MERGE_PATCH
            )
        except NotFoundError:  # gone meanwhile; the one in its place is looked at when it appears
            self._cache.parked.discard(namespace, pod)
        else:
            self._learn(answer)

    def _learn(self, pod: Mapping[str, Any]) -> None:
        """Take over what the API server answered: the next decision may come before the watch tells it."""
        meta = pod["metadata"]
        view = parse_parked(pod) if LABEL_PARKED in (meta.get("labels") or {}) else None
        if view is not None:
            self._cache.parked.put(view)
            return
        held = self._cache.parked.get(meta["namespace"], meta["name"])
        if held is not None and not is_older(meta["resourceVersion"], held.resource_version):
            self._cache.parked.discard(held.namespace, held.name)


def _way_back(pod: ParkedView) -> dict[str, Any]:
    return {
        "labels": {pod.key: pod.value, LABEL_PARKED: None},
        "annotations": {ANNOTATION_PARKED: None},
    }


def _controlled_by(pod: Mapping[str, Any], replica_sets: Iterable[str]) -> bool:
    owners = pod["metadata"].get("ownerReferences") or ()
    return any(o["kind"] == "ReplicaSet" and o["name"] in replica_sets for o in owners)
