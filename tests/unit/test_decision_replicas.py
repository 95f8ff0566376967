"""Whole pods: weights, the order of scaling, and the way back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelrollout.api.durations import IntOrPercent
from modelrollout.api.workload import Capacity
from modelrollout.decision.replicas import (
    Counts,
    Limits,
    achievable_weight,
    candidate_count,
    exact_replicas,
    limits_of,
    minimum_ready,
    next_counts,
    observed_weight,
    revert_counts,
    settled,
)
from modelrollout.decision.types import Workload


def pods(name: str, desired: int, ready: int | None = None) -> Workload:
    return Workload(name=name, desired=desired, ready=desired if ready is None else ready, pods=desired)


@pytest.mark.parametrize(
    ("total", "weight", "expected"),
    [
        (10, 0, 0), (10, 1, 1), (10, 10, 1), (10, 15, 2), (10, 14, 1), (10, 50, 5), (10, 75, 8),
        (10, 99, 9), (10, 100, 10), (1, 10, 1), (1, 100, 1), (2, 10, 1), (2, 90, 1), (3, 50, 2),
        (4, 10, 1), (4, 75, 3), (1000, 10, 100), (7, 20, 1), (8, 20, 2),
    ],
)  # fmt: skip
def test_candidate_count(total: int, weight: int, expected: int) -> None:
    assert candidate_count(total, weight) == expected


def test_achievable_weight_and_the_replicas_that_would_be_exact() -> None:
    assert achievable_weight(10, 75) == 80.0
    assert achievable_weight(3, 50) == 66.67
    assert achievable_weight(1, 10) == 100.0
    assert exact_replicas([10, 20, 50, 75, 100]) == 20
    assert exact_replicas([50, 100]) == 2
    assert exact_replicas([1, 100]) == 100
    for weight in (10, 20, 50, 75):
        assert achievable_weight(20, weight) == weight


@pytest.mark.parametrize(
    ("stable", "candidate", "expected"), [(9, 1, 10.0), (0, 0, None), (2, 1, 33.33), (0, 4, 100.0)]
)
def test_observed_weight(stable: int, candidate: int, expected: float | None) -> None:
    assert observed_weight(pods("a", 9, stable), pods("b", 9, candidate)) == expected


@pytest.mark.parametrize(
    ("total", "surge", "unavailable", "expected"),
    [
        (10, "25%", 0, Limits(surge=3, unavailable=0)),
        (10, 0, "25%", Limits(surge=0, unavailable=2)),
        (3, 0, "25%", Limits(surge=0, unavailable=1)),  # 25 % of 3 is no pod: one must move all the same
        (1, "25%", 0, Limits(surge=1, unavailable=0)),
    ],
)
def test_limits_are_rounded_as_a_deployment_does(
    total: int, surge: int | str, unavailable: int | str, expected: Limits
) -> None:
    capacity = Capacity(max_surge=IntOrPercent(surge), max_unavailable=IntOrPercent(unavailable))
    assert limits_of(total, capacity) == expected


SURGE = Limits(surge=3, unavailable=0)
SWAP = Limits(surge=0, unavailable=1)


@pytest.mark.parametrize(
    ("limits", "target", "stable", "candidate", "expected"),
    [
        # scale-up first ...
        (SURGE, 1, pods("a", 10), pods("b", 0), Counts(stable=10, candidate=1)),
        (SURGE, 5, pods("a", 10), pods("b", 0), Counts(stable=10, candidate=3)),
        # ... nothing goes before what replaces it is ready ...
        (SURGE, 5, pods("a", 10), pods("b", 3, 0), Counts(stable=10, candidate=3)),
        # ... then as many go as are ready
        (SURGE, 5, pods("a", 10), pods("b", 3, 2), Counts(stable=8, candidate=3)),
        (SURGE, 5, pods("a", 8), pods("b", 3, 2), Counts(stable=8, candidate=5)),
        # no spare capacity: one pod at a time, stable first
        (SWAP, 5, pods("a", 10), pods("b", 0), Counts(stable=9, candidate=0)),
        (SWAP, 5, pods("a", 9), pods("b", 0), Counts(stable=9, candidate=1)),
        (SWAP, 5, pods("a", 9), pods("b", 1, 0), Counts(stable=9, candidate=1)),
        (SWAP, 5, pods("a", 9), pods("b", 1, 1), Counts(stable=8, candidate=1)),
        # at the goal nothing moves
        (SURGE, 5, pods("a", 5), pods("b", 5), Counts(stable=5, candidate=5)),
        # by hand: too many stable pods go, too few are added at once
        (SURGE, 5, pods("a", 9), pods("b", 5), Counts(stable=5, candidate=5)),
        (SURGE, 5, pods("a", 2), pods("b", 5), Counts(stable=5, candidate=5)),
        # without spare capacity a stable pod that never gets ready makes room
        (SWAP, 5, pods("a", 9, 7), pods("b", 1, 1), Counts(stable=7, candidate=1)),
    ],
)
def test_next_counts_of_ten(
    limits: Limits, target: int, stable: Workload, candidate: Workload, expected: Counts
) -> None:
    assert next_counts(total=10, target=target, limits=limits, stable=stable, candidate=candidate) == expected


def test_what_does_not_exist_takes_over_nothing() -> None:
    gone = Workload(name="b", exists=False)
    assert next_counts(total=4, target=2, limits=SURGE, stable=pods("a", 4), candidate=gone).stable == 4
    assert next_counts(total=4, target=0, limits=SURGE, stable=pods("a", 9), candidate=gone).stable == 4
    first = next_counts(total=4, target=4, limits=SURGE, stable=gone, candidate=pods("b", 0))
    assert first == Counts(stable=0, candidate=4)


@pytest.mark.parametrize(
    ("minimum", "immediate", "stable", "candidate", "expected"),
    [
        (5, False, pods("a", 9), pods("b", 1), Counts(stable=10, candidate=0)),  # 90 % of 10 stay: at once
        (5, False, pods("a", 2), pods("b", 8), Counts(stable=10, candidate=3)),  # 2 + 3 keep the half
        (5, False, pods("a", 10, 4), pods("b", 3), Counts(stable=10, candidate=1)),
        (5, False, pods("a", 10, 5), pods("b", 1), Counts(stable=10, candidate=0)),
        (5, False, pods("a", 2), pods("b", 8, 0), Counts(stable=10, candidate=0)),  # useless pods go
        (10, False, pods("a", 2), pods("b", 8), Counts(stable=10, candidate=8)),
        (10, True, pods("a", 2), pods("b", 8), Counts(stable=10, candidate=0)),
        (5, False, pods("a", 0), pods("b", 10), Counts(stable=10, candidate=5)),
    ],
)
def test_the_way_back_keeps_the_minimum(
    minimum: int, immediate: bool, stable: Workload, candidate: Workload, expected: Counts
) -> None:
    counts = revert_counts(total=10, minimum=minimum, immediate=immediate, stable=stable, candidate=candidate)
    assert counts == expected


def test_without_a_stable_deployment_the_candidate_stays() -> None:
    gone = Workload(name="a", exists=False)
    counts = revert_counts(total=10, minimum=5, immediate=True, stable=gone, candidate=pods("b", 7))
    assert counts == Counts(stable=0, candidate=7)


def test_minimum_ready_leaves_something_to_move() -> None:
    assert minimum_ready(10, IntOrPercent("50%"), SURGE) == 5
    assert minimum_ready(3, IntOrPercent("50%"), SURGE) == 2  # rounded up
    assert minimum_ready(10, IntOrPercent("100%"), SURGE) == 10
    assert minimum_ready(10, IntOrPercent("100%"), SWAP) == 9
    assert minimum_ready(2, IntOrPercent(5), SURGE) == 2


def test_settled_needs_the_candidate_in_full_and_no_surplus_of_stable() -> None:
    goal = Counts(stable=9, candidate=1)
    assert settled(goal, pods("a", 9), pods("b", 1))
    assert settled(goal, pods("a", 9, 8), pods("b", 1))  # a missing stable pod is not the candidate's fault
    assert not settled(goal, pods("a", 9, 10), pods("b", 1))  # one is still going
    assert not settled(goal, pods("a", 9), pods("b", 1, 0))
    assert not settled(goal, pods("a", 10, 9), pods("b", 1))


@given(
    total=st.integers(1, 20),
    target=st.integers(0, 20),
    surge=st.integers(0, 5),
    unavailable=st.integers(0, 3),
    start=st.tuples(st.integers(0, 20), st.integers(0, 20)),
    order=st.lists(st.sampled_from(["stable", "candidate", "both"]), min_size=5, max_size=30),
)
def test_property_moves_arrive_without_ever_giving_up_capacity(
    total: int, target: int, surge: int, unavailable: int, start: tuple[int, int], order: list[str]
) -> None:
    """From any counts and whatever gets ready first the goal is reached, never under the floor."""
    target = min(target, total)
    limits = Limits(surge=surge, unavailable=unavailable if surge or unavailable else 1)
    desired = {"stable": start[0], "candidate": start[1]}
    ready = dict(desired)
    floor = total - limits.unavailable
    for turn in range(400):
        stable, candidate = (pods(n, desired[n], ready[n]) for n in ("stable", "candidate"))
        counts = next_counts(total=total, target=target, limits=limits, stable=stable, candidate=candidate)
        before = sum(ready.values())
        for name, count in (("stable", counts.stable), ("candidate", counts.candidate)):
            assert count <= max(desired[name], total)
            desired[name] = count
            ready[name] = min(ready[name], count)
        assert sum(ready.values()) >= min(before, floor)
        assert sum(desired.values()) <= max(total + limits.surge, start[0] + start[1])
        if desired == {"stable": total - target, "candidate": target} and ready == desired:
            return
        who = order[turn % len(order)] if turn < 200 else "both"
        for name, count in desired.items():
            if who in (name, "both"):
                ready[name] = min(count, ready[name] + 1)
    raise AssertionError(f"never arrived: {desired}, ready {ready}")
