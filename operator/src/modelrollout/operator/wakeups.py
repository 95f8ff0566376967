"""Which ModelRollouts are queued when something in the cluster changes."""

from __future__ import annotations

import zlib
from typing import Final

from modelrollout.cluster.cache import EVERYTHING
from modelrollout.operator.rollouts import Key
from modelrollout.operator.store import RolloutStore
from modelrollout.operator.workqueue import WorkQueue

SETTLE_SECONDS: Final = 0.02
"""Changes come in bursts; a tick waits this long for the rest of one."""
STARTS_PER_SECOND: Final = 300.0


class Wakeups:
    """Queues the ModelRollouts that a change concerns."""

    def __init__(self, store: RolloutStore, queue: WorkQueue[Key]) -> None:
        self._store = store
        self._queue = queue

    def object_changed(self, kind: str, namespace: str, name: str) -> None:
        """Queue the rollouts that a changed Deployment, Service (or its endpoints) or Job concerns."""
        if kind == EVERYTHING:
            self.wake_all()
        elif kind == "rollouts":
            if self._store.get((namespace, name)) is not None:
                self._queue.wake((namespace, name), SETTLE_SECONDS)
        else:
            for rollout in self._store.claimants(kind, namespace, name):
                self._queue.wake(rollout.key, SETTLE_SECONDS)

    def wake_all(self) -> None:
        """Those with a run under way first; the rest in the course of some seconds."""
        busy = sum(not rollout.finished for rollout in self._store)
        for rollout in self._store:
            share = zlib.crc32(rollout.uid.encode()) / 2**32
            if rollout.finished:
                after = (busy + share * len(self._store)) / STARTS_PER_SECOND
            else:
                after = share * busy / STARTS_PER_SECOND
            self._queue.wake(rollout.key, after)
