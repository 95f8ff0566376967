"""What the operator's own metrics say of each rollout, and who says it."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pytest

from modelrollout.api.conditions import Reason
from modelrollout.api.schedule import Transition as Announcement
from modelrollout.api.unreported import UnreportedTransition
from modelrollout.cluster.writer import Writer
from modelrollout.decision.types import Sample, SampleState
from modelrollout.operator.events import EventRecorder
from modelrollout.operator.metrics import OTHER_CAUSES, OperatorMetrics
from modelrollout.operator.rollouts import NOT_PARSED, RolloutState
from modelrollout.operator.store import RolloutStore
from tests.unit.test_operator_rollouts import stored

SOURCE = Path(__file__).resolve().parents[2] / "operator" / "src" / "modelrollout"
WEIGHT = {"desired": 10, "achievable": 25.0, "observed": 25.0}
RATE = {"name": "errors", "query": "vector(1)", "max": "1%"}
DEADLINE, BREACH = ("", "DeadlineExceeded"), ("errors", "CriterionBreached")


class Told:
    """The metrics of one rollout, as a scrape finds them after its first tick."""

    def __init__(self, *criteria: dict[str, Any], **status: Any) -> None:
        self.leading = True
        self.store = RolloutStore(changed=lambda _: None, forgotten=lambda _: None)
        self.metrics = OperatorMetrics(lambda: self.leading)
        self.metrics.describe(self.store)
        self.reporter = EventRecorder(cast(Writer, None), self.metrics)
        obj = stored(status={"phase": "Progressing", "weight": WEIGHT, **status})
        obj["spec"] |= {"criteria": list(criteria), "baseline": {"window": "1h"}}
        self.store.apply(obj)
        found = self.store.get(("ns", "emotion"))
        assert found is not None
        self.rollout: RolloutState = found
        assert found.spec is not None, found.spec_error
        assert not found.status_unreadable, found.status_error

    def series(self, name: str, *labels: str) -> dict[Any, float]:
        """The series of a metric, by the values of these labels."""
        return {
            tuple(sample.labels[label] for label in labels): sample.value
            for family in self.metrics.registry.collect()
            for sample in family.samples
            if sample.name == f"modelrollout_{name}"
        }

    def rollbacks(self) -> dict[Any, float]:
        """The reverts, by criterion and reason."""
        return self.series("rollbacks_total", "criterion", "reason")

    def revert(self, reason: Reason, criterion: str | None = None) -> None:
        """Reports that the traffic goes back."""
        transition = UnreportedTransition(
            id="1",
            at=datetime.now(UTC),
            reason=str(reason),
            message="Back.",
            criterion=criterion,
            announcement=Announcement.ROLLING_BACK,
        )
        self.reporter.report(self.rollout, transition, lambda _: None)


def entry(state: str = "Pass", value: float = 0.5) -> dict[str, Any]:
    return {"name": "errors", "state": state, "value": value}


def test_only_the_replica_that_leads_tells_of_rollouts() -> None:
    told = Told(RATE, criteria=[entry()])
    assert told.series("criterion_value", "criterion") == {("errors",): 0.5}
    assert told.series("leader") == {(): 1}
    told.leading = False
    names = {sample.name for family in told.metrics.registry.collect() for sample in family.samples}
    about_one = {name for name in names if re.search(r"phase|weight|step$|criterion|rollbacks", name)}
    assert not about_one
    assert told.series("leader") == {(): 0}


def test_a_scrape_reads_what_was_parsed_and_parses_nothing() -> None:
    """It comes from another thread, in the middle of whatever a tick does."""
    told = Told(RATE)
    told.store.apply(stored(version=2, status={"phase": "Succeeded", "weight": {"desired": 100}}))
    assert told.series("phase", "phase") == {("Succeeded",): 1}
    assert told.series("weight_desired_percent") == {(): 10}
    assert told.rollout._raw_status is not NOT_PARSED


def test_the_weight_that_whole_pods_allow_is_told() -> None:
    assert Told().series("weight_achievable_percent") == {(): 25}


def test_every_limit_is_told() -> None:
    kept = {"name": "kept", "query": "vector(1)", "min": 0.75, "pauseBelow": 0.85, "max": 1}
    limits = Told(RATE, kept).series("criterion_limit", "criterion", "bound")
    assert limits == {
        ("errors", "max"): 0.01,
        ("kept", "max"): 1,
        ("kept", "min"): 0.75,
        ("kept", "pauseBelow"): 0.85,
    }


def test_a_limit_that_compares_is_told_once_the_other_value_is_known() -> None:
    recorded = {"name": "old", "preset": "latencyP95", "compare": {"to": "Baseline", "maxIncrease": "20%"}}
    beside = {
        "name": "beside",
        "preset": "latencyP95",
        "compare": {"to": "Stable", "maxIncrease": 0.1, "maxDecrease": "50%"},
    }
    assert Told(recorded, beside).series("criterion_limit", "criterion") == {}
    at = "2026-01-01T00:00:00Z"
    told = Told(recorded, beside, baseline=[{"criterion": "old", "value": 10, "recordedAt": at}])
    now = datetime(2026, 1, 1, tzinfo=UTC)
    told.rollout.samples = {
        "beside": Sample(state=SampleState.VALUE, at=now, value=0.3, reference=0.4),
    }
    limits = told.series("criterion_limit", "criterion", "bound")
    assert limits == pytest.approx({("old", "max"): 12, ("beside", "max"): 0.5, ("beside", "min"): 0.2})


def test_whether_a_criterion_holds_the_rollout_is_told_once_it_was_decided() -> None:
    told = Told(RATE, criteria=[entry("NoData")])
    assert told.series("criterion_holds") == {}
    told.rollout.blocking_criteria = ("errors",)
    assert told.series("criterion_holds", "criterion") == {("errors",): 1}
    told.rollout.blocking_criteria = ()
    assert told.series("criterion_holds", "criterion") == {("errors",): 0}


def test_every_cause_of_a_revert_is_there_at_zero_before_the_first() -> None:
    pausing = {"name": "slow", "query": "vector(1)", "max": 1, "onBreach": "Pause"}
    dry = {"name": "dry", "query": "vector(1)", "max": 1, "dryRun": True}
    told = Told(RATE, pausing, dry)
    assert told.rollbacks() == {BREACH: 0, **{("", str(reason)): 0 for reason in OTHER_CAUSES}}


def test_reverts_are_counted_with_and_without_a_criterion() -> None:
    told = Told(RATE)
    told.revert(Reason.CRITERION_BREACHED, "errors")
    told.revert(Reason.DEADLINE_EXCEEDED)
    told.revert(Reason.DEADLINE_EXCEEDED)
    assert {cause: count for cause, count in told.rollbacks().items() if count} == {BREACH: 1, DEADLINE: 2}


def test_one_that_has_ended_keeps_what_was_counted_and_costs_no_zeros() -> None:
    told = Told(RATE, phase="RolledBack")
    assert told.rollbacks() == {}
    told.revert(Reason.CRITERION_BREACHED, "errors")
    assert told.rollbacks() == {BREACH: 1}


def test_the_counters_of_a_rollout_go_with_it() -> None:
    told = Told(RATE)
    told.revert(Reason.CRITERION_BREACHED, "errors")
    told.store.remove(("ns", "emotion"))
    assert told.rollbacks() == {}


def test_every_reason_of_a_transition_is_there_at_zero() -> None:
    counted = Told().series("transitions_total", "reason")
    assert counted == {(str(reason),): 0 for reason in Reason}


def test_no_reason_of_a_transition_is_missing_in_the_enumeration() -> None:
    code = "\n".join(path.read_text() for path in SOURCE.rglob("*.py"))
    written = re.findall(r'(?:\.say|\.warn|_problem)\((?:\w+,)?\s*"(\w+)"', code)
    written += re.findall(r'\breason="(\w+)"', code)
    assert set(written) <= {str(reason) for reason in Reason}


def test_no_cause_of_a_revert_is_missing_among_the_counters() -> None:
    code = "\n".join(path.read_text() for path in (SOURCE / "decision").glob("*.py"))
    causes = set(re.findall(r"start_rollback\(\s*\w+,\s*reason=Reason\.(\w+)", code))
    counted = {reason.name for reason in OTHER_CAUSES}
    assert causes == counted | {"CRITERION_BREACHED", "DELETED"}
