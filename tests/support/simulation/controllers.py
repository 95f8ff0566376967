"""What Kubernetes does by itself: pods for Deployments, endpoints for Services, Jobs, collecting dependents.

Each controller looks at everything a moment after something changed, and does the next small thing.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import string
from collections.abc import Iterator
from typing import Any, Final

from tests.support.simulation.apiserver import FOREGROUND, ApiServer, Change, Json, Key, timestamp
from tests.support.simulation.clock import RealRandom

APPS: Final = "/apis/apps/v1"
CORE: Final = "/api/v1"
BATCH: Final = "/apis/batch/v1"
DISCOVERY: Final = "/apis/discovery.k8s.io/v1"
NEVER: Final = "never"
"""In an image's name: its pods never become ready."""
LETTERS: Final = string.ascii_lowercase + string.digits


def template_hash(deployment: Json) -> str:
    """What a new revision would be called."""
    text = json.dumps(deployment["spec"]["template"], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def pod_name(owner: str, suffix: str) -> str:
    """The name of a pod of a ReplicaSet or Job: at most 63 characters, the suffix in full."""
    return f"{owner}-"[:58] + suffix


def image_of(obj: Json) -> str:
    """The image of a pod, or of the pods of a Deployment."""
    spec = obj["spec"].get("template", obj)["spec"]
    return str(spec["containers"][0]["image"])


def is_ready(pod: Json) -> bool:
    """Whether a pod is ready and stays."""
    conditions = (pod.get("status") or {}).get("conditions") or ()
    up = any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)
    return up and not pod["metadata"].get("deletionTimestamp")


def owner_of(obj: Json) -> str | None:
    """uid of the controller that made it."""
    return next((o["uid"] for o in obj["metadata"].get("ownerReferences") or () if o.get("controller")), None)


def selects(selector: dict[str, str], labels: dict[str, str]) -> bool:
    """Whether labels satisfy a plain selector."""
    return all(labels.get(key) == value for key, value in selector.items())


def _leaves(change: Change) -> bool:
    """Whether this change marks the object for deletion."""
    before = (change.old or change.new)["metadata"].get("deletionTimestamp")
    return bool(change.new["metadata"].get("deletionTimestamp")) and not before


class Controllers:
    """All of them, driven by changes."""

    def __init__(self, server: ApiServer, random: RealRandom, *, slowest: float) -> None:
        self._server = server
        self._random = random
        self._slowest = slowest
        self._dirty: set[str] = set()
        self._orphans: set[Key] = set()
        self._names = 0
        server.listeners.append(self._changed)

    def _changed(self, change: Change) -> None:
        loop = asyncio.get_running_loop()
        if change.type == "ADDED" and change.key.plural == "pods":
            self._schedule_ready(change)
        if change.key.plural == "pods" and change.type == "MODIFIED" and _leaves(change):
            loop.call_later(self._random.uniform(0.2, 3), self._end_pod, change.key)
        for name, slowest, work in (
            ("deployments", 0.05, self._deployments),
            ("endpoints", self._slowest, self._endpoints),
            ("jobs", 0.3, self._jobs),
            ("garbage", 0.5, self._collect),
        ):
            if name not in self._dirty:
                self._dirty.add(name)
                loop.call_later(self._random.uniform(0.005, slowest), self._run, name, work)

    def _run(self, name: str, work: Any) -> None:
        self._dirty.discard(name)
        work()

    # -- pods ---------------------------------------------------------------------------------------------

    def _schedule_ready(self, change: Change) -> None:
        image = image_of(change.new)
        if NEVER not in image and "job" not in image:
            delay = self._random.uniform(0.5, 6.0)
            asyncio.get_running_loop().call_later(delay, self.set_ready, change.key, True)

    def set_ready(self, key: Key, ready: bool) -> None:
        """A pod passes its probe, or fails it."""
        if key in self._server.objects:
            condition = {"type": "Ready", "status": str(ready)}
            status = {"phase": "Running", "podIP": "10.0.0.1", "conditions": [condition]}
            self._server.edit(key, lambda pod: pod.update(status=status))

    def _end_pod(self, key: Key) -> None:
        if key in self._server.objects:
            self._server.delete(key, {"force": True})
            if key in self._server.objects:
                self._server.edit(key, lambda pod: pod["metadata"].pop("finalizers", None))

    def _new_pod(self, owner: Json, kind: str, labels: dict[str, str], spec: Json) -> None:
        meta = owner["metadata"]
        suffix = "".join(self._random.choices(LETTERS, k=5))
        reference = {"kind": kind, "name": meta["name"], "uid": meta["uid"], "controller": True}
        reference["apiVersion"] = "batch/v1" if kind == "Job" else "apps/v1"
        body = {
            "metadata": {
                "name": pod_name(meta["name"], suffix),
                "labels": labels,
                "ownerReferences": [reference],
            },
            "spec": spec,
            "status": {"phase": "Pending"},
        }
        self._server.create(CORE, "pods", meta["namespace"], body)

    def pods_of(self, owner: Json) -> list[Json]:
        """The pods that a controller made and that stay, those to be given up first in front."""
        uid = owner["metadata"]["uid"]
        pods = [
            pod
            for pod in self._server.all("pods", owner["metadata"]["namespace"])
            if owner_of(pod) == uid and not pod["metadata"].get("deletionTimestamp")
        ]
        return sorted(pods, key=lambda pod: (is_ready(pod), -int(pod["metadata"]["uid"][4:])))

    # -- Deployments --------------------------------------------------------------------------------------

    def _deployments(self) -> None:
        for deployment in self._server.all("deployments"):
            if not deployment["metadata"].get("deletionTimestamp"):
                self._roll(deployment)
                self._tell(deployment)

    def sets_of(self, deployment: Json) -> list[Json]:
        """The ReplicaSets of a Deployment."""
        meta = deployment["metadata"]
        sets = self._server.all("replicasets", meta["namespace"])
        return [each for each in sets if owner_of(each) == meta["uid"]]

    def _roll(self, deployment: Json) -> None:
        meta, spec = deployment["metadata"], deployment["spec"]
        digest, total = template_hash(deployment), spec.get("replicas", 1)
        name = f"{meta['name']}-{digest}"
        sets = {each["metadata"]["name"]: each for each in self.sets_of(deployment)}
        if name not in sets:
            reference = {"apiVersion": "apps/v1", "kind": "Deployment", "controller": True}
            reference |= {"name": meta["name"], "uid": meta["uid"]}
            labels = {**spec["template"]["metadata"]["labels"], "pod-template-hash": digest}
            body = {
                "metadata": {"name": name, "labels": labels, "ownerReferences": [reference]},
                "spec": {"replicas": 0, "template": spec["template"], "selector": {"matchLabels": labels}},
            }
            if Key(APPS, "replicasets", meta["namespace"], name) in self._server.objects:
                return  # of a Deployment of that name that is being collected
            sets[name] = self._server.create(APPS, "replicasets", meta["namespace"], body)
        new = self.pods_of(sets[name])
        old = [
            pod for each in sets.values() if each["metadata"]["name"] != name for pod in self.pods_of(each)
        ]
        old.sort(key=is_ready)
        wanted = min(total, max(len(new), total + 1 - len(old))) if old else total
        spare = sum(map(is_ready, new)) + sum(map(is_ready, old)) - total
        self._resize(sets[name], new, wanted, spec["template"])
        for pod in old:
            if not is_ready(pod) or spare > 0:
                spare -= is_ready(pod)
                self._server.delete(self._pod_key(pod))

    def _resize(self, owner: Json, pods: list[Json], wanted: int, template: Json) -> None:
        meta = owner["metadata"]
        labels = owner["metadata"]["labels"]
        for _ in range(len(pods), wanted):
            self._new_pod(owner, "ReplicaSet", dict(labels), template["spec"])
        for pod in pods[: max(0, len(pods) - wanted)]:
            self._server.delete(self._pod_key(pod))
        if owner["spec"]["replicas"] != wanted:
            key = Key(APPS, "replicasets", meta["namespace"], meta["name"])
            self._server.edit(key, lambda each: each["spec"].update(replicas=wanted))

    @staticmethod
    def _pod_key(pod: Json) -> Key:
        return Key(CORE, "pods", pod["metadata"]["namespace"], pod["metadata"]["name"])

    def _tell(self, deployment: Json) -> None:
        meta, digest = deployment["metadata"], template_hash(deployment)
        pods, updated = [], 0
        for each in self.sets_of(deployment):
            mine = self.pods_of(each)
            pods += mine
            updated += len(mine) if each["metadata"]["name"].endswith(digest) else 0
        ready = sum(map(is_ready, pods))
        status = {
            "observedGeneration": meta["generation"],
            "replicas": len(pods),
            "updatedReplicas": updated,
            "readyReplicas": ready,
            "availableReplicas": ready,
        }
        if deployment.get("status") != status:
            key = Key(APPS, "deployments", meta["namespace"], meta["name"])
            self._server.edit(key, lambda each: each.update(status=status))

    # -- endpoints ----------------------------------------------------------------------------------------

    def _endpoints(self) -> None:
        wanted: dict[Key, Json] = {}
        for service in self._server.all("services"):
            if service["spec"].get("selector"):
                wanted |= self._slices(service)
        for obj in self._server.all("endpointslices"):
            key = Key(DISCOVERY, "endpointslices", obj["metadata"]["namespace"], obj["metadata"]["name"])
            if key not in wanted:
                self._server.delete(key)
        for key, body in wanted.items():
            there = self._server.objects.get(key)
            if there is None:
                self._server.create(key.group_version, key.plural, key.namespace, body)
            elif (there["endpoints"], there["ports"]) != (body["endpoints"], body["ports"]):
                fields = {"endpoints": body["endpoints"], "ports": body["ports"]}
                self._server.edit(key, lambda each, fields=fields: each.update(fields))  # type: ignore[misc]

    def _slices(self, service: Json) -> dict[Key, Json]:
        meta, spec = service["metadata"], service["spec"]
        groups: dict[str, tuple[list[Json], list[Json]]] = {}
        for pod in self._server.all("pods", meta["namespace"]):
            labels = pod["metadata"].get("labels") or {}
            if selects(spec["selector"], labels) and (pod.get("status") or {}).get("podIP"):
                ports = list(_ports(spec, pod))
                _, endpoints = groups.setdefault(json.dumps(ports), (ports, []))
                endpoints.append(_endpoint(pod, publish=bool(spec.get("publishNotReadyAddresses"))))
        groups = groups or {"[]": ([], [])}
        found = {}
        for number, (_, (ports, endpoints)) in enumerate(sorted(groups.items(), reverse=True)):
            name = f"{meta['name']}-{number}"
            reference = {"apiVersion": "v1", "kind": "Service", "name": meta["name"], "uid": meta["uid"]}
            reference["controller"] = True
            labels = {"kubernetes.io/service-name": meta["name"]}
            body = {
                "metadata": {"name": name, "labels": labels, "ownerReferences": [reference]},
                "addressType": "IPv4",
                "endpoints": endpoints,
                "ports": ports,
            }
            found[Key(DISCOVERY, "endpointslices", meta["namespace"], name)] = body
        return found

    # -- Jobs ---------------------------------------------------------------------------------------------

    def _jobs(self) -> None:
        for job in self._server.all("jobs"):
            meta = job["metadata"]
            if job.get("status") or meta.get("deletionTimestamp"):
                continue
            key = Key(BATCH, "jobs", meta["namespace"], meta["name"])
            labels = {"batch.kubernetes.io/job-name": meta["name"]}
            self._new_pod(job, "Job", labels, job["spec"]["template"]["spec"])
            self._server.edit(key, lambda each: each.update(status={"active": 1}))
            delay = self._random.uniform(0.5, 4)
            asyncio.get_running_loop().call_later(delay, self._end_job, key, "bad" not in image_of(job))

    def _end_job(self, key: Key, good: bool) -> None:
        if key not in self._server.objects:
            return
        end = {"type": "Complete" if good else "Failed", "status": "True", "lastTransitionTime": timestamp()}
        end |= {"reason": "" if good else "BackoffLimitExceeded", "message": ""}
        job = self._server.edit(key, lambda each: each.update(status={"conditions": [end]}))
        ttl = job["spec"].get("ttlSecondsAfterFinished")
        if ttl is not None:
            asyncio.get_running_loop().call_later(ttl, self._expire, key, job["metadata"]["uid"])

    def _expire(self, key: Key, uid: str) -> None:
        if key in self._server.objects and self._server.objects[key]["metadata"]["uid"] == uid:
            self._server.delete(key)

    # -- garbage ------------------------------------------------------------------------------------------

    def _collect(self) -> None:
        objects = self._server.objects
        there = {obj["metadata"]["uid"]: obj for obj in objects.values()}
        for key, obj in list(objects.items()):
            owners = obj["metadata"].get("ownerReferences") or ()
            live = [there[o["uid"]] for o in owners if o["uid"] in there]
            waiting = [o for o in live if FOREGROUND in (o["metadata"].get("finalizers") or ())]
            orphaned = owners and len(live) == len(waiting) and not obj["metadata"].get("deletionTimestamp")
            if orphaned and key in objects:
                self._server.delete(key, {"propagationPolicy": "Foreground"} if waiting else None)
        for key, obj in list(objects.items()):
            finalizers = obj["metadata"].get("finalizers") or ()
            if FOREGROUND in finalizers and not self._blocked(obj):
                left = [name for name in finalizers if name != FOREGROUND]
                self._server.edit(key, lambda each, left=left: each["metadata"].update(finalizers=left))  # type: ignore[misc]

    def _blocked(self, owner: Json) -> bool:
        uid = owner["metadata"]["uid"]
        return any(
            o["uid"] == uid and o.get("blockOwnerDeletion", o.get("controller", False))
            for obj in self._server.objects.values()
            for o in obj["metadata"].get("ownerReferences") or ()
        )


def _ports(spec: Json, pod: Json) -> Iterator[Json]:
    """The Service's ports that a pod has; a port that is named must be one of its containers'."""
    named = {
        port.get("name"): port["containerPort"]
        for container in pod["spec"]["containers"]
        for port in container.get("ports") or ()
    }
    for port in spec.get("ports") or ():
        target = port.get("targetPort", port["port"])
        if isinstance(target, int) or target in named:
            number = target if isinstance(target, int) else named[target]
            yield {"name": port.get("name", ""), "port": number, "protocol": "TCP"}


def _endpoint(pod: Json, *, publish: bool) -> Json:
    meta = pod["metadata"]
    leaving, ready = bool(meta.get("deletionTimestamp")), is_ready(pod)
    conditions = {"ready": ready or (publish and not leaving), "serving": ready, "terminating": leaving}
    target = {"kind": "Pod", "name": meta["name"], "namespace": meta["namespace"], "uid": meta["uid"]}
    return {"addresses": ["10.0.0.1"], "conditions": conditions, "targetRef": target}
