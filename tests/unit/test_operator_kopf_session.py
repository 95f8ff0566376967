"""What kopf reads of an API server that answers a watch in an unusual way."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from kopf._cogs.clients.api import iter_jsonlines

from modelrollout.operator.kopf_session import open_session

GONE = {"kind": "Status", "code": 410, "reason": "Expired"}


@pytest.fixture
async def server() -> AsyncIterator[str]:
    """An API server that has forgotten every resourceVersion."""

    async def gone(request: web.Request) -> web.Response:
        return web.json_response(GONE, status=410)

    app = web.Application()
    app.router.add_get("/rollouts", gone)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    sockets: Any = site._server
    yield f"http://127.0.0.1:{sockets.sockets[0].getsockname()[1]}/rollouts"
    await runner.cleanup()


async def test_a_watch_that_is_answered_with_gone_is_one_error_event(server: str) -> None:
    """Kopf lists again on such an event; the status itself would end the operator."""
    async with open_session(ssl=False, headers={}) as session, session.get(server + "?watch=true") as answer:
        assert answer.status == 200
        lines = [line async for line in iter_jsonlines(answer.content)]
    assert lines == [b'{"type": "ERROR", "object": {"kind": "Status", "code": 410}}']


async def test_another_request_keeps_the_status_gone(server: str) -> None:
    async with open_session(ssl=False, headers={}) as session, session.get(server) as answer:
        assert answer.status == 410
        assert await answer.json() == GONE
