"""An API server in memory with what matters to its clients: resourceVersions, conflicts, failures."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncIterator, Mapping
from typing import Any

from modelrollout.cluster.errors import AlreadyExistsError, ApiError, ConflictError, NotFoundError
from modelrollout.cluster.resources import MERGE_PATCH

Json = dict[str, Any]


class FakeKube:
    """Stands in for `KubeApi`. Objects are kept by path; subresources change the object they belong to."""

    def __init__(self) -> None:
        self.objects: dict[str, Json] = {}
        self.requests: list[tuple[str, str, Any]] = []
        self.failures: list[ApiError] = []
        self.delay = 0.0
        self._version = 100

    def put(self, path: str, obj: Mapping[str, Any]) -> Json:
        """Sets an object behind everybody's back."""
        stored = copy.deepcopy(dict(obj))
        self._version += 1
        meta = stored.setdefault("metadata", {})
        meta["resourceVersion"] = str(self._version)
        meta.setdefault("uid", f"uid-{path.rsplit('/', 1)[1]}")
        self.objects[path] = stored
        return copy.deepcopy(stored)

    def writes(self) -> list[tuple[str, str]]:
        """Methods and paths of all requests but GET."""
        return [(method, path) for method, path, _ in self.requests if method != "GET"]

    async def get(self, path: str, query: Mapping[str, str] | None = None, **_: Any) -> Json:
        return await self.request("GET", path, query=query)

    async def request(self, method: str, path: str, *, body: Any = None, **options: Any) -> Json:
        permit = options.get("permit")
        if permit is not None:
            permit()
        self.requests.append((method, path, copy.deepcopy(body)))
        await asyncio.sleep(self.delay)
        if self.failures:
            raise self.failures.pop(0)
        if method == "POST":
            return self._create(path, body)
        base, sub = _split(path)
        if base not in self.objects:
            raise NotFoundError(404, "NotFound", f"{base} not found")
        if method == "GET":
            return _scale_of(self.objects[base]) if sub == "scale" else copy.deepcopy(self.objects[base])
        if method == "DELETE":
            expected = ((body or {}).get("preconditions") or {}).get("uid")
            if expected not in {None, self.objects[base]["metadata"]["uid"]}:
                raise ConflictError(409, "Conflict", "the UID in the precondition is another one")
            return self.objects.pop(base)
        return self._change(base, sub, body, options.get("content_type") == MERGE_PATCH)

    async def watch(self, path: str, query: Mapping[str, str], **_: Any) -> AsyncIterator[Json]:
        raise AssertionError("not scripted")
        yield {}

    def _create(self, path: str, body: Json) -> Json:
        full = f"{path}/{body['metadata']['name']}"
        if full in self.objects:
            raise AlreadyExistsError(409, "AlreadyExists", f"{full} exists")
        created = copy.deepcopy(body)
        created["metadata"].setdefault("uid", f"uid-{body['metadata']['name']}-{self._version}")
        return self.put(full, created)

    def _change(self, base: str, sub: str, body: Json, merge: bool) -> Json:
        stored = self.objects[base]
        wanted = (body.get("metadata") or {}).get("resourceVersion")
        if wanted is not None and wanted != stored["metadata"]["resourceVersion"]:
            raise ConflictError(409, "Conflict", "the object has been modified")
        if (body.get("metadata") or {}).get("uid") not in {None, stored["metadata"]["uid"]}:
            raise ConflictError(409, "Conflict", "the UID is another one")
        if sub == "scale":
            stored["spec"]["replicas"] = body["spec"]["replicas"]
        elif sub == "status":
            stored["status"] = copy.deepcopy(body["status"])
        elif merge:
            _merge(stored, body)
        else:
            body = copy.deepcopy(body)
            body["metadata"].setdefault("uid", stored["metadata"]["uid"])
            stored = body
        result = self.put(base, stored)
        return _scale_of(result) if sub == "scale" else result


def _split(path: str) -> tuple[str, str]:
    head, _, last = path.rpartition("/")
    return (head, last) if last in {"scale", "status", "log"} else (path, "")


def _scale_of(obj: Mapping[str, Any]) -> Json:
    meta = {key: obj["metadata"][key] for key in ("resourceVersion", "uid")}
    return {"metadata": meta, "spec": {"replicas": obj["spec"]["replicas"]}}


def _merge(target: Json, change: Mapping[str, Any]) -> None:
    for key, value in change.items():
        if value is None:
            target.pop(key, None)
        elif isinstance(value, Mapping):
            _merge(target.setdefault(key, {}), value)
        else:
            target[key] = value
