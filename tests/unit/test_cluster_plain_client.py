"""The plugin's own way to the API server: kubeconfigs of every kind, bounded retries, watches that end."""

from __future__ import annotations

import asyncio
import json
import stat
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from modelrollout.cluster import kubeconfig
from modelrollout.cluster.errors import ApiError, ApiUnavailableError, NotFoundError
from modelrollout.cluster.plain_client import PlainKubeApi, in_thread
from tests.unit.test_cluster_client import Server

Json = dict[str, Any]


def write(directory: Path, server: str, user: Mapping[str, Any], **cluster: Any) -> Path:
    """A kubeconfig with one context."""
    path = directory / "config"
    content = {
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}],
        "clusters": [{"name": "k", "cluster": {"server": server, **cluster}}],
        "users": [{"name": "u", "user": dict(user)}],
    }
    path.write_text(json.dumps(content))
    return path


def program(directory: Path, answer: str, code: int = 0) -> Path:
    """A program for credentials; beside it lies what it was told."""
    path = directory / "login"
    path.write_text(
        f'#!/bin/sh\necho "$KUBERNETES_EXEC_INFO" > "{directory}/told"\necho \'{answer}\'\nexit {code}\n'
    )
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


@asynccontextmanager
async def connected(handle: Any, tmp_path: Path, user: Mapping[str, Any]) -> AsyncIterator[PlainKubeApi]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handle)
    async with TestServer(app) as running:
        path = write(tmp_path, str(running.make_url("")), user)
        api = await PlainKubeApi.connect(kubeconfig=path)
        try:
            yield api
        finally:
            await api.close()


async def test_passing_faults_are_tried_again_and_expired_credentials_read_anew(tmp_path: Path) -> None:
    server = Server((503, "busy"), (401, {"message": "expired"}), (200, {"ok": 1}))
    async with connected(server.handle, tmp_path, {"token": "t1"}) as api:
        write(tmp_path, api._access.server, {"token": "t2"})
        assert await api.get("/api/v1/pods") == {"ok": 1}
    assert server.tokens == ["Bearer t1", "Bearer t1", "Bearer t2"]


async def test_refusals_are_told_by_their_kind(tmp_path: Path) -> None:
    async with connected(
        Server((404, {"reason": "NotFound", "message": "because"})).handle, tmp_path, {}
    ) as api:
        with pytest.raises(NotFoundError, match="because"):
            await api.get("/api/v1/x")
        with pytest.raises(NotFoundError, match="because"):
            await anext(api.watch("/api/v1/x", {}))


async def test_nobody_there_is_unavailable(tmp_path: Path) -> None:
    api = await PlainKubeApi.connect(kubeconfig=write(tmp_path, "http://127.0.0.1:1", {}))
    with pytest.raises(ApiUnavailableError, match="GET /api/v1/pods got no answer"):
        await api.request("GET", "/api/v1/pods", attempts=2)


async def test_a_watch_gives_each_event_at_once_and_leaving_it_does_not_wait(tmp_path: Path) -> None:
    async def handle(request: web.Request) -> web.StreamResponse:
        assert request.query["watch"] == "1"
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b'{"type":"ADDED","object":{"n":1}}\n{"type":"MODI')
        await response.write(b'FIED","object":{"n":2}}\n')
        await asyncio.sleep(30)
        return response

    async with connected(handle, tmp_path, {}) as api:
        started = time.monotonic()
        watching = api.watch("/api/v1/pods", {"resourceVersion": "7"})
        seen = [(await anext(watching))["object"]["n"] for _ in range(2)]
        await watching.aclose()  # type: ignore[attr-defined]
    assert seen == [1, 2]
    assert time.monotonic() - started < 10


async def test_a_watch_that_breaks_gives_what_came_and_then_an_error(tmp_path: Path) -> None:
    lines = '{"type":"ADDED","object":{"n":1}}\n{"type":"ADDED","obj'
    async with connected(Server((200, lines)).handle, tmp_path, {}) as api:
        got = []
        with pytest.raises(ApiUnavailableError, match="broke"):
            async for event in api.watch("/api/v1/pods", {}):
                got.append(event["object"]["n"])  # noqa: PERF401 - what came before the error counts
    assert got == [1]


async def test_a_time_limit_does_not_wait_for_the_thread() -> None:
    started = time.monotonic()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await in_thread(lambda: time.sleep(5))
    assert time.monotonic() - started < 2


def headers(tmp_path: Path, user: Mapping[str, Any]) -> dict[str, str]:
    return dict(kubeconfig.load(write(tmp_path, "http://127.0.0.1:8080/", user)).headers)


def test_credentials_of_every_kind(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("from-file\n")
    assert headers(tmp_path, {"token": "t"}) == {"Authorization": "Bearer t"}
    assert headers(tmp_path, {"token": "t", "tokenFile": "token"}) == {"Authorization": "Bearer from-file"}
    assert headers(tmp_path, {"username": "u", "password": "p"}) == {"Authorization": "Basic dTpw"}
    acting = headers(tmp_path, {"as": "jane", "as-groups": ["ops"], "as-user-extra": {"why": ["drill"]}})
    assert acting == {
        "Impersonate-User": "jane",
        "Impersonate-Group": "ops",
        "Impersonate-Extra-why": "drill",
    }


def test_credentials_of_a_program(tmp_path: Path) -> None:
    said = json.dumps({"kind": "ExecCredential", "status": {"token": "minted"}})
    program(tmp_path, said)
    api = "client.authentication.k8s.io/v1"
    user = {
        "exec": {
            "command": "./login",
            "apiVersion": api,
            "provideClusterInfo": True,
            "interactiveMode": "Never",
        }
    }
    assert headers(tmp_path, user) == {"Authorization": "Bearer minted"}
    told = json.loads((tmp_path / "told").read_text())
    assert told["apiVersion"] == api
    assert told["spec"] == {"interactive": False, "cluster": {"server": "http://127.0.0.1:8080/"}}


def unusable() -> Iterator[tuple[str, Json, str]]:
    api = {"apiVersion": "client.authentication.k8s.io/v1"}
    yield "provider", {"auth-provider": {"name": "oidc"}}, "give it an exec plugin instead"
    yield "missing program", {"exec": {**api, "command": "no-such-login", "installHint": "get it"}}, "get it"
    yield "failing program", {"exec": {**api, "command": "false"}}, "ended with code 1"
    yield "other program", {"exec": {**api, "command": "echo"}}, "run it by hand"
    yield "missing file", {"tokenFile": "nowhere"}, "nowhere"


@pytest.mark.parametrize(
    ("user", "told"), [case[1:] for case in unusable()], ids=[case[0] for case in unusable()]
)
def test_an_unusable_kubeconfig_is_a_sentence(tmp_path: Path, user: Json, told: str) -> None:
    with pytest.raises(ApiError, match=told) as refused:
        kubeconfig.load(write(tmp_path, "http://127.0.0.1:8080", user))
    assert "set KUBECONFIG" in str(refused.value)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("{}", "current-context"),
        ("current-context: x", "no entry 'x'"),
        ("[", "set KUBECONFIG"),
        ("- 1", "usable"),
    ],
)
def test_a_broken_file_is_a_sentence(tmp_path: Path, content: str, told: str) -> None:
    path = tmp_path / "config"
    path.write_text(content)
    with pytest.raises(ApiError, match=told):
        kubeconfig.load(path)
