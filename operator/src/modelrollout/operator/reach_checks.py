"""What of Services and Deployments decides which pods clients and queries reach.

Settings that bend shares, selectors that overlap, names that cannot be told apart.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from modelrollout.api.conditions import Reason
from modelrollout.cluster.cache import ClusterCache
from modelrollout.cluster.views import DeploymentView, ServiceView
from modelrollout.decision.types import Problem
from modelrollout.operator.rollouts import RolloutState

UNEVEN: Final = {
    "sessionAffinity": (
        Reason.SESSION_AFFINITY,
        "each client stays on the pod it had first, so that its requests do not follow the weight",
    ),
    "internalTrafficPolicy": (
        Reason.LOCAL_TRAFFIC_POLICY,
        "a client inside the cluster reaches only pods on its own node: shares depend on where pods run",
    ),
    "externalTrafficPolicy": (
        Reason.LOCAL_TRAFFIC_POLICY,
        "a node passes requests from outside only to its own pods: shares depend on where pods run",
    ),
    "trafficDistribution": (
        Reason.TRAFFIC_DISTRIBUTION,
        "clients prefer pods near them: shares depend on where pods run",
    ),
    "publishNotReadyAddresses": (
        Reason.NOT_READY_PUBLISHED,
        "clients also reach pods that are not ready; the weight counts only ready ones",
    ),
    "clusterIP": (
        Reason.HEADLESS_SERVICE,
        "clients choose pods themselves from DNS and may keep to one of them",
    ),
}
"""By field of the Service: the reason, and what the setting does to shares."""


def uneven_traffic(service: ServiceView | None) -> tuple[Problem, ...]:
    """Return settings of the Service that make the share of requests differ from that of pods."""
    found = []
    for text in service.uneven if service is not None else ():
        reason, effect = UNEVEN[text.partition(":")[0]]
        found.append(Problem(reason=str(reason), message=f"The Service has {text}: {effect}."))
    return tuple(found)


def overlapping_selectors(rollout: RolloutState, cache: ClusterCache) -> Iterator[Problem]:
    """Yield why the pods of one version would be taken for the other's; nothing if they cannot be."""
    spec, status = rollout.spec, rollout.status
    assert spec is not None
    run = status.run if status.run is not None and status.run.finished_at is None else None
    stable_name = status.stable or (spec.stable.deployment if spec.stable else None)
    candidate_name = run.candidate if run is not None else rollout.candidate_name
    if stable_name is None or candidate_name is None or stable_name == candidate_name:
        return
    stable = cache.deployments.get(rollout.namespace, stable_name)
    candidate = cache.deployments.get(rollout.namespace, candidate_name)
    if stable is None or candidate is None:
        return
    for one, other in ((candidate, stable), (stable, candidate)):
        if one.selects(other.template_labels) and not _made_apart(other, rollout, one_is=one is candidate):
            yield Problem(
                reason=str(Reason.SELECTORS_OVERLAP),
                message=(
                    f"The selector of Deployment {one.name} matches the pods of Deployment {other.name} too, "
                    "so that what is asked of one version would reach both: give each Deployment a label of "
                    "its own, in its selector and its pod template"
                ),
            )


def _made_apart(other: DeploymentView, rollout: RolloutState, *, one_is: bool) -> bool:
    """Tell whether `other` is a copy that the operator made: it adds a label to those of its original.

    The original's selector matches the copy's pods, which hurts only where the original is the candidate and
    validations are to reach it alone.
    """
    spec = rollout.spec
    is_copy = other.version is not None and other.rollout == rollout.name
    return is_copy and not (one_is and spec is not None and spec.validations)


def ambiguous_names(rollout: RolloutState, cache: ClusterCache, names: Sequence[str]) -> Iterator[Problem]:
    """Yield deployments whose pods cannot be told from another's: Kubernetes cuts long names of pods."""
    for name in names:
        others = cache.namesakes(rollout.namespace, name)
        if others:
            yield Problem(
                reason=str(Reason.AMBIGUOUS_NAMES),
                message=(
                    f"Kubernetes cuts the names of pods to 63 characters, and those of Deployment {name} "
                    f"begin as those of {', '.join(others)} do, so that their endpoints and metrics cannot "
                    "be told apart: give them names of at most 46 characters"
                ),
            )
