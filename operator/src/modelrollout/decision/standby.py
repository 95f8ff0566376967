"""What is kept of stable while the candidate serves everything.

A pod behind the Service serves, so what is kept is parked: it runs, but outside the Service. Whether a pod is
parked is recorded on the pod itself; a stage says which Deployments' pods must be and which must not.
"""

from __future__ import annotations

from modelrollout.api.spec import KeepStable
from modelrollout.decision.context import Context


def wanted_pods(context: Context) -> int:
    """Return the pods of stable that spec.observation asks to keep, whether or not that is possible."""
    observation = context.spec.observation
    if observation is None:
        return 0
    match observation.keep_stable:
        case KeepStable.FULL:
            return context.total
        case KeepStable.SCALED:
            return min(context.total, observation.scaled.of(context.total, round_up=True))
        case _:
            return 0


def kept_pods(context: Context) -> int:
    """Return the pods of stable to keep once it has handed over.

    What is parked is not given up because no more can be.
    """
    wanted, stable = wanted_pods(context), context.stable
    return wanted if stable.can_park else min(wanted, stable.parked)
