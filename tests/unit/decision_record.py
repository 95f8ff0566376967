"""Records of what `decide` answers in fixed histories, to be read and compared.

`python -m tests.unit.decision_record` writes them anew; the difference shows what has changed for people.
"""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

from modelrollout.api.commands import Verb
from modelrollout.api.schedule import Weekday
from modelrollout.api.status import ModelRolloutStatus
from modelrollout.decision.types import Decision
from tests.unit import decision_world as sim
from tests.unit.test_decision_property import CRITERIA, STEPS, Plan, _criterion, _steps, apply_event, build

FOLDER = Path(__file__).parents[1] / "data" / "decisions"
HISTORIES = 24
SECONDS = 240
QUIET = frozenset({"conditions", "unreported", "handledCommands", "phase", "reason", "message"})
"""Parts of the status that have lines of their own, or are told by others."""
MODES = (sim.GOOD, sim.BAD, sim.BAD, sim.EMPTY, sim.BROKEN, sim.FEW)


def plan_of(number: int) -> Plan:
    """A spec and what happens, drawn from the number alone."""
    rng = random.Random(number)
    surge, unavailable = rng.choice((("25%", 0), (1, 0), (0, 1), ("100%", "50%")))
    spec: dict[str, Any] = {
        "replicas": rng.randint(1, 10),
        "service": "emotion",
        "stable": {"deployment": "a"},
        "candidate": {"image": "emotion:2"} if rng.random() < 0.2 else {"deployment": "b"},
        "capacity": {"maxSurge": surge, "maxUnavailable": unavailable},
        "steps": _steps(rng.choice(STEPS)),
        "rollback": {"minCapacity": rng.choice(("50%", "100%", "0%"))},
        "progressDeadline": "60s",
        "evaluation": {"interval": rng.choice(("2s", "5s", "10s"))},
        "baseline": {"window": "1h"},
        "criteria": [_criterion(name) for name in rng.sample(sorted(CRITERIA), rng.randint(1, 4))],
    }
    if rng.random() < 0.5:
        spec["observation"] = {"duration": "20s", "keepStable": rng.choice(("Full", "Scaled", "None"))}
    if rng.random() < 0.4:
        spec |= {"holdDeadline": "20s", "onHoldDeadline": rng.choice(("Pause", "Rollback"))}
    if rng.random() < 0.3:
        spec["shadow"] = {"duration": "20s", "approval": rng.choice(("Required", "NotRequired"))}
    if rng.random() < 0.4:
        spec["validations"] = [{"name": "smoke", "image": "i", "timeout": "20s"}]
    if rng.random() < 0.3:
        spec["steps"][0]["approval"] = "Required"
    if rng.random() < 0.1:
        window = {"days": [day.value for day in Weekday], "from": "08:00", "to": "09:02"}
        spec["schedule"] = {"timeZone": "UTC", "windows": [window]}
    events = sorted((rng.randint(5, 200), _event(rng)) for _ in range(rng.randint(2, 7)))
    return Plan(
        seed=number, spec=spec, events=events, crashes=0.0, conflicts=0.0, slow=rng.choice((0.0, 0.0, 0.2)),
        failing_jobs=rng.choice((0.0, 0.5)),
    )  # fmt: skip


def _event(rng: random.Random) -> tuple[Any, ...]:
    some = rng.choice
    kind = some(("mode", "mode", "command", "command", "command", "other"))
    if kind == "mode":
        return ("mode", some(sorted(CRITERIA)), some(MODES))
    if kind == "command":
        return ("command", some(list(Verb)))
    return some((
        ("outage", True), ("outage", False), ("replicas", rng.randint(1, 12)), ("candidate", some("abc")),
        ("crash", "b", True), ("crash", "a", False), ("paused", True), ("paused", False), ("problem", True),
        ("problem", False), ("invalid", True), ("invalid", False), ("foreign", True), ("stale", True),
        ("stale", False), ("scale", some("ab"), rng.randint(0, 12)), ("template", "b", "t2"),
        ("template", "a", "t2"), ("remove", "b"), ("delete",),
    ))  # fmt: skip


def record(number: int) -> str:
    """One history as text."""
    plan = plan_of(number)
    world = build(plan)
    lines = [json.dumps(plan.spec, sort_keys=True)]
    events = list(plan.events)
    while world.now < SECONDS and not world.gone:
        while events and events[0][0] <= world.now:
            event = events.pop(0)[1]
            apply_event(world, event)
            lines.append(f"{world.now:g} s  --- {' '.join(map(str, event))}")
        before, _, decision = world.tick()
        lines += [f"{world.now:g} s  {line}" for line in _told(before, decision)]
        world.now += 5
    return "\n".join(lines) + "\n"


def _told(before: ModelRolloutStatus, decision: Decision) -> Iterator[str]:
    status = decision.status
    for told in decision.transitions:
        marks = [str(part) for part in (told.severity, told.announcement, told.criterion) if part]
        yield f"event {told.reason} ({', '.join(marks)}): {told.message}"
    if (before.phase, before.reason, before.message) != (status.phase, status.reason, status.message):
        yield f"phase {status.phase}/{status.reason}: {status.message}"
    old, new = before.to_json(), status.to_json()
    for name in sorted(old.keys() | new.keys()):
        if name not in QUIET and old.get(name) != new.get(name):
            yield f"status {name}: {json.dumps(new.get(name), sort_keys=True)}"
    had = {each.type: each for each in before.conditions}
    for each in status.conditions:
        if had.get(each.type) != each:
            yield f"condition {each.type}={each.status} {each.reason}: {each.message}"
    yield from _asked(decision)


def _asked(decision: Decision) -> Iterator[str]:
    """What is to be done; what is the same at each tick is told where something else is."""
    parts: list[str] = [f"scale {scale.deployment} to {scale.replicas}" for scale in decision.scales]
    parts += [f"job {job.validation} before step {job.step}" for job in decision.jobs]
    parts += [f"end {name}" for name in (*decision.delete_jobs, *decision.delete_copies)]
    parts += ["make the copy"] * decision.create_candidate + ["finalized"] * decision.finalized
    if parts or decision.transitions:
        wake = decision.requeue_after
        parts += [f"wake {wake / timedelta(seconds=1):g} s"] if wake is not None else []
        parts += [f"ask {' '.join(decision.evaluate)}"] if decision.evaluate else []
        parts += [f"baseline {' '.join(decision.record_baseline)}"] if decision.record_baseline else []
        parts += [f"blocked by {' '.join(decision.blocking_criteria)}"] if decision.blocking_criteria else []
        parts += [f"shadow {decision.shadow.replicas}"] if decision.shadow else []
        parts += [f"standby {decision.parked}"] if decision.parked else []
        parts += [f"serving {' '.join(decision.serving)}"] if decision.serving else []
        yield "do " + ", ".join(parts)


def main() -> None:
    """Write all records."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for number in range(HISTORIES):
        (FOLDER / f"{number:02}.txt").write_text(record(number), encoding="utf-8")
    sys.stdout.write(f"{HISTORIES} records in {FOLDER}\n")


if __name__ == "__main__":
    main()
