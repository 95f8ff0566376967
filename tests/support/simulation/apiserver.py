"""An API server in memory, with the semantics that its clients rely on.

Versions are one counter over all kinds, as etcd's. Deletion obeys finalizers and propagation; collecting
the dependents is a controller's (`controllers`). Every change is kept, so that a list can be served as of
an earlier version and a watch can start anywhere after the last compaction.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from tests.support.simulation import clock

Json = dict[str, Any]
FOREGROUND: Final = "foregroundDeletion"


class Key(NamedTuple):
    """Where an object is."""

    group_version: str
    plural: str
    namespace: str
    name: str


@dataclass(frozen=True, slots=True)
class Change:
    """One write: ADDED, MODIFIED or DELETED, with the object after it and before it."""

    version: int
    type: str
    key: Key
    new: Json
    old: Json | None
    at: float


class Refusal(Exception):  # noqa: N818 - it is an answer
    """An answer of 400 or more."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(f"{status} {reason}: {message}")
        self.status, self.reason, self.message = status, reason, message


def timestamp() -> str:
    """Now, as the API server writes it: whole seconds."""
    return datetime.fromtimestamp(clock.true_time(), tz=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class ApiServer:
    """Objects by key, and whoever wants to hear of changes."""

    def __init__(self) -> None:
        self.objects: dict[Key, Json] = {}
        self.log: list[Change] = []
        self.compacted = 0
        self.version = 1000
        self.listeners: list[Callable[[Change], None]] = []
        self._uids = 0

    # -- reading ------------------------------------------------------------------------------------------

    def get(self, key: Key) -> Json:
        """The object; treat it as frozen."""
        if key not in self.objects:
            raise Refusal(404, "NotFound", f'{key.plural} "{key.name}" not found')
        return self.objects[key]

    def all(self, plural: str, namespace: str | None = None) -> list[Json]:
        """Every object of a kind, by name."""
        found = [
            (key, obj)
            for key, obj in self.objects.items()
            if key.plural == plural and namespace in (None, key.namespace)
        ]
        return [obj for _, obj in sorted(found, key=lambda pair: pair[0])]

    def at(self, group_version: str, plural: str, version: int) -> dict[Key, Json]:
        """The objects of a kind as of an earlier version."""
        kept: dict[Key, Json] = {}
        for change in self.log:
            if change.version > version:
                break
            if (change.key.group_version, change.key.plural) == (group_version, plural):
                if change.type == "DELETED":
                    kept.pop(change.key, None)
                else:
                    kept[change.key] = change.new
        return kept

    def time_of(self, version: int) -> float:
        """When the first change after a version was made; now if there is none."""
        return next((c.at for c in self.log if c.version > version), clock.elapsed())

    # -- writing ------------------------------------------------------------------------------------------

    def create(self, group_version: str, plural: str, namespace: str, body: Json) -> Json:
        """POST."""
        key = Key(group_version, plural, namespace, body["metadata"]["name"])
        if key in self.objects:
            raise Refusal(409, "AlreadyExists", f'{plural} "{key.name}" already exists')
        obj = copy.deepcopy(body)
        self._uids += 1
        obj["metadata"] |= {
            "namespace": namespace,
            "uid": f"uid-{self._uids:05d}",
            "creationTimestamp": timestamp(),
            "generation": 1,
        }
        return self._commit("ADDED", key, obj, None)

    def replace(self, key: Key, body: Json, subresource: str = "") -> Json:
        """PUT."""
        old = self.get(key)
        self._check(key, old, body.get("metadata") or {})
        new = copy.deepcopy(old)
        if subresource == "status":
            new["status"] = copy.deepcopy(body.get("status") or {})
        elif subresource == "scale":
            new["spec"]["replicas"] = body["spec"]["replicas"]
        else:
            kept = {k: old["metadata"][k] for k in ("uid", "creationTimestamp", "generation")}
            status = old.get("status")
            new = copy.deepcopy(body)
            new["metadata"] = {**new["metadata"], **kept}
            if status is not None:
                new["status"] = status
        return self._store(key, old, new)

    def patch(self, key: Key, change: Any, subresource: str = "") -> Json:
        """PATCH, merge or JSON patch (a list)."""
        old = self.get(key)
        new = copy.deepcopy(old)
        if isinstance(change, list):
            _json_patch(new, change)
        else:
            self._check(key, old, change.get("metadata") or {})
            change = {k: v for k, v in change.items() if k not in ("apiVersion", "kind")}
            if subresource == "status":
                change = {"status": change.get("status")}
            elif subresource == "scale":
                change = {"spec": {"replicas": change["spec"]["replicas"]}}
            else:
                change = {k: v for k, v in change.items() if k != "status"}
            _merge(new, change)
        new["metadata"]["uid"] = old["metadata"]["uid"]
        return self._store(key, old, new)

    def edit(self, key: Key, change: Callable[[Json], None]) -> Json:
        """A change by a controller or a person, never in conflict."""
        old = self.get(key)
        new = copy.deepcopy(old)
        change(new)
        return self._store(key, old, new)

    def delete(self, key: Key, options: Mapping[str, Any] | None = None) -> Json:
        """DELETE: marks where a finalizer or grace holds it, else removes."""
        old = self.get(key)
        wanted = options or {}
        uid = (wanted.get("preconditions") or {}).get("uid")
        if uid is not None and uid != old["metadata"]["uid"]:
            raise Refusal(409, "Conflict", "the uid in the precondition is another one")
        new = copy.deepcopy(old)
        meta = new["metadata"]
        if wanted.get("propagationPolicy") == "Foreground":
            meta["finalizers"] = [*(meta.get("finalizers") or ()), FOREGROUND]
        graceful = key.plural == "pods" and not wanted.get("force")
        if meta.get("finalizers") or graceful:
            if meta.get("deletionTimestamp"):
                return old
            meta["deletionTimestamp"] = timestamp()
            return self._commit("MODIFIED", key, new, old)
        return self._remove(key, old)

    def compact(self) -> None:
        """A watch from an earlier version than the present one is answered with 410 from now on."""
        self.compacted = self.version

    def _check(self, key: Key, old: Json, meta: Mapping[str, Any]) -> None:
        for field in ("resourceVersion", "uid"):
            if meta.get(field) not in (None, "", old["metadata"][field]):
                raise Refusal(409, "Conflict", f'{key.plural} "{key.name}": {field} is another one')

    def _store(self, key: Key, old: Json, new: Json) -> Json:
        if new.get("spec") != old.get("spec"):
            new["metadata"]["generation"] = old["metadata"]["generation"] + 1
        new["metadata"]["resourceVersion"] = old["metadata"]["resourceVersion"]
        if new["metadata"].get("finalizers") == []:
            del new["metadata"]["finalizers"]
        if new == old:
            return old
        leaves = new["metadata"].get("deletionTimestamp") and not new["metadata"].get("finalizers")
        if leaves and key.plural != "pods":
            return self._remove(key, new)
        return self._commit("MODIFIED", key, new, old)

    def _remove(self, key: Key, old: Json) -> Json:
        return self._commit("DELETED", key, copy.deepcopy(old), old)

    def _commit(self, type_: str, key: Key, new: Json, old: Json | None) -> Json:
        self.version += 1
        new["metadata"]["resourceVersion"] = str(self.version)
        if type_ == "DELETED":
            del self.objects[key]
        else:
            self.objects[key] = new
        change = Change(self.version, type_, key, new, old, clock.elapsed())
        self.log.append(change)
        for listener in self.listeners:
            listener(change)
        return new


def labels_match(obj: Mapping[str, Any], selector: str) -> bool:
    """Whether an object has the labels of a selector (`a=b,c,!d,e!=f,g in (h,i)`)."""
    labels = obj["metadata"].get("labels") or {}
    depth, parts, current = 0, [], ""
    for letter in selector:
        depth += {"(": 1, ")": -1}.get(letter, 0)
        if letter == "," and not depth:
            parts.append(current)
            current = ""
        else:
            current += letter
    return all(_one_matches(labels, part.strip()) for part in [*parts, current] if part.strip())


def _one_matches(labels: Mapping[str, str], part: str) -> bool:
    if " in " in part:
        key, _, values = part.partition(" in ")
        return labels.get(key.strip()) in [v.strip() for v in values.strip(" ()").split(",")]
    if "!=" in part:
        key, _, value = part.partition("!=")
        return labels.get(key) != value
    if "=" in part:
        key, _, value = part.replace("==", "=").partition("=")
        return labels.get(key) == value
    return part[1:] not in labels if part.startswith("!") else part in labels


def _merge(target: Json, change: Mapping[str, Any]) -> None:
    for key, value in change.items():
        if value is None:
            target.pop(key, None)
        elif isinstance(value, Mapping):
            if not isinstance(target.get(key), dict):
                target[key] = {}
            _merge(target[key], value)
        else:
            target[key] = copy.deepcopy(value)


def _json_patch(target: Json, operations: list[Json]) -> None:
    for operation in operations:
        *way, last = [
            p.replace("~1", "/").replace("~0", "~") for p in operation["path"].strip("/").split("/")
        ]
        holder: Any = target
        for part in way:
            holder = holder[int(part)] if isinstance(holder, list) else holder.setdefault(part, {})
        at: Any = (len(holder) if last == "-" else int(last)) if isinstance(holder, list) else last
        match operation["op"]:
            case "test":
                seen = holder.get(at) if isinstance(holder, dict) else holder[at]
                if json.dumps(seen, sort_keys=True) != json.dumps(operation["value"], sort_keys=True):
                    raise Refusal(422, "Invalid", f"the test of {operation['path']} failed")
            case "remove":
                del holder[at]
            case "add" if isinstance(holder, list):
                holder.insert(at, operation["value"])
            case _:
                holder[at] = operation["value"]
