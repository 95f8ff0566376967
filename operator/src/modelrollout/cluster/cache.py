"""What the operator sees of the cluster.

One informer a kind and the questions it asks of them, all answered from memory.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any, Final

from modelrollout.api.constants import LABEL_MANAGED_BY, LABEL_PARKED, MANAGED_BY, PLURAL
from modelrollout.cluster import resources
from modelrollout.cluster.endpoints import (
    SERVICE_NAME_LABEL,
    ReadyEndpoints,
    ReplicaSetIndex,
    ReplicaSetView,
    SliceView,
    count,
    parse_replica_set,
    parse_slice,
)
from modelrollout.cluster.errors import ForbiddenError
from modelrollout.cluster.fence import FencedApi, MetadataApi
from modelrollout.cluster.informer import RELIST_SECONDS, Informer
from modelrollout.cluster.source import Key, Source, V
from modelrollout.cluster.views import (
    AutoscalerView,
    DeploymentView,
    JobView,
    ParkedView,
    ServiceView,
    parse_autoscaler,
    parse_deployment,
    parse_job,
    parse_parked,
    parse_service,
)
from modelrollout.cluster.watch_check import WatchCheck

logger = logging.getLogger(__name__)

Listener = Callable[[str, str, str], None]
"""Called with kind (deployments, services, rollouts), namespace and name of what changed. Endpoints count as
their Service, an autoscaler as the Deployment it scales, a Job as the rollout that it belongs to. Where what
is known went out of date, or is current again, the kind is EVERYTHING and the names are empty."""
EVERYTHING: Final = "everything"
FRESHNESS_SECONDS: Final = 1.0
"""How often it is looked whether everything known is current."""


DEPLOYMENTS: Final = Source(group_version=resources.APPS, plural="deployments", parse=parse_deployment)
REPLICA_SETS: Final = Source(group_version=resources.APPS, plural="replicasets", parse=parse_replica_set)
SERVICES: Final = Source(group_version=resources.CORE, plural="services", parse=parse_service)
SLICES: Final = Source(
    group_version=resources.DISCOVERY,
    plural="endpointslices",
    parse=parse_slice,
    label_selector=SERVICE_NAME_LABEL,
)
JOBS: Final = Source(
    group_version=resources.BATCH,
    plural="jobs",
    parse=parse_job,
    label_selector=f"{LABEL_MANAGED_BY}={MANAGED_BY}",
)
PARKED: Final = Source(
    group_version=resources.CORE,
    plural="pods",
    parse=parse_parked,
    label_selector=LABEL_PARKED,
    missing_ok=True,
)
AUTOSCALERS: Final = Source(
    group_version=resources.AUTOSCALING,
    plural="horizontalpodautoscalers",
    parse=parse_autoscaler,
    missing_ok=True,
)


class ClusterCache:
    """Compact caches of all kinds that are watched.

    Deployments, slices, Services, Jobs, autoscalers, pods.
    """

    def __init__(self, api: FencedApi, *, namespaces: Sequence[str | None], listener: Listener) -> None:
        self._listener = listener
        self.rollouts = WatchCheck(PLURAL)
        self._slices_of: dict[Key, dict[str, SliceView]] = {}
        self._parked_by: dict[Key, dict[str, ParkedView]] = {}
        self._autoscalers_of: dict[tuple[str, str, str], dict[str, AutoscalerView]] = {}
        self._sets = ReplicaSetIndex()

        def informer(
            source: Source[V], on_change: Callable[[V | None, V | None], None], *, metadata: bool = False
        ) -> Informer[V]:
            reader = MetadataApi(api) if metadata else api
            return Informer(reader, source, namespaces=namespaces, on_change=on_change)

        self.deployments = informer(DEPLOYMENTS, self._deployment_changed)
        # Owner references are metadata: of each ReplicaSet nothing else is sent.
        self.replica_sets = informer(REPLICA_SETS, self._replica_set_changed, metadata=True)
        self.services = informer(SERVICES, lambda old, new: self._tell("services", old or new))
        self.slices = informer(SLICES, self._slice_changed)
        self.jobs = informer(JOBS, self._job_changed)
        self.parked = informer(PARKED, self._parked_changed)
        self.autoscalers = informer(AUTOSCALERS, self._autoscaler_changed)

    async def run(self, *, relist: float = RELIST_SECONDS) -> None:
        """Keep everything up to date until cancelled."""
        await asyncio.gather(*(informer.run(relist) for informer in self.informers), self._watch_freshness())

    async def wait_synced(self) -> None:
        """Wait until every kind has been listed."""
        for informer in self.informers:
            await informer.synced.wait()

    def stale(self, namespace: str | None = None) -> tuple[str, ...]:
        """Return what of a namespace (None: of any) may be out of date.

        A clause for each kind, `kind: why`.
        """
        found = ((watch.plural, watch.stale(namespace)) for watch in self.watches)
        return tuple(f"{plural}: {why}" for plural, why in found if why)

    def missing(self) -> tuple[str, ...]:
        """Return the kinds that have never been listed, each with why if that is known."""
        waiting = [informer for informer in self.informers if not informer.synced.is_set()]
        return tuple(f"{i.plural}: {i.stale()}" if i.stale() else i.plural for i in waiting)

    async def _watch_freshness(self) -> None:
        """Say when what is known goes out of date, and when it is current again."""
        before: tuple[str, ...] = ()
        while True:
            await asyncio.sleep(FRESHNESS_SECONDS)
            now = self.stale()
            if now != before:
                if now:
                    logger.error("What is known of the cluster may be out of date: %s", "; ".join(now))
                else:
                    logger.info("What is known of the cluster is current again.")
                before = now
                self._listener(EVERYTHING, "", "")

    @property
    def watches(self) -> tuple[Informer[Any] | WatchCheck, ...]:
        """All of them, and how current ModelRollouts are."""
        return (*self.informers, self.rollouts)

    @property
    def informers(self) -> tuple[Informer[Any], ...]:
        """All of them."""
        return (
            self.deployments,
            self.replica_sets,
            self.services,
            self.slices,
            self.jobs,
            self.autoscalers,
            self.parked,
        )

    def has_slices(self, namespace: str, service: str) -> bool:
        """Tell whether the endpoint controller has looked at the Service yet."""
        return (namespace, service) in self._slices_of

    def endpoints(self, namespace: str, service: str) -> ReadyEndpoints:
        """Return all ready endpoints of the Service; none where there is no such Service."""
        view = self.services.get(namespace, service)
        slices = self._slices_of.get((namespace, service), {}).values() if view is not None else ()
        ports = view.ports if view is not None else ()
        return count(slices, ports, lambda pod: self._deployment_of(namespace, pod))

    async def read_endpoints(self, namespace: str, service: str) -> None:
        """Ask the API server for the endpoints of the Service, whatever the watch told.

        Raises:
            ApiError: It did not answer. A refusal counts as a watch that is not relied on, and is not raised.
        """
        known = [
            (part.namespace, part.name) for part in self._slices_of.get((namespace, service), {}).values()
        ]
        with suppress(ForbiddenError):
            await self.slices.refresh(
                namespace, label_selector=f"{SERVICE_NAME_LABEL}={service}", known=known
            )

    def ready(self, namespace: str, service: str, deployments: Iterable[str]) -> dict[str, int]:
        """Endpoints of the Service that clients reach, by Deployment."""
        found = self.endpoints(namespace, service).ready
        return {name: found.get(name, 0) for name in deployments}

    def replica_sets_of(self, namespace: str, deployment: str) -> tuple[str, ...]:
        """Return names of the ReplicaSets that the Deployment controls, sorted."""
        seen = self.deployments.get(namespace, deployment)
        found = self._sets.of(namespace, deployment) if seen is not None else ()
        return tuple(sorted(v.name for v in found if seen is not None and v.deployment_uid == seen.uid))

    def namesakes(self, namespace: str, deployment: str) -> tuple[str, ...]:
        """Other Deployments whose pods cannot be told from those of this one by their names, sorted."""
        return tuple(sorted(self._sets.namesakes(namespace, deployment)))

    def _deployment_of(self, namespace: str, pod: str) -> str | None:
        """Return the Deployment that controls the pod's ReplicaSet.

        None for none, and where names leave a doubt.
        """
        owners = self._sets.owners(namespace, pod)
        if len(owners) != 1:
            return None
        name, uid = next(iter(owners))
        seen = self.deployments.get(namespace, name)
        return name if seen is not None and seen.uid == uid else None

    def parked_of(self, namespace: str, rollout: str) -> tuple[ParkedView, ...]:
        """Return pods of that rollout's Deployments that run outside the Service."""
        return tuple(self._parked_by.get((namespace, rollout), {}).values())

    def autoscaler(self, namespace: str, kind: str, name: str) -> AutoscalerView | None:
        """Return an autoscaler that scales that object, or None."""
        return next(iter(self._autoscalers_of.get((namespace, kind, name), {}).values()), None)

    def _deployment_changed(self, old: DeploymentView | None, new: DeploymentView | None) -> None:
        view = new or old
        if view is not None and self.parked.denied and (new is None or not new.pods):
            # No watch tells any more that its pods outside the Service are gone.
            gone = [p for p in self.parked if (p.namespace, p.deployment) == (view.namespace, view.name)]
            for pod in gone:
                self.parked.discard(pod.namespace, pod.name)
        self._tell("deployments", view)

    def _tell(self, kind: str, view: DeploymentView | ServiceView | None) -> None:
        if view is not None:
            self._listener(kind, view.namespace, view.name)

    def _replica_set_changed(self, old: ReplicaSetView | None, new: ReplicaSetView | None) -> None:
        self._sets.change(old, new)
        for view in (old, new):
            if view is not None:
                self._listener("deployments", view.namespace, view.deployment)

    def _job_changed(self, old: JobView | None, new: JobView | None) -> None:
        view = new or old
        if view is not None and view.rollout:
            self._listener("rollouts", view.namespace, view.rollout)

    def _parked_changed(self, old: ParkedView | None, new: ParkedView | None) -> None:
        for view, there in ((old, False), (new, True)):
            if view is None:
                continue
            pods = self._parked_by.setdefault((view.namespace, view.rollout), {})
            if there:
                pods[view.name] = view
            else:
                pods.pop(view.name, None)
            if not pods:
                del self._parked_by[(view.namespace, view.rollout)]
            self._listener("rollouts", view.namespace, view.rollout)

    def _slice_changed(self, old: SliceView | None, new: SliceView | None) -> None:
        if old is not None and (new is None or new.service != old.service):
            parts = self._slices_of.get((old.namespace, old.service), {})
            parts.pop(old.name, None)
            if not parts:
                self._slices_of.pop((old.namespace, old.service), None)
        if new is not None:
            self._slices_of.setdefault((new.namespace, new.service), {})[new.name] = new
        for view in {v.service: v for v in (old, new) if v is not None}.values():
            self._listener("services", view.namespace, view.service)

    def _autoscaler_changed(self, old: AutoscalerView | None, new: AutoscalerView | None) -> None:
        if old is not None:
            key = (old.namespace, old.target_kind, old.target_name)
            held = self._autoscalers_of.get(key, {})
            held.pop(old.name, None)
            if not held:
                self._autoscalers_of.pop(key, None)
        if new is not None:
            self._autoscalers_of.setdefault((new.namespace, new.target_kind, new.target_name), {})[
                new.name
            ] = new
        for view in (old, new):
            if view is not None:
                self._listener("deployments", view.namespace, view.target_name)
