"""How fast a bad candidate loses its traffic, also when the operator was dead at the time."""

from __future__ import annotations

import time
from collections.abc import Callable

from tests.benchmarks.rig import Rig, criterion, pause_within, progress, wait_until
from tests.benchmarks.tables import Figure

LONG_STEPS = [{"weight": 25, "duration": "1h"}, {"weight": 100}]


def reaction(runs: int = 12) -> list[Figure]:
    """Bad value visible in Prometheus → no ready candidate endpoint in the EndpointSlices."""
    figures = []
    settings = (
        ("interval 1 s", 1.0, {"evaluation": {"interval": "1s"}}),
        ("interval 10 s (the default)", 10.0, {}),
    )
    for label, period, extra in settings:
        with Rig() as rig, progress(f"Reaction, {label}, {runs} runs"):
            rig.operator()
            seen, flipped = [], []
            for number in range(runs):
                name = f"r{number}"
                rig.rollout(name, replicas=4, steps=LONG_STEPS, criteria=[criterion()], **extra)
                rig.wait_at_weight(name)
                pause_within(period, number, runs)
                at = time.monotonic()
                rig.set_bad(name, 1.0)
                wait_until(
                    lambda name=name: rig.bad_is_visible(name), 10, "the bad value in Prometheus", every=0.01
                )
                visible = time.monotonic()
                wait_until(
                    lambda name=name: rig.candidate_endpoints(name) == 0,
                    60,
                    "no candidate endpoint",
                    every=0.01,
                )
                seen.append(time.monotonic() - visible)
                flipped.append(time.monotonic() - at)
            figures.append(Figure(f"{label}: in Prometheus → no candidate endpoint", "s", tuple(seen)))
            figures.append(
                Figure(f"{label}: flip at the source → no candidate endpoint", "s", tuple(flipped))
            )
    return figures


def restart(runs: int = 5) -> list[Figure]:
    """The metric turns bad while the operator is dead: seconds to no candidate endpoint."""
    alone, standby = [], []
    with Rig() as rig, progress(f"Killed while the metric turns bad, alone, {runs} runs"):
        operator = rig.operator(leader_election=True)
        for number in range(runs):
            name = f"k{number}"
            _bad_while_dead(rig, name, operator.kill, number / runs)
            at = time.monotonic()
            operator.start()
            wait_until(
                lambda name=name: rig.candidate_endpoints(name) == 0, 60, "no candidate endpoint", every=0.01
            )
            alone.append(time.monotonic() - at)
            operator.wait_ready()
    with Rig() as rig, progress(f"Killed while the metric turns bad, with a standby, {runs} runs"):
        leader = rig.operator("operator-0", leader_election=True)
        other = rig.operator("operator-1", leader_election=True)
        for number in range(runs):
            name = f"k{number}"
            at = _bad_while_dead(rig, name, leader.kill, number / runs)
            wait_until(
                lambda name=name: rig.candidate_endpoints(name) == 0, 90, "no candidate endpoint", every=0.01
            )
            standby.append(time.monotonic() - at)
            leader.start()
            leader.wait_ready()
            leader, other = other, leader
    return [
        Figure("killed, restarted: restart → no candidate endpoint", "s", tuple(alone)),
        Figure("killed, a standby takes over: kill → no candidate endpoint", "s", tuple(standby)),
    ]


def _bad_while_dead(rig: Rig, name: str, kill: Callable[[], None], share: float) -> float:
    rig.rollout(name, replicas=4, steps=LONG_STEPS, criteria=[criterion()], evaluation={"interval": "1s"})
    rig.wait_at_weight(name)
    time.sleep(0.2 + share)
    kill()
    at = time.monotonic()
    rig.set_bad(name, 1.0)
    wait_until(lambda: rig.bad_is_visible(name), 10, "the bad value in Prometheus", every=0.01)
    return at
