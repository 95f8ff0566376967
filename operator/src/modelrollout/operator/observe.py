"""Puts together what a decision rests on, all of it from memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from modelrollout.cluster.cache import ClusterCache
from modelrollout.cluster.clock import ServerClock
from modelrollout.cluster.endpoints import ReadyEndpoints
from modelrollout.cluster.views import DeploymentView
from modelrollout.cluster.workloads.standby import Parking
from modelrollout.decision import shadow_name, shadow_version
from modelrollout.decision.types import JobResult, Observation, Problem, Workload
from modelrollout.operator.preflight import Inspector
from modelrollout.operator.reach_checks import uneven_traffic
from modelrollout.operator.rollouts import RolloutState
from modelrollout.operator.store import RolloutStore

JobReader = Callable[[RolloutState], Mapping[str, JobResult]]


class Observer:
    """Turns the caches and what a rollout remembers into an Observation."""

    def __init__(
        self,
        *,
        cache: ClusterCache,
        store: RolloutStore,
        inspector: Inspector,
        jobs: JobReader,
        parking: Parking,
        clock: ServerClock,
    ) -> None:
        self._clock = clock
        self._parking = parking
        self._cache = cache
        self._store = store
        self._inspector = inspector
        self._jobs = jobs

    def observe(self, rollout: RolloutState) -> Observation:
        """Return what is known now. No request is made."""
        service = rollout.service_name or ""
        endpoints = self._cache.endpoints(rollout.namespace, service)
        return Observation(
            uid=rollout.uid,
            name=rollout.name,
            generation=rollout.generation,
            deleting=rollout.deleting,
            candidate_name=rollout.candidate_name,
            workloads=self._workloads(rollout, endpoints),
            samples=rollout.samples,
            baselines=rollout.baselines,
            metrics_error=rollout.metrics_error,
            commands=rollout.commands,
            problems=self._problems(rollout),
            jobs=self._jobs(rollout),
            copies=self._copies(rollout),
            selector=self._selector(rollout),
            foreign=_foreign(rollout, endpoints),
            stale=self._cache.stale(rollout.namespace),
            uneven=uneven_traffic(self._cache.services.get(rollout.namespace, service)),
            reported=frozenset(rollout.reported),
            clock_skewed=self._clock.skewed,
            clock_uncertain=self._clock.uncertain,
        )

    async def look_again(self, rollout: RolloutState) -> None:
        """Read what clients reach from the API server: a watch may be late.

        Raises:
            ApiError: The API server did not answer.
        """
        if rollout.service_name is not None:
            await self._cache.read_endpoints(rollout.namespace, rollout.service_name)

    async def look_for_kept_pods(self, rollout: RolloutState) -> None:
        """Read from the API server which pods run outside the Service. Raises as `look_again` does."""
        await self._parking.look_again(rollout.ref)

    def _problems(self, rollout: RolloutState) -> tuple[Problem, ...]:
        found = self._inspector.problems(rollout)
        return found if rollout.pending_problem is None else (*found, rollout.pending_problem[0])

    def _workloads(self, rollout: RolloutState, endpoints: ReadyEndpoints) -> dict[str, Workload]:
        found = {name: self._workload(rollout, name, endpoints) for name in rollout.deployments()}
        shadow = self._cache.deployments.get(rollout.namespace, shadow_name(rollout.name))
        if shadow is not None:  # not behind the Service: its own pods count
            run = rollout.status.run
            # What is left of another candidate's copy, or is somebody else's, says nothing about this one.
            ours = run is not None and shadow.version == shadow_version(run) and shadow.owner == rollout.uid
            found[shadow.name] = replace(found[shadow.name], ready=shadow.ready if ours else 0)
        return found

    def _workload(self, rollout: RolloutState, name: str, endpoints: ReadyEndpoints) -> Workload:
        seen = self._cache.deployments.get(rollout.namespace, name)
        if seen is None:
            return Workload(name=name, exists=False)
        parked = [
            pod for pod in self._cache.parked_of(rollout.namespace, rollout.name) if pod.deployment == name
        ]
        obstacle = self._parking.obstacle(rollout.service_name or "", seen)
        return Workload(
            name=name,
            desired=seen.desired,
            ready=self._ready(seen, endpoints, len(parked)),
            without_ports=endpoints.without_ports.get(name, 0),
            pods=seen.pods,
            parked=len(parked),
            parked_ready=sum(pod.ready for pod in parked),
            cannot_unpark=self._parking.refusal(rollout.namespace) if parked else "",
            template=seen.template,
            can_park=not obstacle,
            cannot_park=obstacle,
            claimed_by=self._store.holder(rollout, "deployments", name),
        )

    def _ready(self, deployment: DeploymentView, endpoints: ReadyEndpoints, parked: int) -> int:
        """Return its endpoints; where those are not known as they are now, the ready pods of its status.

        Nothing advances on that, but a return to stable ends on it.
        """
        namespace = deployment.namespace
        if self._cache.slices.stale(namespace) or self._cache.replica_sets.stale(namespace):
            return max(0, deployment.ready - parked)
        return endpoints.ready.get(deployment.name, 0)

    def _copies(self, rollout: RolloutState) -> frozenset[str]:
        made = (self._cache.deployments.get(rollout.namespace, one.name) for one in rollout.status.owned)
        return frozenset(view.name for view in made if view is not None and view.rollout == rollout.name)

    def _selector(self, rollout: RolloutState) -> str | None:
        service = self._cache.services.get(rollout.namespace, rollout.service_name or "")
        if service is None or not service.selector:
            return None
        return ",".join(f"{key}={value}" for key, value in sorted(service.selector.items()))


def _foreign(rollout: RolloutState, endpoints: ReadyEndpoints) -> tuple[str, ...]:
    """Return what clients reach besides the versions of the rollout, one text an endpoint."""
    own = set(rollout.deployments()) - {shadow_name(rollout.name)}
    others = [
        f"Deployment {name}" for name, pods in endpoints.ready.items() if name not in own for _ in range(pods)
    ]
    return (*sorted(others), *endpoints.unowned)
