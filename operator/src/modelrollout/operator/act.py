"""Carries a decision out in the cluster. Everything here may be repeated: it does nothing where nothing is to do."""

from __future__ import annotations

import time
from typing import Final

from modelrollout.cluster.cache import ClusterCache
from modelrollout.cluster.copies import CopyError, CopyKeeper
from modelrollout.decision.types import Decision, Problem
from modelrollout.operator.metrics import OperatorMetrics
from modelrollout.operator.store import Tracked
from modelrollout.traffic.provider import TrafficProvider, TrafficTarget

TROUBLE_SECONDS: Final = 15.0
"""How long a refused copy stays a problem before it is tried again."""


class Actor:
    """The acting part of a tick."""

    def __init__(
        self, *, provider: TrafficProvider, copies: CopyKeeper, cache: ClusterCache, metrics: OperatorMetrics
    ) -> None:
        self._provider = provider
        self._copies = copies
        self._cache = cache
        self._metrics = metrics

    async def act(self, rollout: Tracked, decision: Decision) -> None:
        """Copies, replica counts, releases."""
        if decision.create_candidate:
            await self._create_candidate(rollout)
        if decision.scales:
            await self._provider.set_weight(
                self._target(rollout),
                weight=decision.status.weight.desired if decision.status.weight else 0,
                scales=decision.scales,
            )
            self._observe_reaction(decision, rollout)
        await self._release_stable(rollout, decision)

    def _target(self, rollout: Tracked) -> TrafficTarget:
        status = rollout.status
        return TrafficTarget(
            rollout=rollout.ref,
            service=rollout.service_name or "",
            stable=status.stable,
            candidate=status.run.candidate if status.run else None,
        )

    async def _create_candidate(self, rollout: Tracked) -> None:
        spec, run = rollout.spec, rollout.status.run
        stable = (run.stable if run else None) or rollout.status.stable
        if spec is None or stable is None:
            return
        try:
            await self._copies.create(stable=stable, candidate=spec.candidate, owner=rollout.ref)
        except CopyError as error:
            problem = Problem(reason="CandidateNotCreated", message=str(error))
            rollout.trouble = (problem, time.monotonic() + TROUBLE_SECONDS)

    async def _release_stable(self, rollout: Tracked, decision: Decision) -> None:
        """A copy that became stable must outlive the ModelRollout."""
        name = decision.status.stable
        seen = self._cache.deployments.get(rollout.namespace, name) if name else None
        if seen is not None and seen.owner == rollout.uid:
            await self._copies.release(rollout.namespace, seen.name, owner_uid=rollout.uid)

    def _observe_reaction(self, decision: Decision, rollout: Tracked) -> None:
        for transition in decision.transitions:
            sample = rollout.samples.get(transition.criterion or "")
            if sample is not None and decision.status.rollback is not None:
                self._metrics.reaction_seconds.observe(max(0.0, time.time() - sample.at.timestamp()))
                return
