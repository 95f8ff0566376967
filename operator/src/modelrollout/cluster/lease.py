"""Leader election by a Lease: one replica acts, the others keep their caches warm.

A holder that cannot renew stops acting `RENEW_SECONDS` after its last success, the others may take over
`LEASE_SECONDS` after they last saw it renew. The difference, and a deadline on each request, is what keeps
two replicas from acting at once; the resourceVersion of every write is the second fence. No clock of another
machine is compared with ours: only the time since *we* saw the lease change counts.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from modelrollout.cluster import paths
from modelrollout.cluster.connection import KubeApi
from modelrollout.cluster.errors import AlreadyExistsError, ApiError, NotFoundError, NotLeaderError

logger = logging.getLogger(__name__)

LEASE_SECONDS: Final = 8.0
RENEW_SECONDS: Final = 5.0
RETRY_SECONDS: Final = 1.0


@dataclass(frozen=True, kw_only=True)
class LeaseSettings:
    """Where the Lease is and who we are.

    Attributes:
        identity: The same after a restart of the container (the pod's name), so that it takes its own lease
            back at once.
    """

    namespace: str
    name: str
    identity: str
    lease_seconds: float = LEASE_SECONDS
    renew_seconds: float = RENEW_SECONDS
    retry_seconds: float = RETRY_SECONDS


class Leadership:
    """Whether this replica may write, and for how long."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._until = 0.0
        self.acquired = asyncio.Event()
        self.lost = asyncio.Event()

    @property
    def held(self) -> bool:
        """Whether this replica may act now."""
        return self._clock() < self._until

    def require(self) -> None:
        """Raises NotLeaderError unless this replica may write now."""
        if not self.held:
            raise NotLeaderError("this replica does not hold the lease; another one acts")

    def extend(self, until: float) -> None:
        """Acting is allowed until that time of the monotonic clock."""
        first = not self.held
        self._until = until
        if first:
            if self.acquired.is_set():
                # It ran out for a moment and nobody noticed, but ticks and events were dropped meanwhile.
                # This wakes whoever waits for the loss, although it is cleared at once.
                self.lost.set()
            self.lost.clear()
            self.acquired.set()

    def end(self) -> None:
        """Acting is over."""
        if self.acquired.is_set():
            self.acquired.clear()
            self.lost.set()
        self._until = 0.0

    @classmethod
    def always(cls) -> Leadership:
        """For a single replica without election."""
        forever = cls()
        forever.extend(float("inf"))
        return forever


class Elector:
    """Takes, renews and gives back the Lease; `leadership` tells whether we hold it."""

    def __init__(self, api: KubeApi, settings: LeaseSettings, leadership: Leadership) -> None:
        self._api = api
        self._settings = settings
        self._leadership = leadership
        self._path = paths.lease(settings.namespace, settings.name)
        self._seen: tuple[Any, ...] = ()
        self._seen_at = 0.0
        self._warned = False

    async def run(self) -> None:
        """Competes for the Lease until cancelled."""
        settings = self._settings
        while True:
            started = time.monotonic()
            pause = settings.retry_seconds
            try:
                if await asyncio.wait_for(self._try(started), timeout=settings.renew_seconds):
                    self._leadership.extend(started + settings.renew_seconds)
                    pause = settings.renew_seconds / 2.5
                else:
                    self._stop_acting("another replica holds the lease")
                self._warned = False
            except (ApiError, TimeoutError) as error:
                if not self._warned:
                    logger.warning(
                        "The lease cannot be renewed and is tried again: %s", error or "no answer in time"
                    )
                    self._warned = True
                if not self._leadership.held:
                    self._stop_acting("the lease could not be renewed in time")
            await asyncio.sleep(pause * random.uniform(0.9, 1.0))  # noqa: S311 - spreads requests

    async def release(self) -> None:
        """Gives the Lease back, so that another replica takes over at once."""
        if not self._leadership.acquired.is_set():
            return
        self._leadership.end()
        try:
            lease = await self._api.request("GET", self._path, attempts=1, seconds=2)
            if lease.get("spec", {}).get("holderIdentity") == self._settings.identity:
                lease["spec"]["holderIdentity"] = ""
                lease["spec"]["leaseDurationSeconds"] = 1
                await self._api.request("PUT", self._path, body=lease, attempts=1, seconds=2)
                logger.info("The lease was given back.")
        except ApiError as error:
            logger.info("The lease could not be given back and runs out by itself: %s", error)

    def _stop_acting(self, why: str) -> None:
        if self._leadership.acquired.is_set():
            logger.warning("This replica stops acting: %s.", why)
            self._leadership.end()

    async def _try(self, started: float) -> bool:
        try:
            lease = await self._api.request("GET", self._path, attempts=1, seconds=2)
        except NotFoundError:
            return await self._create()
        spec = lease.setdefault("spec", {})
        holder = spec.get("holderIdentity") or ""
        mark = (holder, spec.get("renewTime"), lease["metadata"]["resourceVersion"])
        if mark != self._seen:
            self._seen, self._seen_at = mark, started
        free = not holder or started - self._seen_at > float(spec.get("leaseDurationSeconds") or 0)
        if holder != self._settings.identity and not free:
            return False
        if holder != self._settings.identity:
            logger.info("Taking over the lease from %s.", holder or "nobody")
            spec["leaseTransitions"] = int(spec.get("leaseTransitions") or 0) + 1
            spec["acquireTime"] = _micro_time()
        spec |= {
            "holderIdentity": self._settings.identity,
            "leaseDurationSeconds": int(self._settings.lease_seconds),
            "renewTime": _micro_time(),
        }
        # Carries the resourceVersion that was read: of two replicas that try at once one gets a conflict.
        await self._api.request("PUT", self._path, body=lease, attempts=1, seconds=2)
        return True

    async def _create(self) -> bool:
        settings, now = self._settings, _micro_time()
        lease = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": settings.name, "namespace": settings.namespace},
            "spec": {
                "holderIdentity": settings.identity,
                "leaseDurationSeconds": int(settings.lease_seconds),
                "acquireTime": now,
                "renewTime": now,
                "leaseTransitions": 0,
            },
        }
        try:
            path = paths.collection(paths.COORDINATION, "leases", settings.namespace)
            await self._api.request("POST", path, body=lease, attempts=1, seconds=2)
        except AlreadyExistsError:
            return False
        return True


def _micro_time() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
