"""Runs that another version of the operator began: the release before this one, from its source."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.operator.conftest import StartOperator
from tests.support import manifests as m
from tests.support.operator_process import OperatorProcess
from tests.support.previous_release import PreviousRelease
from tests.support.scene import seconds_between
from tests.support.world import World

STEP_SECONDS = 4
COPY = {"image": "registry.invalid/model:2"}
Start = Callable[[str], OperatorProcess]


@pytest.fixture
def start(start_operator: StartOperator, tmp_path: Path) -> Start:
    """Start the operator of the release `before` this one, or of `this`."""
    source = PreviousRelease.unpack(tmp_path / "before").directory / "operator" / "src"

    def start(release: str) -> OperatorProcess:
        if release == "this":
            return start_operator("operator-this")
        environment = {"PYTHONPATH": str(source)}
        return start_operator("operator-before", environment=environment)

    return start


@pytest.mark.parametrize("candidate", ["emotion-2", COPY], ids=["deployment", "copy"])
@pytest.mark.parametrize("began", ["before", "this"])
def test_a_run_goes_on_where_another_release_of_the_operator_left_it(
    emotion: World, start: Start, candidate: Any, began: str
) -> None:
    other = {"before": "this", "this": "before"}[began]
    first = start(began)
    duration = f"{STEP_SECONDS}s"
    emotion.create(m.rollout(candidate=candidate, plan=m.steps(25, 50, 75, duration=duration)))
    before = emotion.at_step(25)
    first.stop()
    start(other)
    after = emotion.at_step(50)
    assert after["run"]["id"] == before["run"]["id"]
    assert after["run"]["candidate"] == before["run"]["candidate"]
    assert seconds_between(before["step"]["reachedAt"], after["step"]["startedAt"]) >= STEP_SECONDS
    emotion.until_phase("Succeeded")
