"""Replica counts: what a weight means in whole pods, and the next safe move towards it.

Everything here is integers in, integers out. The same call is made on every wake-up with what is observed
then, so each answer is an absolute count and never "one more than last time": repeating a call, or making it
with a slightly old observation, cannot run away.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import gcd

from modelrollout.api.durations import IntOrPercent
from modelrollout.api.workload import Capacity
from modelrollout.decision.types import Workload


@dataclass(frozen=True, kw_only=True, slots=True)
class Counts:
    """Replicas of both versions (pods)."""

    stable: int
    candidate: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """Capacity in pods while traffic moves: how many above `total`, how many below it."""

    surge: int
    unavailable: int


def limits_of(total: int, capacity: Capacity) -> Limits:
    """Return the pods of `capacity` for `total`, rounded as a Deployment does; never both 0.

    With both 0 no pod could move.
    """
    surge = capacity.max_surge.of(total, round_up=True)
    unavailable = min(capacity.max_unavailable.of(total, round_up=False), total)
    return Limits(surge=surge, unavailable=unavailable if surge or unavailable else 1)


def candidate_count(total: int, weight: int) -> int:
    """Return the candidate's pods for `weight` per cent of `total`, rounded half up.

    Each version keeps at least one pod.

    With a single pod there is no split: any weight above 0 is that pod.
    """
    if weight <= 0:
        return 0
    if weight >= 100:
        return total
    return max(1, min((total * weight + 50) // 100, total - 1))


def achievable_weight(total: int, weight: int) -> float:
    """Return the share in per cent that whole pods make of `weight`; two decimals."""
    return round(100 * candidate_count(total, weight) / total, 2)


def exact_replicas(weights: Iterable[int]) -> int:
    """Return the smallest total with which every one of the weights (per cent) is met exactly."""
    divisor = 100
    for weight in weights:
        divisor = gcd(divisor, weight)
    return 100 // divisor


def observed_weight(stable: Workload, candidate: Workload, foreign: int = 0) -> float | None:
    """Return the candidate's share of the ready endpoints in per cent (two decimals); None if none is ready.

    `foreign`: Endpoints of neither version; requests go to them, too.
    """
    ready = stable.ready + candidate.ready + foreign
    return round(100 * candidate.ready / ready, 2) if ready else None


def settled(target: Counts, stable: Workload, candidate: Workload) -> bool:
    """Tell whether the weight is there: the candidate's pods are ready and stable has no more than its share.

    Missing stable pods do not count against it: they make the candidate's share larger, not smaller.
    """
    return (
        candidate.desired == target.candidate
        and stable.desired == target.stable
        and candidate.ready >= target.candidate
        and stable.ready <= target.stable
    )


def next_counts(*, total: int, target: int, limits: Limits, stable: Workload, candidate: Workload) -> Counts:
    """Return the counts to ask for now on the way to `target` candidate pods out of `total`.

    Scale-up comes first, as far as `limits.surge` has room above `total` (pods that still exist take room).
    Scale-down follows readiness: never are more than `limits.unavailable` of `total` ready pods given up. A
    version that has to grow keeps growing while the other shrinks; one that shrinks never grows again.
    Only where neither can move are pods that are not ready given up for the other version.
    """
    if not stable.exists:
        return Counts(stable=0, candidate=target)
    if not candidate.exists:
        target = 0  # what does not exist cannot take over anything
    goal = Counts(stable=total - target, candidate=target)
    new_stable = _shrink(stable, goal.stable, total - limits.unavailable - _serving(candidate))
    new_candidate = _shrink(
        candidate, goal.candidate, total - limits.unavailable - min(stable.ready, new_stable)
    )
    ceiling = total + limits.surge
    grown_candidate = _grow(candidate, goal.candidate, ceiling - max(new_stable, stable.pods))
    grown_stable = _grow(stable, goal.stable, ceiling - max(new_candidate, candidate.pods))
    if candidate.desired > goal.candidate:
        grown_candidate = new_candidate
    if stable.desired > goal.stable:
        grown_stable = new_stable
    counts = Counts(stable=grown_stable, candidate=grown_candidate)
    if counts == Counts(stable=stable.desired, candidate=candidate.desired) and counts != goal:
        return _unblock(counts, goal, stable, candidate)
    return counts


def _serving(workload: Workload) -> int:
    """Ready pods that stay: those above the desired count are about to go."""
    return min(workload.ready, workload.desired)


def _shrink(workload: Workload, goal: int, needed: int) -> int:
    """Return the lowest count from `goal` on that keeps `needed` ready pods.

    Pods that are not ready go first.
    """
    if workload.desired <= goal:
        return workload.desired
    if workload.ready < needed:
        return workload.desired
    return max(goal, min(workload.desired, needed))


def _grow(workload: Workload, goal: int, room: int) -> int:
    if workload.desired >= goal:
        return workload.desired
    return max(workload.desired, min(goal, room))


def _unblock(counts: Counts, goal: Counts, stable: Workload, candidate: Workload) -> Counts:
    """Nothing could move: give up pods that are not ready where the other version waits for their room."""
    settled_pods = stable.pods <= stable.desired and candidate.pods <= candidate.desired
    if not settled_pods:
        return counts  # pods are still going away; their room comes by itself
    if counts.candidate < goal.candidate and counts.stable > goal.stable:
        return Counts(stable=max(goal.stable, _serving(stable)), candidate=counts.candidate)
    if counts.stable < goal.stable and counts.candidate > goal.candidate:
        return Counts(stable=counts.stable, candidate=max(goal.candidate, _serving(candidate)))
    return counts


def minimum_ready(total: int, min_capacity: IntOrPercent, limits: Limits) -> int:
    """Ready pods that a return to stable keeps.

    Never so many that nothing could move: without surge at least one pod must be free to go.
    """
    wanted = min(total, min_capacity.of(total, round_up=True))
    return wanted if limits.surge else min(wanted, max(0, total - max(1, limits.unavailable)))


def revert_counts(
    *, total: int, minimum: int, immediate: bool, stable: Workload, candidate: Workload
) -> Counts:
    """Return the counts to ask for now in a rollback: stable in full at once, the candidate to 0.

    Candidate pods stay only as far as `minimum` ready pods need them, and go as stable's become ready;
    `immediate` removes them regardless. Without a stable Deployment the candidate is left as it is: it is
    all there is.
    """
    if not stable.exists:
        return Counts(stable=0, candidate=candidate.desired)
    missing = 0 if immediate else max(0, minimum - stable.ready)
    return Counts(stable=total, candidate=min(_serving(candidate), missing))


def without_unparking(counts: Counts, *, total: int, stable: Workload) -> Counts:
    """Return the counts of a rollback where stable's pods outside the Service cannot be put back.

    Where none of its pods serves, all of them go, and new ones come: a new pod is behind the Service. Where
    some serve, that would take those, too, so pods are added for the ones that do not; fewer would end those
    that serve first, since the newest go first.
    """
    if not stable.parked or not stable.cannot_unpark:
        return counts
    return Counts(stable=0 if not stable.ready else total + stable.parked, candidate=counts.candidate)
