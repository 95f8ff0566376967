"""The operator killed with SIGKILL, again and again, at random instants of good runs and bad ones."""

from __future__ import annotations

import random
import time
from typing import Any

import pytest

from tests.support import manifests as m
from tests.support.operator_process import OperatorProcess
from tests.support.scene import Scene, seconds_between

KILLS = 200


@pytest.mark.takes(seconds=210)
@pytest.mark.timeout(1200)
def test_scenario_29_killed_at_random_200_times_ends_where_it_would_have_ended(
    scene: Scene, operator: OperatorProcess
) -> None:
    """Runs follow one another, good ones and bad ones, while the operator is killed all the time."""
    scene.stage(versions=3)
    seed = random.Random(29)
    scene.apply(plan=m.steps(25, 50, 75, duration="2s"))
    reached: dict[tuple[str, int], str] = {}
    spans: list[float] = []
    ends: list[str] = []
    bad = False
    for number in range(KILLS):
        if number % 5:  # else it is killed while it starts
            operator.wait_ready()
        deadline = time.monotonic() + seed.uniform(0, 1)
        while time.monotonic() < deadline:
            _record(scene.status(), reached, spans)
            time.sleep(0.05)
        operator.kill()
        operator.start(wait_ready=False)
        status = scene.status()
        if status.get("phase") in ("Succeeded", "RolledBack") and len(status["history"]) > 0:
            ends.append(status["phase"])
            bad = not bad
            if status["phase"] == "RolledBack":
                scene.pods[status["run"]["candidate"]].set("test_value", 2 if bad else 0.5)
                scene.command_without_waiting("retry")
            else:  # never back to the previous version: that would need no steps
                used = {status["stable"], status.get("previousStable")}
                following = next(name for name in scene.pods if name not in used)
                scene.pods[following].set("test_value", 2 if bad else 0.5)
                scene.change(candidate={"deployment": following})
            scene.until(lambda s, run=status["run"]["id"]: s["run"]["id"] != run, what="the next run")
    assert spans, "no step was seen to end"
    assert min(spans) >= 2.0, f"a step of 2 s ended after {min(spans):.2f} s"
    final = scene.until(
        lambda s: s["phase"] in ("Succeeded", "RolledBack"), what="the last run ends", seconds=60
    )
    scene.world.until(
        lambda: +scene.world.ready_of_all("emotion") == {final["stable"]: 4},
        what="all traffic on the stable version",
    )
    ids = [entry["id"] for entry in final["history"]]
    assert len(ids) == len(set(ids)), "a run ended twice"
    assert len(ends) >= 5, f"only {ends} in {KILLS} kills"


def _record(status: dict[str, Any], reached: dict[tuple[str, int], str], spans: list[float]) -> None:
    step, run = status.get("step"), (status.get("run") or {}).get("id", "")
    if status.get("phase") != "Progressing" or not step:
        return
    before = reached.pop((run, step["index"] - 1), None)
    if before is not None:
        spans.append(seconds_between(before, step["startedAt"]))
    if "reachedAt" in step:
        reached.setdefault((run, step["index"]), step["reachedAt"])
