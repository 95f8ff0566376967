"""A watch that is denied, frozen or silent is said within a minute, and nothing advances on what it told."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.operator.conftest import StartOperator
from tests.support import manifests as m
from tests.support.faulty_api import FaultyApi
from tests.support.world import World

ABORT = {"metadata": {"annotations": {"modelrollout.dev/command": '{"id":"1","verb":"abort"}'}}}
SAID_SECONDS = 60.0


@pytest.fixture
def api(emotion: World, tmp_path: Path) -> Iterator[FaultyApi]:
    """What stands between the operator and the API server."""
    with FaultyApi(emotion.plane, tmp_path) as faulty:
        yield faulty


@pytest.mark.takes(seconds=90)
@pytest.mark.parametrize("fault", ["denied", "frozen", "silent"])
def test_scenario_48_a_watch_that_fails_is_said_and_nothing_advances_on_it(
    emotion: World, api: FaultyApi, start_operator: StartOperator, fault: str
) -> None:
    operator = start_operator(kubeconfig=api.kubeconfig)
    emotion.create(m.rollout(plan=m.steps(25, 50, duration="1h")))
    emotion.until(lambda: (emotion.status().get("step") or {}).get("reachedAt"), what="25% reached")
    started = time.monotonic()
    getattr(api, fault).add("endpointslices")
    at_once = {"spec": {"steps": m.steps(25, 50, duration="0s")}}
    if fault != "denied":  # what changes now is not told; a right that is lost ends no watch that is open
        emotion.patch("ModelRollout", "emotion", at_once)
    emotion.until(lambda: emotion.condition("CacheStale"), seconds=SAID_SECONDS, what="CacheStale")
    print(f"{fault}: said after {time.monotonic() - started:.1f} s")
    assert "endpointslices" in emotion.condition("CacheStale")["message"]
    assert operator.get("/readyz")[0] == 503
    assert 'modelrollout_cache_stale{kind="endpointslices"} 1.0' in operator.get("/metrics")[1]
    # The Event is sent after the status is written, so it may come a moment later.
    emotion.until(lambda: any(reason == "CacheStale" for reason, _ in emotion.events()), what="the Event")
    step = emotion.status()["step"]
    emotion.patch("ModelRollout", "emotion", at_once)
    time.sleep(5)
    assert emotion.status()["step"] == step, "it advanced on what may be out of date"
    getattr(api, fault).clear()
    emotion.until(lambda: not emotion.condition("CacheStale"), seconds=60, what="current again")
    # What the proxy dropped is found by a list at the end of the next watch (35 s). That makes the view stale
    # again, until five short watches (6 s each) have missed nothing.
    emotion.until_phase("Succeeded", seconds=120)
    assert operator.get("/readyz")[0] == 200


@pytest.mark.takes(seconds=35)
@pytest.mark.parametrize("kind", ["endpointslices", "deployments", "replicasets"])
def test_scenario_48_a_rollback_is_carried_out_on_what_is_known(
    emotion: World, api: FaultyApi, start_operator: StartOperator, kind: str
) -> None:
    start_operator(kubeconfig=api.kubeconfig)
    emotion.create(m.rollout(plan=m.steps(75, duration="1h")))
    emotion.until(lambda: (emotion.status().get("step") or {}).get("reachedAt"), what="75% reached")
    api.denied.add(kind)
    emotion.until(lambda: emotion.condition("CacheStale"), seconds=SAID_SECONDS, what="CacheStale")
    emotion.patch("ModelRollout", "emotion", ABORT)
    emotion.until(
        lambda: (emotion.replicas("emotion-1"), emotion.replicas("emotion-2")) == (4, 0),
        seconds=30,
        what="all pods of stable",
    )
    emotion.until_phase("RolledBack", seconds=60)
    assert emotion.status()["history"][0]["result"] == "Aborted"


def test_scenario_48_an_operator_that_may_not_see_a_kind_says_which(
    emotion: World, api: FaultyApi, start_operator: StartOperator
) -> None:
    api.denied.add("replicasets")
    operator = start_operator(kubeconfig=api.kubeconfig, leading=False, ready=False)
    emotion.until(lambda: "replicasets" in operator.get("/readyz")[1], what="readiness names the kind")
    api.denied.clear()
    operator.wait_leading()
