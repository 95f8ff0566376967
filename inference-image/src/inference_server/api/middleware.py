"""What surrounds every request: limits of its body, identity headers, the count by status code."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Container
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from inference_server.service import SOURCE_VALIDATION, InferenceService, State, request_source
from inference_server.shadow import COMPARE_PATH

logger = logging.getLogger(__name__)

CLIENT_GONE: Final = 499
"""Never sent: the client left before its request was complete."""


def is_counted(method: str, path: str, prediction_paths: Container[str]) -> bool:
    """Tell whether a request asks for predictions and counts in ``model_requests_total``.

    ``prediction_paths`` are the kind's own, beside those that every kind has.
    """
    infers = path.startswith("/v2/models/") and path.endswith("/infer")
    return method == "POST" and (path in prediction_paths or path == COMPARE_PATH or infers)


class BodyRefused(Exception):  # noqa: N818 - a decision, not a fault
    """The body is too large, too slow, or never came."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class FrameMiddleware:
    """Reads the body within its limits first, so that the time measured after it is the server's own.

    While the server drains, every answer asks the client to close the connection: its next request then goes
    to another pod.
    """

    def __init__(self, app: ASGIApp, service: InferenceService) -> None:
        self._app = app
        self._service = service
        self._max_body = service.settings.max_body
        self._timeout = service.settings.body_timeout

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one ASGI connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        counted = is_counted(scope["method"], scope["path"], self._service.kind.prediction_paths)
        counted = counted and request_source(headers) != SOURCE_VALIDATION
        status = 0

        async def framed_send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                self._frame(message)
            await send(message)

        try:
            body = await self._read(headers, receive)
        except BodyRefused as refusal:
            if refusal.code != CLIENT_GONE:
                await _answer(framed_send, refusal.code, str(refusal))
        else:
            await self._run(_as_json(scope), _replay(body, receive), framed_send)
        if counted and status:
            self._service.request_finished(status)

    async def _run(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def watched(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except Exception:
            logger.exception("A request to %s failed.", scope["path"])
            if not started:
                await _answer(send, 500, "The server failed on this request; its log says why.")

    def _frame(self, message: Message) -> None:
        headers = MutableHeaders(scope=message)
        if self._service.settings.pod_name:
            headers["x-pod-name"] = self._service.settings.pod_name
        if self._service.registry.loaded:
            headers.setdefault("x-model-version", self._service.registry.current.identity.version)
        if self._service.state is State.DRAINING:
            headers["connection"] = "close"

    async def _read(self, headers: Headers, receive: Receive) -> bytes:
        declared = headers.get("content-length", "0")
        if declared.isdecimal() and int(declared) > self._max_body:
            raise BodyRefused(413, f"The body has {declared} bytes; the limit is {self._max_body}.")
        try:
            async with asyncio.timeout(self._timeout):
                return await self._collect(receive)
        except TimeoutError:
            raise BodyRefused(408, f"The body did not arrive within {self._timeout:g} s.") from None

    async def _collect(self, receive: Receive) -> bytes:
        parts: list[bytes] = []
        size = 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise BodyRefused(CLIENT_GONE, "The client left.")
            part = message.get("body", b"")
            size += len(part)
            if size > self._max_body:
                raise BodyRefused(413, f"The body has more than the {self._max_body} bytes that are allowed.")
            parts.append(part)
            if not message.get("more_body", False):
                return b"".join(parts)


def _as_json(scope: Scope) -> Scope:
    """Return the scope with a body of JSON, also when ``curl -d`` calls it a form."""
    headers = [(name, value) for name, value in scope["headers"] if name != b"content-type"]
    return {**scope, "headers": [*headers, (b"content-type", b"application/json")]}


def _replay(body: bytes, receive: Receive) -> Receive:
    """Return a receive channel that gives the body that was read already, then what comes after it."""
    given = False

    async def replayed() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replayed


async def _answer(send: Send, code: int, message: str) -> None:
    """Answer with an error of this module; the connection is closed, for unread bytes may follow."""
    body = json.dumps({"error": message}).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": code, "headers": headers})
    await send({"type": "http.response.body", "body": body})
