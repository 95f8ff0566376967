"""Reconciles what the work queue says, and keeps what goes wrong with one rollout away from all others."""

from __future__ import annotations

import asyncio
import itertools
import logging
import random
import time
from collections.abc import Mapping
from typing import Any, Final

from modelrollout.api.conditions import ConditionType, Reason, set_condition
from modelrollout.api.constants import PLURAL
from modelrollout.cluster import resources
from modelrollout.cluster.clock import ServerClock
from modelrollout.cluster.errors import (
    ApiError,
    ApiUnavailableError,
    ConflictError,
    ForbiddenError,
    NotFoundError,
    NotLeaderError,
)
from modelrollout.cluster.fence import FencedApi
from modelrollout.cluster.leader_election import Leadership
from modelrollout.cluster.watch_check import LATE_SECONDS, WatchCheck
from modelrollout.cluster.writer import Writer
from modelrollout.operator.events import EventRecorder
from modelrollout.operator.metrics import OperatorMetrics
from modelrollout.operator.reconcile import Reconciler
from modelrollout.operator.rollouts import Key, RolloutState
from modelrollout.operator.store import RolloutStore
from modelrollout.operator.wakeups import Wakeups
from modelrollout.operator.workqueue import WorkQueue

logger = logging.getLogger(__name__)

TICK_SECONDS: Final = 45.0
"""A tick that takes longer is cancelled and counts as failed."""
LONGEST_BACKOFF: Final = 60.0
FIRST_CONFLICT_WAIT: Final = 0.05
LONGEST_CONFLICT_WAIT: Final = 3.0
"""Seconds to the next attempt after a conflict: doubled with each in a row; a change ends the wait."""
FIRST_RESYNCS: Final = (10.0, 30.0, 60.0)
PAGE: Final = "250"


class Controller:
    """Processes the work queue while this replica leads, and lists the ModelRollouts now and then."""

    def __init__(  # noqa: PLR0913 - the parts it connects, by name
        self,
        *,
        api: FencedApi,
        store: RolloutStore,
        queue: WorkQueue[Key],
        wakeups: Wakeups,
        reconciler: Reconciler,
        writer: Writer,
        reporter: EventRecorder,
        leadership: Leadership,
        metrics: OperatorMetrics,
        scopes: tuple[str | None, ...],
        check: WatchCheck,
        clock: ServerClock | None = None,
    ) -> None:
        self._clock = clock or ServerClock.local()
        self._api = api
        self._store = store
        self._queue = queue
        self._wakeups = wakeups
        self._reconciler = reconciler
        self._writer = writer
        self._reporter = reporter
        self._leadership = leadership
        self._metrics = metrics
        self._scopes = scopes
        self._check = check
        self._jitter = random.Random()  # noqa: S311 - spreads retries, no secret

    async def run(self) -> None:
        """Process the queue until cancelled."""
        await self._queue.run(self._tick)

    async def lead(self) -> None:
        """Tick while this replica holds the lease, until cancelled."""
        while True:
            await self._leadership.acquired.wait()
            logger.info("This replica acts from now on (%d ModelRollouts).", len(self._store))
            await self._settle_claims()
            self._wakeups.wake_all()
            self._queue.resume()
            await self._leadership.lost.wait()
            self._queue.pause()
            logger.info("This replica waits from now on.")

    async def resync(self, every: float) -> None:
        """List all ModelRollouts now and then.

        This finds a lost event, and what was deleted while kopf did not watch. Sooner after the start,
        when a watch is most likely to be missing, and while kopf has not told what a list showed.

        Raises:
            NotWatchedError: kopf does not watch ModelRollouts.
        """
        for pause in itertools.chain(FIRST_RESYNCS, itertools.repeat(every)):
            wait = min(pause, every, LATE_SECONDS if self._check.waiting else every)
            await asyncio.sleep(wait * self._jitter.uniform(0.9, 1.1))
            try:
                await self.list_rollouts()
            except ApiError as error:
                logger.warning("The ModelRollouts could not be listed: %s", error)
            else:
                self._check.require()

    async def list_rollouts(self) -> None:
        """Take in every ModelRollout there is, forget those that are gone."""
        known = {rollout.key: rollout.uid for rollout in self._store}
        removed = self._store.removals.noted()
        seen: set[Key] = set()
        for namespace in self._scopes:
            query = {"limit": PAGE}
            while True:
                page = await self._api.get(resources.collection(resources.ROLLOUTS, PLURAL, namespace), query)
                for obj in page["items"]:
                    key = (obj["metadata"]["namespace"], obj["metadata"]["name"])
                    seen.add(key)
                    if self._apply(obj):
                        self._check.listed(key, obj["metadata"]["resourceVersion"])
                if not page["metadata"].get("continue"):
                    break
                query["continue"] = page["metadata"]["continue"]
        for key in known.keys() - seen:
            await self._look_again(key)
        self._store.removals.forget(removed)

    def _apply(self, obj: Mapping[str, Any]) -> bool:
        news = self._store.apply(obj)
        if news:
            self._queue.wake((obj["metadata"]["namespace"], obj["metadata"]["name"]))
        return news

    async def _settle_claims(self) -> None:
        """Know what every rollout has in use before the first tick, so that none takes what another uses."""
        for number, rollout in enumerate(tuple(self._store)):
            self._store.refresh_claims(rollout)
            if number % 50 == 0:
                await asyncio.sleep(0)

    async def _tick(self, key: Key) -> float | None:
        rollout = self._store.get(key)
        if rollout is None:
            self._queue.forget(key)  # it was woken although it is gone
            return None
        if not self._leadership.held:
            return None
        started = time.monotonic()
        try:
            async with asyncio.timeout(TICK_SECONDS):
                wait = await self._reconciler.reconcile(rollout)
        except NotLeaderError:
            return None
        except ConflictError as error:
            logger.debug("%s changed meanwhile and is looked at again: %s", rollout.name, error)
            self._metrics.ticks.labels("conflict").inc()
            await self._look_again(key)
            wait = FIRST_CONFLICT_WAIT * float(2 ** min(rollout.conflicts, 10))
            rollout.conflicts += 1
            return min(LONGEST_CONFLICT_WAIT, wait) * self._jitter.uniform(0.5, 1.5)
        except NotFoundError as error:
            await self._look_again(key)
            if self._store.get(key) is None:
                return None
            if rollout.failures == 0:  # something was deleted during the tick; the watch tells in a moment
                rollout.failures = 1
                return 0.25
            return await self._failed(rollout, error)
        except Exception as error:  # noqa: BLE001 - whatever it is, the other rollouts go on
            return await self._failed(rollout, error)
        finally:
            self._metrics.tick_seconds.observe(time.monotonic() - started)
        rollout.failures = rollout.conflicts = 0
        self._metrics.ticks.labels("done").inc()
        return wait

    async def _look_again(self, key: Key) -> None:
        """Read one ModelRollout from the API server; forget it if it is gone."""
        known = self._store.get(key)
        try:
            self._apply(await self._api.get(resources.rollout(*key)))
        except NotFoundError:
            if known is not None:  # not one of that name that was made meanwhile
                self._store.remove(key, uid=known.uid)
        except ApiError as error:
            logger.debug("%s could not be read: %s", key[1], error)

    async def _failed(self, rollout: RolloutState, error: Exception) -> float:
        """Make a failed tick visible and return the seconds until the next attempt."""
        rollout.failures += 1
        wait: float = min(LONGEST_BACKOFF, 0.5 * 2 ** min(rollout.failures, 10)) * self._jitter.uniform(
            0.75, 1.25
        )
        fields = {"namespace": rollout.namespace, "rollout": rollout.name}
        self._metrics.ticks.labels("error").inc()
        if isinstance(error, ApiUnavailableError):
            logger.warning(
                "The API server does not answer; next attempt in %.1f s: %s", wait, error, extra=fields
            )
            return min(wait, 5.0)
        expected = isinstance(error, ApiError | TimeoutError)
        text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        logger.error(
            "A tick failed (%d in a row); next attempt in %.1f s: %s",
            rollout.failures,
            wait,
            text,
            extra=fields,
            exc_info=None if expected else error,
        )
        reason = Reason.FORBIDDEN if isinstance(error, ForbiddenError) else Reason.TICK_FAILED
        await self._show_failure(rollout, text, reason=reason)
        return wait

    async def _show_failure(self, rollout: RolloutState, text: str, *, reason: Reason) -> None:
        status = rollout.status
        if rollout.status_unreadable:
            return  # what is there is worth more than what could be written
        conditions = set_condition(
            status.conditions,
            type_=ConditionType.STALLED,
            status=True,
            reason=reason,
            message=f"The operator failed to work on this object and tries again: {text}"[:1000],
            now=self._clock.now(),
            generation=rollout.generation,
        )
        if conditions is status.conditions:
            return
        try:
            changed = status.model_copy(update={"conditions": conditions})
            version = await self._writer.write_status(rollout.ref, changed.to_json())
            rollout.set_status(changed, version)
            self._reporter.warn(rollout, reason, text)
        except (ApiError, NotLeaderError) as failure:
            logger.debug("The failure could not be written into status: %s", failure)
