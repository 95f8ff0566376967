"""What the operator costs at rest and at work, and how much it asks of Prometheus and the API server."""

from __future__ import annotations

import time

from tests.benchmarks.rig import OperatorProcess, Rig, progress, three_criteria, wait_until
from tests.benchmarks.tables import Figure

LONG_STEPS = [{"weight": 50, "duration": "6h"}, {"weight": 100}]


def active(rollouts: int, *, windows: int = 5, seconds: float = 30.0) -> list[Figure]:
    """`rollouts` in a step, three criteria each, interval 10 s, nothing happening."""
    with (
        Rig(scrape_interval=5.0) as rig,
        progress(f"{rollouts} active rollouts, {windows} windows of {seconds:.0f} s"),
    ):
        operator = rig.operator()
        _start(rig, rollouts, steps=LONG_STEPS)
        wait_until(lambda: _reached(rig) == rollouts, 900, f"{rollouts} rollouts at their weight", every=2)
        time.sleep(30)
        return _measure(rig, operator, f"{rollouts} active", windows, seconds)


def finished(rollouts: int, *, windows: int = 5, seconds: float = 30.0) -> list[Figure]:
    """`rollouts` that have succeeded."""
    with (
        Rig(scrape_interval=5.0) as rig,
        progress(f"{rollouts} finished rollouts, {windows} windows of {seconds:.0f} s"),
    ):
        operator = rig.operator()
        _start(rig, rollouts, steps=[{"weight": 100}])
        wait_until(lambda: _succeeded(rig) == rollouts, 900, f"{rollouts} rollouts Succeeded", every=2)
        time.sleep(30)
        return _measure(rig, operator, f"{rollouts} finished", windows, seconds)


def _start(rig: Rig, rollouts: int, *, steps: list[dict[str, object]]) -> None:
    for number in range(rollouts):
        rig.rollout(f"m{number}", replicas=2, steps=steps, criteria=three_criteria())


def _reached(rig: Rig) -> int:
    return sum("reachedAt" in (status.get("step") or {}) for status in rig.statuses().values())


def _succeeded(rig: Rig) -> int:
    return sum(status.get("phase") == "Succeeded" for status in rig.statuses().values())


def _measure(rig: Rig, operator: OperatorProcess, label: str, windows: int, seconds: float) -> list[Figure]:
    cpu, rss, asked, reads, writes = [], [], [], [], []
    per_minute = 60.0 / seconds
    lag_before = operator.metrics()
    for _ in range(windows):
        cpu_0, asked_0, api_0 = operator.cpu_seconds(), rig.prometheus_requests(), rig.api_requests()
        time.sleep(seconds)
        cpu.append((operator.cpu_seconds() - cpu_0) * per_minute)
        asked.append((rig.prometheus_requests() - asked_0) * per_minute)
        grown = rig.api_requests() - api_0
        reads.append(sum(n for (verb, _), n in grown.items() if verb in ("GET", "LIST")) * per_minute)
        writes.append(sum(n for (verb, _), n in grown.items() if verb not in ("GET", "LIST")) * per_minute)
        rss.append(operator.rss_mib())
    return [
        Figure(f"{label}: CPU", "s/min", tuple(cpu)),
        Figure(f"{label}: RSS", "MiB", tuple(rss)),
        Figure(f"{label}: Prometheus requests", "/min", tuple(asked)),
        Figure(f"{label}: API reads", "/min", tuple(reads)),
        Figure(f"{label}: API writes", "/min", tuple(writes)),
        *_lag(label, lag_before, operator.metrics()),
    ]


def _lag(label: str, before: dict[str, float], after: dict[str, float]) -> list[Figure]:
    """P99 of how late a tick began, by the operator's histogram: upper bound of the bucket it falls in."""
    prefix = "modelrollout_tick_lag_seconds_bucket"
    grown = sorted(
        (float(name.split('le="')[1].split('"')[0]), after[name] - before.get(name, 0.0))
        for name in after
        if name.startswith(prefix)
    )
    if not grown or grown[-1][1] == 0:
        return []
    bound = next(limit for limit, count in grown if count >= 0.99 * grown[-1][1])
    return [Figure(f"{label}: tick lag, P99 is at most", "s", (bound,))]
