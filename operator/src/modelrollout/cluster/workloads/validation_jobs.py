"""Validation Jobs: made once under a fixed name, watched, and asked why where they fail."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from modelrollout.api.constants import (
    CANDIDATE_URL_VARIABLE,
    LABEL_MANAGED_BY,
    LABEL_ROLE,
    LABEL_ROLLOUT,
    LABEL_RUN,
    MANAGED_BY,
    ROLE_VALIDATION,
)
from modelrollout.api.printable import printable
from modelrollout.api.workload import Validation
from modelrollout.cluster import resources
from modelrollout.cluster.cache import ClusterCache
from modelrollout.cluster.errors import ApiError, ConflictError, ForbiddenError, NotFoundError
from modelrollout.cluster.fence import FencedApi
from modelrollout.cluster.ownership import create_owned, delete_owned
from modelrollout.cluster.resources import MERGE_PATCH
from modelrollout.cluster.views import JobView, parse_job
from modelrollout.cluster.workloads.candidate import owner_reference
from modelrollout.cluster.writer import RolloutRef
from modelrollout.decision.types import JobResult, JobState

logger = logging.getLogger(__name__)

LOG_LINES: Final = "40"
LOG_TAIL_LENGTH: Final = 4000
"""Characters of a log that fit into a message in status."""
LOOK_EVERY: Final = 10.0
"""Seconds between two looks at the pods of a Job that is not running yet."""
REFUSAL_SECONDS: Final = 300.0
"""How long a refusal to change Jobs is believed."""
DEADLINE_MARGIN: Final = 60
"""Seconds by which the Job's own deadline is later than the timeout, which is the operator's to enforce."""
PULL_REASONS: Final = frozenset({"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"})
CONFIG_REASONS: Final = frozenset({"CreateContainerConfigError", "CreateContainerError", "RunContainerError"})


@dataclass(frozen=True, kw_only=True)
class JobOrder:
    """One validation Job to make."""

    name: str
    run: str
    validation: Validation
    candidate_url: str
    owner: RolloutRef


def build_job(order: JobOrder) -> dict[str, Any]:
    """Return the manifest of one pod that is never restarted.

    A validation that has to be repeated is repeated by name.

    It has no time to live yet: a Job may not go before its result is in status. `JobKeeper.expire` sets it.
    """
    validation, owner = order.validation, order.owner
    labels = {
        LABEL_MANAGED_BY: MANAGED_BY,
        LABEL_ROLLOUT: owner.name,
        LABEL_RUN: order.run,
        LABEL_ROLE: ROLE_VALIDATION,
    }
    env = [{"name": CANDIDATE_URL_VARIABLE, "value": order.candidate_url}]
    env += [v.to_json() for v in validation.env if v.name != CANDIDATE_URL_VARIABLE]
    container: dict[str, Any] = {"name": "validation", "image": validation.image, "env": env}
    if validation.command:
        container["command"] = list(validation.command)
    if validation.args:
        container["args"] = list(validation.args)
    pod: dict[str, Any] = {"restartPolicy": "Never", "containers": [container]}
    # What the restricted pod security standard asks for: elsewhere the namespace would refuse the pod.
    container["securityContext"] = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    pod["securityContext"] = {"seccompProfile": {"type": "RuntimeDefault"}}
    if not validation.run_as_root:
        pod["securityContext"]["runAsNonRoot"] = True
    if validation.service_account:
        pod["serviceAccountName"] = validation.service_account
    else:
        pod["automountServiceAccountToken"] = False  # nobody asked for rights in the cluster
    if validation.image_pull_secrets:
        pod["imagePullSecrets"] = [{"name": name} for name in validation.image_pull_secrets]
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": order.name,
            "namespace": owner.namespace,
            "labels": labels,
            "ownerReferences": [owner_reference(owner)],
        },
        "spec": {
            "backoffLimit": 0,
            "completions": 1,
            "parallelism": 1,
            "activeDeadlineSeconds": int(validation.timeout.seconds) + DEADLINE_MARGIN,
            "template": {"metadata": {"labels": labels}, "spec": pod},
        },
    }


class JobKeeper:
    """Makes, ends and reads validation Jobs."""

    def __init__(self, api: FencedApi, cache: ClusterCache) -> None:
        self._api = api
        self._cache = cache
        self._details: dict[tuple[str, str], str] = {}
        self._looked_at: dict[tuple[str, str], float] = {}
        self._refused: dict[str, float] = {}

    async def start(self, order: JobOrder) -> None:
        """Make the Job; one of that name that is there already is the same one.

        Raises:
            NameTakenError: One of that name is somebody else's.
            ApiError: Refused, for instance by a quota.
        """
        collection = resources.collection(resources.BATCH, "jobs", order.owner.namespace)
        await create_owned(self._api, collection, build_job(order), order.owner)

    async def end(self, name: str, *, owner: RolloutRef) -> None:
        """Delete a Job of the rollout and its pods; a missing one is fine, one of somebody else stays."""
        path = resources.job(owner.namespace, name)
        view = self._cache.jobs.get(owner.namespace, name)
        if view is None:  # made a moment ago, or without our label
            try:
                view = parse_job(await self._api.get(path))
            except NotFoundError:
                return
        if view.owner == owner.uid:
            await delete_owned(self._api, path, uid=view.uid)

    async def expire(self, name: str, *, after: float, owner: RolloutRef) -> None:
        """Let a finished Job, whose result is in status, go `after` seconds after its end.

        Where the API server does not allow it, it stays until its ModelRollout goes.
        """
        view = self._cache.jobs.get(owner.namespace, name)
        ours = view is not None and view.owner == owner.uid
        if view is None or not ours or view.ttl is not None or not (view.succeeded or view.failed):
            return
        if time.monotonic() < self._refused.get(owner.namespace, 0.0):
            return
        body = {"metadata": {"uid": view.uid}, "spec": {"ttlSecondsAfterFinished": int(after)}}
        path = resources.job(owner.namespace, name)
        try:
            await self._api.request("PATCH", path, body=body, content_type=MERGE_PATCH)
        except (NotFoundError, ConflictError):
            return  # it is gone, or another one has its name
        except ForbiddenError as error:
            self._refused[owner.namespace] = time.monotonic() + REFUSAL_SECONDS
            logger.warning("Finished Jobs stay until their ModelRollout goes: %s", error)

    def results(self, names: Iterable[str], *, owner: RolloutRef) -> dict[str, JobResult]:
        """Return where Jobs of the rollout stand, from memory.

        `look` before brings what a failed one said.
        """
        return {name: self._result(name, owner) for name in names}

    async def look(self, namespace: str, names: Iterable[str]) -> None:
        """Read why a Job failed, once; and every ten seconds why one has not started."""
        for name in names:
            view = self._cache.jobs.get(namespace, name)
            if view is None or view.succeeded:
                continue
            key, now = (namespace, name), time.monotonic()
            if view.failed and key not in self._details:
                self._details[key] = await self._why_failed(view)
            elif not view.failed and now - self._looked_at.get(key, 0.0) >= LOOK_EVERY:
                self._looked_at[key] = now
                self._details[key] = await self._why_waiting(view)
                if not self._details[key]:
                    del self._details[key]

    def forget(self, namespace: str, names: Iterable[str]) -> None:
        """Drop what is remembered of Jobs whose result is in status."""
        for name in names:
            self._details.pop((namespace, name), None)
            self._looked_at.pop((namespace, name), None)

    def _result(self, name: str, owner: RolloutRef) -> JobResult:
        namespace = owner.namespace
        view = self._cache.jobs.get(namespace, name)
        if view is None or view.owner != owner.uid:
            return JobResult(name=name, state=JobState.ABSENT)
        detail = self._details.get((namespace, name), "")
        if view.succeeded:
            return JobResult(name=name, state=JobState.SUCCEEDED)
        if view.failed:
            return JobResult(
                name=name, state=JobState.FAILED, message=detail or f"{view.reason}: {view.message}"
            )
        return JobResult(name=name, state=JobState.RUNNING, message=detail)

    async def _pods(self, view: JobView) -> list[Mapping[str, Any]]:
        path = resources.collection(resources.CORE, "pods", view.namespace)
        try:
            found = await self._api.get(path, {"labelSelector": f"batch.kubernetes.io/job-name={view.name}"})
        except ApiError as error:
            logger.warning("The pods of Job %s could not be read: %s", view.name, error)
            return []
        return list(found.get("items") or ())

    async def _why_failed(self, view: JobView) -> str:
        pod = next(iter(await self._pods(view)), None)
        if pod is None:
            return f"The Job failed ({view.reason}: {view.message}) and has no pod left."
        statuses = pod.get("status", {}).get("containerStatuses") or ()
        ended = [state["terminated"] for s in statuses if "terminated" in (state := s.get("state") or {})]
        head = f"Exit code {ended[0]['exitCode']}." if ended else f"The Job failed ({view.reason})."
        path = f"{resources.collection(resources.CORE, 'pods', view.namespace)}/{pod['metadata']['name']}/log"
        try:
            text = await self._api.read_text(path, {"tailLines": LOG_LINES, "limitBytes": "65536"})
        except ApiError as error:
            return f"{head} Its log could not be read: {error.message}"
        tail = printable(text.strip())[-(LOG_TAIL_LENGTH - len(head) - 30) :]
        return f"{head} Last lines of its log:\n{tail}" if tail else f"{head} It logged nothing."

    async def _why_waiting(self, view: JobView) -> str:
        for pod in await self._pods(view):
            for status in pod.get("status", {}).get("containerStatuses") or ():
                waiting = (status.get("state") or {}).get("waiting") or {}
                if waiting.get("reason") in PULL_REASONS | CONFIG_REASONS:
                    text = printable(waiting.get("message") or "no further explanation")
                    return f"{waiting['reason']} for image {status.get('image')}: {text}"[:LOG_TAIL_LENGTH]
        return ""
