"""What else is in the namespace: another ModelRollout, one that wants the same Deployment, an autoscaler.

Drawn from a sequence of its own, so that the rest of a seed's history is the same with and without them.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from tests.support.simulation.apiserver import Json, Key
from tests.support.simulation.clock import RealRandom
from tests.support.simulation.controllers import APPS, CORE
from tests.support.simulation.truth import MOMENT, Truth

if TYPE_CHECKING:
    from tests.support.simulation.runner import Simulation

AUTOSCALING: Final = "/apis/autoscaling/v2"
ROLLOUTS: Final = "/apis/modelrollout.dev/v1alpha1"
SHARE: Final = 0.12
"""Of the seeds, for each of them."""
TEAM: Final = {"team": "models"}
"""What the pods of both have, so that nothing but the claim is wrong with the younger ModelRollout."""
SYNC_SECONDS: Final = 15.0
"""How often an autoscaler sets the count, as Kubernetes' own does."""
LONG: Final = "sentiment-classifier-multilingual-production-eu"
"""47 characters: the names of its pods are cut."""


@dataclass
class Neighbours:
    """What a seed has beside the one ModelRollout."""

    simulation: Simulation
    random: RealRandom
    rollout: Key | None = None
    rival: Key | None = None
    chosen: frozenset[str] = frozenset()
    _scaled: tuple[Key, Key, int] | None = None
    _since: float = 0.0
    _truth: Truth | None = field(default=None)

    def __post_init__(self) -> None:
        """Draw which there are, before the scenario makes its objects."""
        kinds = ("long names", "own", "rival", "autoscaler")
        self.chosen = frozenset(kind for kind in kinds if self.random.random() < SHARE)
        scenario = self.simulation.scenario
        if "long names" in self.chosen:
            scenario.names |= {"a": LONG, "b": f"{LONG}-v2"}
        if "rival" in self.chosen:
            scenario.labels = TEAM

    @property
    def namespace(self) -> str:
        """Where all of them are."""
        return self.simulation.scenario.key.namespace

    def prepare(self) -> None:
        """Make them."""
        random = self.random
        if "own" in self.chosen:
            self._own()
        # After the ModelRollout has gone another may have its Deployments, and an autoscaler's count stays.
        goes = any(what.startswith("delete {") for _, what, _ in self.simulation.scenario.acts)
        if "rival" in self.chosen and not goes:
            self._rival()
        if "autoscaler" in self.chosen and not goes:
            begins, lasts = random.uniform(20, 140), random.uniform(10, 60)
            loop = asyncio.get_running_loop()
            loop.call_later(begins, self._autoscale, random.choice("ab"), random.randint(1, 6))
            loop.call_later(begins + lasts, self._end_autoscaling)

    def truths(self, deployment: str) -> tuple[Json | None, Truth]:
        """The ModelRollout that a Deployment belongs to, and what clients of its Service reach."""
        if self.rollout is not None and self._truth is not None and deployment in ("d", "e"):
            return self.simulation.server.objects.get(self.rollout), self._truth
        return self.simulation.rollout, self.simulation.invariants.truth

    def look(self) -> None:
        """Note what is reached now."""
        if self._truth is not None:
            self._truth.look()

    def rest(self) -> bool:
        """Whether none of them has anything left to do."""
        objects = self.simulation.server.objects
        every = [objects.get(key) for key in (self.rollout, self.rival) if key is not None]
        phases = [((obj or {}).get("status") or {}).get("phase") for obj in every]
        return all(phase in ("Succeeded", "RolledBack", "Idle", "Invalid") for phase in phases)

    # -- a ModelRollout with Deployments and a Service of its own -----------------------------------------

    def _own(self) -> None:
        sim, random = self.simulation, self.random
        replicas = random.randint(1, 4)
        self._service("tone", {"app": "tone"})
        for name, count in (("d", replicas), ("e", 0)):
            self._deployment(name, f"model:good-{name}", count, app="tone")
        steps = [{"weight": 50, "duration": "15s"}, {"weight": 100}]
        spec = {"replicas": replicas, "service": "tone", "stable": {"deployment": "d"}, "steps": steps}
        spec |= {"candidate": {"deployment": "e"}, "progressDeadline": "60s"}
        self._truth = Truth(sim, service="tone")
        self.rollout = self._later("tone", spec, random.uniform(5, 60))

    # -- a younger one that wants the stable Deployment of the first --------------------------------------

    def _rival(self) -> None:
        sim, random = self.simulation, self.random
        self._service("rival", TEAM)
        self._deployment("r", "model:good-r", 1, app="rival", more=TEAM)
        spec = {"replicas": 1, "service": "rival", "stable": {"deployment": "r"}, "steps": [{"weight": 100}]}
        spec |= {"candidate": {"deployment": sim.scenario.names["a"]}}
        self.rival = self._later("rival", spec, random.uniform(30, 120))

    def started(self, key: Key, status: Json) -> str:
        """What is wrong with a new status of the rival; empty if nothing is."""
        first = self.simulation.rollout
        if key != self.rival or first is None or first["metadata"].get("deletionTimestamp"):
            return ""
        wanted = self.simulation.scenario.names["a"]
        if (status.get("run") or {}).get("candidate") == wanted and wanted in _in_use(first):
            return f"{key.name} rolls out {wanted}, which {self.simulation.scenario.name} has"
        return ""

    def ending(self) -> list[tuple[str, str]]:
        """What must not be at the end: names of invariants and what is so."""
        objects, found = self.simulation.server.objects, []
        if self.rollout is not None and self._truth is not None:
            obj = objects[self.rollout]
            status, now = obj.get("status") or {}, self._truth.now()
            stable, total = status.get("stable"), obj["spec"]["replicas"]
            if now.get(stable or "", 0) != total or status.get("phase") not in ("Succeeded", "RolledBack"):
                found.append(("settled", f"tone is {status.get('phase')}; {stable} of {now}, {total} wanted"))
        return found

    # -- an autoscaler on a Deployment --------------------------------------------------------------------

    def conflict(self, now: float, held: float | None) -> str:
        """Since when an autoscaler scales a Deployment that the operator should not scale; empty if none."""
        if self._scaled is None:
            return ""
        hpa = self.simulation.server.objects.get(self._scaled[0])
        if hpa is None or (held is not None and held <= self._since + MOMENT):
            return ""
        return self._scaled[1].name if now - self._since > MOMENT else ""

    def _autoscale(self, letter: str, count: int) -> None:
        name = self.simulation.scenario.names[letter]
        target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": name}
        body = {"metadata": {"name": "scaler"}, "spec": {"scaleTargetRef": target, "maxReplicas": 9}}
        self.simulation.server.create(AUTOSCALING, "horizontalpodautoscalers", self.namespace, body)
        hpa = Key(AUTOSCALING, "horizontalpodautoscalers", self.namespace, "scaler")
        self._scaled, self._since = (
            (hpa, Key(APPS, "deployments", self.namespace, name), count),
            self.simulation.now,
        )
        self.simulation.trace("hand", f"an autoscaler scales {name} to {count}")
        self._sync()

    def _sync(self) -> None:
        sim = self.simulation
        if self._scaled is None or self._scaled[0] not in sim.server.objects:
            return
        _, deployment, count = self._scaled
        sim.disturb()
        if deployment in sim.server.objects:
            sim.server.edit(deployment, lambda obj: obj["spec"].update(replicas=count))
        asyncio.get_running_loop().call_later(SYNC_SECONDS, self._sync)

    def _end_autoscaling(self) -> None:
        if self._scaled is not None:
            self.simulation.disturb()
            self.simulation.server.delete(self._scaled[0])
            self.simulation.trace("hand", "the autoscaler is removed")

    # -- making objects -----------------------------------------------------------------------------------

    def _service(self, name: str, selector: dict[str, str]) -> None:
        from tests.support.simulation.scenario import service

        self.simulation.server.create(CORE, "services", self.namespace, service(name, selector))

    def _deployment(self, name: str, image: str, replicas: int, **options: Any) -> None:
        from tests.support.simulation.scenario import deployment

        body = deployment(name, image, replicas, **options)
        created = self.simulation.server.create(APPS, "deployments", self.namespace, body)
        self.simulation.given.add(created["metadata"]["uid"])

    def _later(self, name: str, spec: Json, seconds: float) -> Key:
        body = {"apiVersion": "modelrollout.dev/v1alpha1", "kind": "ModelRollout"}
        body |= {"metadata": {"name": name}, "spec": spec}  # type: ignore[dict-item]

        def apply() -> None:
            self.simulation.trace("hand", f"apply {name}")
            self.simulation.server.create(ROLLOUTS, "modelrollouts", self.namespace, body)

        asyncio.get_running_loop().call_later(seconds, apply)
        return Key(ROLLOUTS, "modelrollouts", self.namespace, name)


def _in_use(rollout: Json) -> set[str | None]:
    """Deployments that a ModelRollout holds: by its status, and by its spec as long as it has no status."""
    status, spec = rollout.get("status") or {}, rollout["spec"]
    run = status.get("run") or {}
    held = {status.get("stable"), status.get("previousStable"), spec["candidate"].get("deployment")}
    if not run.get("finishedAt"):
        held |= {run.get("candidate"), run.get("stable")}
    return held if status.get("stable") else {*held, spec["stable"]["deployment"]}
