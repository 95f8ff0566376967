"""What the observer of the fault tests calls wrong, and that the list of tests left out is true."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support import manifests as m
from tests.support.faults import scenarios
from tests.support.faults.history import violations
from tests.support.faults.observer import Change

CLUSTER = Path(__file__).resolve().parents[1] / "cluster"
AT = "2026-01-05T10:00:{:02d}Z"


class Past:
    """A history of one rollout, written down change by change."""

    def __init__(self) -> None:
        self.changes: list[Change] = []
        self.spec = m.rollout(plan=m.steps(25, 50, duration="10s"))["spec"]

    def add(self, kind: str, obj: dict[str, Any], type_: str = "MODIFIED") -> Past:
        self.changes.append(Change(len(self.changes) + 1, kind, type_, obj))
        return self

    def ready(self, stable: int, candidate: int) -> Past:
        pods = [f"emotion-1-5d8f-{n}" for n in range(stable)] + [
            f"emotion-2-77c1-{n}" for n in range(candidate)
        ]
        endpoints = [{"targetRef": {"name": pod}, "conditions": {"ready": True}} for pod in pods]
        labels = {"kubernetes.io/service-name": "emotion"}
        return self.add(
            "EndpointSlice", {"metadata": {"name": "s", "labels": labels}, "endpoints": endpoints}
        )

    def status(self, index: int, *, started: int = 0, reached: int | None = None, **more: Any) -> Past:
        step = {"index": index, "weight": (25, 50, 100)[index], "startedAt": AT.format(started)}
        if reached is not None:
            step["reachedAt"] = AT.format(reached)
        status = {"run": {"id": "r", "candidate": "emotion-2"}, "step": step, "phase": "Progressing"}
        return self.add(
            "ModelRollout", {"metadata": {"name": "emotion"}, "spec": self.spec, "status": status | more}
        )

    def job(self, uid: str) -> Past:
        return self.add("Job", {"metadata": {"name": "smoke", "uid": uid}}, "ADDED")


def good() -> Past:
    return Past().ready(4, 0).status(0).ready(4, 1).ready(3, 1).status(0, reached=2).status(1, started=12)


def test_a_good_history_has_no_violation() -> None:
    assert violations(good().ready(3, 2).ready(2, 2).status(1, started=12, reached=14).changes) == []


def test_too_few_endpoints_are_found_and_fewer_are_promised_on_a_rollback() -> None:
    assert "3 ready endpoints of at least 4" in violations(good().ready(2, 1).changes)[0]
    back = good().status(1, started=12, phase="RollingBack", rollback={"reason": "CriterionBreached"})
    assert violations(back.ready(2, 0).changes) == []
    assert "1 ready endpoints of at least 2" in violations(back.ready(1, 0).changes)[0]


def test_a_step_that_ends_early_or_was_not_reached_is_found() -> None:
    early = Past().ready(4, 0).status(0).ready(4, 1).status(0, reached=2).status(1, started=11)
    assert "step 0 ended after 9.00 of 10 s" in violations(early.changes)[0]
    unreached = Past().ready(4, 0).status(0).status(1, started=12)
    assert "before it was reached" in violations(unreached.changes)[0]


def test_a_step_that_is_said_to_be_reached_too_soon_is_found() -> None:
    assert violations(Past().ready(4, 0).status(0).status(0, reached=2).ready(4, 1).changes) == [
        "step 0 was said to be reached with 0 of 1 pods"
    ]


def test_a_run_that_goes_on_after_its_rollback_is_found() -> None:
    back = good().status(1, started=12, reached=14, rollback={"reason": "CriterionBreached"})
    found = violations(back.ready(0, 4).status(2, started=30).changes)
    assert any("went on after its rollback" in text for text in found), found


def test_a_job_that_is_made_twice_is_found() -> None:
    assert violations(Past().job("a").job("b").changes) == ["Job smoke was made 2 times"]


@pytest.mark.parametrize("file", scenarios.FILES)
def test_files_that_are_left_out_exist(file: str) -> None:
    assert (CLUSTER / file).is_file()


def test_tests_that_are_left_out_exist() -> None:
    text = "".join(path.read_text() for path in CLUSTER.rglob("test_*.py"))
    assert [name for name in scenarios.TESTS if f"def {name}(" not in text] == []


def test_a_test_is_left_out_by_its_file_or_its_name_whatever_its_parameters() -> None:
    assert scenarios.reason("tests/cluster/operator/test_operator_stale.py::test_x[a]")
    name = "test_nothing_is_written_while_nothing_changes"
    assert scenarios.reason(f"tests/cluster/operator/test_operator_rollout.py::{name}@group")
    assert not scenarios.reason("tests/cluster/operator/test_operator_rollout.py::test_y")
