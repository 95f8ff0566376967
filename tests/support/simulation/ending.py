"""What must hold long after the last fault: the state is that of a fresh apply."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from tests.support.simulation.apiserver import Json, Key
from tests.support.simulation.controllers import APPS, image_of
from tests.support.simulation.truth import Truth, stale_view

if TYPE_CHECKING:
    from tests.support.simulation.runner import Simulation

Owed = tuple[float, str, str]
"""When a transition was written into status, its reason, and what it is."""


class Ending:
    """The checks at the end of a seed."""

    def __init__(
        self, simulation: Simulation, truth: Truth, owed: Sequence[Owed], violated: Callable[[str, str], None]
    ) -> None:
        self._simulation, self.truth, self._owed, self.violated = simulation, truth, owed, violated

    def check(self) -> None:
        """What must hold long after the last fault."""
        self._told()
        for name, text in self._simulation.neighbours.ending():
            self.violated(name, text)
        rollout = self._simulation.rollout
        if rollout is None:
            self._gone()
            return
        status, spec = rollout.get("status") or {}, rollout["spec"]
        phase = status.get("phase")
        if rollout["metadata"].get("deletionTimestamp"):
            self.violated("stuck", f"it was deleted and is still there ({phase}: {status.get('message')})")
            return
        if phase is None or status.get("observedGeneration") != rollout["metadata"]["generation"]:
            self.violated("stuck", f"its last generation was not looked at ({phase})")
            return
        if stale_view(status):
            self.violated("stuck", f"its view of the cluster is still not current: {stale_view(status)}")
        if phase in ("Succeeded", "RolledBack", "Idle"):
            self._at_rest(status, spec)
        if phase == "RollingBack" and self._there(status.get("stable")):
            self.violated("settled", f"still rolling back: {status.get('message')}")
        self._breach(status, spec)

    def _there(self, name: str | None) -> bool:
        key = Key(APPS, "deployments", self._simulation.scenario.key.namespace, name or "")
        return key in self._simulation.server.objects

    def _told(self) -> None:
        name = self._simulation.scenario.name
        events = [
            event
            for event in self._simulation.server.all("events")
            if event["involvedObject"]["name"] == name
        ]
        left = Counter(event["reason"] for event in events)
        for at, reason, what in self._owed:
            if reason == "Deleted" and self._simulation.rollout is None:
                continue  # what was not told yet when the object went is lost with it
            left[reason] -= 1
            if left[reason] < 0:
                self.violated("told", f"the {what} at {at:.1f} s ({reason}) has no Event")

    def _at_rest(self, status: Json, spec: Json) -> None:
        stable = status.get("stable")
        if not self._there(stable) or self._never_ready(stable):
            return
        if (spec.get("stable") or {}).get("deployment") and not stable:
            self.violated("settled", "no stable version in status")
        now, total = self.truth.now(), spec["replicas"]
        if self._simulation.deleted_deployments:
            return
        if now.get(stable, 0) != total:
            self.violated(
                "settled", f"{status['phase']}: {now.get(stable, 0)} of {total} of {stable} ({now})"
            )
        candidate = (status.get("run") or {}).get("candidate")
        if candidate not in (None, stable) and now.get(candidate, 0):
            self.violated("settled", f"{status['phase']}: {candidate} still serves ({now})")

    def _never_ready(self, name: str | None) -> bool:
        key = Key(APPS, "deployments", self._simulation.scenario.key.namespace, name or "")
        obj = self._simulation.server.objects.get(key)
        return obj is not None and "never" in image_of(obj)

    def _breach(self, status: Json, spec: Json) -> None:
        simulation = self._simulation
        run = status.get("run") or {}
        candidate = run.get("candidate")
        reverting = [c for c in spec.get("criteria") or () if c.get("onBreach") in (None, "Rollback")]
        if not reverting or run.get("finishedAt") or status.get("stable") in (None, candidate):
            return
        if run.get("skipAnalysis") or status.get("phase") == "Invalid":
            return
        key = Key(APPS, "deployments", simulation.scenario.key.namespace, candidate or "")
        obj = simulation.server.objects.get(key)
        if obj is None or not self.truth.now().get(candidate, 0):
            return
        image = image_of(obj)
        bad = simulation.prometheus.mode(image, simulation.now)
        before = simulation.prometheus.mode(image, simulation.now - 60)
        if bad == before == "bad":
            self.violated("breach", f"{candidate} is bad for a minute and still serves ({status['phase']})")

    def _gone(self) -> None:
        """The object is deleted: stable serves, and what the operator made is gone."""
        simulation = self._simulation
        if not simulation.scenario.deleted or simulation.last_status is None:
            return
        status, spec = simulation.last_status, simulation.last_spec
        stable = status.get("stable")
        if self._there(stable) and not self._never_ready(stable) and not simulation.deleted_deployments:
            now = self.truth.now()
            if now.get(stable, 0) < spec["replicas"]:
                text = f"deleted; {now.get(stable, 0)} of {spec['replicas']} of {stable} serve ({now})"
                self.violated("settled", text)
        elif stable and not self._there(stable) and not simulation.deleted_deployments:
            self.violated("settled", f"deleted; {stable}, which served, is gone, too")
