"""One namespace of a real cluster as the tests see it: apply, read, wait."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from tests.support.cluster_tool import Cluster
from tests.support.faults import switch

Json = dict[str, Any]
T = TypeVar("T")
ANSWER_SECONDS = 60.0
"""A bound for a machine that is busy with other tests."""
ROLLOUTS = "/apis/modelrollout.dev/v1alpha1"
PLURALS = {
    "StatefulSet": ("/apis/apps/v1", "statefulsets"),
    "Deployment": ("/apis/apps/v1", "deployments"),
    "ReplicaSet": ("/apis/apps/v1", "replicasets"),
    "DaemonSet": ("/apis/apps/v1", "daemonsets"),
    "Service": ("/api/v1", "services"),
    "ModelRollout": (ROLLOUTS, "modelrollouts"),
    "HorizontalPodAutoscaler": ("/apis/autoscaling/v2", "horizontalpodautoscalers"),
    "Job": ("/apis/batch/v1", "jobs"),
    "Event": ("/api/v1", "events"),
    "Pod": ("/api/v1", "pods"),
    "EndpointSlice": ("/apis/discovery.k8s.io/v1", "endpointslices"),
    "Lease": ("/apis/coordination.k8s.io/v1", "leases"),
}


class World:
    """A namespace, by plain HTTPS (milliseconds, where kubectl takes a tenth of a second)."""

    def __init__(self, plane: Cluster, namespace: str) -> None:
        self.plane = plane
        self.namespace = namespace

    def path(self, kind: str, name: str | None = None, sub: str = "") -> str:
        """The API path of an object or of a collection."""
        version, plural = PLURALS[kind]
        path = f"{version}/namespaces/{self.namespace}/{plural}"
        return path + (f"/{name}" if name else "") + sub

    def call(self, method: str, path: str, body: object = None, **more: Any) -> tuple[int, Any]:
        """Status and JSON."""
        status, text = self.plane.request(method, path, body, timeout=ANSWER_SECONDS, **more)
        try:
            return status, json.loads(text) if isinstance(text, str | bytes) else text
        except ValueError:
            return status, text

    def create(self, *manifests: Mapping[str, Any]) -> None:
        """Creates objects; the API server must accept them."""
        for manifest in manifests:
            status, answer = self.call("POST", self.path(manifest["kind"]), dict(manifest))
            assert status in {200, 201}, answer

    def get(self, kind: str, name: str) -> Json:
        """One object; it must exist."""
        status, answer = self.call("GET", self.path(kind, name))
        assert status == 200, answer
        return dict(answer)

    def find(self, kind: str, name: str) -> Json | None:
        """One object or None."""
        status, answer = self.call("GET", self.path(kind, name))
        return dict(answer) if status == 200 else None

    def list(self, kind: str) -> list[Json]:
        """All objects of a kind."""
        status, answer = self.call("GET", self.path(kind))
        assert status == 200, answer
        return list(answer["items"])

    def patch(self, kind: str, name: str, change: object, *, sub: str = "") -> Json:
        """A merge patch; it must be accepted."""
        status, answer = self.call(
            "PATCH", self.path(kind, name, sub), change, content_type="application/merge-patch+json"
        )
        assert status == 200, answer
        return dict(answer)

    def delete(self, kind: str, name: str) -> None:
        """Deletes an object in the background."""
        status, answer = self.call("DELETE", self.path(kind, name))
        assert status in {200, 202}, answer

    def status(self, name: str = "emotion") -> Json:
        """The status of a ModelRollout; empty before there is one."""
        return dict(self.get("ModelRollout", name).get("status") or {})

    def condition(self, type_: str, name: str = "emotion") -> Json:
        """One condition of a ModelRollout; empty if it is not there."""
        return next((c for c in self.status(name).get("conditions", []) if c["type"] == type_), {})

    def replicas(self, deployment: str) -> int:
        """spec.replicas of a Deployment."""
        return int(self.get("Deployment", deployment)["spec"]["replicas"])

    def pod_name(self, deployment: str, suffix: str = "scene") -> str:
        """A name that a pod of the Deployment could have; waits until its ReplicaSet is there."""

        def named() -> str | None:
            owned = (
                r["metadata"]["name"]
                for r in self.list("ReplicaSet")
                if any(o["name"] == deployment for o in r["metadata"].get("ownerReferences") or ())
            )
            return next(owned, None)

        return f"{self.until(named, what=f'a ReplicaSet of {deployment}')}-{suffix}"

    def ready(self, service: str, deployment: str) -> int:
        """Ready endpoints of the Service that are pods of the Deployment."""
        return self.ready_of_all(service)[deployment]

    def ready_of_all(self, service: str) -> Counter[str]:
        """Ready endpoints of the Service by Deployment, all read at one instant."""
        count: Counter[str] = Counter()
        for part in self.list("EndpointSlice"):
            if part["metadata"]["labels"].get("kubernetes.io/service-name") != service:
                continue
            for endpoint in part.get("endpoints") or []:
                pod = (endpoint.get("targetRef") or {}).get("name", "")
                ready = (endpoint.get("conditions") or {}).get("ready") is not False
                count[pod.rsplit("-", 2)[0]] += ready
        return count

    def events(self, name: str = "emotion") -> list[tuple[str, str]]:
        """Reasons and messages of the Events about a ModelRollout, oldest first."""
        mine = [
            e
            for e in self.list("Event")
            if e["involvedObject"].get("kind") == "ModelRollout" and e["involvedObject"]["name"] == name
        ]
        return [(e["reason"], e["message"]) for e in sorted(mine, key=lambda e: e["metadata"]["name"])]

    def until(
        self, check: Callable[[], Any], *, seconds: float = 30.0, what: str = "", every: float = 0.05
    ) -> Any:
        """Waits until `check()` is true and returns what it gave; fails with the last status otherwise."""
        seconds *= switch.patience()
        deadline = time.monotonic() + seconds
        while True:
            value = check()
            if value:
                return value
            if time.monotonic() > deadline:
                seen = {r["metadata"]["name"]: r.get("status") for r in self.list("ModelRollout")}
                raise AssertionError(
                    f"not within {seconds} s: {what or check}; last seen {json.dumps(seen, indent=1)[:4000]}"
                )
            time.sleep(every)

    def settled(self, read: Callable[[], T], *, unchanged: float = 2.0, seconds: float = 60.0) -> T:
        """Waits until `read()` has given the same for so long, and returns that."""
        deadline = time.monotonic() + seconds
        last, since = read(), time.monotonic()
        while time.monotonic() - since < unchanged:
            time.sleep(0.1)
            if (now := read()) != last:
                last, since = now, time.monotonic()
            assert time.monotonic() < deadline, f"it still changed after {seconds} s: {last}"
        return last

    def prepare_lease(self) -> None:
        """The operator's Lease as one that acted and ended leaves it: the next one acts at once, instead of
        after the length of a lease."""
        spec = {"holderIdentity": "", "acquireTime": "2026-01-05T09:00:00.000000Z", "leaseDurationSeconds": 1}
        name = f"modelrollout-{self.namespace}"
        self.create(
            {
                "apiVersion": "coordination.k8s.io/v1",
                "kind": "Lease",
                "metadata": {"name": name},
                "spec": spec,
            }
        )

    def free(self) -> None:
        """Takes the finalizers off the ModelRollouts that are left: with no operator any more, nobody else
        would, and the namespace could never go."""
        path = self.path("ModelRollout")
        # a test may have changed the CRD a moment ago
        self.until(lambda: self.call("GET", path)[0] != 429, what="the API server answers for ModelRollouts")
        for rollout in self.list("ModelRollout"):
            if rollout["metadata"].get("finalizers"):
                one = self.path("ModelRollout", rollout["metadata"]["name"])
                nothing = {"metadata": {"finalizers": None}}
                self.call("PATCH", one, nothing, content_type="application/merge-patch+json")

    def at_step(self, weight: int) -> Json:
        """Waits until the weight of a step is reached and returns the status."""

        def reached() -> Json | None:
            status = self.status()
            step = status.get("step") or {}
            return status if step.get("weight") == weight and step.get("reachedAt") else None

        return dict(self.until(reached, what=f"step {weight}% reached"))

    def until_phase(self, phase: str, *, name: str = "emotion", seconds: float = 30.0) -> Json:
        """Waits for a phase and returns the status."""
        self.until(lambda: self.status(name).get("phase") == phase, seconds=seconds, what=f"{name} {phase}")
        return self.status(name)
