"""What the operator sees of the cluster: six informers and the questions it asks of them, all answered from
memory.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence

from modelrollout.api.constants import LABEL_MANAGED_BY, LABEL_PARKED, MANAGED_BY
from modelrollout.cluster import paths
from modelrollout.cluster.fence import FencedApi
from modelrollout.cluster.informer import Informer, Key, Source
from modelrollout.cluster.views import (
    AutoscalerView,
    DeploymentView,
    JobView,
    ParkedView,
    ServiceView,
    SliceView,
    parse_autoscaler,
    parse_deployment,
    parse_job,
    parse_parked,
    parse_service,
    parse_slice,
)

Listener = Callable[[str, str, str], None]
"""Called with kind (deployments, services, rollouts), namespace and name of what changed. Endpoints count as
their Service, an autoscaler as the Deployment it scales, a Job as the rollout that it belongs to."""

SERVICE_NAME_LABEL = "kubernetes.io/service-name"


class ClusterCache:
    """Compact caches of Deployments, EndpointSlices, Services, Jobs, autoscalers and parked pods."""

    def __init__(self, api: FencedApi, *, namespaces: Sequence[str | None], listener: Listener) -> None:
        self._listener = listener
        self._slices_of: dict[Key, dict[str, SliceView]] = {}
        self._parked_by: dict[Key, dict[str, ParkedView]] = {}
        self._autoscalers_of: dict[tuple[str, str, str], dict[str, AutoscalerView]] = {}
        self.deployments: Informer[DeploymentView] = Informer(
            api,
            Source(group_version=paths.APPS, plural="deployments", parse=parse_deployment),
            namespaces=namespaces,
            on_change=lambda old, new: self._tell("deployments", old or new),
        )
        self.services: Informer[ServiceView] = Informer(
            api,
            Source(group_version=paths.CORE, plural="services", parse=parse_service),
            namespaces=namespaces,
            on_change=lambda old, new: self._tell("services", old or new),
        )
        self.slices: Informer[SliceView] = Informer(
            api,
            Source(
                group_version=paths.DISCOVERY,
                plural="endpointslices",
                parse=parse_slice,
                label_selector=SERVICE_NAME_LABEL,
            ),
            namespaces=namespaces,
            on_change=self._slice_changed,
        )
        self.jobs: Informer[JobView] = Informer(
            api,
            Source(
                group_version=paths.BATCH,
                plural="jobs",
                parse=parse_job,
                label_selector=f"{LABEL_MANAGED_BY}={MANAGED_BY}",
            ),
            namespaces=namespaces,
            on_change=self._job_changed,
        )
        self.parked: Informer[ParkedView] = Informer(
            api,
            Source(
                group_version=paths.CORE,
                plural="pods",
                parse=parse_parked,
                label_selector=LABEL_PARKED,
                missing_ok=True,
            ),
            namespaces=namespaces,
            on_change=self._parked_changed,
        )
        self.autoscalers: Informer[AutoscalerView] = Informer(
            api,
            Source(
                group_version=paths.AUTOSCALING,
                plural="horizontalpodautoscalers",
                parse=parse_autoscaler,
                missing_ok=True,
            ),
            namespaces=namespaces,
            on_change=self._autoscaler_changed,
        )

    async def run(self) -> None:
        """Keeps everything up to date until cancelled."""
        await asyncio.gather(
            self.deployments.run(),
            self.services.run(),
            self.slices.run(),
            self.jobs.run(),
            self.autoscalers.run(),
            self.parked.run(),
        )

    async def wait_synced(self) -> None:
        """Returns once every kind has been listed."""
        for event in (self.deployments.synced, self.services.synced, self.slices.synced, self.jobs.synced):
            await event.wait()
        await self.autoscalers.synced.wait()
        await self.parked.synced.wait()

    def has_slices(self, namespace: str, service: str) -> bool:
        """Whether the endpoint controller has looked at the Service yet."""
        return (namespace, service) in self._slices_of

    def ready(self, namespace: str, service: str, deployments: Iterable[str]) -> dict[str, int]:
        """Ready endpoints of the Service by Deployment: what clients reach.

        A dual-stack Service lists each pod once in each family; the fuller family counts.
        """
        slices = self._slices_of.get((namespace, service), {}).values()
        counts: dict[str, int] = {}
        for deployment in deployments:
            by_family: dict[str, int] = {}
            for part in slices:
                by_family[part.family] = by_family.get(part.family, 0) + part.ready_of(deployment)
            counts[deployment] = max(by_family.values(), default=0)
        return counts

    def parked_of(self, namespace: str, rollout: str) -> tuple[ParkedView, ...]:
        """Pods of that rollout's Deployments that run outside the Service."""
        return tuple(self._parked_by.get((namespace, rollout), {}).values())

    def autoscaler(self, namespace: str, kind: str, name: str) -> AutoscalerView | None:
        """An autoscaler that scales that object, or None."""
        return next(iter(self._autoscalers_of.get((namespace, kind, name), {}).values()), None)

    def _tell(self, kind: str, view: DeploymentView | ServiceView | None) -> None:
        if view is not None:
            self._listener(kind, view.namespace, view.name)

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
