"""Scenario 50: what others have under a name of ours is left alone and reported."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from modelrollout.decision.names import job_name
from tests.support import manifests as m
from tests.support.operator_process import OperatorProcess
from tests.support.world import World

CHECK = {"name": "smoke", "image": "registry.invalid/check:1", "beforeWeights": [50]}
PLAN = m.steps(25, 50, duration="2s")


def foreign_job(world: World) -> dict[str, Any]:
    """A Job of somebody else under the name of that which the run under way makes next."""
    run = world.until(lambda: world.status().get("run"), what="the run")
    container = {"name": "theirs", "image": "registry.invalid/theirs:1"}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": job_name("emotion", run["id"], 1, "smoke")},
        "spec": {
            "suspend": True,
            "template": {"spec": {"restartPolicy": "Never", "containers": [container]}},
        },
    }


def unchanged(world: World, kind: str, name: str) -> dict[str, Any]:
    """What somebody else's object asks for, without what its controllers write."""
    found = world.get(kind, name)
    return {"uid": found["metadata"]["uid"], "labels": found["metadata"].get("labels"), "spec": found["spec"]}


@pytest.mark.parametrize(
    ("make", "spec"),
    [
        pytest.param(
            lambda _: m.deployment("emotion-shadow", app="theirs"),
            {"shadow": {"duration": "1s"}},
            id="Deployment of the shadow",
        ),
        pytest.param(
            lambda _: m.service("emotion-shadow", selector={"app": "theirs"}),
            {"shadow": {"duration": "1s"}},
            id="Service of the shadow",
        ),
        pytest.param(
            lambda _: m.service("emotion-candidate", selector={"app": "theirs"}),
            {"validations": [CHECK]},
            id="Service of the candidate",
        ),
        pytest.param(foreign_job, {"validations": [CHECK]}, id="Job"),
    ],
)
@pytest.mark.usefixtures("operator")
def test_scenario_50_a_foreign_object_under_a_name_of_ours(
    emotion: World, make: Callable[[World], dict[str, Any]], spec: dict[str, Any]
) -> None:
    before = "validations" not in spec or make is not foreign_job
    theirs = make(emotion) if before else {}
    if before:
        emotion.create(theirs)
    emotion.create(m.rollout(plan=PLAN, **spec))
    if not before:
        theirs = make(emotion)
        emotion.create(theirs)
    kind, name = theirs["kind"], theirs["metadata"]["name"]
    seen = unchanged(emotion, kind, name)

    status = emotion.until(
        lambda: (s := emotion.status()).get("reason") == "NameTaken" and s, what="NameTaken", seconds=60
    )
    assert status["phase"] == "Invalid"
    assert f"{kind} {name} exists and was not made for this ModelRollout" in status["message"]
    told = [reason for reason, _ in emotion.settled(emotion.events)]
    assert told.count("NameTaken") == 1, told
    assert unchanged(emotion, kind, name) == seen

    emotion.patch("ModelRollout", "emotion", {"spec": {"candidate": {"deployment": "emotion-1"}}})
    emotion.until_phase("Idle")
    assert unchanged(emotion, kind, name) == seen, "the end of the run touched it"
    emotion.delete("ModelRollout", "emotion")
    emotion.until(lambda: emotion.find("ModelRollout", "emotion") is None, what="deleted")
    assert unchanged(emotion, kind, name) == seen, "the end of the ModelRollout touched it"


@pytest.mark.takes(seconds=21)
def test_the_run_goes_on_once_the_name_is_free(emotion: World, operator: OperatorProcess) -> None:
    emotion.create(m.service("emotion-shadow", selector={"app": "theirs"}))
    emotion.create(m.rollout(plan=PLAN, shadow={"duration": "1s"}))
    emotion.until(lambda: emotion.status().get("reason") == "NameTaken", what="NameTaken")
    emotion.delete("Service", "emotion-shadow")
    emotion.until_phase("Succeeded", seconds=90)
    assert operator.running
