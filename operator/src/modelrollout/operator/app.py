"""All parts of one operator process, put together."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Iterator
from typing import Any

from modelrollout.api.constants import API_VERSION, GROUP
from modelrollout.cluster.cache import ClusterCache
from modelrollout.cluster.client import KubeApi
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
from modelrollout.operator.controller import Engine
from modelrollout.operator.events import Reporter
from modelrollout.operator.executor import Actor, Hands
from modelrollout.operator.handlers import KopfWatcher
from modelrollout.operator.health import HealthServer
from modelrollout.operator.measure import Measurer
from modelrollout.operator.metrics import CacheCollector, OperatorMetrics, PrometheusHooks
from modelrollout.operator.observe import Observer
from modelrollout.operator.preflight import Inspector
from modelrollout.operator.reconcile import Reconciler
from modelrollout.operator.rollouts import Key, RolloutState, RolloutStore
from modelrollout.operator.settings import Settings
from modelrollout.operator.webhooks import Notifier
from modelrollout.prometheus import Evaluator, PrometheusTargets
from modelrollout.traffic.replicas import ReplicasProvider

logger = logging.getLogger(__name__)

CRD_RETRY_SECONDS = 2.0


class Process:
    """The operator. Made by `create`, driven by the coroutines of `tasks`, ended by `shut_down`."""

    def __init__(
        self,
        settings: Settings,
        api: KubeApi,
        metrics: OperatorMetrics,
        store: RolloutStore,
        leadership: Leadership,
    ) -> None:
        self._settings = settings
        self._connection = api
        self._api = fenced = FencedApi(api, leadership)
        self._metrics = metrics
        self._store = store
        self._leadership = leadership
        self._synced = asyncio.Event()
        targets = PrometheusTargets.from_mapping(dict(settings.prometheus))
        self._evaluator = Evaluator(targets, hooks=PrometheusHooks(metrics), now=api.clock.now)
        self._cache = ClusterCache(fenced, namespaces=settings.scopes, listener=self._object_changed)
        metrics.registry.register(CacheCollector(self._cache))
        self._watcher = KopfWatcher(
            namespaces=settings.namespaces, credentials=api.credentials, on_event=self._rollout_event
        )
        writer = Writer(fenced, self._cache, rollout_written=self._watcher.expect)
        self._reporter = Reporter(writer, metrics)
        self._notifier = Notifier(fenced, metrics, allowed_hosts=settings.notification_hosts)
        self._measurer = Measurer(
            self._evaluator, metrics, replica_sets=self._cache.replica_sets_of, clock=api.clock
        )
        self._engine = Engine(
            api=fenced,
            store=store,
            writer=writer,
            reporter=self._reporter,
            leadership=self._leadership,
            metrics=metrics,
            scopes=settings.scopes,
            clock=api.clock,
        )
        self._engine.use(self._reconciler(writer, targets))
        lease = LeaseSettings(
            namespace=settings.lease_namespace, name=settings.lease_name, identity=settings.identity
        )
        self._elector = Elector(api, lease, self._leadership)
        self._health = HealthServer(healthy=self.unhealthy, ready=self.unready, registry=metrics.registry)

    @classmethod
    async def create(cls, settings: Settings) -> Process:
        """Connects to the cluster and listens for probes.

        Raises:
            ApiError: No usable way to the cluster.
            ValueError: The settings of a Prometheus are unusable.
        """
        parts: list[Process] = []
        store = RolloutStore(
            changed=lambda key: parts[0].rollout_changed(key),  # noqa: PLW0108 - parts is still empty here
            forgotten=lambda old: parts[0].forgotten(old),  # noqa: PLW0108
        )
        leadership = Leadership()
        metrics = OperatorMetrics(lambda: store, lambda: leadership.held)
        api = await KubeApi.connect(
            kubeconfig=settings.kubeconfig,
            context=settings.context,
            observer=metrics,
            clock=ServerClock(bound=settings.max_clock_skew),
        )
        metrics.watch_clock(lambda: api.clock.skew)
        process = cls(settings, api, metrics, store, leadership)
        parts.append(process)
        await process._health.start(settings.host, settings.port)
        logger.info("Probes and metrics are served on port %d.", process._health.port)
        return process

    def tasks(self) -> Iterator[tuple[str, Coroutine[Any, Any, None]]]:
        """What has to run, by name. None of them ends by itself."""
        yield "caches", self._cache.run(relist=self._settings.resync)
        yield "scheduler", self._engine.scheduler.run()
        yield "events", self._reporter.run()
        yield "notifications", self._notifier.run()
        yield "work", self._work()

    async def finish_ticks(self) -> None:
        """Lets the ticks under way end and their Events go out, then gives the lease back."""
        await self._engine.scheduler.drain(self._settings.shutdown)
        await self._reporter.flush(2.0)
        if self._settings.leader_election:
            await self._elector.release()

    async def shut_down(self) -> None:
        """Closes everything."""
        await self._evaluator.close()
        await self._health.stop()
        await self._connection.close()

    def rollout_changed(self, key: Key) -> None:
        """A ModelRollout is new or changed."""
        self._engine.rollout_changed(key)

    def forgotten(self, rollout: RolloutState) -> None:
        """A ModelRollout is gone."""
        self._engine.scheduler.forget(rollout.key)
        self._measurer.forget(rollout)

    def unhealthy(self) -> str:
        """Why a restart would help; empty if it would not."""
        late = self._engine.scheduler.overdue()
        if late > self._settings.stalled_after:
            return (
                f"a tick is late by {late:.0f} s; at most {self._settings.stalled_after:.0f} s are expected"
            )
        return ""

    def unready(self) -> str:
        """Why this replica could neither act nor take over now; empty if it could."""
        if not self._synced.is_set():
            missing = "; ".join(self._cache.missing())
            return "the caches are not complete yet" + (f": {missing}" if missing else "")
        stale = "; ".join(self._cache.stale())
        return f"what is known of the cluster may be out of date: {stale}" if stale else ""

    async def _work(self) -> None:
        """First see everything, then compete for the lease: a decision never rests on half a cache."""
        await self._cache.wait_synced()
        await self._list_first()
        self._synced.set()
        logger.info("The caches are complete (%d ModelRollouts).", len(self._store))
        async with asyncio.TaskGroup() as group:
            group.create_task(self._watcher.run())
            group.create_task(self._engine.resync(self._settings.resync, surprised=self._watcher.expect))
            group.create_task(self._engine.lead())
            if self._settings.leader_election:
                group.create_task(self._elector.run())
            else:
                self._leadership.extend(float("inf"))

    async def _list_first(self) -> None:
        while True:
            try:
                # kopf looks only once whether the resource exists, so it is started when discovery tells so.
                await self._api.get("/apis/" + API_VERSION)
                groups = (await self._api.get("/apis"))["groups"]
                if all(group["name"] != GROUP for group in groups):
                    raise NotFoundError(404, "NotFound", f"{GROUP} is not among the API groups yet")
                await self._engine.list_rollouts()
            except NotFoundError:
                logger.error(
                    "The cluster does not know ModelRollouts: apply the CRD (kubectl apply -f crds/)."
                )
            except ApiError as error:
                logger.warning("The ModelRollouts cannot be listed yet: %s", error)
            else:
                return
            await asyncio.sleep(CRD_RETRY_SECONDS)

    def _object_changed(self, kind: str, namespace: str, name: str) -> None:
        self._engine.object_changed(kind, namespace, name)

    def _rollout_event(self, kind: str | None, obj: dict[str, Any]) -> None:
        if kind == "DELETED":
            meta = obj["metadata"]
            self._store.remove((meta["namespace"], meta["name"]), uid=meta["uid"])
        else:
            self._store.apply(obj)

    def _reconciler(self, writer: Writer, targets: PrometheusTargets) -> Reconciler:
        clock = self._connection.clock
        inspector = Inspector(
            store=self._store, cache=self._cache, targets=targets, kinds=OtherKinds(self._api)
        )
        parking = Parking(self._api, self._cache)
        hands = Hands(
            parking=parking,
            provider=ReplicasProvider(writer, self._cache),
            copies=CopyKeeper(self._api),
            side=SideKeeper(self._api, self._cache, writer),
            jobs=JobKeeper(self._api, self._cache),
        )
        actor = Actor(api=self._api, hands=hands, cache=self._cache, metrics=self._metrics, clock=clock)
        return Reconciler(
            store=self._store,
            inspector=inspector,
            measurer=self._measurer,
            observer=Observer(
                cache=self._cache,
                store=self._store,
                inspector=inspector,
                jobs=actor.job_results,
                parking=parking,
                clock=clock,
            ),
            writer=writer,
            actor=actor,
            reporter=self._reporter,
            announcer=Announcer(
                reporter=self._reporter, notifier=self._notifier, wake=self._engine.scheduler.wake
            ),
            leadership=self._leadership,
            clock=clock,
        )
