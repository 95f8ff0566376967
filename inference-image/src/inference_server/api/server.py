"""The process: uvicorn, with a drain before the end, so that no request is lost when a pod leaves.

On SIGTERM readiness goes false and everything else goes on for the drain time: routers need a moment to learn
that the pod is leaving. Then the listening socket is closed, open answers are finished, and the process ends
with 0. A second SIGTERM, or SIGINT, ends at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
from collections.abc import Iterator
from types import FrameType
from typing import Any, Final, Literal

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from inference_server.api.app import create_app
from inference_server.api.control import create_control_app
from inference_server.predictors.kinds import PredictorKind
from inference_server.registry import Loader
from inference_server.service import InferenceService
from inference_server.settings import Settings

logger = logging.getLogger(__name__)

EXIT_NOT_STARTED: Final = 3
"""The model could not be loaded, or the address is taken (uvicorn's own code for that)."""
_LOG_FORMAT: Final = "%(asctime)s %(levelname)s %(name)s: %(message)s"


def protocol(header_timeout: float) -> type[HttpToolsProtocol]:
    """uvicorn's protocol that closes connections whose request line and headers take too long."""

    class TimedProtocol(HttpToolsProtocol):
        """Without this, clients that send a byte a minute would hold connections for ever."""

        _header_timer: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            """Start waiting for the first request."""
            super().connection_made(transport)
            self._await_headers()

        def on_message_begin(self) -> None:
            """Start waiting for the rest of the headers of a later request."""
            super().on_message_begin()
            if self._header_timer is None:
                self._await_headers()

        def on_headers_complete(self) -> None:
            """Stop waiting."""
            self._stop_waiting()
            super().on_headers_complete()

        def connection_lost(self, exc: Exception | None) -> None:
            """Stop waiting."""
            self._stop_waiting()
            super().connection_lost(exc)

        def _await_headers(self) -> None:
            self._header_timer = self.loop.call_later(header_timeout, self.transport.close)

        def _stop_waiting(self) -> None:
            if self._header_timer is not None:
                self._header_timer.cancel()
                self._header_timer = None

    return TimedProtocol


class ControlServer(uvicorn.Server):
    """The admin port, beside the clients' server, whose signals end both."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the other server."""
        yield


class DrainingServer(uvicorn.Server):
    """Drains on SIGTERM and ends when the model cannot be loaded."""

    def __init__(
        self, config: uvicorn.Config, service: InferenceService, control: uvicorn.Server | None = None
    ) -> None:
        super().__init__(config)
        self._service = service
        self._control = control
        self._control_task: asyncio.Task[None] | None = None
        self._drain_ends: float | None = None
        self._drain_asked = False

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 - the base class's
        """Note a signal: set flags that the next tick reads."""
        if sig == signal.SIGTERM and not self._drain_asked:
            self._drain_asked = True
            self._service.drain()
        elif self.should_exit:
            self.force_exit = True
        else:
            self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, for clients and on the admin port."""
        await super().startup(sockets)
        if self._control is not None and self.started:
            self._control_task = asyncio.create_task(self._control.serve(), name="admin-port")

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End both."""
        if self._control is not None and self._control_task is not None:
            self._control.should_exit = True
            await asyncio.gather(self._control_task, return_exceptions=True)
        await super().shutdown(sockets)

    async def on_tick(self, counter: int) -> bool:
        """Run ten times a second."""
        now = asyncio.get_running_loop().time()
        if self._service.failure is not None:
            self.should_exit = True
        if self._drain_asked and self._drain_ends is None:
            self._drain_ends = now + self._service.settings.drain
            logger.info(
                "Asked to end: not ready from now on, answering for %g s more.", self._service.settings.drain
            )
        if self._drain_ends is not None and now >= self._drain_ends:
            self.should_exit = True
        return await super().on_tick(counter)


def build_server(settings: Settings, kind: PredictorKind, loader: Loader | None = None) -> DrainingServer:
    """Return a server that is ready to run."""
    app = create_app(settings, kind, loader)
    service: InferenceService = app.state.service
    control = None
    if settings.admin_token_file is not None:
        control_app = create_control_app(service)
        control = ControlServer(_config(control_app, settings, port=settings.admin_port, lifespan="off"))
    else:
        logger.info("No admin port: INFERENCE_ADMIN_TOKEN_FILE is not set, so no other model can be loaded.")
    return DrainingServer(_config(app, settings, port=settings.port, lifespan="on"), service, control)


def _config(app: FastAPI, settings: Settings, *, port: int, lifespan: Literal["on", "off"]) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        host=settings.host,
        port=port,
        lifespan=lifespan,
        loop="uvloop",
        http=protocol(settings.header_timeout),
        ws="none",
        access_log=False,
        log_config=None,
        timeout_keep_alive=settings.keep_alive,
        timeout_graceful_shutdown=max(1, round(settings.shutdown_grace)),
        backlog=2048,
        server_header=False,
        proxy_headers=False,
    )


def run(settings: Settings, kind: PredictorKind, loader: Loader | None = None) -> int:
    """Serve until asked to end; the exit code of the process."""
    setup_logging()
    try:
        server = build_server(settings, kind, loader)
    except ValueError as error:  # what a kind needs for its paths is not there
        logger.error("The server could not be started: %s", error)
        return EXIT_NOT_STARTED
    server.run()
    service: InferenceService = server.config.app.state.service  # type: ignore[union-attr]
    if service.failure is not None:
        logger.error("The model could not be loaded: %s", service.failure)
        return EXIT_NOT_STARTED
    return 0 if server.started else 1


def setup_logging() -> None:
    """Sentences on standard error; standard output belongs to the prediction log."""
    options: dict[str, Any] = {
        "level": os.environ.get("INFERENCE_LOG_LEVEL", "INFO").upper(),
        "format": _LOG_FORMAT,
    }
    logging.basicConfig(stream=sys.stderr, **options)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
