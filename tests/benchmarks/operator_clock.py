"""Whether time in a step survives kills, and whether an outage of Prometheus moves anything."""

from __future__ import annotations

import time
from datetime import datetime

from tests.benchmarks.rig import Rig, criterion, progress, wait_until
from tests.benchmarks.tables import Figure

ROLLOUTS = 5
MINUTE_STEPS = [{"weight": weight, "duration": "60s"} for weight in (25, 50, 75)] + [{"weight": 100}]


def step_clock() -> list[Figure]:
    """One kill -9 in the middle of a step of 60 s: how long the interrupted and the next step last."""
    with Rig() as rig, progress(f"Step clock over a kill, {ROLLOUTS} rollouts"):
        operator = rig.operator()
        names = _start(rig)
        reached: dict[str, dict[int, float]] = {name: {} for name in names}
        left: dict[str, dict[int, float]] = {name: {} for name in names}
        killed_at = time.monotonic() + 30
        killed = False
        deadline = time.monotonic() + 240
        while time.monotonic() < deadline and any(1 not in left[name] for name in names):
            _record(rig, reached, left)
            if not killed and time.monotonic() > killed_at:
                operator.kill()
                time.sleep(5)
                operator.start()
                killed = True
            time.sleep(0.1)
        spans = [
            tuple(left[name][index] - reached[name][index] for name in names if index in left[name])
            for index in (0, 1)
        ]
        return [
            Figure("step of 60 s interrupted by a kill", "s", spans[0]),
            Figure("the step after it", "s", spans[1]),
        ]


def crash_loop() -> list[Figure]:
    """Killed every 20 s for 100 s: weights entered before their time."""
    with Rig() as rig, progress(f"Killed every 20 s for 100 s, {ROLLOUTS} rollouts"):
        operator = rig.operator()
        names = _start(rig)
        reached: dict[str, dict[int, float]] = {name: {} for name in names}
        left: dict[str, dict[int, float]] = {name: {} for name in names}
        started = time.monotonic()
        kills = 0
        while time.monotonic() - started < 100:
            if time.monotonic() - started > 20 * (kills + 1):
                operator.kill()
                operator.start()
                kills += 1
            _record(rig, reached, left)
            time.sleep(0.1)
        spans = [left[name][index] - reached[name][index] for name in names for index in left[name]]
        weights = [float(rig.status(name)["step"]["weight"]) for name in names]
        return [
            Figure("killed every 20 s: steps that ended", "", (float(len(spans)),)),
            Figure(
                "killed every 20 s: steps that ended early (under 60 s)",
                "",
                (float(sum(s < 59.9 for s in spans)),),
            ),
            Figure("killed every 20 s: length of a 60 s step", "s", tuple(spans)),
            Figure("killed every 20 s: weight after 100 s", "%", tuple(weights)),
        ]


def outage() -> list[Figure]:
    """Prometheus stopped for 120 s in a healthy canary with 30 s steps: held, and how soon it goes on."""
    steps = [{"weight": weight, "duration": "30s"} for weight in (25, 50, 75)] + [{"weight": 100}]
    with Rig() as rig, progress(f"Prometheus gone for 120 s, {ROLLOUTS} rollouts"):
        rig.operator()
        names = [f"o{number}" for number in range(ROLLOUTS)]
        for name in names:
            rig.rollout(name, replicas=4, steps=steps, criteria=[criterion()])
        for name in names:
            rig.wait_at_weight(name)
        rig.prometheus.stop()
        time.sleep(120)
        statuses = rig.statuses()
        held = sum(
            statuses[name]["phase"] == "Progressing" and statuses[name]["step"]["weight"] == 25
            for name in names
        )
        told = sum(
            any(
                c["type"] == "MetricsAvailable" and c["status"] == "False"
                for c in statuses[name]["conditions"]
            )
            for name in names
        )
        at = time.monotonic()
        rig.prometheus.run()
        rig.prometheus.wait_for("bench_bad", timeout=30)
        data = time.monotonic()
        waits = {}
        while len(waits) < ROLLOUTS and time.monotonic() - at < 60:
            for name, status in rig.statuses().items():
                if name not in waits and status["step"]["weight"] > 25:
                    waits[name] = time.monotonic() - data
            time.sleep(0.1)
        ends = [rig.status(name)["phase"] for name in names]
        return [
            Figure("outage of 120 s: rollouts that held their weight", f"of {ROLLOUTS}", (float(held),)),
            Figure("outage of 120 s: rollouts whose condition said so", f"of {ROLLOUTS}", (float(told),)),
            Figure(
                "outage of 120 s: rollouts reverted", "", (float(sum(p.startswith("Roll") for p in ends)),)
            ),
            Figure("outage of 120 s: data is back → next step", "s", tuple(waits.values())),
        ]


def _start(rig: Rig) -> list[str]:
    names = [f"c{number}" for number in range(ROLLOUTS)]
    for name in names:
        rig.rollout(
            name, replicas=4, steps=MINUTE_STEPS, criteria=[criterion()], evaluation={"interval": "1s"}
        )
    for name in names:
        wait_until(lambda name=name: bool(rig.status(name)), 60, f"a status of {name}")
    return names


def _record(rig: Rig, reached: dict[str, dict[int, float]], left: dict[str, dict[int, float]]) -> None:
    """When each step's weight was reached, by status, and when the next step was begun, by status."""
    for name, status in rig.statuses().items():
        step = status.get("step") or {}
        if "reachedAt" in step:
            reached[name].setdefault(step["index"], _seconds(step["reachedAt"]))
        for index in reached[name]:
            if step.get("index", 0) > index and "startedAt" in step:
                left[name].setdefault(index, _seconds(step["startedAt"]))


def _seconds(timestamp: str) -> float:
    return datetime.fromisoformat(timestamp.replace("Z", "+00:00")).timestamp()
