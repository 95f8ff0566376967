"""Leaders, clocks, commands and what is told: what a change of leader must neither hasten nor lose."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.support import manifests as m
from tests.support.faulty_api import FaultyApi
from tests.support.operator_process import ROOT
from tests.support.scene import Scene, condition, seconds_between
from tests.support.webhook import Webhook

LONG = m.steps(25, 50, duration="1h")
COMMANDS = "modelrollout.dev/commands"
SKEWED = Path(__file__).parents[2] / "support" / "skewed"
"""Its sitecustomize gives a process another time of day."""


def plugin(scene: Scene, verb: str) -> subprocess.Popen[bytes]:
    """`modelrollout VERB emotion`, as a person calls it."""
    return subprocess.Popen(
        [
            sys.executable,
            "-c",
            "from modelrollout.cli.main import main; main()",
            "--kubeconfig",
            str(scene.plane.kubeconfig),
            "-n",
            scene.world.namespace,
            verb,
            "emotion",
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )


@pytest.mark.parametrize("order", [("abort", "promote"), ("promote", "abort")], ids="-then-".join)
def test_scenario_53_abort_wins_over_promote_in_either_order(scene: Scene, order: tuple[str, str]) -> None:
    operator = scene.operator()
    operator.wait_leading()
    scene.stage()
    scene.apply(plan=LONG)
    scene.at_weight(25)
    operator.suspend()
    asking = []
    for number, verb in enumerate(order, 1):
        asking.append(plugin(scene, verb))
        scene.world.until(
            lambda number=number: (
                len(
                    json.loads(
                        scene.world.get("ModelRollout", "emotion")["metadata"]
                        .get("annotations", {})
                        .get(COMMANDS, "[]")
                    )
                )
                == number
            ),
            what=f"{number} commands are listed",
        )
    operator.resume()
    status = scene.world.until_phase("RolledBack")
    assert (status["run"]["result"], status["rollback"]["reason"]) == ("Aborted", "Aborted")
    assert len(status["handledCommands"]) == 2
    told = [message for reason, message in scene.world.events() if reason == "CommandRefused"]
    assert told == ["promote was not carried out: an abort was asked for as well, which wins."]
    scene.on_stable()
    for process in asking:
        process.wait(60)


@pytest.mark.takes(seconds=50)
def test_scenario_52_a_deleted_lease_never_lets_two_act(scene: Scene) -> None:
    replicas = [scene.operator(f"operator-{number}") for number in range(2)]
    scene.world.until(lambda: any(one.leads() for one in replicas), what="one acts")
    scene.stage()
    scene.apply(plan=m.steps(25, 50, 75, duration="8s"))
    name = f"modelrollout-{scene.world.namespace}"
    acted, looks, deletions = 0, 0, 0
    started = time.monotonic()
    while time.monotonic() - started < 45:
        if deletions < 3 and time.monotonic() - started > 12 * deletions:
            scene.world.delete("Lease", name)
            deletions += 1
        leading = [one.leads() for one in replicas]
        looks += 1
        acted += any(leading)
        assert not all(leading), f"two act, {time.monotonic() - started:.1f} s after the start"
    assert deletions == 3 and looks > 200 and acted, (deletions, looks, acted)
    scene.world.until_phase("Succeeded", seconds=90)


@pytest.mark.takes(seconds=22)
@pytest.mark.timeout(300)
def test_scenario_54_killed_right_after_any_status_write_every_transition_is_told(scene: Scene) -> None:
    """The write is done and the operator is dead before it sees the answer, each time."""
    written: dict[str, dict[str, Any]] = {}
    kills = 0
    with FaultyApi(scene.plane, scene.directory) as api, Webhook() as hook:
        operator = scene.operator(
            kubeconfig=api.kubeconfig, environment={"MODELROLLOUT_NOTIFICATION_HOSTS": "127.0.0.1"}
        )
        operator.wait_leading()
        scene.stage()

        def kill(body: dict[str, Any]) -> None:
            nonlocal kills
            kills += 1
            written.update({entry["id"]: entry for entry in body["status"].get("unreported", ())})
            os.kill(operator.pid, signal.SIGKILL)

        def revived(done: bool) -> bool:
            if not operator.running:
                operator.start(wait_ready=False)
            return done

        api.after_status = kill
        scene.apply(plan=LONG, notifications=[{"name": "chat", "url": hook.url}])
        scene.world.until(
            lambda: revived("reachedAt" in scene.status().get("step", {})), what="the step", seconds=120
        )
        scene.say(2)
        scene.world.until(
            lambda: revived(scene.status()["phase"] == "RolledBack" and not scene.status().get("unreported")),
            what="rolled back and told",
            seconds=120,
        )
    reasons = [entry["reason"] for entry in written.values()]
    assert kills > len(reasons) >= 4 and {"Started", "CriterionBreached", "RolledBack"} <= set(reasons)
    recorded = {event["metadata"]["name"] for event in scene.world.list("Event")}
    assert {f"emotion.{id_}" for id_ in written} <= recorded
    called = {event["id"].rsplit("-", 1)[1] for event in hook.accepted()}
    assert {id_ for id_, entry in written.items() if "announcement" in entry} <= called


@pytest.mark.takes(seconds=30)
@pytest.mark.parametrize("ahead", [900, -900], ids=["ahead", "behind"])
def test_scenario_51_a_new_leader_whose_clock_is_wrong_neither_hastens_nor_delays(
    scene: Scene, ahead: int
) -> None:
    first = scene.operator("operator-0")
    first.wait_leading()
    scene.stage()
    step, following, last = m.steps(25, 50, duration="25s")
    scene.apply(plan=[step, {**following, "duration": "1h"}, last], progressDeadline="10m")
    reached = scene.at_weight(25)["step"]["reachedAt"]
    first.kill()
    environment = {"SKEW_SECONDS": str(ahead), "PYTHONPATH": f"{SKEWED}:{ROOT / 'operator' / 'src'}"}
    second = scene.operator("operator-1", environment=environment)
    second.wait_leading()
    scene.until(lambda s: condition(s, "ClockInSync").get("reason") == "ClockSkewed", what="the skew is said")
    skew = second.metric("modelrollout_clock_skew_seconds")
    assert skew is not None and abs(skew - ahead) < 2
    assert "Synchronize the node's clock" in second.tail(200)
    status = scene.until(lambda s: s["step"]["weight"] == 50, what="the next step", seconds=60)
    lasted = seconds_between(reached, status["step"]["startedAt"])
    assert lasted >= 24, f"the step of 25 s ended after {lasted:.1f} s"
    assert datetime.fromisoformat(status["step"]["startedAt"]) < datetime.now(UTC) + timedelta(seconds=5)
    scene.at_weight(50)
    scene.say(2)
    scene.world.until_phase("RolledBack")
    scene.on_stable()


def test_the_operator_ends_within_its_grace_period_whatever_the_api_server_answers(scene: Scene) -> None:
    with FaultyApi(scene.plane, scene.directory) as api:
        operator = scene.operator(kubeconfig=api.kubeconfig)
        operator.wait_leading()
        scene.stage()
        scene.apply(plan=LONG)
        scene.at_weight(25)
        api.mute = True
        scene.change(replicas=6)  # a tick that waits for an answer
        started = time.monotonic()
        operator.stop(28)
        assert time.monotonic() - started < 28
