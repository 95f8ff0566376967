"""Leader election by a Lease: one replica acts, the others keep their caches warm.

A holder that cannot renew stops acting `RENEW_SECONDS` after its last success, the others may take over
`LEASE_SECONDS` after they last saw it renew. The difference, and a deadline on each write, is what keeps
two replicas from acting at once; the resourceVersion of every write is the second fence. No clock of another
machine is compared with ours: only the time since *we* saw the lease change counts.

A Lease that is not there proves nothing: somebody may have deleted it while its holder acts. Whoever finds
none stops acting, and nobody acts under a new one before it is a lease's length old; by then the last holder
of the old one has stopped. Until then it has no `acquireTime`, so that also a restarted holder waits.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from modelrollout.cluster import resources
from modelrollout.cluster.client import KubeApi
from modelrollout.cluster.errors import AlreadyExistsError, ApiError, NotFoundError, NotLeaderError

logger = logging.getLogger(__name__)

LEASE_SECONDS: Final = 8.0
RENEW_SECONDS: Final = 5.0
RETRY_SECONDS: Final = 1.0
RELEASE_ATTEMPTS: Final = 2
RELEASE_REQUEST_SECONDS: Final = 1.5


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
        self._others_from = 0.0
        self.acquired = asyncio.Event()
        self.lost = asyncio.Event()

    @property
    def held(self) -> bool:
        """Whether this replica may act now."""
        return self._clock() < self._until

    def require(self) -> float:
        """Return seconds that a write which begins now may take: until another replica could act.

        Raises:
            NotLeaderError: This replica may not write now.
        """
        if not self.held:
            raise NotLeaderError("this replica does not hold the lease; another one acts")
        return self._others_from - self._clock()

    def extend(self, until: float, *, others_from: float | None = None) -> None:
        """Allow to act until `until`; another replica may act from `others_from` on.

        Both by the monotonic clock; by default they are the same.
        """
        first = not self.held
        self._until = until
        self._others_from = until if others_from is None else others_from
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
        self._path = resources.lease(settings.namespace, settings.name)
        self._seen: tuple[Any, ...] = ()
        self._seen_at = 0.0
        self._uid = ""
        self._uid_seen_at = 0.0
        self._warned = False
        self._released = False

    async def run(self) -> None:
        """Compete for the Lease until it was given back, or until cancelled."""
        settings = self._settings
        while not self._released:
            started = time.monotonic()
            pause = settings.retry_seconds
            try:
                may_act = await asyncio.wait_for(self._try(started), timeout=settings.renew_seconds)
                if self._released:
                    return  # given back while the answer was on its way: acting must not begin again
                if may_act:
                    self._leadership.extend(
                        started + settings.renew_seconds, others_from=started + settings.lease_seconds
                    )
                    pause = settings.renew_seconds / 2.5
                else:
                    self._stop_acting("it does not hold the lease any more")
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
        """End acting and competing, and give the Lease back, so that another replica takes over at once.

        A renewal may be under way, so a conflict is no reason to give up at the first attempt. Takes at most
        6 s, whatever the API server answers.
        """
        held, self._released = self._leadership.acquired.is_set(), True
        if not held:
            return
        self._leadership.end()
        for attempt in range(1, RELEASE_ATTEMPTS + 1):
            try:
                await self._give_back()
            except ApiError as error:
                last = attempt == RELEASE_ATTEMPTS
                after = "it runs out by itself" if last else "trying once more"
                logger.warning("The lease could not be given back, %s: %s", after, error)
            else:
                logger.info("The lease was given back.")
                return

    async def _give_back(self) -> None:
        options: dict[str, Any] = {"attempts": 1, "seconds": RELEASE_REQUEST_SECONDS}
        lease = await self._api.request("GET", self._path, **options)
        if lease.get("spec", {}).get("holderIdentity") == self._settings.identity:
            lease["spec"] |= {"holderIdentity": "", "leaseDurationSeconds": 1}
            await self._api.request("PUT", self._path, body=lease, **options)

    def _stop_acting(self, why: str) -> None:
        if self._leadership.acquired.is_set():
            logger.warning("This replica stops acting: %s.", why)
            self._leadership.end()

    async def _try(self, started: float) -> bool:
        """Take or renews the Lease; True if this replica may act under it."""
        settings = self._settings
        try:
            lease = await self._api.request("GET", self._path, attempts=1, seconds=2)
        except NotFoundError:
            self._stop_acting("the Lease is gone; acting again when a new one is a lease's length old")
            await self._create()
            return False
        spec = lease.setdefault("spec", {})
        holder = spec.get("holderIdentity") or ""
        may_act = bool(spec.get("acquireTime")) or self._old_enough(lease, started)
        if not self._is_free(lease, holder, started) and holder != settings.identity:
            return False
        if holder != settings.identity:
            logger.info("Taking over the lease from %s.", holder or "nobody")
            spec["leaseTransitions"] = int(spec.get("leaseTransitions") or 0) + 1
        if may_act and (holder != settings.identity or not spec.get("acquireTime")):
            spec["acquireTime"] = _micro_time()
        spec |= self._claim()
        if self._released:
            return False
        # Carries the resourceVersion that was read: of two replicas that try at once one gets a conflict.
        await self._api.request("PUT", self._path, body=lease, attempts=1, seconds=2)
        return may_act

    def _is_free(self, lease: dict[str, Any], holder: str, now: float) -> bool:
        """Tell whether nobody holds it, or its holder has not renewed it for the length of a lease."""
        spec = lease["spec"]
        mark = (holder, spec.get("renewTime"), lease["metadata"]["resourceVersion"])
        if mark != self._seen:
            self._seen, self._seen_at = mark, now
        return not holder or now - self._seen_at > float(spec.get("leaseDurationSeconds") or 0)

    def _old_enough(self, lease: dict[str, Any], now: float) -> bool:
        """Tell whether a Lease under which nobody has acted yet has been there for the length of a lease."""
        uid = str(lease["metadata"].get("uid"))
        if uid != self._uid:
            self._uid, self._uid_seen_at = uid, now
        return now - self._uid_seen_at > self._settings.lease_seconds

    def _claim(self) -> dict[str, Any]:
        return {
            "holderIdentity": self._settings.identity,
            "leaseDurationSeconds": int(self._settings.lease_seconds),
            "renewTime": _micro_time(),
        }

    async def _create(self) -> None:
        settings = self._settings
        lease = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": settings.name, "namespace": settings.namespace},
            "spec": {**self._claim(), "leaseTransitions": 0},
        }
        path = resources.collection(resources.COORDINATION, "leases", settings.namespace)
        with suppress(AlreadyExistsError):
            await self._api.request("POST", path, body=lease, attempts=1, seconds=2)


def _micro_time() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
