"""Traffic by numbers of pods.

A Service spreads requests evenly over its ready pods, whichever version they are.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from modelrollout.cluster.cache import ClusterCache
from modelrollout.cluster.writer import Writer
from modelrollout.decision.types import Scale
from modelrollout.traffic.provider import TrafficTarget


class ReplicasProvider:
    """Sets replica counts through the scale subresource and reads the weight back from ready endpoints."""

    def __init__(self, writer: Writer, cache: ClusterCache) -> None:
        self._writer = writer
        self._cache = cache

    async def ensure(self, target: TrafficTarget) -> None:
        """Nothing is needed besides the Deployments and the Service."""

    async def set_weight(
        self,
        target: TrafficTarget,
        *,
        weight: int,  # noqa: ARG002 - here the weight is the ratio of the counts
        scales: Sequence[Scale],
    ) -> int:
        """Set the counts, all at once: whether one had to wait for the other was decided with them.

        Raises:
            ApiError: One of the writes failed; the others were made all the same.
        """
        namespace = target.rollout.namespace
        results = await asyncio.gather(
            *(self._writer.scale(namespace, scale.deployment, scale.replicas) for scale in scales),
            return_exceptions=True,
        )
        for result in results:
            if isinstance(result, BaseException):
                raise result
        return sum(bool(result) for result in results)

    def observed_weight(self, target: TrafficTarget) -> float | None:
        """Ready endpoints of the candidate in per cent of those of both versions."""
        names = [name for name in (target.stable, target.candidate) if name]
        ready = self._cache.ready(target.rollout.namespace, target.service, names)
        total = sum(ready.values())
        return 100 * ready.get(target.candidate or "", 0) / total if total else None

    async def remove(self, target: TrafficTarget) -> None:
        """Nothing was made."""
