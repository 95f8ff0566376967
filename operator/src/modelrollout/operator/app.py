"""All parts of the operator, put together, and its tasks from the start to the end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, Final

from modelrollout.api.constants import API_VERSION, GROUP
from modelrollout.cluster.cache import ClusterCache
from modelrollout.cluster.client import Credentials, KubeApi
from modelrollout.cluster.clock import ServerClock
from modelrollout.cluster.errors import ApiError, NotFoundError
from modelrollout.cluster.fence import FencedApi
from modelrollout.cluster.kinds import OtherKinds
from modelrollout.cluster.leader_election import Elector, Leadership, LeaseSettings
from modelrollout.cluster.workloads.candidate import CopyKeeper
from modelrollout.cluster.workloads.shadow import SideKeeper
from modelrollout.cluster.workloads.standby import Parking
from modelrollout.cluster.workloads.validation_jobs import JobKeeper
from modelrollout.cluster.writer import Writer
from modelrollout.operator.announcer import Announcer
from modelrollout.operator.controller import Controller
from modelrollout.operator.deadline import REST_SECONDS, ExitDeadline
from modelrollout.operator.events import EventRecorder
from modelrollout.operator.executor import Executor
from modelrollout.operator.health import HealthServer
from modelrollout.operator.measure import Measurer
from modelrollout.operator.metrics import CacheCollector, OperatorMetrics, PrometheusHooks
from modelrollout.operator.observe import Observer
from modelrollout.operator.preflight import Inspector
from modelrollout.operator.reconcile import Reconciler
from modelrollout.operator.rollouts import Key, RolloutState
from modelrollout.operator.settings import Settings
from modelrollout.operator.store import RolloutStore
from modelrollout.operator.wakeups import Wakeups
from modelrollout.operator.webhooks import Notifier
from modelrollout.operator.workqueue import WorkQueue
from modelrollout.prometheus import Evaluator, PrometheusTargets
from modelrollout.traffic.replicas import ReplicasProvider

logger = logging.getLogger(__name__)

CRD_RETRY_SECONDS: Final = 2.0
CANCEL_SECONDS: Final = 3.0
"""For so long the tasks that were cancelled are waited for."""


class App:
    """The operator. Made by `create`, run by `start`, ended by `drain`.

    Attributes:
        store: The ModelRollouts.
        queue: Which of them are due when.
        check: Whether kopf tells of them what lists show.
        failed: Whether a part of it ended by itself.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        api: KubeApi,
        metrics: OperatorMetrics,
        leadership: Leadership,
        stop: asyncio.Event,
    ) -> None:
        self._settings = settings
        self._connection = api
        self._metrics = metrics
        self._leadership = leadership
        self._stop = stop
        self._tasks: set[asyncio.Task[None]] = set()
        self._synced = asyncio.Event()
        self.failed = False
        self.queue: WorkQueue[Key] = WorkQueue(
            accepts=lambda: leadership.held, observe_lag=metrics.tick_lag.observe
        )
        targets = PrometheusTargets.from_mapping(dict(settings.prometheus))
        self._evaluator = Evaluator(targets, hooks=PrometheusHooks(metrics), now=api.clock.now)
        self.store = RolloutStore(changed=self.queue.wake, forgotten=self._forget)
        metrics.describe(self.store)
        wakeups = Wakeups(self.store, self.queue)
        self._api = FencedApi(api, leadership)
        self._cache = ClusterCache(self._api, namespaces=settings.scopes, listener=wakeups.object_changed)
        self.check = self._cache.rollouts
        metrics.registry.register(CacheCollector(self._cache))
        self._writer = Writer(self._api, self._cache)
        self._events = EventRecorder(self._writer, metrics)
        self._notifier = Notifier(self._api, metrics, allowed_hosts=settings.notification_hosts)
        self._controller = self._new_controller(wakeups, targets)
        lease = LeaseSettings(
            namespace=settings.lease_namespace, name=settings.lease_name, identity=settings.identity
        )
        self._elector = Elector(api, lease, leadership)
        self._health = HealthServer(healthy=self.unhealthy, ready=self.unready, registry=metrics.registry)

    @classmethod
    async def create(cls, settings: Settings, *, stop: asyncio.Event) -> App:
        """Connect to the cluster and put the parts together. `stop` is set when one of them fails.

        Raises:
            ApiError: No usable way to the cluster.
            SettingsError: The settings of a Prometheus are unusable.
        """
        leadership = Leadership()
        metrics = OperatorMetrics(lambda: leadership.held)
        api = await KubeApi.connect(
            kubeconfig=settings.kubeconfig,
            context=settings.context,
            observer=metrics,
            clock=ServerClock(bound=settings.max_clock_skew),
        )
        metrics.watch_clock(lambda: api.clock.skew)
        return cls(settings, api=api, metrics=metrics, leadership=leadership, stop=stop)

    async def start(self) -> None:
        """Serve probes, then list everything, then compete for the lease.

        A decision never rests on half a cache. Returns when every kind and all ModelRollouts are listed.
        """
        await self._health.start(self._settings.host, self._settings.port)
        logger.info("Probes and metrics are served on port %d.", self._health.port)
        self._run("caches", self._cache.run(relist=self._settings.resync))
        self._run("work queue", self._controller.run())
        self._run("events", self._events.run())
        self._run("notifications", self._notifier.run())
        try:
            await self._cache.wait_synced()
            await self._first_list()
        except BaseException:  # kopf calls the cleanup only of what has started
            await self.drain()
            raise
        self._synced.set()
        logger.info("The caches are complete (%d ModelRollouts).", len(self.store))
        self._run("resync", self._controller.resync(self._settings.resync))
        self._run("leading", self._controller.lead())
        if self._settings.leader_election:
            self._run("election", self._elector.run())
        else:
            self._leadership.extend(float("inf"))

    async def drain(self) -> None:
        """Let the ticks under way end and their Events go out, give the lease back, then close everything."""
        self._stop.set()  # kopf would wait 5 s for its own task that waits for this
        tasks = tuple(self._tasks)
        self._tasks.clear()  # from now on a part that ends is no failure: the election does when it is over
        deadline = ExitDeadline()
        deadline.start(self._settings.shutdown + REST_SECONDS)
        logger.info("The operator stops; ticks under way are finished.")
        await self.queue.drain(self._settings.shutdown)
        await self._events.flush(2.0)
        if self._settings.leader_election:
            await self._elector.release()
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=CANCEL_SECONDS)
        await self._evaluator.close()
        await self._health.stop()
        await self._connection.close()
        if not self.failed:
            deadline.done()

    async def credentials(self) -> Credentials:
        """Return how the API server is reached, for kopf."""
        return await self._connection.credentials()

    def unhealthy(self) -> str:
        """Return why a restart would help; empty if it would not."""
        late = self.queue.overdue()
        if late > self._settings.stalled_after:
            return (
                f"a tick is late by {late:.0f} s; at most {self._settings.stalled_after:.0f} s are expected"
            )
        return ""

    def unready(self) -> str:
        """Return why this replica could neither act nor take over now; empty if it could."""
        if not self._synced.is_set():
            missing = "; ".join(self._cache.missing())
            return "the caches are not complete yet" + (f": {missing}" if missing else "")
        stale = "; ".join(self._cache.stale())
        return f"what is known of the cluster may be out of date: {stale}" if stale else ""

    def _run(self, name: str, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(coroutine, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        """End the operator when a part ends too early, so that a fresh one takes over."""
        if task not in self._tasks or task.cancelled():
            return
        logger.error("The task %s ended; the operator stops.", task.get_name(), exc_info=task.exception())
        self.failed = True
        self._stop.set()

    async def _first_list(self) -> None:
        while True:
            try:
                # kopf looks only once whether the resource exists, so it goes on when discovery tells so.
                await self._api.get("/apis/" + API_VERSION)
                groups = (await self._api.get("/apis"))["groups"]
                if all(group["name"] != GROUP for group in groups):
                    raise NotFoundError(404, "NotFound", f"{GROUP} is not among the API groups yet")
                await self._controller.list_rollouts()
            except NotFoundError:
                logger.error(
                    "The cluster does not know ModelRollouts: apply the CRD (kubectl apply -f crds/)."
                )
            except ApiError as error:
                logger.warning("The ModelRollouts cannot be listed yet: %s", error)
            else:
                return
            await asyncio.sleep(CRD_RETRY_SECONDS)

    def _forget(self, rollout: RolloutState) -> None:
        self.queue.forget(rollout.key)
        self.check.forget(rollout.key)
        self._evaluator.forget(rollout.uid)

    def _new_controller(self, wakeups: Wakeups, targets: PrometheusTargets) -> Controller:
        return Controller(
            api=self._api,
            store=self.store,
            queue=self.queue,
            wakeups=wakeups,
            reconciler=self._new_reconciler(targets),
            writer=self._writer,
            reporter=self._events,
            leadership=self._leadership,
            metrics=self._metrics,
            scopes=self._settings.scopes,
            check=self.check,
            clock=self._connection.clock,
        )

    def _new_reconciler(self, targets: PrometheusTargets) -> Reconciler:
        api, cache, clock = self._api, self._cache, self._connection.clock
        inspector = Inspector(store=self.store, cache=cache, targets=targets, kinds=OtherKinds(api))
        parking = Parking(api, cache)
        executor = Executor(
            api=api,
            provider=ReplicasProvider(self._writer, cache),
            copies=CopyKeeper(api),
            side=SideKeeper(api, cache, self._writer),
            jobs=JobKeeper(api, cache),
            parking=parking,
            cache=cache,
            metrics=self._metrics,
            clock=clock,
        )
        return Reconciler(
            store=self.store,
            inspector=inspector,
            measurer=Measurer(
                self._evaluator, self._metrics, replica_sets=cache.replica_sets_of, clock=clock
            ),
            observer=Observer(
                cache=cache,
                store=self.store,
                inspector=inspector,
                jobs=executor.job_results,
                parking=parking,
                clock=clock,
            ),
            writer=self._writer,
            executor=executor,
            reporter=self._events,
            announcer=Announcer(reporter=self._events, notifier=self._notifier, wake=self.queue.wake),
            leadership=self._leadership,
            clock=clock,
        )
