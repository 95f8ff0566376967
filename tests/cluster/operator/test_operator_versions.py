"""A version is its pod template: Deployments used in turn, edits in mid-run, copies, and deletion.

On a real API server, which fills in defaults, with the controllers that make ReplicaSets and collect garbage.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.support import manifests as m
from tests.support.operator_process import OperatorProcess
from tests.support.world import World

LATER = "1h"
FOREGROUND = {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Foreground"}


def set_image(world: World, deployment: str, image: str) -> None:
    """What `kubectl set image` does."""
    container = {"name": "server", "image": image, "ports": [{"containerPort": 8080}]}
    template = {"spec": {"containers": [container]}}
    world.patch("Deployment", deployment, {"spec": {"template": template}})


def restart(world: World, deployment: str) -> None:
    """What `kubectl rollout restart` does."""
    at = {"kubectl.kubernetes.io/restartedAt": "2026-11-24T20:00:00Z"}
    world.patch("Deployment", deployment, {"spec": {"template": {"metadata": {"annotations": at}}}})


def reasons(world: World) -> list[str]:
    return [reason for reason, _ in world.events()]


@contextmanager
def least_ready(world: World) -> Iterator[Callable[[], int]]:
    """The fewest ready endpoints of the Service at any look, while the block runs."""
    seen = [world.ready_of_all("emotion").total()]
    over = threading.Event()

    def look() -> None:
        while not over.is_set():
            seen.append(world.ready_of_all("emotion").total())
            over.wait(0.02)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield lambda: min(seen)
    finally:
        over.set()
        thread.join()
    assert len(seen) > 1


def delete_in_the_foreground(world: World) -> None:
    """What a GitOps tool's prune and `kubectl delete --cascade=foreground` do; waits until it is gone."""
    status, answer = world.call("DELETE", world.path("ModelRollout", "emotion"), FOREGROUND)
    assert status in {200, 202}, answer
    world.until(lambda: world.find("ModelRollout", "emotion") is None, what="it is deleted", seconds=90)


# -- Deployments used in turn -----------------------------------------------------------------------------


def test_scenario_41_a_new_image_in_the_idle_deployment_takes_every_step(
    emotion: World, operator: OperatorProcess
) -> None:
    emotion.create(m.rollout(plan=m.steps(50, duration="1s")))
    emotion.until_phase("Succeeded")
    set_image(emotion, "emotion-1", "registry.invalid/model:never-seen")
    emotion.patch("ModelRollout", "emotion", {"spec": {"candidate": {"deployment": "emotion-1"}}})
    run = emotion.at_step(50)["run"]
    assert not run.get("skipAnalysis")
    emotion.until(lambda: emotion.status().get("stable") == "emotion-1", what="promoted")
    assert "ReturnedToPrevious" not in reasons(emotion)


def test_scenario_41_the_template_that_was_stable_comes_back_at_once_although_its_deployment_was_scaled(
    emotion: World, operator: OperatorProcess
) -> None:
    """Scaling, labels of the Deployment itself and the defaults of the API server make no new version."""
    emotion.create(m.rollout(plan=m.steps(50, duration="1s")))
    before = emotion.until_phase("Succeeded")["previousStableTemplate"]
    emotion.patch("Deployment", "emotion-1", {"metadata": {"labels": {"team": "ml"}}})
    set_image(emotion, "emotion-1", "registry.invalid/model:other")
    set_image(emotion, "emotion-1", m.IMAGE)
    emotion.patch("ModelRollout", "emotion", {"spec": {"candidate": {"deployment": "emotion-1"}}})
    emotion.until(lambda: emotion.status().get("stable") == "emotion-1", what="it is stable again")
    status = emotion.status()
    assert status["stableTemplate"] == before
    assert status["history"][0]["reason"] == "ReturnedToPrevious"


# -- changes in mid-run -----------------------------------------------------------------------------------


def test_scenario_42_a_changed_candidate_starts_again_at_step_1(
    emotion: World, operator: OperatorProcess
) -> None:
    emotion.create(m.rollout(plan=[*m.steps(25, duration="2s")[:1], *m.steps(50, duration=LATER)]))
    before = emotion.at_step(50)["run"]
    set_image(emotion, "emotion-2", "registry.invalid/model:never-seen")
    emotion.until(lambda: "CandidateTemplateChanged" in reasons(emotion), what="an Event")
    run = emotion.at_step(25)["run"]
    assert (run["stable"], run["candidate"]) == ("emotion-1", "emotion-2")
    assert run["id"] != before["id"] and run["template"] != before["template"]
    assert emotion.status()["history"][0]["reason"] == "CandidateTemplateChanged"
    assert emotion.status()["history"][0]["result"] == "Superseded"


@pytest.mark.parametrize("change", [set_image, restart], ids=["image", "restart"])
def test_scenario_42_a_changed_stable_pauses_and_says_what_to_do(
    emotion: World, operator: OperatorProcess, change: Callable[..., None]
) -> None:
    emotion.create(m.rollout(plan=m.steps(25, 50, duration="2s")))
    emotion.at_step(25)
    arguments = ("registry.invalid/model:patched",) if change is set_image else ()
    change(emotion, "emotion-1", *arguments)
    status = emotion.until_phase("Paused")
    assert status["pause"]["reason"] == "StableTemplateChanged"
    assert all(word in status["message"] for word in ("emotion-1", "resume", "abort"))
    command = {"metadata": {"annotations": {"modelrollout.dev/command": '{"id":"1","verb":"resume"}'}}}
    emotion.patch("ModelRollout", "emotion", command)
    emotion.until_phase("Succeeded")


def test_scenario_42_an_edit_of_stable_at_rest_is_said(emotion: World, operator: OperatorProcess) -> None:
    emotion.create(m.rollout(candidate="emotion-1"))
    before = emotion.until_phase("Idle")["stableTemplate"]
    restart(emotion, "emotion-1")
    emotion.until(lambda: emotion.condition("StableEdited"), what="a condition")
    assert emotion.condition("StableEdited")["reason"] == "StableTemplateChanged"
    emotion.until(lambda: "StableTemplateChanged" in reasons(emotion), what="an Event")
    assert emotion.status()["stableTemplate"] != before
    assert emotion.status()["phase"] == "Idle"


def test_a_rolled_back_candidate_is_tried_again_when_its_template_changes(
    emotion: World, operator: OperatorProcess
) -> None:
    emotion.create(m.rollout(plan=m.steps(50, duration=LATER)))
    emotion.at_step(50)
    command = {"metadata": {"annotations": {"modelrollout.dev/command": '{"id":"1","verb":"abort"}'}}}
    emotion.patch("ModelRollout", "emotion", command)
    emotion.until_phase("RolledBack")
    set_image(emotion, "emotion-2", "registry.invalid/model:mended")
    emotion.at_step(50)


# -- copies of stable -------------------------------------------------------------------------------------


def test_a_copy_of_a_paused_stable_that_helm_installed_runs_and_belongs_to_the_operator_alone(
    emotion: World, operator: OperatorProcess
) -> None:
    marks = {
        "metadata": {
            "labels": {"app.kubernetes.io/managed-by": "Helm", "argocd.argoproj.io/instance": "models"},
            "annotations": {"meta.helm.sh/release-name": "models", "argocd.argoproj.io/tracking-id": "x"},
        },
        "spec": {"paused": True},
    }
    emotion.patch("Deployment", "emotion-1", marks)
    emotion.create(m.rollout(candidate={"image": "x:2"}, plan=m.steps(50, duration=LATER)))
    copy = emotion.get("Deployment", emotion.at_step(50)["run"]["candidate"])
    assert "paused" not in copy["spec"]
    assert "ownerReferences" not in copy["metadata"]
    assert copy["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "modelrollout"
    found = {*copy["metadata"]["labels"], *copy["metadata"]["annotations"]}
    assert not [mark for mark in found if "helm" in mark or "argoproj" in mark]


def test_retry_after_stable_was_mended_copies_the_mended_one(
    emotion: World, operator: OperatorProcess
) -> None:
    emotion.create(
        m.rollout(candidate={"env": [{"name": "MODEL", "value": "2"}]}, plan=m.steps(50, duration=LATER))
    )
    first = emotion.at_step(50)["run"]["candidate"]
    for id_, verb in (("1", "abort"), ("2", "retry")):
        text = f'{{"id":"{id_}","verb":"{verb}"}}'
        emotion.patch(
            "ModelRollout", "emotion", {"metadata": {"annotations": {"modelrollout.dev/command": text}}}
        )
        if verb == "abort":
            emotion.until_phase("RolledBack")
            set_image(emotion, "emotion-1", "registry.invalid/model:mended")
            emotion.until(lambda: emotion.condition("StableEdited"), what="the mended stable is known")
    second = emotion.at_step(50)["run"]["candidate"]
    assert second != first
    container = emotion.get("Deployment", second)["spec"]["template"]["spec"]["containers"][0]
    assert container["image"] == "registry.invalid/model:mended"


def test_copies_beyond_the_limit_are_deleted(emotion: World, operator: OperatorProcess) -> None:
    emotion.create(
        m.rollout(candidate={"image": "x:1"}, plan=m.steps(50, duration="0s"), revisionHistoryLimit=1)
    )
    made = [emotion.until_phase("Succeeded")["stable"]]
    for number in (2, 3):
        emotion.patch("ModelRollout", "emotion", {"spec": {"candidate": {"image": f"x:{number}"}}})
        emotion.until(lambda: emotion.status().get("stable") not in made, what=f"x:{number} is stable")
        made.append(emotion.status()["stable"])
    emotion.until(lambda: emotion.find("Deployment", made[0]) is None, what="the oldest copy is deleted")
    assert emotion.find("Deployment", made[1]) is not None
    assert emotion.find("Deployment", "emotion-1") is not None, "what people made is theirs"


# -- deletion in the foreground ---------------------------------------------------------------------------


def serving_copy(world: World) -> str:
    """A rollout at rest whose stable version is a copy that the operator made."""
    world.create(m.rollout(candidate={"image": "x:1"}, plan=m.steps(50, duration="0s")))
    stable = str(world.until_phase("Succeeded")["stable"])
    world.until(lambda: world.ready("emotion", stable) == 4, what="the copy serves")
    return stable


def test_scenario_46_deletion_in_the_foreground_at_rest_leaves_the_serving_copy(
    emotion: World, operator: OperatorProcess
) -> None:
    stable = serving_copy(emotion)
    emotion.patch("ModelRollout", "emotion", {"spec": {"candidate": {"image": "x:2"}}})
    emotion.until(lambda: emotion.status().get("stable") != stable, what="the next copy is stable")
    latest = emotion.status()["stable"]
    emotion.until(lambda: emotion.ready("emotion", latest) == 4, what="it serves")
    with least_ready(emotion) as least:
        delete_in_the_foreground(emotion)
    assert least() == 4
    assert emotion.find("Deployment", stable) is None, "the copy that does not serve any more goes"
    assert emotion.replicas(latest) == 4


PHASES: list[Any] = [
    pytest.param({"shadow": {"duration": LATER}}, "Shadow", id="shadow"),
    pytest.param({"plan": m.steps(50, duration=LATER)}, "Progressing", id="step"),
    pytest.param({"plan": m.steps(50, duration=LATER), "paused": True}, "Paused", id="paused"),
    pytest.param(
        {"plan": m.steps(50, duration="0s"), "observation": {"duration": LATER}},
        "Observing",
        id="observation",
    ),
]


@pytest.mark.parametrize("spec, phase", PHASES)
def test_scenario_46_deletion_in_the_foreground_in_mid_run_holds_the_capacity(
    emotion: World, operator: OperatorProcess, spec: dict[str, Any], phase: str
) -> None:
    """A copy that serves ends only when stable is back: `rollback.minCapacity` holds at every moment."""
    spec = dict(spec)
    paused = spec.pop("paused", False)
    rollback = {"minCapacity": "100%"}
    emotion.create(m.rollout(candidate={"image": "x:2"}, rollback=rollback, **spec))
    if phase in {"Progressing", "Paused"}:
        emotion.at_step(50)
    if paused:
        emotion.patch("ModelRollout", "emotion", {"spec": {"paused": True}})
    emotion.until_phase(phase)
    emotion.until(lambda: emotion.ready_of_all("emotion").total() == 4, what="no pod is on its way")
    copy = emotion.status()["run"]["candidate"]
    with least_ready(emotion) as least:
        delete_in_the_foreground(emotion)
        emotion.until(lambda: emotion.ready("emotion", "emotion-1") == 4, what="all on stable")
    assert least() >= 4
    assert emotion.find("Deployment", copy) is None
    assert emotion.replicas("emotion-1") == 4
