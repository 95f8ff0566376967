"""What is really so, and what it is called when it must not be.

The operator may act on what was true a moment ago: `Truth.window` is how long that moment is, a few seconds
and whatever a watch is held back.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from tests.support.simulation.apiserver import Json, Key
from tests.support.simulation.controllers import CORE, is_ready, owner_of, selects
from tests.support.simulation.gateway import Client

if TYPE_CHECKING:
    from tests.support.simulation.runner import Simulation

NAMES: Final[dict[str, str]] = {
    "capacity": "ready pods never fall under what the spec promises by a write of the operator",
    "template": "no weight for a pod template that did not earn it",
    "early": "no step ends before its duration",
    "data": "no advance without a whole and passing answer",
    "fresh": "no advance on an answer from before the step's time was over",
    "reached": "no advance before the candidate's pods are reached by clients",
    "breach": "a candidate that stays bad ends without traffic",
    "commands": "no command is lost, and an abort wins",
    "jobs": "one Job for each validation of a step",
    "fence": "two operators never write",
    "foreign": "nobody else's object is written",
    "told": "every transition is told as an Event",
    "settled": "after the faults the state is what the spec asks for, whole and quiet",
    "quiet": "a fresh operator finds nothing to do",
    "claims": "a Deployment of one ModelRollout is not rolled out by another",
    "autoscaler": "no advance while an autoscaler scales one of the Deployments",
    "stuck": "the operator is alive after the faults",
}
MOMENT: Final = 3.0
"""Seconds for which anything may have been true before the operator has to know better."""


@dataclass(frozen=True, slots=True)
class Violation:
    """Something that must not be."""

    name: str
    at: float
    text: str

    def __str__(self) -> str:
        return f"{self.at:.3f} s: {self.name} ({NAMES[self.name]}): {self.text}"


def stale_view(status: Json) -> str:
    """What status says of a view of the cluster that may be out of date; empty if it is current."""
    conditions = status.get("conditions") or ()
    return next((str(each["message"]) for each in conditions if each["type"] == "CacheStale"), "")


@dataclass
class Truth:
    """What clients really reach, over time."""

    simulation: Simulation
    service: str
    reached: list[tuple[float, dict[str, int]]] = field(default_factory=lambda: [(0.0, {})])
    ready: list[tuple[float, dict[str, int]]] = field(default_factory=lambda: [(0.0, {})])

    def look(self) -> None:
        """Note what is reached now, and which pods are ready."""
        for seen, found in ((self.reached, self.now()), (self.ready, self.ready_now())):
            if found != seen[-1][1]:
                seen.append((self.simulation.now, found))

    def ready_now(self) -> dict[str, int]:
        """Ready pods that the Service selects, by the name of their Deployment.

        An endpoint follows a little later.
        """
        server, counts = self.simulation.server, {}
        service = server.objects.get(
            Key(CORE, "services", self.simulation.scenario.key.namespace, self.service)
        )
        if service is None:
            return {}
        sets = {each["metadata"]["uid"]: each for each in server.all("replicasets")}
        for pod in server.all("pods"):
            owner = sets.get(owner_of(pod) or "")
            labels = pod["metadata"].get("labels") or {}
            if owner is not None and is_ready(pod) and selects(service["spec"]["selector"], labels):
                name = owner["metadata"]["ownerReferences"][0]["name"]
                counts[name] = counts.get(name, 0) + 1
        return counts

    def now(self) -> dict[str, int]:
        """Ready endpoints by the name of their Deployment, where the Service's ports lead to them."""
        server, counts = self.simulation.server, {}
        pods = {pod["metadata"]["uid"]: pod for pod in server.all("pods")}
        sets = {each["metadata"]["uid"]: each for each in server.all("replicasets")}
        for part in server.all("endpointslices"):
            if part["metadata"]["labels"]["kubernetes.io/service-name"] != self.service or not part["ports"]:
                continue
            for endpoint in part["endpoints"]:
                pod = pods.get(endpoint["targetRef"]["uid"])
                if pod is None or not is_ready(pod) or not endpoint["conditions"]["serving"]:
                    continue
                owner = sets.get(owner_of(pod) or "")
                name = owner["metadata"]["ownerReferences"][0]["name"] if owner else "?"
                counts[name] = counts.get(name, 0) + 1
        return counts

    def window(self, client: Client | None, plural: str = "endpointslices") -> list[dict[str, int]]:
        """What was true during the last moment."""
        since = self.simulation.now - MOMENT
        held = client.stale_since(plural) if client is not None else None
        since = min(since, held - MOMENT) if held is not None else since
        seen = self.ready if plural == "deployments" else self.reached
        recent = [counts for at, counts in seen if at >= since]
        before = [counts for at, counts in seen if at < since]
        return before[-1:] + recent
