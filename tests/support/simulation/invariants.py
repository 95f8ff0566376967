"""What must always hold, checked at every write against what is true, not against what the operator believes.

What no moment in `Truth.window` excuses is a violation.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from modelrollout.api.spec import ModelRolloutSpec
from modelrollout.decision.replicas import candidate_count, limits_of, minimum_ready
from tests.support.simulation import clock
from tests.support.simulation.apiserver import Change, Json
from tests.support.simulation.controllers import owner_of, pod_name, template_hash
from tests.support.simulation.ending import Ending, Owed
from tests.support.simulation.gateway import Client, Request
from tests.support.simulation.truth import MOMENT, Truth, Violation, stale_view

if TYPE_CHECKING:
    from tests.support.simulation.runner import Simulation

EARLY_TOLERANCE: Final = 0.5


class Invariants:
    """Looks at every change and every write of the operators."""

    def __init__(self, simulation: Simulation) -> None:
        self._simulation = simulation
        self.truth = Truth(simulation, service=simulation.scenario.name)
        self.violations: list[Violation] = []
        self._jobs: dict[str, int] = {}
        self._last_writer: tuple[str, str] = ("", "")
        self._reached_at: dict[tuple[Any, ...], float] = {}
        self._entered: dict[str, tuple[str, float]] = {}
        self._trusted: dict[str, set[str]] = {}
        self._templates: dict[str, list[tuple[float, str]]] = {}
        self._owed: list[Owed] = []
        self._skew = 0.0
        self._aborted: set[str] = set()

    def violated(self, name: str, text: str) -> None:
        """Record a violation, once for each name."""
        if all(seen.name != name for seen in self.violations):
            self.violations.append(Violation(name, self._simulation.now, text))
            self._simulation.trace("VIOLATION", f"{name}: {text}")

    def commanded(self, verb: str, run: Json) -> None:
        """A person gave a command."""
        if verb == "abort" and run and not run.get("finishedAt"):
            self._aborted.add(run["id"])

    # -- before and after a write -------------------------------------------------------------------------

    def before_write(self, client: Client, request: Request) -> None:
        """Fence, foreign objects, capacity."""
        if request.plural == "leases":
            return
        self._skew = self._simulation.skew(client)
        self._fence(client, request)
        self._foreign(request)
        if request.plural == "deployments" and request.subresource == "scale":
            self._capacity(client, request)

    def after_write(self, client: Client, request: Request) -> None:
        """Jobs that were made."""
        if request.plural == "jobs" and request.method == "POST":
            name = request.body["metadata"]["name"]
            self._jobs[name] = self._jobs.get(name, 0) + 1
            if self._jobs[name] > 1:
                self.violated("jobs", f"Job {name} was made {self._jobs[name]} times")

    def _fence(self, client: Client, request: Request) -> None:
        lease = self._simulation.server.objects.get(self._simulation.lease_key)
        holder = str((lease or {"spec": {}})["spec"].get("holderIdentity") or "")
        uid = lease["metadata"]["uid"] if lease else ""
        if holder == client.identity:
            self._last_writer = (client.identity, uid)
        elif holder and self._last_writer == (holder, uid):
            self.violated("fence", f"{client.name} writes ({request}) after {holder} took over and wrote")

    def _foreign(self, request: Request) -> None:
        simulation = self._simulation
        obj = simulation.server.objects.get(request.key)
        if obj is None or not request.name:
            return
        uid = obj["metadata"]["uid"]
        if request.plural == "pods":
            sets = {each["metadata"]["uid"]: each for each in simulation.server.all("replicasets")}
            owner = sets.get(owner_of(obj) or "")
            uid = (owner_of(owner) or "") if owner else uid
        if uid in simulation.foreign:
            self.violated("foreign", f"{request} is somebody else's")
        if uid in simulation.given and request.plural == "deployments" and request.subresource != "scale":
            self.violated("foreign", f"{request}: the user's Deployment is changed")

    def _capacity(self, client: Client, request: Request) -> None:
        simulation = self._simulation
        obj = simulation.server.objects.get(request.key)
        rollout, truth = simulation.neighbours.truths(request.name)
        if obj is None or rollout is None or request.name.endswith("-shadow"):
            return
        count, old = request.body["spec"]["replicas"], obj["spec"].get("replicas", 1)
        if count >= old or simulation.disturbed:
            return
        spec = ModelRolloutSpec.model_validate(rollout["spec"])
        limits = limits_of(spec.replicas, spec.capacity)
        reverting = bool(rollout.get("status", {}).get("rollback"))
        floor = spec.replicas - limits.unavailable
        if reverting or rollout["metadata"].get("deletionTimestamp"):
            immediate = spec.rollback.immediate
            floor = 0 if immediate else minimum_ready(spec.replicas, spec.rollback.min_capacity, limits)

        def left(reached: dict[str, int]) -> int:
            return sum(min(n, count) if name == request.name else n for name, n in reached.items())

        # Without a view of endpoints a rollback goes by the ready pods in the status of Deployments.
        window = truth.window(client, "deployments" if _endpoints_unknown(rollout) else "endpointslices")
        now = window[-1]
        if all(left(moment) < min(floor, sum(moment.values())) for moment in window):
            text = f"{request} from {old} to {count} leaves {left(now)} of at least {floor} ({now})"
            self.violated("capacity", text)

    # -- changes ------------------------------------------------------------------------------------------

    def changed(self, change: Change) -> None:
        """Follows templates and the status."""
        key = change.key
        if key.plural in ("endpointslices", "pods"):
            self.truth.look()
            self._simulation.neighbours.look()
        if key.plural == "deployments" and change.type != "DELETED":
            self._follow_template(key.name, template_hash(change.new))
        if key.plural == "modelrollouts" and change.type == "MODIFIED":
            wrong = self._simulation.neighbours.started(key, change.new.get("status") or {})
            if wrong:
                self.violated("claims", wrong)
        if key == self._simulation.scenario.key and change.type == "MODIFIED":
            old, new = (change.old or {}).get("status") or {}, change.new.get("status") or {}
            if old != new:
                self._status(change.new, old, new)

    def _follow_template(self, name: str, digest: str) -> None:
        seen = self._templates.setdefault(name, [])
        if not seen or seen[-1][1] != digest:
            seen.append((self._simulation.now, digest))

    def _template(self, name: str) -> tuple[str, float]:
        """The template of a Deployment now, and since when."""
        seen = self._templates.get(name)
        return (seen[-1][1], seen[-1][0]) if seen else ("", 0.0)

    def _status(self, rollout: Json, old: Json, new: Json) -> None:
        run, step, now = new.get("run") or {}, new.get("step") or {}, self._simulation.now
        if new.get("stable") and not old.get("stable"):
            self._trusted.setdefault(new["stable"], set()).add(self._template(new["stable"])[0])
        person = new.get("handledCommands") != old.get("handledCommands")
        rollback, before = new.get("rollback") or {}, old.get("rollback") or {}
        if rollback and rollback.get("startedAt") != before.get("startedAt"):
            self._owed.append((now, rollback["reason"], "rollback"))
        history = (new.get("history") or [{}])[0]
        if history.get("result") == "Succeeded" and history != (old.get("history") or [{}])[0]:
            self._owed.append((now, history["reason"], "success"))
            if history["id"] in self._aborted:
                self.violated("commands", f"run {history['id']} succeeded after it was aborted")
        if run.get("id") and run.get("id") != (old.get("run") or {}).get("id"):
            self._started(run, old, person=person)
        if step.get("reachedAt"):
            self._reached_at.setdefault((run["id"], step["index"]), self._true(step["reachedAt"]))
        if new.get("observation"):
            began = self._true(new["observation"]["startedAt"])
            self._reached_at.setdefault((run["id"], "observation"), began)
        if run.get("id") == (old.get("run") or {}).get("id") and not rollback:
            self._advance(rollout, old, new, person=person)
        if new.get("stable") and new.get("stable") != old.get("stable"):
            self._trusted.setdefault(new["stable"], set()).add(self._template(new["stable"])[0])

    def _true(self, stamp: str) -> float:
        """When a time was written by an operator, whether by the API server's clock or by its own.

        The API server tells whole seconds, so a time may be up to a second ahead: nothing was written later
        than now.
        """
        told, now = datetime.fromisoformat(stamp).timestamp() - clock.EPOCH, self._simulation.now
        return min(now, min((told, told - self._skew), key=lambda at: abs(now - at)))

    def _started(self, run: Json, old: Json, *, person: bool) -> None:
        name = run["candidate"]
        self._entered[run["id"]] = (self._template(name)[0], self._simulation.now)
        if run.get("skipAnalysis") and old.get("stable") and not person:  # promote-full may come with retry
            digest, since = self._template(name)
            late = self._simulation.now - since > MOMENT
            if digest not in self._trusted.get(name, set()) and late:
                self.violated("template", f"{name} goes to 100 % without analysis, its template is new")

    def _advance(self, rollout: Json, old: Json, new: Json, *, person: bool) -> None:
        before, after = old.get("step") or {}, new.get("step") or {}
        run = new.get("run") or {}
        succeeded = run.get("result") == "Succeeded" and (old.get("run") or {}).get("result") != "Succeeded"
        observing = bool(new.get("observation")) and not old.get("observation")
        further = bool(before) and bool(after) and after["index"] > before["index"]
        if not (succeeded or observing or further) or (not before and not old.get("observation")):
            return
        self._same_template(run)
        self._no_autoscaler(run)
        if run.get("skipAnalysis") or person or before.get("approvedAt"):
            return
        place = "observation" if old.get("observation") else before["index"]
        ends = self._in_time(rollout, run, place)
        if ends is not None:
            self._data(rollout, run, ends)
        if place != "observation":
            self._really_reached(rollout, run, before)

    def _no_autoscaler(self, run: Json) -> None:
        simulation, leader = self._simulation, self._simulation.leader()
        held = leader.stale_since("horizontalpodautoscalers") if leader is not None else None
        scaled = simulation.neighbours.conflict(simulation.now, held)
        if scaled and scaled in (run["candidate"], run.get("stable")):
            self.violated("autoscaler", f"advanced while an autoscaler scales {scaled}")

    def _same_template(self, run: Json) -> None:
        first, _ = self._entered.get(run["id"], ("", 0.0))
        digest, since = self._template(run["candidate"])
        if not first:  # the copy was made after the run began
            self._entered[run["id"]] = (digest, since)
        elif digest != first and self._simulation.now - since > MOMENT:
            self.violated("template", f"{run['candidate']} advanced with another template than it began with")

    def _in_time(self, rollout: Json, run: Json, place: Any) -> float | None:
        """When the stage was over at the earliest; None if that cannot be told."""
        spec = ModelRolloutSpec.model_validate(rollout["spec"])
        if place == "observation":
            duration = spec.observation.duration.seconds if spec.observation else 0.0
        elif place < len(spec.steps):
            length = spec.steps[place].duration
            duration = length.seconds if length else 0.0
        else:
            return None
        reached = self._reached_at.get((run["id"], place), self._simulation.now)
        lasted = self._simulation.now - reached
        edited = self._simulation.now - self._simulation.edited_at < MOMENT
        if lasted < duration - EARLY_TOLERANCE and not edited:
            self.violated("early", f"stage {place} ended after {lasted:.1f} of {duration:.0f} s")
        return reached + duration

    def _data(self, rollout: Json, run: Json, ends: float) -> None:
        simulation = self._simulation
        for criterion in rollout["spec"].get("criteria") or ():
            if criterion.get("onBreach") == "Warn":
                continue
            pod = pod_name(f"{run['candidate']}-{self._template(run['candidate'])[0]}", "abcde")
            answers = [
                asked
                for asked in simulation.prometheus.asked
                if asked.criterion == criterion["name"] and re.fullmatch(asked.pods, pod)
            ]
            last = answers[-1] if answers else None
            if last is None or last.told is None or last.told != last.told or last.told > criterion["max"]:
                self.violated("data", f"criterion {criterion['name']}: the last answer was {last}")
            elif not last.whole:
                self.violated("data", f"criterion {criterion['name']}: the last answer was partial: {last}")
            elif last.at < ends - 0.5:
                text = (
                    f"criterion {criterion['name']}: asked {ends - last.at:.1f} s before the stage was over"
                )
                self.violated("data", text)

    def _really_reached(self, rollout: Json, run: Json, step: Json) -> None:
        simulation = self._simulation
        if simulation.disturbed:
            return
        total = rollout["spec"]["replicas"]
        wanted = candidate_count(total, step["weight"])
        window = self.truth.window(simulation.leader())
        seen = max(counts.get(run["candidate"], 0) for counts in window)
        if seen < wanted:
            self.violated("reached", f"step at {step['weight']} % ended with {seen} of {wanted} pods reached")
        own = (run["candidate"], run.get("stable"))
        others = min(sum(n for name, n in counts.items() if name not in own) for counts in window)
        if others and not simulation.deleted_deployments:
            self.violated("reached", f"advanced while {others} endpoints are of other Deployments")

    def final(self) -> None:
        """What must hold long after the last fault."""
        Ending(self._simulation, self.truth, self._owed, self.violated).check()


def _endpoints_unknown(rollout: Json) -> bool:
    """Whether status says that endpoints, or to which Deployment they belong, may be out of date."""
    told = stale_view(rollout.get("status") or {})
    return "endpointslices: " in told or "replicasets: " in told
