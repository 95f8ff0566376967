"""A real HTTPS proxy before the API server that makes faults: those that a test switches on, and those that a
plan draws from a seed.
"""

from __future__ import annotations

import asyncio
import random
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self
from weakref import WeakSet

import aiohttp
from aiohttp import web

from tests.support.cluster_tool import Cluster
from tests.support.faults.identity import Identity
from tests.support.faults.plan import FaultPlan
from tests.support.faults.requests import break_off, is_named, kind_of, plural_of, refusal
from tests.support.faults.watch import CutError, SilenceError, WatchFaults
from tests.support.prometheus import free_port

CLOSE_LOOKS: Final = 2_000
HOP = {"host", "connection", "transfer-encoding", "content-length", "accept-encoding"}
LONGEST_LINE: Final = 4 * 1024 * 1024
SLOW_SECONDS: Final = (0.5, 6.0)
"""The operator gives up after 5."""
TIMEOUT_SECONDS: Final = 7.0
STALE_SECONDS: Final = (1.0, 15.0)
SILENT_SECONDS: Final = 120.0


class FaultyApi:
    """Passes requests on to a cluster as the user of the cluster's kubeconfig: a bearer token is passed on, a
    client certificate is demanded of the client and presented to the API server.

    Attributes:
        plan: Faults drawn from a seed; None: only those below.
        crash: Called when the plan lets the operator crash; it must end the process before it returns.
        errors: Share of requests (not watches) that are answered with a made-up failure: 500 for reads, 500
            or 409 for writes; half of the 500s come after the write was done, as after a lost answer.
        injected: How many of each status were made up.
        requests: Verb and kind of every request as it came, but of watches and of the lease.
        denied: Plurals of kinds whose lists and watches are answered with 403.
        frozen: Plurals of kinds whose watches stay open and pass nothing on, those open already too.
        silent: The same, but these watches end when the API server ends them.
        mute: Requests (not watches) get no answer at all.
        after_status: Called with the body of each write of a status once it was done, before it is answered.
    """

    def __init__(self, plane: Cluster, directory: Path, *, plan: FaultPlan | None = None) -> None:
        self.plan = plan or FaultPlan(0, {})
        self.crash: Callable[[], None] = lambda: None
        self.errors = 0.0
        self.mute = False
        self.injected: Counter[int] = Counter()
        self.requests: list[str] = []
        self.denied: set[str] = set()
        self.frozen: set[str] = set()
        self.silent: set[str] = set()
        self.after_status: Callable[[dict[str, Any]], None] | None = None
        self._identity = Identity(plane)
        self._random = random.Random(37)
        self._versions: list[tuple[float, str]] = []
        self._watches: list[web.Request] = []
        self._port = free_port()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._sockets: WeakSet[socket.socket] = WeakSet()
        self.kubeconfig = directory / f"faulty-{self._port}.kubeconfig"
        self._identity.write_kubeconfig(self.kubeconfig, f"https://127.0.0.1:{self._port}")

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
        """Close every open connection and accept no new ones."""
        self._call(self._stop())

    def mend(self) -> None:
        """Reachable again."""
        self._call(self._start())

    def cut_a_watch(self, draw: random.Random) -> None:
        """Break the connection of one of the open watches."""

        async def cut() -> None:
            if self._watches:
                request = draw.choice(self._watches)
                self.plan.note(f"cut: watch {plural_of(request)}")
                self.plan.counts["cut"] += 1
                break_off(request)

        self._call(cut())

    def _call(self, work: object) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(30)  # type: ignore[arg-type]

    async def _start(self) -> None:
        connector = aiohttp.TCPConnector(ssl=self._identity.to_server(), limit=0, socket_factory=self._socket)
        self._session = aiohttp.ClientSession(
            connector=connector,
            auto_decompress=False,
            read_bufsize=LONGEST_LINE,
            timeout=aiohttp.ClientTimeout(total=None),
        )
        app = web.Application(client_max_size=LONGEST_LINE)
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        tls = self._identity.to_client()
        await web.TCPSite(self._runner, "127.0.0.1", self._port, ssl_context=tls, reuse_address=True).start()

    def _socket(self, address: aiohttp.AddrInfoType) -> socket.socket:
        family, kind, protocol, *_ = address
        made = socket.socket(family, kind, protocol)
        self._sockets.add(made)
        return made

    async def _stop(self) -> None:
        await self._runner.cleanup()
        await self._session.close()

    async def _end_tasks(self) -> None:
        """Cancel what still waits, such as a frozen watch."""
        waiting = asyncio.all_tasks() - {asyncio.current_task()}
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        # A closed session or server leaves its TLS connections to end by themselves, and one whose handshake
        # is under way belongs to neither. A loop that is closed before they have ended leaves open sockets,
        # whose warning fails a later test.
        transports: Any = self._loop
        for transport in list(transports._transports.values()):
            transport.abort()
        await asyncio.sleep(0)
        for _ in range(CLOSE_LOOKS):
            if all(each.fileno() == -1 for each in self._sockets):
                return
            await asyncio.sleep(0.01)

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        plural = plural_of(request)
        if self.denied & {plural} and request.method == "GET":
            return refusal(403)
        if "watch" in request.query:
            return await self._watch(request, plural)
        if kind_of(request) != "leases":
            self.requests.append(f"{request.method} {kind_of(request)}")
        if self.mute:
            await asyncio.sleep(3600)
        made_up = self._failure(request)
        if made_up == 409 or (made_up and (request.method == "GET" or self._random.random() < 0.5)):
            return refusal(made_up)
        watched = self.after_status if request.method == "PUT" and request.path.endswith("/status") else None
        if made_up or watched:
            response = await self._pass_on(request, request.raw_path)
            if watched is not None and response.status == 200:
                watched(await request.json())
                return refusal(500)
            return refusal(made_up) if made_up else response
        if request.method == "GET":
            return await self._read(request)
        return await self._write(request)

    def _failure(self, request: web.Request) -> int:
        if self._random.random() >= self.errors:
            return 0
        status = 500 if request.method == "GET" else self._random.choice((500, 409))
        self.injected[status] += 1
        return status

    async def _read(self, request: web.Request) -> web.StreamResponse:
        plural, path = kind_of(request), request.raw_path
        if self.plan.happens("error-before", "GET", plural):
            return refusal(500)
        if not is_named(request):
            if self.plan.happens("slow-list", "list", plural):
                await asyncio.sleep(self.plan.between(*SLOW_SECONDS, "slow-list", "list", plural))
            version = self._earlier(request, plural)
            if version:
                joint = "&" if "?" in path else "?"
                path += f"{joint}resourceVersion={version}&resourceVersionMatch=Exact"
        return await self._pass_on(request, path)

    def _earlier(self, request: web.Request, plural: str) -> str:
        """The version as of which a list is to be served instead of the newest; empty for the newest."""
        if "continue" in request.query or "resourceVersion" in request.query:
            return ""
        now = time.monotonic()
        known = [version for at, version in self._versions if at < now - STALE_SECONDS[0]]
        if not known or not self.plan.happens("stale-list", "list", plural):
            return ""
        back = self.plan.between(*STALE_SECONDS, "stale-list", "list", plural)
        chosen = next((v for at, v in reversed(self._versions) if at < now - back), known[0])
        self.plan.note(f"as of version {chosen}")
        return chosen

    async def _write(self, request: web.Request) -> web.StreamResponse:
        verb, plural, plan = request.method, kind_of(request), self.plan
        if plan.happens("crash-before", verb, plural):
            return await self._crashed(request)
        if plan.happens("error-before", verb, plural):
            return refusal(500)
        if verb in ("PUT", "PATCH") and plan.happens("conflict", verb, plural):
            return refusal(409)
        if plan.happens("timeout-before", verb, plural):
            await asyncio.sleep(TIMEOUT_SECONDS)
            return refusal(500)
        response = await self._pass_on(request, request.raw_path)
        if plan.happens("crash-after", verb, plural):
            return await self._crashed(request)
        if plan.happens("error-after", verb, plural):
            return refusal(500)
        if plan.happens("timeout-after", verb, plural):
            await asyncio.sleep(TIMEOUT_SECONDS)
        return response

    async def _crashed(self, request: web.Request) -> web.StreamResponse:
        await asyncio.to_thread(self.crash)
        break_off(request)
        return refusal(500)

    async def _watch(self, request: web.Request, plural: str) -> web.StreamResponse:
        if self.plan.happens("gone", "watch", plural):
            return refusal(410)
        async with self._ask(request, request.raw_path) as answer:
            response = web.StreamResponse(status=answer.status)
            response.content_type = answer.content_type
            await response.prepare(request)
            if answer.status != 200:  # refused: there are no events
                await response.write(await answer.read())
                await response.write_eof()
                return response
            events = WatchFaults(self.plan, plural, self._saw)
            self._watches.append(request)
            try:
                async for line in events.pass_on(answer.content):
                    if plural not in self.frozen | self.silent:
                        await response.write(line)
            except CutError:
                break_off(request)
                return response
            except SilenceError:
                await asyncio.sleep(SILENT_SECONDS)
            finally:
                self._watches.remove(request)
            if plural in self.frozen:
                await asyncio.Event().wait()
            await response.write_eof()
            return response

    def _saw(self, version: str) -> None:
        self._versions.append((time.monotonic(), version))
        del self._versions[:-5000]

    def _ask(self, request: web.Request, path: str, body: bytes | None = None) -> Any:
        headers = {name: value for name, value in request.headers.items() if name.lower() not in HOP}
        return self._session.request(
            request.method,
            self._identity.server + path,
            data=body,
            headers=headers,
            skip_auto_headers={"Content-Type"},
        )

    async def _pass_on(self, request: web.Request, path: str) -> web.Response:
        async with self._ask(request, path, await request.read() or None) as answer:
            headers = {"Date": answer.headers["Date"]} if "Date" in answer.headers else {}
            return web.Response(
                status=answer.status,
                body=await answer.read(),
                content_type=answer.content_type,
                headers=headers,
            )
