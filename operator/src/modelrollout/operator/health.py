"""HTTP for the kubelet and for Prometheus: /healthz, /readyz, /metrics."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

STOP_SECONDS: Final = 1.0
"""For so long an open request is waited for at the end."""
Check = Callable[[], str]
"""Returns what is wrong, in a sentence; an empty text if nothing is."""


class HealthServer:
    """Serves until `stop()`. A check that answers with a sentence makes its endpoint fail with 503."""

    def __init__(self, *, healthy: Check, ready: Check, registry: CollectorRegistry) -> None:
        self._healthy = healthy
        self._ready = ready
        self._registry = registry
        self._runner: web.AppRunner | None = None
        self.port = 0

    async def start(self, host: str, port: int) -> None:
        """Listen; `port` 0 takes a free one, which is then in `self.port`."""
        app = web.Application()
        app.router.add_get("/healthz", self._answer(self._healthy))
        app.router.add_get("/readyz", self._answer(self._ready))
        app.router.add_get("/metrics", self._metrics)
        self._runner = web.AppRunner(
            app, access_log=None, handle_signals=False, shutdown_timeout=STOP_SECONDS
        )
        await self._runner.setup()
        await web.TCPSite(self._runner, host, port).start()
        self.port = int(self._runner.addresses[0][1])

    async def stop(self) -> None:
        """Close the port."""
        if self._runner is not None:
            await self._runner.cleanup()

    def _answer(self, check: Check) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def answer(_: web.Request) -> web.Response:
            wrong = check()
            return web.Response(text=wrong or "ok", status=503 if wrong else 200)

        return answer

    async def _metrics(self, _: web.Request) -> web.Response:
        # A thousand rollouts make a long text: written in a thread, ticks go on meanwhile.
        text = await asyncio.to_thread(generate_latest, self._registry)
        return web.Response(body=text, headers={"Content-Type": CONTENT_TYPE_LATEST})
