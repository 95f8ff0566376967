"""What must hold in every history of a namespace with ModelRollouts, whatever fails in between.

Not checked here, since only a test can know it: which state must be reached in the end.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final

from modelrollout.api.spec import ModelRolloutSpec
from modelrollout.decision.replicas import candidate_count, limits_of, minimum_ready
from tests.support.faults.observer import Change

Json = dict[str, Any]
EARLY_TOLERANCE: Final = 0.5
"""Seconds; the API server's clock is known to the second, its fractions are estimated."""


def violations(changes: Iterable[Change]) -> list[str]:
    """What did not hold, in the order in which it happened."""
    history = _History()
    for change in changes:
        history.take(change)
    return history.found


class _History:
    def __init__(self) -> None:
        self.found: list[str] = []
        self._slices: dict[str, Json] = {}
        self._rollouts: dict[str, Json] = {}
        self._jobs: dict[str, set[str]] = defaultdict(set)
        self._full: set[str] = set()
        self._ended: set[str] = set()
        self._most: dict[tuple[str, int], int] = {}

    def take(self, change: Change) -> None:
        name = change.obj["metadata"]["name"]
        if change.kind == "Job":
            self._job(name, change.obj)
        elif change.kind == "EndpointSlice":
            self._slices.pop(name, None)
            if change.type != "DELETED":
                self._slices[name] = change.obj
            for rollout in self._rollouts.values():
                self._reach(rollout)
                self._capacity(rollout, change)
        elif change.type == "DELETED":
            self._rollouts.pop(name, None)
            self._full.discard(name)
        else:
            self._status(self._rollouts.get(name) or {}, change)
            self._rollouts[name] = change.obj
            self._reach(change.obj)

    def _job(self, name: str, job: Json) -> None:
        made = self._jobs[name]
        made.add(job["metadata"]["uid"])
        if len(made) > 1:
            self.found.append(f"Job {name} was made {len(made)} times")

    def _ready(self, service: str) -> Counter[str]:
        """Ready endpoints of a Service by Deployment."""
        count: Counter[str] = Counter()
        for part in self._slices.values():
            if part["metadata"]["labels"].get("kubernetes.io/service-name") != service:
                continue
            for endpoint in part.get("endpoints") or ():
                pod = (endpoint.get("targetRef") or {}).get("name", "")
                count[pod.rsplit("-", 2)[0]] += (endpoint.get("conditions") or {}).get("ready") is not False
        return count

    def _reach(self, rollout: Json) -> None:
        """Remembers the most pods of the candidate that clients reached in this step."""
        status = rollout.get("status") or {}
        run, step = status.get("run"), status.get("step")
        if run and step:
            key = (run["id"], step["index"])
            ready = self._ready(rollout["spec"]["service"])[run["candidate"]]
            self._most[key] = max(self._most.get(key, 0), ready)

    def _capacity(self, rollout: Json, change: Change) -> None:
        name, status = rollout["metadata"]["name"], rollout.get("status") or {}
        spec = ModelRolloutSpec.model_validate(rollout["spec"])
        total = self._ready(spec.service).total()
        if total >= spec.replicas:
            self._full.add(name)
        if name not in self._full or not status.get("run"):
            return
        limits = limits_of(spec.replicas, spec.capacity)
        floor = spec.replicas - limits.unavailable
        if status.get("rollback") or status.get("phase") in ("RollingBack", "RolledBack"):
            floor = minimum_ready(spec.replicas, spec.rollback.min_capacity, limits)
        if total < floor:
            text = f"{total} ready endpoints of at least {floor}, phase {status.get('phase')}"
            self.found.append(f"version {change.version}: {name} has {text}")

    def _status(self, old: Json, change: Change) -> None:
        new = change.obj
        before, after = old.get("status") or {}, new.get("status") or {}
        run = after.get("run") or {}
        if not run or run.get("id") != (before.get("run") or {}).get("id"):
            return
        if after.get("rollback"):
            self._ended.add(run["id"])
        last, now = before.get("step") or {}, after.get("step") or {}
        self._reached(new, run, last, now)
        if last and now and now["index"] > last["index"]:
            if run["id"] in self._ended:
                self.found.append(f"version {change.version}: run {run['id']} went on after its rollback")
            self._in_time(old, last, now, change.version)

    def _reached(self, rollout: Json, run: Json, last: Json, now: Json) -> None:
        """No step counts as reached before clients reached that many pods."""
        if "reachedAt" not in now or ("reachedAt" in last and last.get("index") == now.get("index")):
            return
        wanted = candidate_count(rollout["spec"]["replicas"], now["weight"])
        seen = max(self._most.get((run["id"], now["index"]), 0), self._ready_now(rollout, run))
        if seen < wanted:
            self.found.append(f"step {now['index']} was said to be reached with {seen} of {wanted} pods")

    def _ready_now(self, rollout: Json, run: Json) -> int:
        return self._ready(rollout["spec"]["service"])[run["candidate"]]

    def _in_time(self, old: Json, last: Json, now: Json, version: int) -> None:
        steps = ModelRolloutSpec.model_validate(old["spec"]).steps
        duration = steps[last["index"]].duration
        if "reachedAt" not in last:
            self.found.append(f"version {version}: step {last['index']} ended before it was reached")
        elif duration is not None:
            began = datetime.fromisoformat(last["reachedAt"])
            lasted = (datetime.fromisoformat(now["startedAt"]) - began).total_seconds()
            if lasted < duration.seconds - EARLY_TOLERANCE:
                text = f"ended after {lasted:.2f} of {duration.seconds:.0f} s"
                self.found.append(f"version {version}: step {last['index']} {text}")
