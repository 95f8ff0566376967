"""Deployments that the operator makes: the candidate as a labelled copy of stable, and its release once it
is stable.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, Final

from modelrollout.api.constants import (
    API_VERSION,
    KIND,
    LABEL_MANAGED_BY,
    LABEL_ROLLOUT,
    LABEL_VERSION,
    MANAGED_BY,
)
from modelrollout.api.workload import Candidate, EnvVar
from modelrollout.cluster import paths
from modelrollout.cluster.errors import AlreadyExistsError, ApiError, NotFoundError
from modelrollout.cluster.fence import FencedApi
from modelrollout.cluster.paths import MERGE_PATCH
from modelrollout.cluster.writer import RolloutRef
from modelrollout.decision.names import copy_name

DROPPED_ANNOTATIONS: Final = ("deployment.kubernetes.io/", "kubectl.kubernetes.io/")
"""Prefixes of annotations that speak of stable itself: its revision, how it was applied."""


class CopyError(Exception):
    """The copy cannot be made; the message says why and what to do."""


def build_copy(stable: Mapping[str, Any], *, candidate: Candidate, owner: RolloutRef) -> dict[str, Any]:
    """The candidate's Deployment: stable's with the changes of `candidate`, other labels and no replicas yet.

    Raises:
        CopyError: spec.candidate names a container that stable does not have.
    """
    fingerprint = candidate.fingerprint()
    meta, spec = stable["metadata"], copy.deepcopy(dict(stable["spec"]))
    marks = {LABEL_MANAGED_BY: MANAGED_BY, LABEL_ROLLOUT: owner.name, LABEL_VERSION: fingerprint}
    template = spec["template"]
    template_meta = template.setdefault("metadata", {})
    template_meta["labels"] = {**(template_meta.get("labels") or {}), **marks}
    # One more label in the selector than stable's keeps the two from claiming each other's pods.
    spec["selector"] = {
        **spec["selector"],
        "matchLabels": {**(spec["selector"].get("matchLabels") or {}), LABEL_VERSION: fingerprint},
    }
    spec["replicas"] = 0
    _change_container(template["spec"], candidate, deployment=meta["name"])
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": copy_name(owner.name, candidate),
            "namespace": owner.namespace,
            "labels": {**(meta.get("labels") or {}), **marks},
            "annotations": _annotations(meta.get("annotations") or {}),
            "ownerReferences": [owner_reference(owner)],
        },
        "spec": spec,
    }


def owner_reference(owner: RolloutRef) -> dict[str, Any]:
    """Makes an object die with the ModelRollout."""
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "name": owner.name,
        "uid": owner.uid,
        "controller": False,
    }


def _annotations(annotations: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in annotations.items() if not key.startswith(DROPPED_ANNOTATIONS)}


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
    """The environment with the changes in place of variables of the same name, new ones at the end."""
    new = {change.name: change.to_json() for change in changes}
    kept = [new.pop(variable["name"], variable) for variable in present]
    return [*kept, *new.values()]


class CopyKeeper:
    """Makes candidate copies and lets go of those that became stable."""

    def __init__(self, api: FencedApi) -> None:
        self._api = api

    async def create(self, *, stable: str, candidate: Candidate, owner: RolloutRef) -> str:
        """Makes the copy unless it is there, and returns its name.

        Raises:
            CopyError: Stable is gone, the container is unknown, or somebody else's Deployment has the name.
        """
        try:
            original = await self._api.get(paths.deployment(owner.namespace, stable))
        except NotFoundError as error:
            raise CopyError(
                f"stable Deployment {stable}, which is to be copied, is not there: create it"
            ) from error
        body = build_copy(original, candidate=candidate, owner=owner)
        name = str(body["metadata"]["name"])
        try:
            await self._api.request(
                "POST", paths.collection(paths.APPS, "deployments", owner.namespace), body=body
            )
        except AlreadyExistsError:
            there = await self._api.get(paths.deployment(owner.namespace, name))
            labels = there["metadata"].get("labels") or {}
            if (
                labels.get(LABEL_ROLLOUT) != owner.name
                or labels.get(LABEL_VERSION) != candidate.fingerprint()
            ):
                raise CopyError(
                    f"Deployment {name} exists and was not made for ModelRollout {owner.name}: rename or "
                    "delete it"
                ) from None
        except ApiError as error:
            if error.status not in {400, 403, 422}:
                raise
            raise CopyError(
                f"the copy of Deployment {stable} was refused by the API server: {error.message}"
            ) from error
        return name

    async def release(self, namespace: str, name: str, *, owner_uid: str) -> None:
        """Takes the owner reference off a copy, so that it outlives the ModelRollout. Does nothing if it is
        off or gone.
        """
        path = paths.deployment(namespace, name)
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
