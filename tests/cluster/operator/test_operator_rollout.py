"""The operator against a real API server: from apply to the end, with pods that look ready."""

from __future__ import annotations

import time
from typing import Any

from tests.support import manifests as m
from tests.support.operator_process import OperatorProcess
from tests.support.world import World

LATER = "1h"


def counts(world: World) -> tuple[int, int]:
    """Desired pods of stable and candidate."""
    return world.replicas("emotion-1"), world.replicas("emotion-2")


def test_a_healthy_candidate_goes_through_every_step_and_succeeds(
    emotion: World, operator: OperatorProcess
) -> None:
    emotion.create(m.rollout(plan=m.steps(25, 50, 75, duration="1s")))
    status = emotion.until_phase("Succeeded", seconds=40)
    assert status["stable"] == "emotion-2"
    assert status["previousStable"] == "emotion-1"
    assert counts(emotion) == (0, 4)
    # status comes first; the Events and the end of the finalizer follow
    emotion.until(lambda: "Promoted" in [reason for reason, _ in emotion.events()], what="the last Event")
    reasons = [reason for reason, _ in emotion.events()]
    assert reasons == ["Started", *["StepAdvanced"] * 4, "Promoted"]
    emotion.until(
        lambda: "finalizers" not in emotion.get("ModelRollout", "emotion")["metadata"],
        what="no finalizer any more",
    )
    emotion.plane.kubectl(
        "wait", "--for=condition=Succeeded", "mro/emotion", "-n", emotion.namespace, "--timeout=5s"
    )


def test_the_first_version_of_all_goes_straight_to_full(emotion: World, operator: OperatorProcess) -> None:
    emotion.create(m.rollout(stable=None))
    status = emotion.until_phase("Succeeded")
    assert status["stable"] == "emotion-2"
    assert emotion.replicas("emotion-2") == 4


def test_a_copy_of_stable_is_made_for_a_new_image_and_outlives_the_rollout(
    emotion: World, operator: OperatorProcess
) -> None:
    change = {"image": "registry.invalid/model:2", "env": [{"name": "MODEL", "value": "v2"}]}
    emotion.create(m.rollout(candidate=change, plan=m.steps(50, duration="1s")))
    status = emotion.until_phase("Succeeded")
    copy = emotion.get("Deployment", status["stable"])
    container = copy["spec"]["template"]["spec"]["containers"][0]
    assert status["stable"].startswith("emotion-")
    assert container["image"] == "registry.invalid/model:2"
    assert {"name": "MODEL", "value": "v2"} in container["env"]
    assert copy["metadata"]["labels"]["modelrollout.dev/rollout"] == "emotion"
    assert (copy["spec"]["replicas"], emotion.replicas("emotion-1")) == (4, 0)
    emotion.until(
        lambda: not emotion.get("Deployment", copy["metadata"]["name"])["metadata"].get("ownerReferences"),
        what="the copy has no owner any more",
    )
    emotion.delete("ModelRollout", "emotion")
    emotion.until(lambda: emotion.find("ModelRollout", "emotion") is None, what="deleted")
    assert emotion.replicas(copy["metadata"]["name"]) == 4


def test_a_copy_that_never_became_stable_dies_with_the_rollout(
    emotion: World, operator: OperatorProcess
) -> None:
    emotion.create(m.rollout(candidate={"image": "x:2"}, plan=m.steps(50, duration=LATER)))
    copy = emotion.at_step(50)["run"]["candidate"]
    emotion.delete("ModelRollout", "emotion")
    emotion.until(lambda: emotion.find("ModelRollout", "emotion") is None, what="deleted")
    assert emotion.replicas("emotion-1") == 4
    # the garbage collector may learn of a new CRD as late as at its next look, every 30 s
    emotion.until(lambda: emotion.find("Deployment", copy) is None, what="the copy is collected", seconds=120)


def test_abort_by_annotation_brings_everything_back_and_is_done_once(
    emotion: World, operator: OperatorProcess
) -> None:
    emotion.create(m.rollout(plan=m.steps(50, duration=LATER)))
    emotion.at_step(50)
    command = {"metadata": {"annotations": {"modelrollout.dev/command": '{"id":"1","verb":"abort"}'}}}
    emotion.patch("ModelRollout", "emotion", command)
    status = emotion.until_phase("RolledBack")
    emotion.until(lambda: counts(emotion) == (4, 0), what="all on stable")
    assert status["handledCommands"] == ["1"]
    assert emotion.status()["run"]["attempt"] == 1


def test_an_unreadable_command_is_said_and_changes_nothing(emotion: World, operator: OperatorProcess) -> None:
    emotion.create(m.rollout(plan=m.steps(50, duration=LATER)))
    emotion.at_step(50)
    wrong = {"metadata": {"annotations": {"modelrollout.dev/command": "explode"}}}
    emotion.patch("ModelRollout", "emotion", wrong)
    _, message = emotion.until(
        lambda: next((e for e in emotion.events() if e[0] == "BadCommand"), None), what="an Event"
    )
    assert "explode" in message and "verb" in message
    assert counts(emotion) == (2, 2)


def test_deleting_in_the_middle_returns_the_traffic_first(emotion: World, operator: OperatorProcess) -> None:
    emotion.create(m.rollout(plan=m.steps(50, duration=LATER)))
    emotion.at_step(50)
    assert emotion.get("ModelRollout", "emotion")["metadata"]["finalizers"] == [
        "modelrollout.dev/return-traffic"
    ]
    emotion.delete("ModelRollout", "emotion")
    emotion.until(lambda: emotion.find("ModelRollout", "emotion") is None, what="deleted")
    assert counts(emotion) == (4, 0)
    emotion.until(lambda: emotion.ready("emotion", "emotion-1") == 4, what="all traffic on stable")


def test_scale_of_the_rollout_keeps_the_ratio_and_carries_the_selector(
    emotion: World, operator: OperatorProcess
) -> None:
    emotion.create(m.rollout(plan=m.steps(50, duration=LATER)))
    emotion.at_step(50)
    scale = emotion.call("GET", emotion.path("ModelRollout", "emotion", "/scale"))[1]
    assert scale["spec"]["replicas"] == 4
    assert scale["status"]["selector"] == "app=emotion"
    emotion.patch("ModelRollout", "emotion", {"spec": {"replicas": 8}}, sub="/scale")
    emotion.until(lambda: counts(emotion) == (4, 4), what="4 and 4 pods")
    assert emotion.status()["phase"] == "Progressing"


def test_a_hand_that_scales_a_deployment_is_put_right_and_said(
    emotion: World, operator: OperatorProcess
) -> None:
    emotion.create(m.rollout(plan=m.steps(50, duration=LATER)))
    emotion.at_step(50)
    emotion.patch("Deployment", "emotion-1", {"spec": {"replicas": 0}}, sub="/scale")
    emotion.until(lambda: emotion.ready("emotion", "emotion-1") == 2, what="2 pods of stable again")
    assert emotion.until(
        lambda: [m for r, m in emotion.events() if r == "DriftCorrected" and "emotion-1" in m],
        what="an Event",
    )


def test_setting_the_candidate_back_to_stable_aborts(emotion: World, operator: OperatorProcess) -> None:
    emotion.create(m.rollout(plan=m.steps(50, duration=LATER)))
    emotion.at_step(50)
    emotion.patch("ModelRollout", "emotion", {"spec": {"candidate": {"deployment": "emotion-1"}}})
    emotion.until_phase("Idle")
    emotion.until(lambda: counts(emotion) == (4, 0), what="all on stable")


def test_a_newer_candidate_in_the_middle_starts_again_from_stable(
    emotion: World, operator: OperatorProcess
) -> None:
    emotion.create(m.deployment("emotion-3"), m.rollout(plan=m.steps(50, duration="2s")))
    emotion.at_step(50)
    emotion.patch("ModelRollout", "emotion", {"spec": {"candidate": {"deployment": "emotion-3"}}})
    status = emotion.until_phase("Succeeded")
    assert status["stable"] == "emotion-3"
    assert status["previousStable"] == "emotion-1"
    assert [entry["result"] for entry in status["history"]] == ["Succeeded", "Superseded"]
    assert (emotion.replicas("emotion-1"), emotion.replicas("emotion-2"), emotion.replicas("emotion-3")) == (
        0,
        0,
        4,
    )


def test_a_candidate_that_never_gets_ready_is_taken_back_at_its_deadline(
    world: World, operator: OperatorProcess
) -> None:
    never = {"kwok.modelrollout.dev/never-ready": "true"}
    world.create(
        m.service(),
        m.deployment("emotion-1", replicas=4),
        m.deployment("emotion-2", pod_annotations=never),
    )
    world.until(lambda: world.ready("emotion", "emotion-1") == 4, what="stable ready")
    world.create(m.rollout(plan=m.steps(50, duration="1s"), progressDeadline="2s"))
    status = world.until_phase("RolledBack")
    assert status["reason"] == "DeadlineExceeded"
    assert world.ready("emotion", "emotion-1") == 4
    assert world.replicas("emotion-2") == 0


def test_nothing_is_written_while_nothing_changes(emotion: World, operator: OperatorProcess) -> None:
    emotion.create(m.rollout(plan=m.steps(50, duration=LATER)))
    emotion.at_step(50)
    emotion.until(lambda: emotion.ready("emotion", "emotion-2") == 2, what="ready")

    def written() -> tuple[Any, ...]:
        version = emotion.get("ModelRollout", "emotion")["metadata"]["resourceVersion"]
        requests = (
            operator.metric("modelrollout_api_requests_total", method=verb) for verb in ("PATCH", "POST")
        )
        return version, *requests

    before = emotion.settled(written)  # the last Event and the last status have been written by now
    memory = operator.rss_mib()
    time.sleep(5)
    assert operator.rss_mib() < memory + 8
    assert written() == before
    assert operator.get("/healthz") == (200, "ok")
