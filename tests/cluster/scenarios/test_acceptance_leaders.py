"""Leaders, clocks, commands and what is told: what a change of leader must neither hasten nor lose."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import pytest

from tests.support import manifests as m
from tests.support.scene import Scene

LONG = m.steps(25, 50, duration="1h")
COMMANDS = "modelrollout.dev/commands"


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
