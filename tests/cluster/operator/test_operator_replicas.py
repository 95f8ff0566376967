"""Restarts, two replicas, conflicts and outages: the same end state, and never two hands at once."""

from __future__ import annotations

import time

import pytest

from modelrollout.cluster.views import parse_time
from tests.cluster.operator.conftest import StartOperator
from tests.support import manifests as m
from tests.support.world import World


def reached(world: World, weight: int) -> None:
    world.until(
        lambda: (
            (world.status().get("step") or {}).get("weight") == weight
            and world.status()["step"].get("reachedAt")
        ),
        what=f"{weight}% reached",
    )


@pytest.mark.takes(seconds=22)
def test_a_restart_goes_on_with_the_clock_of_the_step(emotion: World, start_operator: StartOperator) -> None:
    operator = start_operator()
    emotion.create(m.rollout(plan=m.steps(50, duration="20s")))
    reached(emotion, 50)
    before = emotion.status()["step"]
    for _ in range(2):
        time.sleep(1)
        operator.restart(kill=True)
    assert emotion.status()["step"] == before
    emotion.until(lambda: (emotion.status().get("step") or {}).get("weight") == 100, what="the last step")
    lasted = parse_time(emotion.status()["step"]["startedAt"]) - parse_time(before["reachedAt"])
    assert 20 <= lasted.total_seconds() < 21.5
    emotion.until_phase("Succeeded")
    assert [reason for reason, _ in emotion.events()].count("Started") == 1


def test_a_restarted_container_takes_its_own_lease_back_at_once(
    emotion: World, start_operator: StartOperator
) -> None:
    operator = start_operator()
    operator.kill()
    operator.start()
    ready = time.monotonic()
    operator.wait_leading()
    # The lease of the one that was killed has 8 s to run: nobody else would get it as soon.
    assert time.monotonic() - ready < 3


def test_the_standby_takes_over_after_a_kill(emotion: World, start_operator: StartOperator) -> None:
    first = start_operator("operator-0")
    second = start_operator("operator-1", leading=False)
    emotion.create(m.rollout(plan=m.steps(25, 50, duration="4s")))
    reached(emotion, 25)
    assert (first.leads(), second.leads()) == (True, False)
    assert second.get("/readyz")[0] == 200
    assert (second.metric("modelrollout_ticks_total") or 0) == 0
    assert (first.metric("modelrollout_phase"), second.metric("modelrollout_phase")) == (1, None)
    first.kill()
    killed = time.monotonic()
    second.wait_leading(seconds=14)
    assert time.monotonic() - killed <= 12
    assert second.metric("modelrollout_phase") == 1
    emotion.until_phase("Succeeded", seconds=40)


def test_a_leader_that_ends_in_order_hands_over_at_once(
    emotion: World, start_operator: StartOperator
) -> None:
    first = start_operator("operator-0")
    second = start_operator("operator-1", leading=False)
    assert first.stop() == 0
    stopped = time.monotonic()
    second.wait_leading()
    assert time.monotonic() - stopped < 3


def test_a_leader_that_hangs_does_not_act_when_it_wakes_up(
    emotion: World, start_operator: StartOperator
) -> None:
    first = start_operator("operator-0")
    second = start_operator("operator-1", leading=False)
    first.suspend()
    second.wait_leading(seconds=14)
    emotion.create(m.rollout(plan=m.steps(50, duration="2s")))
    reached(emotion, 50)
    first.resume()
    emotion.until_phase("Succeeded")
    emotion.until(lambda: not first.leads(), what="the first one knows")
    assert second.leads()
    assert (first.metric("modelrollout_transitions_total") or 0) == 0


def test_a_status_changed_by_somebody_else_is_decided_anew(
    emotion: World, start_operator: StartOperator
) -> None:
    start_operator()
    emotion.create(m.rollout(plan=m.steps(25, 50, 75, duration="1s")))
    # Labels change the resourceVersion under the operator's feet all the time.
    for number in range(60):
        emotion.patch("ModelRollout", "emotion", {"metadata": {"labels": {"n": str(number)}}})
        time.sleep(0.05)
    status = emotion.until_phase("Succeeded")
    emotion.until(lambda: "Promoted" in [reason for reason, _ in emotion.events()], what="the last Event")
    emotion.settled(emotion.events)
    assert [reason for reason, _ in emotion.events()].count("Promoted") == 1
    assert status["stable"] == "emotion-2"


def test_a_rollout_whose_status_is_garbage_hurts_no_other(
    emotion: World, start_operator: StartOperator
) -> None:
    operator = start_operator()
    emotion.create(
        m.service("sad"), m.deployment("sad-1", app="sad", replicas=2), m.deployment("sad-2", app="sad")
    )
    plan = m.steps(50, duration="10s")
    emotion.create(m.rollout("sad", service="sad", stable="sad-1", candidate="sad-2", replicas=2, plan=plan))
    emotion.until(lambda: (emotion.status("sad").get("step") or {}).get("reachedAt"), what="sad at 50%")
    garbage = {"status": {"observedGeneration": -1}}  # the API server takes it, the operator cannot read it
    emotion.patch("ModelRollout", "sad", garbage, sub="/status")
    emotion.create(m.rollout(plan=m.steps(50)))
    emotion.until_phase("Succeeded")
    (message,) = emotion.until(
        lambda: [text for reason, text in emotion.events("sad") if reason == "StatusUnreadable"],
        what="what is wrong is said",
    )
    assert "observedGeneration" in message, message
    assert emotion.status("sad")["observedGeneration"] == -1, "what could not be read was written over"
    assert (emotion.replicas("sad-1"), emotion.replicas("sad-2")) == (1, 1), "it was worked on all the same"
    assert operator.metric("modelrollout_ticks_total", outcome="error") in {None, 0.0}
    emotion.patch("ModelRollout", "sad", {"status": {"observedGeneration": None}}, sub="/status")
    emotion.until_phase("Succeeded", name="sad")
