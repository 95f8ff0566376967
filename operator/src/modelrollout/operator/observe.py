"""Puts together what a decision rests on, all of it from memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from modelrollout.cluster.cache import ClusterCache
from modelrollout.cluster.parking import Parking
from modelrollout.decision import shadow_name
from modelrollout.decision.types import JobResult, Observation, Problem, Workload
from modelrollout.operator.problems import Inspector
from modelrollout.operator.store import RolloutStore, Tracked

JobReader = Callable[[Tracked], Mapping[str, JobResult]]


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
    ) -> None:
        self._parking = parking
        self._cache = cache
        self._store = store
        self._inspector = inspector
        self._jobs = jobs

    def observe(self, rollout: Tracked) -> Observation:
        """What is known now. No request is made."""
        return Observation(
            uid=rollout.uid,
            name=rollout.name,
            generation=rollout.generation,
            deleting=rollout.deleting,
            candidate_name=rollout.candidate_name,
            workloads=self._workloads(rollout),
            samples=rollout.samples,
            baselines=rollout.baselines,
            metrics_error=rollout.metrics_error,
            commands=rollout.commands,
            problems=self._problems(rollout),
            jobs=self._jobs(rollout),
            selector=self._selector(rollout),
        )

    def _problems(self, rollout: Tracked) -> tuple[Problem, ...]:
        found = self._inspector.problems(rollout)
        return found if rollout.trouble is None else (*found, rollout.trouble[0])

    def _workloads(self, rollout: Tracked) -> dict[str, Workload]:
        names = rollout.deployments()
        service = rollout.service_name
        ready = self._cache.ready(rollout.namespace, service, names) if service else {}
        found = {name: self._workload(rollout, name, ready.get(name, 0)) for name in names}
        shadow = self._cache.deployments.get(rollout.namespace, shadow_name(rollout.name))
        if shadow is not None:  # not behind the Service: its own pods count
            run = rollout.status.run
            # What is left of another candidate's copy, or is somebody else's, says nothing about this one.
            ours = run is not None and shadow.version == run.fingerprint and shadow.owner == rollout.uid
            found[shadow.name] = replace(found[shadow.name], ready=shadow.ready if ours else 0)
        return found

    def _workload(self, rollout: Tracked, name: str, ready: int) -> Workload:
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
            ready=ready,
            pods=seen.pods,
            parked=len(parked),
            parked_ready=sum(pod.ready for pod in parked),
            can_park=not obstacle,
            cannot_park=obstacle,
            claimed_by=self._store.older_claimant(rollout, "deployments", name),
        )

    def _selector(self, rollout: Tracked) -> str | None:
        service = self._cache.services.get(rollout.namespace, rollout.service_name or "")
        if service is None or not service.selector:
            return None
        return ",".join(f"{key}={value}" for key, value in sorted(service.selector.items()))
