"""A real HTTP proxy before the API server that can be unreachable, answer 500 and 409 at random, refuse a
kind, or let its watches fall silent.
"""

from __future__ import annotations

import asyncio
import random
import socket
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self
from weakref import WeakSet

import aiohttp
import yaml
from aiohttp import web

from tests.support.cluster_tool import Cluster
from tests.support.prometheus import free_port

CLOSE_LOOKS: Final = 2_000
HOP = {"host", "connection", "transfer-encoding", "content-length", "accept-encoding"}


class FaultyApi:
    """Passes requests on to a cluster with the cluster's own client certificate.

    Attributes:
        errors: Share of requests (not watches) that are answered with a made-up failure: 500 for reads, 500
            or 409 for writes; half of the 500s come after the write was done, as after a lost answer.
        injected: How many of each status were made up.
        denied: Plurals of kinds whose lists and watches are answered with 403.
        frozen: Plurals of kinds whose watches stay open and pass nothing on, those open already too.
        silent: The same, but these watches end when the API server ends them.
        mute: Requests (not watches) get no answer at all.
        after_status: Called with the body of each write of a status once it was done, before it is answered.
    """

    def __init__(self, plane: Cluster, directory: Path) -> None:
        self.errors = 0.0
        self.mute = False
        self.injected: Counter[int] = Counter()
        self.denied: set[str] = set()
        self.frozen: set[str] = set()
        self.silent: set[str] = set()
        self.after_status: Callable[[dict[str, Any]], None] | None = None
        self._plane = plane
        self._random = random.Random(37)
        self._port = free_port()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._sockets: WeakSet[socket.socket] = WeakSet()
        self.kubeconfig = directory / "faulty.kubeconfig"
        self.kubeconfig.write_text(
            yaml.safe_dump(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{self._port}"}}],
                    "users": [{"name": "u", "user": {}}],
                    "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
                    "current-context": "c",
                }
            )
        )

    def __enter__(self) -> Self:
        self._thread.start()
        self._call(self._start())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._call(self._stop())
        self._call(self._end_tasks())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def cut(self) -> None:
        """Nobody listens any more, and every open connection is closed."""
        self._call(self._stop())

    def mend(self) -> None:
        """Reachable again."""
        self._call(self._start())

    def _call(self, work: object) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(30)  # type: ignore[arg-type]

    async def _start(self) -> None:
        connector = aiohttp.TCPConnector(ssl=self._plane.ssl_context(), limit=0, socket_factory=self._socket)
        self._session = aiohttp.ClientSession(connector=connector, auto_decompress=False)
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self._port, reuse_address=True).start()

    def _socket(self, address: aiohttp.AddrInfoType) -> socket.socket:
        family, kind, protocol, *_ = address
        made = socket.socket(family, kind, protocol)
        self._sockets.add(made)
        return made

    async def _stop(self) -> None:
        await self._runner.cleanup()
        await self._session.close()

    async def _end_tasks(self) -> None:
        """What still waits, such as a frozen watch."""
        waiting = asyncio.all_tasks() - {asyncio.current_task()}
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        # A closed session leaves its TLS connections to end by themselves. A loop that is closed before they
        # have leaves open sockets, whose warning fails a later test.
        for _ in range(CLOSE_LOOKS):
            if all(each.fileno() == -1 for each in self._sockets):
                return
            await asyncio.sleep(0.01)

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        if self.denied & {_plural(request)} and request.method == "GET":
            return _refusal(403)
        if self.mute and "watch" not in request.query:
            await asyncio.sleep(3600)
        made_up = self._failure(request)
        if made_up == 409 or (made_up and (request.method == "GET" or self._random.random() < 0.5)):
            return _refusal(made_up)
        watched = self.after_status if request.method == "PUT" and request.path.endswith("/status") else None
        response = await self._pass_on(request, quiet=bool(made_up or watched))
        if watched is not None and response.status == 200:
            watched(await request.json())
            return _refusal(500)
        return _refusal(made_up) if made_up else response

    def _failure(self, request: web.Request) -> int:
        if "watch" in request.query or self._random.random() >= self.errors:
            return 0
        status = 500 if request.method == "GET" else self._random.choice((500, 409))
        self.injected[status] += 1
        return status

    async def _pass_on(self, request: web.Request, *, quiet: bool) -> web.StreamResponse:
        headers = {name: value for name, value in request.headers.items() if name.lower() not in HOP}
        async with self._session.request(
            request.method,
            self._plane.server + request.raw_path,
            data=await request.read() or None,
            headers=headers,
            skip_auto_headers={"Content-Type"},
        ) as answer:
            response = web.StreamResponse(status=answer.status)
            response.content_type = answer.content_type
            if quiet:
                await answer.read()
                return response
            await response.prepare(request)
            watched = _plural(request) if "watch" in request.query else ""
            async for chunk in answer.content.iter_any():
                if watched not in self.frozen | self.silent:
                    await response.write(chunk)
            if watched in self.frozen:
                await asyncio.Event().wait()
            await response.write_eof()
            return response


def _plural(request: web.Request) -> str:
    """The kind that is listed or watched."""
    return request.path.rstrip("/").rpartition("/")[2]


def _refusal(status: int) -> web.Response:
    reason = {403: "Forbidden", 409: "Conflict", 500: "InternalError"}[status]
    body = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "code": status}
    return web.json_response(body | {"message": "made up by the test"}, status=status)
