"""HTTP between one operator and the API server: the place where requests and watches go wrong.

`Connection` stands in for the client library's `RESTClientObject`, so everything of the operator above it is
real: retries, timeouts, parsing. What goes wrong is asked of `faults.Faults`, request by request.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

import aiohttp

from tests.support.simulation import clock
from tests.support.simulation.apiserver import Change, Json, Key, Refusal, labels_match

if TYPE_CHECKING:
    from tests.support.simulation.runner import Simulation

SUBRESOURCES = frozenset({"status", "scale", "log"})
BOOKMARK_SECONDS = 50.0


@dataclass(frozen=True, slots=True)
class Request:
    """One request as the API server sees it."""

    client: str
    method: str
    group_version: str
    plural: str
    namespace: str
    name: str
    subresource: str
    query: Mapping[str, str]
    body: Any

    @property
    def key(self) -> Key:
        """The object that it names."""
        return Key(self.group_version, self.plural, self.namespace, self.name)

    @property
    def writes(self) -> bool:
        """Whether it changes something."""
        return self.method != "GET"

    def __str__(self) -> str:
        tail = f"/{self.subresource}" if self.subresource else ""
        return f"{self.method} {self.plural}/{self.name}{tail}"


@dataclass(slots=True)
class Client:
    """One life of one operator, as the API server sees it."""

    name: str
    identity: str
    dead: bool = False
    writes: int = 0
    streams: list[Stream] = field(default_factory=list)
    behind: dict[str, float] = field(default_factory=dict)

    def stale_since(self, plural: str) -> float | None:
        """Since when an event of that kind is held back from it; None: it has been told everything."""
        waiting = [s.pending[0] for s in self.streams if s.plural == plural and s.pending]
        if plural in self.behind:
            waiting.append(self.behind[plural])
        return min(waiting, default=None)


class Answer:
    """What aiohttp's response is used for."""

    def __init__(self, status: int, body: bytes, content: AsyncIterator[bytes] | None = None) -> None:
        self.status = status
        self.content = content
        self._body = body
        now = datetime.fromtimestamp(clock.true_time(), tz=UTC)
        self.headers = {"Date": format_datetime(now, usegmt=True), "Content-Type": "application/json"}

    async def read(self) -> bytes:
        """The whole body."""
        return self._body

    def close(self) -> None:
        """Nothing is kept open but a watch, which ends with its iterator."""
        if isinstance(self.content, Stream):
            self.content.close()

    async def __aenter__(self) -> Answer:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()


@dataclass(slots=True)
class Library:
    """What `answer.response` of the client library is used for."""

    response: Answer


class Stream:
    """The lines of a watch."""

    def __init__(self, simulation: Simulation, client: Client, request: Request, silence: float) -> None:
        self.plural = request.plural
        self.pending: list[float] = []
        self._simulation, self._client, self._request = simulation, client, request
        self._silence = silence
        self._lines: asyncio.Queue[bytes | Exception | None] = asyncio.Queue()
        self._last = 0.0
        self._closed = False
        self.frozen = False
        client.streams.append(self)
        simulation.server.listeners.append(self._changed)
        since = int(request.query.get("resourceVersion") or 0)
        for change in simulation.server.log:
            if change.version > since:
                self._changed(change)
        loop = asyncio.get_running_loop()
        loop.call_later(float(request.query.get("timeoutSeconds") or 600), self.end)
        loop.call_later(BOOKMARK_SECONDS, self._bookmark)

    def __aiter__(self) -> Stream:
        return self

    async def __anext__(self) -> bytes:
        async with asyncio.timeout(self._silence):
            line = await self._lines.get()
        if line is None:
            raise StopAsyncIteration
        if isinstance(line, Exception):
            raise line
        return line

    def end(self) -> None:
        """The server ends it, as it does after `timeoutSeconds`."""
        if not self._closed:
            self.close()
            self._lines.put_nowait(None)

    def cut(self) -> None:
        """The connection breaks."""
        if not self._closed:
            self.close()
            self._lines.put_nowait(aiohttp.ClientPayloadError("connection reset"))

    def close(self) -> None:
        """Nobody listens any more."""
        if self._closed:
            return
        self._closed = True
        self.pending.clear()
        self._client.streams.remove(self)
        self._simulation.server.listeners.remove(self._changed)

    def _changed(self, change: Change) -> None:
        event = self._event(change)
        if event is None:
            return
        faults, loop = self._simulation.faults, asyncio.get_running_loop()
        now = loop.time()
        # A watch never reorders: the loop's heap would, among timers of one instant.
        self._last = max(self._last + 1e-6, now + faults.lag(self._client, self.plural))
        self.pending.append(now)
        copies = 2 if faults.duplicates(self._client) else 1
        loop.call_at(self._last, self._deliver, now, json.dumps(event).encode() + b"\n", copies)

    def _deliver(self, since: float, line: bytes, copies: int) -> None:
        if self._closed or self.frozen:
            return
        if since in self.pending:
            self.pending.remove(since)
        if not self.pending:
            self._client.behind.pop(self.plural, None)
        for _ in range(copies):
            self._lines.put_nowait(line)

    def _bookmark(self) -> None:
        if self._closed:
            return
        if not self.frozen and not self.pending:
            meta = {"resourceVersion": str(self._simulation.server.version)}
            line = json.dumps({"type": "BOOKMARK", "object": {"metadata": meta}})
            self._lines.put_nowait(line.encode() + b"\n")
        asyncio.get_running_loop().call_later(BOOKMARK_SECONDS, self._bookmark)

    def _event(self, change: Change) -> Json | None:
        key, request = change.key, self._request
        if (key.group_version, key.plural) != (request.group_version, request.plural):
            return None
        if request.namespace and key.namespace != request.namespace:
            return None
        selector = request.query.get("labelSelector", "")
        was = change.old is not None and labels_match(change.old, selector)
        fits = change.type != "DELETED" and labels_match(change.new, selector)
        if not was and not fits:
            return None
        type_ = "DELETED" if not fits else "MODIFIED" if was else "ADDED"
        return {"type": type_, "object": change.new}


class Connection:
    """Takes the place of the client library's RESTClientObject."""

    def __init__(self, simulation: Simulation, client: Client) -> None:
        self._simulation, self._client = simulation, client

    async def close(self) -> None:
        """Nothing is open."""

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: Any = None,
        _request_timeout: aiohttp.ClientTimeout | None = None,
    ) -> Library:
        """Sends one request through what may go wrong."""
        request = parse(self._client.name, method, url, body)
        if self._client.dead:
            await asyncio.get_running_loop().create_future()
        limits = _request_timeout or aiohttp.ClientTimeout(total=None)
        if "watch" in request.query:
            return Library(await self._watch(request, limits.sock_read or 3600.0))
        async with asyncio.timeout(limits.total):
            return Library(await self._exchange(request))

    async def _exchange(self, request: Request) -> Answer:
        simulation, client = self._simulation, self._client
        fault = simulation.faults.of(client, request)
        await asyncio.sleep(fault.latency)
        if fault.before is not None:
            return self._fail(request, fault.before)
        await self._count(request, "before")
        answer = self._apply(request)
        await self._count(request, "after")
        await asyncio.sleep(fault.latency_back)
        if fault.after is not None:
            return self._fail(request, fault.after)
        return answer

    async def _count(self, request: Request, when: str) -> None:
        """Crashes the operator at its n-th write, before or after it."""
        if self._client.dead:
            await asyncio.get_running_loop().create_future()
        if not request.writes or request.plural == "leases":
            return
        if when == "before":
            self._client.writes += 1
        if self._simulation.faults.crashes(self._client, when):
            self._simulation.crash(self._client, f"{when} write {self._client.writes}, {request}")
            await asyncio.get_running_loop().create_future()

    def _fail(self, request: Request, status: int) -> Answer:
        self._simulation.trace("fault", f"{request.client}: {request} -> {status or 'cut'}")
        if status == 0:
            raise aiohttp.ServerDisconnectedError
        reason = {403: "Forbidden", 409: "Conflict", 429: "TooManyRequests", 410: "Expired"}.get(
            status, "InternalError"
        )
        return _refusal(status, reason, f"made up by the simulation: {reason}")

    def _apply(self, request: Request) -> Answer:
        simulation = self._simulation
        try:
            if request.writes:
                simulation.before_write(self._client, request)
            result = self._answer(request)
        except Refusal as error:
            if request.writes:
                simulation.trace("write", f"{request.client}: {request} -> {error}")
            return _refusal(error.status, error.reason, error.message)
        if request.writes:
            simulation.after_write(self._client, request)
        return Answer(200, json.dumps(result).encode())

    def _answer(self, request: Request) -> Any:
        server = self._simulation.server
        if not request.plural:
            return {"groups": [{"name": "modelrollout.dev"}, {"name": "apps"}], "resources": []}
        if request.subresource == "log":
            return "3 of 10 answers were wrong\n"
        match request.method:
            case "GET" if request.name:
                found = server.get(request.key)
            case "GET":
                return self._list(request)
            case "POST":
                found = server.create(request.group_version, request.plural, request.namespace, request.body)
            case "PUT":
                found = server.replace(request.key, request.body, request.subresource)
            case "PATCH":
                found = server.patch(request.key, request.body, request.subresource)
            case _:
                found = server.delete(request.key, request.body)
        return scale_of(found) if request.subresource == "scale" else found

    def _list(self, request: Request) -> Json:
        server, faults = self._simulation.server, self._simulation.faults
        version = faults.list_version(self._client, request.plural, server)
        if version == server.version:
            objects = {key: obj for key, obj in server.objects.items() if key.plural == request.plural}
        else:
            objects = server.at(request.group_version, request.plural, version)
            self._client.behind[request.plural] = server.time_of(version)
            self._simulation.trace("fault", f"{request.client}: stale list of {request.plural}")
        selector = request.query.get("labelSelector", "")
        items = [
            obj
            for key, obj in sorted(objects.items())
            if (not request.namespace or key.namespace == request.namespace) and labels_match(obj, selector)
        ]
        return {"metadata": {"resourceVersion": str(version)}, "items": items}

    async def _watch(self, request: Request, silence: float) -> Answer:
        simulation = self._simulation
        fault = simulation.faults.of(self._client, request)
        await asyncio.sleep(fault.latency)
        if fault.before is not None:
            return self._fail(request, fault.before)
        version = int(request.query.get("resourceVersion") or 0)
        if version < simulation.server.compacted:
            status = {
                "kind": "Status",
                "code": 410,
                "reason": "Expired",
                "message": "too old resource version",
            }
            line = json.dumps({"type": "ERROR", "object": status}).encode() + b"\n"
            return Answer(200, b"", _lines(line))
        return Answer(200, b"", Stream(simulation, self._client, request, silence))


async def _lines(*lines: bytes) -> AsyncIterator[bytes]:
    for line in lines:
        yield line


def scale_of(obj: Json) -> Json:
    """The Scale of an object."""
    meta = {key: obj["metadata"][key] for key in ("name", "namespace", "resourceVersion", "uid")}
    status = obj.get("status") or {}
    return {
        "metadata": meta,
        "spec": {"replicas": obj["spec"].get("replicas", 1)},
        "status": {"replicas": status.get("replicas", 0)},
    }


def _refusal(status: int, reason: str, message: str) -> Answer:
    body = {"kind": "Status", "status": "Failure", "code": status, "reason": reason, "message": message}
    return Answer(status, json.dumps(body).encode())


def parse(client: str, method: str, url: str, body: Any) -> Request:
    """A request from its address."""
    parts = urlsplit(url)
    way = parts.path.strip("/").split("/")
    head = 2 if way[0] == "api" else 3
    group_version, rest = "/" + "/".join(way[:head]), way[head:]
    namespace = ""
    if len(rest) > 2 and rest[0] == "namespaces":
        namespace, rest = rest[1], rest[2:]
    rest = [*rest, "", "", ""][:3]
    return Request(
        client, method, group_version, rest[0], namespace, rest[1], rest[2],
        dict(parse_qsl(parts.query)), json.loads(body) if isinstance(body, (str, bytes)) else body,
    )  # fmt: skip
