"""What of stable is kept while the candidate serves everything, and how it is put back."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from modelrollout.api.commands import Command, Verb
from modelrollout.api.conditions import ConditionStatus, ConditionType, Phase, Reason, get_condition
from modelrollout.api.spec import ModelRolloutSpec
from modelrollout.api.status import ModelRolloutStatus
from modelrollout.decision import decide
from modelrollout.decision.types import Decision, Observation, Workload

NOW = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
OLD = Workload(name="a", desired=10, ready=10, pods=10, can_park=True)
NEW = Workload(name="b")
TAKEN_OVER = Workload(name="b", desired=10, ready=10, pods=10)


def spec(**observation: Any) -> ModelRolloutSpec:
    return ModelRolloutSpec.model_validate(
        {
            "replicas": 10,
            "service": "emotion",
            "stable": {"deployment": "a"},
            "candidate": {"deployment": "b"},
            "steps": [{"weight": 100}],
            "observation": {"duration": "1h", **observation},
        }
    )


class Run:
    """One rollout that is decided on again and again."""

    def __init__(self, **observation: Any) -> None:
        self.spec = spec(**observation)
        self.status = ModelRolloutStatus()
        self.now = NOW
        self.look(OLD, NEW)

    def look(self, old: Workload, new: Workload, **more: Any) -> Decision:
        """One decision, a second later."""
        self.now += timedelta(seconds=1)
        observed = Observation(
            uid="u", generation=1, candidate_name="b", name="emotion",
            workloads={"a": old, "b": new}, **more,
        )  # fmt: skip
        decision = decide(spec=self.spec, status=self.status, observed=observed, now=self.now)
        again = decide(spec=self.spec, status=decision.status, observed=observed, now=self.now)
        told = {"unreported": decision.status.unreported}  # before it is acted on, it looks like drift
        assert again.status.model_copy(update=told) == decision.status, "asked again it decided otherwise"
        assert (again.parked, again.serving) == (decision.parked, decision.serving)
        self.status = decision.status
        return decision

    def observing(self, old: Workload = OLD) -> Decision:
        """As far as the observation; stable's last pod still serves when the candidate is ready."""
        self.look(replace(old, desired=1, ready=1, pods=1), TAKEN_OVER)
        kept = replace(old, desired=0, ready=0, pods=0)
        decision = self.look(kept, TAKEN_OVER)
        assert decision.status.phase is Phase.OBSERVING
        return decision

    def told(self) -> tuple[ConditionStatus, str, str]:
        found = get_condition(self.status.conditions, ConditionType.STABLE_KEPT)
        assert found is not None
        return found.status, found.reason, found.message


def counts(decision: Decision) -> dict[str, int]:
    return {scale.deployment: scale.replicas for scale in decision.scales}


def test_stables_last_pods_are_parked_and_not_ended_once_the_candidate_is_ready() -> None:
    run = Run()
    almost = replace(TAKEN_OVER, ready=9)
    assert run.look(replace(OLD, desired=1, ready=1, pods=1), almost).parked is None
    decision = run.look(replace(OLD, desired=1, ready=1, pods=1), TAKEN_OVER)
    assert decision.parked == "a"
    assert counts(decision) == {"a": 10}
    assert decision.serving == ("b",)
    assert decision.status.step is not None and decision.status.step.reached_at is None, "still behind it"


@pytest.mark.parametrize(
    ("observation", "pods"),
    [
        ({}, 10),
        ({"keepStable": "Scaled"}, 3),
        ({"keepStable": "Scaled", "scaled": 4}, 4),
        ({"keepStable": "Scaled", "scaled": 40}, 10),
    ],
)
def test_so_many_pods_are_kept_as_asked_for(observation: dict[str, Any], pods: int) -> None:
    run = Run(**observation)
    decision = run.observing()
    assert (decision.parked, counts(decision)) == ("a", {"a": pods})
    assert run.told()[:2] == (ConditionStatus.FALSE, Reason.PARKING)
    there = replace(OLD, desired=pods, ready=0, pods=pods, parked=pods, parked_ready=pods)
    decision = run.look(there, TAKEN_OVER)
    assert run.told()[:2] == (ConditionStatus.TRUE, Reason.PARKED)
    assert not decision.scales and not decision.transitions
    assert decision.status.weight is not None and decision.status.weight.observed == 100


def test_none_and_a_service_without_a_free_label_keep_nothing_and_say_so() -> None:
    run = Run(keepStable="None")
    assert run.observing().parked is None
    assert run.told()[1] == "NotAskedFor"
    run = Run()
    decision = run.observing(replace(OLD, can_park=False, cannot_park="No label is free."))
    assert (decision.parked, counts(decision)) == (None, {})
    status, reason, message = run.told()
    assert (status, reason) == (ConditionStatus.FALSE, Reason.CANNOT_PARK)
    assert "No label is free." in message


def test_a_candidate_that_loses_a_pod_does_not_call_parked_pods_back() -> None:
    run = Run()
    run.observing()
    there = replace(OLD, ready=0, parked=10, parked_ready=10)
    decision = run.look(there, replace(TAKEN_OVER, ready=8))
    assert (decision.parked, decision.serving, counts(decision)) == ("a", ("b",), {})


def test_parked_pods_are_not_given_up_because_no_more_can_be_parked() -> None:
    run = Run()
    run.observing()
    there = replace(OLD, ready=0, parked=10, parked_ready=10)
    refused = replace(there, can_park=False, cannot_park="The operator may not watch pods.")
    assert counts(run.look(refused, TAKEN_OVER)) == {}


def test_going_back_puts_the_pods_back_first_and_is_over_only_when_none_is_outside() -> None:
    run = Run()
    run.observing()
    there = replace(OLD, ready=0, parked=10, parked_ready=10)
    abort = Command(id="1", verb=Verb.ABORT)
    decision = run.look(there, TAKEN_OVER, commands=(abort,))
    assert decision.status.phase is Phase.ROLLING_BACK
    assert (decision.parked, decision.serving) == (None, ("a",))
    assert counts(decision) == {"b": 5}, "what minCapacity needs stays until stable serves again"
    late = replace(OLD, ready=9, parked=1)
    decision = run.look(late, replace(NEW, desired=0))
    assert decision.status.phase is Phase.ROLLING_BACK, "a pod is still outside"
    assert decision.serving == ("a",)
    assert run.look(OLD, NEW).status.phase is Phase.ROLLED_BACK


def test_after_success_kept_pods_go_without_serving_again() -> None:
    run = Run()
    run.observing()
    there = replace(OLD, ready=0, parked=10, parked_ready=10)
    run.look(there, TAKEN_OVER)
    run.now += timedelta(hours=1)
    decision = run.look(there, TAKEN_OVER)
    assert decision.status.phase is Phase.SUCCEEDED
    assert "a" not in decision.serving
    assert counts(decision) == {"a": 0}
    assert get_condition(decision.status.conditions, ConditionType.STABLE_KEPT) is None


REFUSED = "The operator may not change pods: pods is forbidden."


def rolling_back(there: Workload, candidate: Workload = TAKEN_OVER) -> tuple[Run, Decision]:
    run = Run()
    run.observing()
    return run, run.look(there, candidate, commands=(Command(id="1", verb=Verb.ABORT),))


def test_pods_that_cannot_be_put_back_are_replaced_by_new_ones() -> None:
    """They never serve: with them counted as stable's pods the candidate kept all traffic for ever."""
    outside = replace(OLD, ready=0, parked=10, parked_ready=10, can_park=False, cannot_unpark=REFUSED)
    run, decision = rolling_back(outside)
    assert counts(decision) == {"a": 0, "b": 5}
    assert decision.status.reason == Reason.CANNOT_UNPARK
    assert REFUSED in str(decision.status.message)
    assert [t.reason for t in decision.transitions].count(Reason.CANNOT_UNPARK) == 1
    half = replace(TAKEN_OVER, desired=5, ready=5, pods=5)
    decision = run.look(replace(outside, desired=0), half)
    assert counts(decision) == {}, "they are still going"
    assert not decision.transitions, "told once"
    gone = replace(OLD, desired=0, ready=0, pods=0, can_park=False)
    assert counts(run.look(gone, half)) == {"a": 10}
    assert counts(run.look(replace(gone, desired=10, ready=7, pods=10), half)) == {"b": 0}
    assert run.look(OLD, NEW).status.phase is Phase.ROLLED_BACK


def test_where_some_pods_serve_others_are_added_and_none_is_ended() -> None:
    some = replace(OLD, ready=6, pods=10, parked=4, parked_ready=4, cannot_unpark=REFUSED)
    run, decision = rolling_back(some)
    assert counts(decision) == {"a": 14, "b": 0}
    more = replace(some, desired=14, ready=10, pods=14)
    decision = run.look(more, NEW)
    assert (counts(decision), decision.status.phase) == ({}, Phase.ROLLING_BACK)
    back = replace(OLD, desired=14, ready=14, pods=14)  # the right is there again
    assert counts(run.look(back, NEW)) == {"a": 10}
    assert run.look(OLD, NEW).status.phase is Phase.ROLLED_BACK
