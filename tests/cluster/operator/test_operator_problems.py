"""What only the operator can see is a condition with a reason and a sentence, and nothing is scaled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.support import manifests as m
from tests.support.operator_process import OperatorProcess
from tests.support.world import World


def invalid(world: World, reason: str, name: str = "emotion") -> str:
    """Waits for Invalid with that reason, which the Ready condition must repeat; gives the message.

    The first reason seen may be another: what the test made just before comes by another watch, maybe later.
    """

    def seen() -> dict[str, Any] | None:
        status = world.status(name)
        return status if (status.get("phase"), status.get("reason")) == ("Invalid", reason) else None

    status = world.until(seen, what=f"{name} Invalid, {reason}")
    ready, stalled = (
        next((c for c in status["conditions"] if c["type"] == type_), {}) for type_ in ("Ready", "Stalled")
    )
    assert (ready["status"], ready["reason"]) == ("False", reason)
    assert stalled["status"] == "True"
    return str(status["message"])


def unscaled(world: World) -> bool:
    return (world.replicas("emotion-1"), world.replicas("emotion-2")) == (4, 0)


@pytest.mark.parametrize(
    ("manifest", "reason", "words"),
    [
        pytest.param(
            lambda: m.rollout(candidate="missing"), "DeploymentNotFound", ["missing"], id="no candidate"
        ),
        pytest.param(lambda: m.rollout(stable="missing"), "DeploymentNotFound", ["missing"], id="no stable"),
        pytest.param(lambda: m.rollout(service="missing"), "ServiceNotFound", ["missing"], id="no service"),
        pytest.param(
            lambda: m.rollout(
                prometheus={"name": "elsewhere"}, criteria=[{"name": "a", "query": "up", "max": 1}]
            ),
            "UnknownPrometheus",
            ["elsewhere", "default"],
            id="unknown prometheus",
        ),
        pytest.param(
            lambda: m.rollout(traffic={"provider": "HAProxy"}), "Unsupported", ["HAProxy"], id="unsupported"
        ),
        pytest.param(
            lambda: m.rollout(candidate={"image": "x:2", "container": "nobody"}),
            "InvalidSpec",
            ["nobody", "server"],
            id="unknown container",
        ),
    ],
)
def test_a_problem_is_said_and_nothing_is_scaled(
    emotion: World,
    operator: OperatorProcess,
    manifest: Callable[[], dict[str, Any]],
    reason: str,
    words: list[str],
) -> None:
    emotion.create(manifest())
    message = invalid(emotion, reason)
    assert all(word in message for word in words), message
    assert unscaled(emotion)
    assert operator.get("/healthz") == (200, "ok")


def test_a_stateful_set_is_no_deployment_that_could_be_created(
    emotion: World, operator: OperatorProcess
) -> None:
    stateful = m.deployment("emotion-3") | {"kind": "StatefulSet"}
    stateful["spec"]["serviceName"] = "emotion"
    emotion.create(stateful)
    emotion.create(m.rollout(candidate="emotion-3"))
    message = invalid(emotion, "DeploymentNotFound")
    assert "emotion-3, which is a StatefulSet" in message and "only Deployments are supported" in message
    assert "create it" not in message
    assert unscaled(emotion)


def test_a_service_that_does_not_select_the_candidate(emotion: World, operator: OperatorProcess) -> None:
    emotion.create(m.deployment("other-1", app="other"))
    emotion.create(m.rollout(candidate="other-1"))
    message = invalid(emotion, "ServiceDoesNotSelect")
    assert "app=emotion" in message and "app=other" in message and "other-1" in message
    assert emotion.replicas("other-1") == 0


def test_an_autoscaler_on_a_managed_deployment(emotion: World, operator: OperatorProcess) -> None:
    emotion.create(m.autoscaler("by-hand", kind="Deployment", target="emotion-1"), m.rollout())
    message = invalid(emotion, "AutoscalerConflict")
    assert "by-hand" in message and "emotion-1" in message
    emotion.delete("HorizontalPodAutoscaler", "by-hand")
    emotion.until_phase("Succeeded")


def test_an_autoscaler_on_the_rollout_is_welcome(emotion: World, operator: OperatorProcess) -> None:
    emotion.create(m.autoscaler("by-hand", kind="ModelRollout", target="emotion"), m.rollout())
    emotion.until_phase("Succeeded")


def test_the_older_of_two_rollouts_on_one_service_goes_on(emotion: World, operator: OperatorProcess) -> None:
    emotion.create(m.rollout("first", service="emotion", plan=m.steps(50, duration="1h")))
    emotion.until(lambda: (emotion.status("first").get("step") or {}).get("reachedAt"), what="first runs")
    import time

    time.sleep(1.1)  # creationTimestamp has whole seconds
    emotion.create(m.deployment("emotion-3"), m.deployment("emotion-4"))
    emotion.create(m.rollout("second", service="emotion", stable="emotion-3", candidate="emotion-4"))
    message = invalid(emotion, "ServiceClaimed", "second")
    assert "first" in message
    assert emotion.status("first")["phase"] == "Progressing"
    emotion.delete("ModelRollout", "first")
    emotion.until(lambda: emotion.status("second").get("phase") != "Invalid", what="second is freed")


def test_the_older_of_two_rollouts_on_one_deployment_goes_on(
    emotion: World, operator: OperatorProcess
) -> None:
    emotion.create(m.rollout("first", service="emotion", plan=m.steps(50, duration="1h")))
    emotion.until(lambda: (emotion.status("first").get("step") or {}).get("reachedAt"), what="first runs")
    import time

    time.sleep(1.1)
    emotion.create(m.service("other", selector={"app": "emotion"}), m.deployment("emotion-3"))
    emotion.create(m.rollout("second", service="other", stable="emotion-1", candidate="emotion-3"))
    message = invalid(emotion, "DeploymentClaimed", "second")
    assert "first" in message and "emotion-1" in message
    assert emotion.replicas("emotion-1") == 2


def test_an_older_rollout_edited_to_name_a_newer_ones_deployments_is_refused(
    emotion: World, operator: OperatorProcess
) -> None:
    """The newer one goes on to its end: it is not stopped between two versions."""
    emotion.create(m.service("other"), m.deployment("other-1", app="other", replicas=2))
    emotion.create(m.rollout("older", service="other", stable="other-1", candidate="other-1", replicas=2))
    emotion.until_phase("Idle", name="older")
    import time

    time.sleep(1.1)  # creationTimestamp has whole seconds
    emotion.create(m.rollout(plan=m.steps(50, duration="6s")))
    emotion.until(lambda: (emotion.status().get("step") or {}).get("reachedAt"), what="the newer one runs")
    emotion.patch("ModelRollout", "older", {"spec": {"candidate": {"deployment": "emotion-2"}}})
    message = invalid(emotion, "ServiceDoesNotSelect", "older")
    assert "emotion-2 belongs to ModelRollout emotion" in message
    assert emotion.status()["phase"] == "Progressing"
    emotion.until_phase("Succeeded")
    assert emotion.status("older")["phase"] == "Invalid"
    assert (emotion.replicas("other-1"), emotion.replicas("emotion-2")) == (2, 4)


def test_a_typing_error_in_the_candidate_does_not_stop_an_autoscaler(
    emotion: World, operator: OperatorProcess
) -> None:
    emotion.create(m.rollout(candidate="emotion-1"))
    emotion.until_phase("Idle")
    emotion.patch("ModelRollout", "emotion", {"spec": {"candidate": {"deployment": "emotoin-2"}}})
    invalid(emotion, "DeploymentNotFound")
    emotion.patch("ModelRollout", "emotion", {"spec": {"replicas": 7}}, sub="/scale")
    emotion.until(lambda: emotion.replicas("emotion-1") == 7, what="stable follows the scale subresource")
    assert emotion.status()["phase"] == "Invalid"


def test_a_problem_that_goes_away_lets_the_run_start(emotion: World, operator: OperatorProcess) -> None:
    emotion.create(m.rollout(candidate="emotion-3", plan=m.steps(50)))
    invalid(emotion, "DeploymentNotFound")
    emotion.create(m.deployment("emotion-3"))
    emotion.until_phase("Succeeded")


def test_a_spec_that_the_api_server_did_not_check_is_explained_and_can_be_deleted(
    emotion: World, operator: OperatorProcess
) -> None:
    """As from an older CRD, or one whose rules were switched off."""
    crd = emotion.plane.get("crd", "modelrollouts.modelrollout.dev")
    schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    saved = dict(schema)
    try:
        schema.clear()
        schema |= {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
        replace_crd(emotion, crd)
        broken = m.rollout()
        broken["spec"] |= {"service": 7, "steps": [{"weight": 300}], "criteria": 7, "surprise": [1]}
        answers: list[Any] = []

        def accepted() -> bool:
            answers.append(emotion.call("POST", emotion.path("ModelRollout"), broken))
            return bool(answers[-1][0] == 201)

        assert emotion.until(accepted, what="the API server takes anything"), answers[-1]
        message = invalid(emotion, "InvalidSpec")
        assert "spec.service" in message and "spec.criteria" in message
        assert unscaled(emotion)
        emotion.delete("ModelRollout", "emotion")
        emotion.until(lambda: emotion.find("ModelRollout", "emotion") is None, what="deleted")
    finally:
        crd = emotion.plane.get("crd", "modelrollouts.modelrollout.dev")
        schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
        schema["spec"] = saved
        replace_crd(emotion, crd)
    assert operator.running


def replace_crd(world: World, crd: dict[str, Any]) -> None:
    path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/modelrollouts.modelrollout.dev"
    status, answer = world.call("PUT", path, crd)
    assert status == 200, answer
