"""What every way of splitting traffic offers. A provider imports no other provider."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from modelrollout.cluster.writer import RolloutRef
from modelrollout.decision.types import Scale


@dataclass(frozen=True, kw_only=True, slots=True)
class TrafficTarget:
    """Whose traffic is split.

    Attributes:
        rollout: The ModelRollout.
        service: The Service that clients call.
        stable, candidate: Deployments of the two versions; None where there is none.
    """

    rollout: RolloutRef
    service: str
    stable: str | None
    candidate: str | None


class TrafficProvider(Protocol):
    """Splits the traffic of one Service between two versions. Every method may be repeated at any time."""

    async def ensure(self, target: TrafficTarget) -> None:
        """Make whatever the provider needs besides the Deployments."""
        ...

    async def set_weight(self, target: TrafficTarget, *, weight: int, scales: Sequence[Scale]) -> int:
        """Bring the split towards `weight` per cent for the candidate, and the replica counts to `scales`.

        Returns the number of writes; 0 if everything was so already.
        """
        ...

    def observed_weight(self, target: TrafficTarget) -> float | None:
        """Return the candidate's share in per cent as it really is now; None while nothing is ready."""
        ...

    async def remove(self, target: TrafficTarget) -> None:
        """Take away what `ensure` made."""
        ...
