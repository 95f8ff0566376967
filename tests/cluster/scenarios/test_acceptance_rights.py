"""Scenario 47: any single right lost in mid-run, and a breach still ends on stable."""

from __future__ import annotations

import time

import pytest

from tests.support import manifests as m
from tests.support.operator_process import OperatorProcess
from tests.support.rights import ACCOUNT, Rule, account_kubeconfig, chart_rules, grant, rule_name
from tests.support.scene import VALUE, Scene, condition

SERVING = {"serving": "yes"}
RULES = chart_rules()


def observed_with(scene: Scene, rules: list[Rule]) -> OperatorProcess:
    """The new version serves everything, stable's pods run outside the Service, under these rights."""
    world = scene.world
    grant(world.plane, world.namespace, rules)
    kubeconfig = account_kubeconfig(
        world.plane, world.namespace, ACCOUNT, scene.directory / "account.kubeconfig"
    )
    operator = scene.operator(kubeconfig=kubeconfig)
    operator.wait_leading()
    world.create(
        m.service(selector={"app": "emotion", **SERVING}),
        m.deployment("emotion-1", replicas=4, labels=SERVING),
        m.deployment("emotion-2", labels=SERVING),
    )
    scene.export("emotion-1", "emotion-2")
    world.until(lambda: world.ready("emotion", "emotion-1") == 4, what="stable serves")
    scene.apply(plan=m.steps(50, duration="1s"), observation={"duration": "1h"}, criteria=[VALUE])
    scene.until(
        lambda s: condition(s, "StableKept").get("reason") == "Parked", what="stable's pods kept", seconds=60
    )
    return operator


@pytest.mark.parametrize("lost", RULES, ids=rule_name)
def test_scenario_47_a_breach_ends_on_stable_whatever_right_is_lost(scene: Scene, lost: Rule) -> None:
    observed_with(scene, RULES)
    grant(scene.world.plane, scene.world.namespace, [rule for rule in RULES if rule is not lost])
    scene.say(2)
    if lost["resources"] == ["deployments/scale"]:  # nothing else moves traffic: it must at least be said
        stalled = condition(
            scene.until(
                lambda s: condition(s, "Stalled").get("reason") == "Forbidden", what="Forbidden", seconds=60
            ),
            "Stalled",
        )
        assert stalled["status"] == "True" and "deployments/scale" in stalled["message"], stalled
        grant(scene.world.plane, scene.world.namespace, RULES)
    scene.world.until(
        lambda: scene.ready() == {"emotion-1": 4, "emotion-2": 0}, what="all on stable", seconds=90
    )
    assert scene.world.replicas("emotion-2") == 0
    if lost["resources"] == ["modelrollouts/status"]:
        assert any(reason == "Forbidden" for reason, _ in scene.world.events())
        grant(scene.world.plane, scene.world.namespace, RULES)
    scene.world.until_phase("RolledBack", seconds=60)
    scene.on_stable()
    if "patch" in lost["verbs"] and lost["resources"] == ["pods"]:
        assert any(reason == "CannotUnpark" for reason, _ in scene.world.events())


@pytest.mark.takes(seconds=30)
def test_scenario_47_without_the_right_to_its_lease_no_replica_acts_and_it_is_said(scene: Scene) -> None:
    """Another replica might hold the lease, so acting ends; with the right back a breach ends on stable."""
    operator = observed_with(scene, RULES)
    grant(scene.world.plane, scene.world.namespace, RULES, lease=False)
    scene.world.until(lambda: "stops acting" in operator.tail(200), what="it stops acting", seconds=30)
    assert "The lease cannot be renewed" in operator.tail(200) and "leases" in operator.tail(200)
    assert operator.metric("modelrollout_leader") == 0
    before = scene.status()
    scene.say(2)
    time.sleep(5)
    assert scene.status() == before and scene.ready()["emotion-2"] == 4, "a replica without the lease acted"
    grant(scene.world.plane, scene.world.namespace, RULES)
    scene.world.until(
        lambda: scene.ready() == {"emotion-1": 4, "emotion-2": 0}, what="all on stable", seconds=60
    )
    scene.world.until_phase("RolledBack", seconds=60)
    scene.on_stable()
