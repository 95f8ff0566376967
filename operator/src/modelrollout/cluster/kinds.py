"""Workloads of other kinds under the name of a Deployment that is missing: the likely reason why it is."""

from __future__ import annotations

import logging
import time
from typing import Final

from modelrollout.cluster import resources
from modelrollout.cluster.errors import ApiError, NotFoundError
from modelrollout.cluster.fence import FencedApi

logger = logging.getLogger(__name__)

BELIEVED_SECONDS: Final = 30.0
"""How long an answer is believed."""
KEPT: Final = 1000
"""Names that are remembered."""
KINDS: Final = (
    ("StatefulSet", resources.APPS, "statefulsets"),
    ("DaemonSet", resources.APPS, "daemonsets"),
    ("ReplicaSet", resources.APPS, "replicasets"),
    ("Rollout (of Argo Rollouts)", "/apis/argoproj.io/v1alpha1", "rollouts"),
)

Key = tuple[str, str]


class OtherKinds:
    """Looks for them, seldom; and remembers what was found."""

    def __init__(self, api: FencedApi) -> None:
        self._api = api
        self._found: dict[Key, tuple[str, float]] = {}

    async def look(self, namespace: str, name: str) -> None:
        """Ask for that name among the other kinds, unless that was done a moment ago."""
        key = (namespace, name)
        if time.monotonic() < self._found.get(key, ("", 0.0))[1]:
            return
        kind = ""
        for shown, group_version, plural in KINDS:
            if await self._exists(f"{resources.collection(group_version, plural, namespace)}/{name}"):
                kind = shown
                break
        self._found.pop(key, None)
        self._found[key] = (kind, time.monotonic() + BELIEVED_SECONDS)
        if len(self._found) > KEPT:
            del self._found[next(iter(self._found))]

    def found(self, namespace: str, name: str) -> str:
        """Return the kind of what has that name, by the last look; empty if nothing has."""
        return self._found.get((namespace, name), ("", 0.0))[0]

    async def _exists(self, path: str) -> bool:
        try:
            await self._api.get(path)
        except NotFoundError:
            return False
        except ApiError as error:  # it only makes a message better
            logger.debug("Other kinds could not be looked at: %s", error)
            return False
        return True
