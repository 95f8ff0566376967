"""Validation Jobs: what stops a run, what it says, and that each runs once whatever crashes."""

from __future__ import annotations

import random
import time
from typing import Any

import pytest

from tests.support import manifests as m
from tests.support.job_pods import EXIT_CODE, IMAGE_ERROR, RUN_FOR, annotated
from tests.support.operator_process import OperatorProcess
from tests.support.scene import Scene, condition

CHECK = {"name": "smoke", "image": "registry.invalid/check:1", "args": ["--url=$(CANDIDATE_URL)"]}
BEFORE_FIFTY = CHECK | {"beforeWeights": [50]}
PLAN = m.steps(25, 50, duration="1s")


def begin(scene: Scene, **validation: Any) -> None:
    """A rollout whose validation runs before 50 %."""
    scene.stage()
    scene.apply(plan=PLAN, validations=[BEFORE_FIFTY | validation])


def stays_at(scene: Scene, weight: int, seconds: float) -> None:
    """Asserts that for so long neither the weight nor what clients reach changes."""
    total, share = 4, {25: 1, 50: 2}[weight]
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        status = scene.status()
        assert status["step"]["weight"] == weight, status
        assert status["weight"]["desired"] == weight, status
        assert scene.ready() == {"emotion-1": total - share, "emotion-2": share}
        time.sleep(0.1)


def stopped(scene: Scene, *, seconds: float = 60) -> dict[str, Any]:
    """Waits until a failed validation has stopped the run, and checks what is said of it."""
    status = scene.world.until_phase("Paused", seconds=seconds)
    assert status["reason"] == "ValidationFailed"
    told = condition(status, "Paused")
    assert (told["status"], told["reason"]) == ("True", "ValidationFailed"), told
    assert "smoke" in told["message"], told
    assert "50%" in told["message"], told
    assert condition(status, "Stalled")["status"] == "True"
    return status


@pytest.mark.usefixtures("operator")
def test_scenario_14_a_validation_that_exits_1_stops_the_run_where_it_is(scene: Scene) -> None:
    with annotated(scene.world, **{EXIT_CODE: "1"}):
        begin(scene)
        told = condition(stopped(scene), "Paused")["message"]
        assert "Exit code 1." in told
        assert "log" in told.lower()  # its tail, or why there is none
        stays_at(scene, 25, 4)
        assert len(scene.world.list("Job")) == 1, "a failed validation was repeated by itself"
        entry = scene.status()["validations"][0]
        assert (entry["state"], entry["step"]) == ("Failed", 1)
        assert entry["finishedAt"] >= entry["startedAt"]
    scene.command("resume")
    scene.world.until_phase("Succeeded", seconds=60)
    assert len(scene.world.list("Job")) == 2, "resume runs it once more, under another name"


@pytest.mark.usefixtures("operator")
def test_scenario_15_a_validation_over_its_timeout_is_ended_and_stops_the_run(scene: Scene) -> None:
    with annotated(scene.world, **{RUN_FOR: "1h"}):
        begin(scene, timeout="4s")
        scene.world.until(lambda: scene.world.list("Job"), what="the Job", seconds=60)
        made = time.monotonic()
        status = stopped(scene)
        assert time.monotonic() - made < 15
        assert "timeout of 4s" in condition(status, "Paused")["message"]
        assert status["validations"][0]["state"] == "TimedOut"
        scene.world.until(lambda: not scene.world.list("Job"), what="the Job is ended")
        scene.world.until(lambda: not validation_pods(scene), what="its pod is gone")
        stays_at(scene, 25, 3)
        assert not scene.world.list("Job"), "it was run again by itself"


@pytest.mark.takes(seconds=30)
@pytest.mark.usefixtures("operator")
def test_scenario_16_an_image_that_cannot_be_pulled_is_reported_within_a_minute_and_not_passed(
    scene: Scene,
) -> None:
    with annotated(scene.world, **{IMAGE_ERROR: "true"}):
        begin(scene, timeout="25s")
        scene.world.until(lambda: scene.world.list("Job"), what="the Job", seconds=60)
        scene.until(
            lambda s: s["validations"] and s["validations"][0]["state"] == "ImagePullFailed",
            what="the trouble in status",
            seconds=60,
        )
        status = scene.status()
        assert "registry.invalid/check:1" in status["validations"][0]["message"]
        assert "registry.invalid/check:1" in condition(status, "Progressing")["message"], status["conditions"]
        scene.world.until(
            lambda: any(
                reason == "ImagePullFailed" and "registry.invalid/check:1" in text
                for reason, text in scene.world.events()
            ),
            what="the Event",
        )
        stays_at(scene, 25, 3)
        told = condition(stopped(scene, seconds=90), "Paused")["message"]
        assert "registry.invalid/check:1" in told
        stays_at(scene, 25, 2)


@pytest.mark.usefixtures("operator")
def test_promote_goes_on_without_a_failed_validation_and_abort_goes_back(scene: Scene) -> None:
    with annotated(scene.world, **{EXIT_CODE: "1"}):
        begin(scene)
        stopped(scene)
        scene.command("promote")
        scene.at_weight(50)
        scene.command("abort")
        scene.world.until_phase("RolledBack")
        scene.on_stable()


@pytest.mark.takes(seconds=25)
def test_validations_run_exactly_once_per_step_and_run_while_the_operator_is_killed(
    scene: Scene, operator: OperatorProcess
) -> None:
    chance = random.Random(20)
    seen: dict[str, tuple[str, str]] = {}

    def look() -> str:
        for job in scene.world.list("Job"):
            labels = job["metadata"]["labels"]
            seen[job["metadata"]["uid"]] = (job["metadata"]["name"], labels["modelrollout.dev/run"])
        return str(scene.status().get("phase"))

    with annotated(scene.world, **{RUN_FOR: "1s"}):
        scene.stage()
        checks = [CHECK, CHECK | {"name": "second"}]
        scene.apply(plan=m.steps(25, 50, 75, duration="1s"), validations=checks)
        kills, deadline = 0, time.monotonic() + 240
        while look() != "Succeeded":
            assert time.monotonic() < deadline, scene.status()
            pause = time.monotonic() + chance.uniform(0.1, 2.0)
            while time.monotonic() < pause and look() != "Succeeded":
                time.sleep(0.05)
            if kills < 15:
                operator.kill()
                kills += 1
                look()
                operator.start(wait_ready=chance.random() < 0.8)
        look()
    assert kills >= 5, "the rollout was over before it could be disturbed"
    assert len(seen) == 2 * 4, seen
    assert len({name for name, _ in seen.values()}) == 2 * 4, seen
    assert {run for _, run in seen.values()} == {scene.status()["run"]["id"]}
    entries = scene.status()["validations"]
    assert sorted((e["name"], e["step"]) for e in entries) == [
        (name, step) for name in ("second", "smoke") for step in range(4)
    ]
    assert {e["state"] for e in entries} == {"Succeeded"}


def validation_pods(scene: Scene) -> list[str]:
    """Names of pods of validations."""
    return [
        pod["metadata"]["name"]
        for pod in scene.world.list("Pod")
        if pod["metadata"]["labels"].get("modelrollout.dev/role") == "validation"
    ]


@pytest.mark.usefixtures("operator")
def test_a_job_that_is_kept_for_no_time_is_still_seen_to_succeed(scene: Scene) -> None:
    """The cluster deletes it as soon as it may, which is not before its result is in status."""
    begin(scene, ttl="0s")
    status = scene.world.until_phase("Succeeded", seconds=60)
    assert [entry["state"] for entry in status["validations"]] == ["Succeeded"]
    scene.world.until(lambda: not scene.world.list("Job"), what="the Job is gone")
