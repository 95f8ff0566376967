"""Deployments that the operator makes: the candidate as a labelled copy of stable."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from modelrollout.api.constants import (
    ANNOTATION_OWNER,
    API_VERSION,
    KIND,
    LABEL_MANAGED_BY,
    LABEL_ROLLOUT,
    LABEL_VERSION,
    MANAGED_BY,
)
from modelrollout.api.workload import Candidate, EnvVar
from modelrollout.cluster import resources
from modelrollout.cluster.errors import AlreadyExistsError, ApiError, ConflictError, NotFoundError
from modelrollout.cluster.fence import FencedApi
from modelrollout.cluster.resources import MERGE_PATCH
from modelrollout.cluster.templates import template_hash
from modelrollout.cluster.writer import RolloutRef
from modelrollout.decision.names import copy_version

TRACKING_PREFIXES: Final = (
    "applyset.kubernetes.io/",
    "argocd.argoproj.io/",
    "cli-utils.sigs.k8s.io/",
    "config.k8s.io/",
    "config.kubernetes.io/",
    "configmanagement.gke.io/",
    "deployment.kubernetes.io/",
    "fleet.cattle.io/",
    "helm.sh/",
    "helm.toolkit.fluxcd.io/",
    "kapp.k14s.io/",
    "kubectl.kubernetes.io/",
    "kustomize.toolkit.fluxcd.io/",
    "meta.helm.sh/",
    "objectset.rio.cattle.io/",
)
"""Labels and annotations by which a tool knows the objects that it applied: a copy that carried them would be
pruned by it as an object that is not in its sources. Also stable's own revision, and how it was applied.
"""
TRACKING_KEYS: Final = frozenset({"app.kubernetes.io/instance", LABEL_MANAGED_BY})
"""Argo CD tracks by the first one where it is set to track by labels."""


class CopyError(Exception):
    """The copy cannot be made; the message says why and what to do."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CopyOrder:
    """A candidate that is to be made from stable.

    `template` is the hash of the pod template that is to be copied; None: whatever stable has.
    """

    name: str
    stable: str
    template: str | None
    candidate: Candidate
    owner: RolloutRef


def build_copy(stable: Mapping[str, Any], order: CopyOrder) -> dict[str, Any]:
    """Return the candidate's Deployment: stable's with the changes, other labels and no replicas yet.

    It has no owner reference: what serves must not end with the ModelRollout. The operator deletes it.

    Raises:
        CopyError: spec.candidate names a container that stable does not have.
    """
    owner, candidate = order.owner, order.candidate
    version = copy_version(candidate, template_hash(stable["spec"]["template"]))
    meta, spec = stable["metadata"], plain_spec(stable)
    marks = {LABEL_ROLLOUT: owner.name, LABEL_VERSION: version}
    template = spec["template"]
    template_meta = template.setdefault("metadata", {})
    template_meta["labels"] = {**(template_meta.get("labels") or {}), **marks}
    # One more label in the selector than stable's keeps the two from claiming each other's pods.
    spec["selector"] = {
        **spec["selector"],
        "matchLabels": {**(spec["selector"].get("matchLabels") or {}), LABEL_VERSION: version},
    }
    spec["replicas"] = 0
    _change_container(template["spec"], candidate, deployment=meta["name"])
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": order.name,
            "namespace": owner.namespace,
            "labels": {**_untracked(meta.get("labels")), LABEL_MANAGED_BY: MANAGED_BY, **marks},
            "annotations": {**_untracked(meta.get("annotations")), ANNOTATION_OWNER: owner.uid},
        },
        "spec": spec,
    }


def plain_spec(deployment: Mapping[str, Any]) -> dict[str, Any]:
    """Return the spec of a Deployment to make a copy from; never paused, whatever the original is."""
    spec = copy.deepcopy(dict(deployment["spec"]))
    spec.pop("paused", None)
    return spec


def made_for(deployment: Mapping[str, Any], owner: RolloutRef) -> bool:
    """Tell whether the operator made the Deployment as a copy for this ModelRollout."""
    meta = deployment["metadata"]
    labels = meta.get("labels") or {}
    if (labels.get(LABEL_MANAGED_BY), labels.get(LABEL_ROLLOUT)) != (MANAGED_BY, owner.name):
        return False
    # One that was made by an older version of the operator has no such annotation.
    return bool((meta.get("annotations") or {}).get(ANNOTATION_OWNER, owner.uid) == owner.uid)


def owner_reference(owner: RolloutRef) -> dict[str, Any]:
    """Make an object die with the ModelRollout."""
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "name": owner.name,
        "uid": owner.uid,
        "controller": False,
    }


def _untracked(marks: Mapping[str, str] | None) -> dict[str, str]:
    """Return labels or annotations without those by which other tools know their objects."""
    return {
        key: value
        for key, value in (marks or {}).items()
        if key not in TRACKING_KEYS and not key.startswith(TRACKING_PREFIXES)
    }


def _change_container(pod: dict[str, Any], candidate: Candidate, *, deployment: str) -> None:
    names = [container["name"] for container in pod["containers"]]
    wanted = candidate.container or names[0]
    if wanted not in names:
        raise CopyError(
            f"spec.candidate.container is {wanted}, but Deployment {deployment} has the containers "
            f"{', '.join(names)}: "
            "name one of them"
        )
    container = pod["containers"][names.index(wanted)]
    if candidate.image:
        container["image"] = candidate.image
    if candidate.args:
        container["args"] = list(candidate.args)
    if candidate.command:
        container["command"] = list(candidate.command)
    if candidate.env:
        container["env"] = merge_env(container.get("env") or [], candidate.env)


def merge_env(present: list[dict[str, Any]], changes: tuple[EnvVar, ...]) -> list[dict[str, Any]]:
    """Return the environment with the changes in place of variables of the same name, new ones at the end."""
    new = {change.name: change.to_json() for change in changes}
    kept = [new.pop(variable["name"], variable) for variable in present]
    return [*kept, *new.values()]


class CopyKeeper:
    """Makes candidate copies, and deletes those that are not needed any more."""

    def __init__(self, api: FencedApi) -> None:
        self._api = api

    async def create(self, order: CopyOrder) -> None:
        """Make the copy unless it is there.

        Raises:
            CopyError: Stable is gone, the container is unknown, or somebody else's Deployment has the name.
            ConflictError: Stable has another pod template than the decision was made on.
        """
        owner = order.owner
        try:
            original = await self._api.get(resources.deployment(owner.namespace, order.stable))
        except NotFoundError as error:
            raise CopyError(
                f"stable Deployment {order.stable}, which is to be copied, is not there: create it"
            ) from error
        if order.template not in {None, template_hash(original["spec"]["template"])}:
            raise ConflictError(409, "Conflict", f"the pod template of {order.stable} has just changed")
        body = build_copy(original, order)
        try:
            await self._api.request(
                "POST", resources.collection(resources.APPS, "deployments", owner.namespace), body=body
            )
        except AlreadyExistsError:
            await self._check(order, str(body["metadata"]["labels"][LABEL_VERSION]))
        except ApiError as error:
            if error.status not in {400, 403, 422}:
                raise
            raise CopyError(
                f"the copy of Deployment {order.stable} was refused by the API server: {error.message}"
            ) from error

    async def _check(self, order: CopyOrder, version: str) -> None:
        """Keep what has the name already: it is the copy that is wanted."""
        there = await self._api.get(resources.deployment(order.owner.namespace, order.name))
        labels = there["metadata"].get("labels") or {}
        # An older version of the operator named what is changed alone.
        versions = {version, order.candidate.fingerprint()}
        if not made_for(there, order.owner) or labels.get(LABEL_VERSION) not in versions:
            raise CopyError(
                f"Deployment {order.name} exists and was not made for ModelRollout {order.owner.name}: "
                "rename or delete it"
            )

    async def delete(self, name: str, *, owner: RolloutRef) -> None:
        """Delete a copy made for this ModelRollout; another Deployment of that name is left alone."""
        path = resources.deployment(owner.namespace, name)
        try:
            there = await self._api.get(path)
            if not made_for(there, owner):
                return
            body = {"propagationPolicy": "Background", "preconditions": {"uid": there["metadata"]["uid"]}}
            await self._api.request("DELETE", path, body=body)
        except NotFoundError:
            return

    async def release(self, namespace: str, name: str, *, owner_uid: str) -> None:
        """Take the owner reference off a copy that an older version of the operator made with one.

        Deletion of the ModelRollout in the foreground would end the copy while it serves.
        """
        path = resources.deployment(namespace, name)
        try:
            there = await self._api.get(path)
            meta = there["metadata"]
            left = [o for o in meta.get("ownerReferences") or () if o["uid"] != owner_uid]
            if len(left) == len(meta.get("ownerReferences") or ()):
                return
            body = {"metadata": {"resourceVersion": meta["resourceVersion"], "ownerReferences": left or None}}
            await self._api.request("PATCH", path, body=body, content_type=MERGE_PATCH)
        except NotFoundError:
            return
