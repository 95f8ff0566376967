"""kopf's own requests to the API server: what ends a watch of kopf must not end the operator."""

from __future__ import annotations

import asyncio
import json
from http import HTTPStatus
from typing import Any

import aiohttp
from aiohttp.base_protocol import BaseProtocol


class Connector(aiohttp.TCPConnector):
    """Connections for kopf, which ends the operator for a RuntimeError.

    uvloop raises one for a socket whose number another connection has by then, as at a restart of the API
    server. `server_name`: whose certificate is expected where it is not that of the address.
    """

    def __init__(self, *, server_name: str | None = None, **options: Any) -> None:
        super().__init__(**options)
        self._server_name = server_name

    async def connect(self, req: aiohttp.ClientRequest, *words: Any, **options: Any) -> Any:
        """Connect. Raises ClientConnectionError, which kopf answers by another attempt."""
        if self._server_name:
            req.server_hostname = self._server_name
        try:
            return await super().connect(req, *words, **options)
        except RuntimeError as error:
            raise aiohttp.ClientConnectionError(str(error)) from error


def one_event(event: dict[str, Any]) -> aiohttp.StreamReader:
    """Return the content of a watch that has one event."""
    loop = asyncio.get_running_loop()
    content = aiohttp.StreamReader(BaseProtocol(loop), 2**16, loop=loop)
    content.feed_data(json.dumps(event).encode() + b"\n")
    content.feed_eof()
    return content


async def gone_as_event(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """Turn a watch that is answered with 410 Gone into one whose only event is that error.

    kopf lists again on the event, and ends the operator on the status; the API server may answer either way.
    """
    response = await handler(request)
    if response.status == HTTPStatus.GONE and request.url.query.get("watch") == "true":
        await response.read()
        event = {"type": "ERROR", "object": {"kind": "Status", "code": HTTPStatus.GONE}}
        response.status = HTTPStatus.OK
        response.content = one_event(event)
    return response


def open_session(
    *, ssl: Any, headers: Any, proxy: str | None = None, server_name: str | None = None
) -> aiohttp.ClientSession:
    """Return a session for kopf that reaches the API server as the operator's own requests do.

    Args:
        ssl: The TLS context of the operator's credentials.
        headers: Their headers.
        proxy: Address of the proxy in between; by default that of the environment.
        server_name: Whose certificate is expected; by default that of the address.
    """
    return aiohttp.ClientSession(
        connector=Connector(limit=0, ssl=ssl, server_name=server_name),
        headers=headers,
        proxy=proxy,
        trust_env=True,
        middlewares=(gone_as_event,),
    )
