"""The connection against a server that answers badly: bounded retries, and errors by their cure."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from modelrollout.cluster.client import KubeApi, kind_of
from modelrollout.cluster.errors import (
    AlreadyExistsError,
    ApiError,
    ApiUnavailableError,
    ConflictError,
    ForbiddenError,
    GoneError,
    NotFoundError,
)


class Server:
    """Answers from a list of (status, body); the last one for ever."""

    def __init__(self, *answers: tuple[int, Any]) -> None:
        self.answers = list(answers)
        self.seen: list[str] = []
        self.tokens: list[str | None] = []
        self.ahead = 0.0

    async def handle(self, request: web.Request) -> web.Response:
        self.seen.append(request.method)
        self.tokens.append(request.headers.get("Authorization"))
        status, body = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        text = body if isinstance(body, str) else json.dumps(body)
        date = formatdate(time.time() + self.ahead, usegmt=True)
        return web.Response(status=status, text=text, headers={"Date": date})


@asynccontextmanager
async def connected(server: Server, tmp_path: Path, token: str = "t1") -> AsyncIterator[KubeApi]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", server.handle)
    async with TestServer(app) as running:
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "c",
            "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}],
            "clusters": [{"name": "k", "cluster": {"server": str(running.make_url("")).rstrip("/")}}],
            "users": [{"name": "u", "user": {"token": token}}],
        }
        path = tmp_path / "config"
        path.write_text(json.dumps(config))
        api = await KubeApi.connect(kubeconfig=path)
        try:
            yield api
        finally:
            await api.close()


@pytest.mark.parametrize("status", [429, 500, 502, 503])
async def test_a_passing_fault_is_tried_again(status: int, tmp_path: Path) -> None:
    server = Server((status, "busy"), (status, {}), (200, {"ok": 1}))
    async with connected(server, tmp_path) as api:
        assert await api.get("/api/v1/pods") == {"ok": 1}
    assert len(server.seen) == 3
    assert server.tokens[0] == "Bearer t1"


async def test_a_lasting_fault_ends_after_a_bounded_number_of_attempts(tmp_path: Path) -> None:
    server = Server((503, "down"))
    async with connected(server, tmp_path) as api:
        with pytest.raises(ApiUnavailableError, match="down"):
            await api.get("/api/v1/pods")
    assert len(server.seen) == 4


async def test_an_answer_that_is_no_json_is_tried_again(tmp_path: Path) -> None:
    server = Server((200, "<html>starting</html>"), (200, "[]"), (200, {"ok": 1}))
    async with connected(server, tmp_path) as api:
        assert await api.get("/api/v1/pods") == {"ok": 1}
    assert len(server.seen) == 3


async def test_answers_that_are_no_json_for_long_are_unavailable(tmp_path: Path) -> None:
    async with connected(Server((200, "<html>log in</html>")), tmp_path) as api:
        with pytest.raises(ApiUnavailableError, match=r"GET /api/v1/pods was answered, but by no JSON"):
            await api.request("GET", "/api/v1/pods", attempts=2)


@pytest.mark.parametrize(
    ("status", "reason", "kind"),
    [
        (404, "NotFound", NotFoundError),
        (409, "Conflict", ConflictError),
        (409, "AlreadyExists", AlreadyExistsError),
        (410, "Expired", GoneError),
        (403, "Forbidden", ForbiddenError),
        (422, "Invalid", ApiError),
    ],
)
async def test_a_refusal_is_told_by_its_kind_and_not_repeated(
    status: int, reason: str, kind: type[ApiError], tmp_path: Path
) -> None:
    server = Server((status, {"reason": reason, "message": "because"}))
    async with connected(server, tmp_path) as api:
        with pytest.raises(kind, match="because"):
            await api.request("PUT", "/api/v1/x", body={})
    assert len(server.seen) == 1


async def test_credentials_that_were_replaced_are_read_anew(tmp_path: Path) -> None:
    server = Server((401, {"message": "expired"}), (200, {"ok": 1}))
    async with connected(server, tmp_path) as api:
        config = json.loads((tmp_path / "config").read_text())
        config["users"][0]["user"]["token"] = "t2"
        (tmp_path / "config").write_text(json.dumps(config))
        assert await api.get("/api/v1/pods") == {"ok": 1}
    assert server.tokens == ["Bearer t1", "Bearer t2"]


@pytest.mark.parametrize("ahead", [900.0, -900.0])
async def test_the_time_is_that_of_the_api_servers_answers(tmp_path: Path, ahead: float) -> None:
    server = Server((200, {}))
    server.ahead = ahead
    async with connected(server, tmp_path) as api:
        await api.get("/api/v1/pods")
        assert abs(api.clock.now().timestamp() - time.time() - ahead) < 2
        assert api.clock.skewed


async def test_nobody_there_is_unavailable(tmp_path: Path) -> None:
    server = Server((200, {}))
    async with connected(server, tmp_path) as api:
        pass
    api = await KubeApi.connect(kubeconfig=tmp_path / "config")
    try:
        with pytest.raises(ApiUnavailableError):
            await api.request("GET", "/api/v1/pods", attempts=2)
    finally:
        await api.close()


async def test_an_unusable_kubeconfig_is_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "config"
    path.write_text("{}")
    with pytest.raises(ApiError, match="set KUBECONFIG"):
        await KubeApi.connect(kubeconfig=path)


async def test_a_watch_that_breaks_in_the_middle_gives_what_came_and_then_an_error(tmp_path: Path) -> None:
    lines = '{"type":"ADDED","object":{"n":1}}\n{"type":"ADDED","obj'
    async with connected(Server((200, lines)), tmp_path) as api:
        got = []
        with pytest.raises(ApiUnavailableError):
            async for event in api.watch("/api/v1/pods", {}):
                got.append(event["object"]["n"])  # noqa: PERF401 - what came before the error counts
    assert got == [1]


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/apis/apps/v1/namespaces/ns/deployments/x/scale", "deployments/scale"),
        ("/apis/apps/v1/deployments", "deployments"),
        ("/api/v1/namespaces/ns/events", "events"),
        ("/apis/modelrollout.dev/v1alpha1/namespaces/ns/modelrollouts/x/status", "modelrollouts/status"),
        ("/apis/apps/v1/namespaces/ns/deployments/x", "deployments"),
    ],
)
def test_requests_are_counted_by_kind(path: str, kind: str) -> None:
    assert kind_of(path) == kind
