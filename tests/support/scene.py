"""A rollout on a stage: Service and Deployments, the series its pods export, Prometheus and the operator."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from tests.support import manifests as m
from tests.support.cluster_tool import Cluster
from tests.support.exporter import Exporter, Pod
from tests.support.operator_process import OperatorProcess
from tests.support.prometheus import Prometheus
from tests.support.world import World

COMMAND = "modelrollout.dev/command"
VALUE = {
    "name": "value",
    "query": 'max(test_value{namespace="${namespace}",pod=~"${candidatePods}"})',
    "max": 1,
}
"""A criterion on a gauge that the test sets: `scene.say(0.5)` passes, `scene.say(2)` fails."""
Traffic = Callable[[Pod], None]
"""Changes what a healthy pod exports. From the start: what it showed before would stay in the windows."""


@dataclass
class Scene:
    """One namespace with a rollout called emotion from emotion-1 to emotion-2."""

    world: World
    exporter: Exporter
    prometheus: Prometheus
    directory: Path
    stack: ExitStack
    pods: dict[str, Pod] = field(default_factory=dict)

    @property
    def plane(self) -> Cluster:
        """The cluster."""
        return self.world.plane

    def operator(self, name: str = "operator-0", **more: Any) -> OperatorProcess:
        """A running replica of the operator that watches this namespace only."""
        process = OperatorProcess(
            kubeconfig=more.pop("kubeconfig", self.plane.kubeconfig),
            log=self.directory / f"{name}.log",
            prometheus=more.pop("prometheus", self.prometheus.url),
            namespace=self.world.namespace,
            pod_name=name,
            lease_namespace=self.world.namespace,
            **more,
        )
        return self.stack.enter_context(process)

    def stage(
        self,
        *,
        replicas: int = 4,
        versions: int = 2,
        traffic: Mapping[str, Traffic] | None = None,
        **candidate: Any,
    ) -> None:
        """The Service, emotion-1 with all replicas ready, later versions at zero; each exports that all is
        well, or what `traffic` makes of it."""
        self.world.create(m.service(), m.deployment("emotion-1", replicas=replicas))
        for number in range(2, versions + 1):
            self.world.create(m.deployment(f"emotion-{number}", **candidate))
        self.export(*(f"emotion-{number}" for number in range(1, versions + 1)), traffic=traffic)
        self.world.until(
            lambda: self.world.ready("emotion", "emotion-1") == replicas,
            what=f"{replicas} ready pods of emotion-1",
        )

    def export(self, *deployments: str, traffic: Mapping[str, Traffic] | None = None) -> None:
        """A pod of each Deployment in Prometheus, with every series of the contract and a good value."""
        names = {name: self.world.pod_name(name) for name in deployments}
        with self.exporter.together():
            for name, pod_name in names.items():
                pod = self.pods[name] = self.exporter.pod(self.world.namespace, pod_name)
                pod.healthy()
                pod.set("test_value", 0.5)
                if traffic and name in traffic:
                    traffic[name](pod)
        for name in deployments:
            series = f'test_value{{namespace="{self.world.namespace}",pod="{self.pods[name].name}"}}'
            self.prometheus.wait_for(series, timeout=30)

    def say(self, value: float, deployment: str = "emotion-2") -> None:
        """What the gauge of a version's pods shows from now on, waiting until Prometheus has it."""
        pod = self.pods[deployment]
        pod.set("test_value", value)
        series = f'test_value{{namespace="{self.world.namespace}",pod="{pod.name}"}}'
        self.world.until(
            lambda: self.prometheus.query(f"{series} == {value}"), seconds=30, what=f"{series} {value}"
        )

    def apply(self, **spec: Any) -> None:
        """Creates the ModelRollout; `criteria` defaults to VALUE alone."""
        spec.setdefault("criteria", [VALUE])
        self.world.create(m.rollout(**spec))

    def change(self, **spec: Any) -> None:
        """Merge-patches its spec."""
        self.world.patch("ModelRollout", "emotion", {"spec": spec})

    def command(self, verb: str) -> None:
        """What `kubectl modelrollout VERB` writes; waits until the operator has taken note."""
        id_ = self.command_without_waiting(verb)
        self.world.until(lambda: id_ in self.status().get("handledCommands", []), what=f"{verb} is handled")

    def command_without_waiting(self, verb: str) -> str:
        """Writes the command and returns its id."""
        id_ = uuid.uuid4().hex[:12]
        text = f'{{"id":"{id_}","verb":"{verb}"}}'
        self.world.patch("ModelRollout", "emotion", {"metadata": {"annotations": {COMMAND: text}}})
        return id_

    def status(self) -> dict[str, Any]:
        """The status of the rollout."""
        return self.world.status()

    def until(
        self, check: Callable[[dict[str, Any]], Any], *, what: str, seconds: float = 30
    ) -> dict[str, Any]:
        """Waits until `check(status)` is true and returns the status."""
        self.world.until(lambda: check(self.status()), what=what, seconds=seconds)
        return self.status()

    def at_weight(self, weight: int, *, seconds: float = 30) -> dict[str, Any]:
        """Waits until a step's weight has been reached."""
        return self.until(
            lambda s: s.get("step", {}).get("weight") == weight and "reachedAt" in s["step"],
            what=f"weight {weight} reached",
            seconds=seconds,
        )

    def ready(self) -> dict[str, int]:
        """Ready endpoints of each version, read at one instant."""
        found = self.world.ready_of_all("emotion")
        return {name: found[name] for name in ("emotion-1", "emotion-2")}

    def on_stable(self, replicas: int = 4) -> None:
        """Asserts that all traffic is on emotion-1, waiting for pods that still start."""
        self.world.until(
            lambda: self.ready() == {"emotion-1": replicas, "emotion-2": 0}, what="all traffic on stable"
        )
        assert self.world.replicas("emotion-1") == replicas
        assert self.world.replicas("emotion-2") == 0


def condition(status: dict[str, Any], type_: str) -> dict[str, Any]:
    """One condition of a status; empty if it is not there."""
    return next((c for c in status.get("conditions", []) if c["type"] == type_), {})


def seconds_between(start: str, end: str) -> float:
    """Seconds from one timestamp of the API to another."""
    return (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds()
