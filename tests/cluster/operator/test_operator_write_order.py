"""A rollback waits for nothing of ours: what comes after its counts are sent is up to Kubernetes."""

from __future__ import annotations

from pathlib import Path

from tests.cluster.operator.conftest import StartOperator
from tests.support import manifests as m
from tests.support.faulty_api import FaultyApi
from tests.support.world import World

ABORT = {"metadata": {"annotations": {"modelrollout.dev/command": '{"id":"1","verb":"abort"}'}}}


def test_a_rollback_sends_both_counts_right_after_its_status(
    emotion: World, start_operator: StartOperator, tmp_path: Path
) -> None:
    with FaultyApi(emotion.plane, tmp_path) as api:
        operator = start_operator(kubeconfig=api.kubeconfig)
        emotion.create(m.rollout(plan=m.steps(25, duration="1h")))
        emotion.at_step(25)
        emotion.settled(lambda: len(api.requests))
        before = len(api.requests)
        emotion.patch("ModelRollout", "emotion", ABORT)
        emotion.until_phase("RolledBack")
        sent = api.requests[before:]
        operator.kill()
    assert sent[:3] == ["PUT modelrollouts/status", "PATCH deployments/scale", "PATCH deployments/scale"], (
        sent
    )
