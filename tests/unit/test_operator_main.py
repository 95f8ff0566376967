"""kopf as the frame of the process: what it calls at the start and at the end, and how the process ends."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, cast

import aiohttp
import kopf
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from modelrollout.cluster import watch_check
from modelrollout.cluster.client import Credentials, KubeApi
from modelrollout.cluster.clock import ServerClock
from modelrollout.cluster.errors import ApiError
from modelrollout.cluster.leader_election import Leadership
from modelrollout.operator import app as parts
from modelrollout.operator import handlers, main
from modelrollout.operator.deadline import REST_SECONDS
from modelrollout.operator.handlers import log_in, rollout_changed
from modelrollout.operator.kopf_session import Connector
from modelrollout.operator.metrics import OperatorMetrics
from modelrollout.operator.settings import load_settings
from tests.support.fake_kube import FakeKube
from tests.unit.test_operator_rollouts import stored

SETTINGS = load_settings(["--prometheus-url", "http://p"], {})


class App:
    """Notes what kopf calls; fails where a test wants it to."""

    failed = False
    proxy: str | None = None

    def __init__(self, told: list[str], stop: asyncio.Event, *, server: str, fails: bool) -> None:
        self.told, self._stop, self._server, self._fails = told, stop, server, fails

    async def start(self) -> None:
        self.told.append("started")
        loop = asyncio.get_running_loop()
        if self._fails:
            loop.call_later(0.5, self._fail)
        else:
            loop.call_later(0.5, os.kill, os.getpid(), signal.SIGTERM)

    def _fail(self) -> None:
        self.failed = True
        self._stop.set()

    async def credentials(self) -> Credentials:
        return Credentials(
            server=self._server,
            ca_file=None,
            ca_data=None,
            insecure=False,
            token=None,
            cert_file=None,
            key_file=None,
            proxy=self.proxy,
            server_name="api.example",
        )

    async def drain(self) -> None:
        self._stop.set()
        self.told.append("drained")


@asynccontextmanager
async def discovery() -> AsyncIterator[str]:
    """The address of an API server that serves no group; kopf waits for more."""
    answers: dict[str, dict[str, Any]] = {
        "/api": {"versions": ["v1"]},
        "/api/v1": {"resources": []},
        "/apis": {"groups": []},
    }

    async def answer(request: web.Request) -> web.Response:
        return web.json_response(answers[request.path])

    app = web.Application()
    for path in answers:
        app.router.add_get(path, answer)
    async with TestServer(app) as server:
        yield str(server.make_url(""))


@pytest.mark.parametrize(
    ("error", "fails", "expected", "code"),
    [
        (None, False, ["started", "drained"], 0),
        (None, True, ["started", "drained"], 1),
        (ApiError(0, "Configuration", "no way to the cluster"), False, [], 1),
    ],
    ids=["SIGTERM", "a part fails", "it cannot start"],
)
async def test_kopf_starts_and_drains_the_app_and_the_exit_code_tells_of_a_failure(
    error: Exception | None,
    fails: bool,
    expected: list[str],
    code: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[str] = []

    async def create(_: Any, *, stop: asyncio.Event) -> App:
        if error is not None:
            raise error
        return App(told, stop, server=server, fails=fails)

    monkeypatch.setattr(main.App, "create", create)
    async with discovery() as server, asyncio.timeout(4):  # kopf waits 5 s for a task that is left behind
        assert await main.run(SETTINGS) == code
    assert told == expected


def real_app(monkeypatch: pytest.MonkeyPatch, told: list[str]) -> parts.App:
    """The real parts over an API server in memory; notes the deadline and the end of the queue."""

    class Deadline:
        def start(self, seconds: float) -> None:
            assert seconds == SETTINGS.shutdown + REST_SECONDS
            told.append("deadline")

        def done(self) -> None:
            told.append("done")

    class Api(FakeKube):
        clock = ServerClock.local()

        async def close(self) -> None:
            told.append("closed")

    monkeypatch.setattr(parts, "ExitDeadline", Deadline)
    leadership = Leadership()
    app = parts.App(
        SETTINGS,
        api=cast(KubeApi, Api()),
        metrics=OperatorMetrics(lambda: leadership.held),
        leadership=leadership,
        stop=asyncio.Event(),
    )
    drain: Callable[[float], Any] = app.queue.drain

    async def noted(seconds: float) -> None:
        told.append("queue drained")
        await drain(seconds)

    monkeypatch.setattr(app.queue, "drain", noted)
    return app


async def test_at_the_end_the_deadline_begins_first_and_all_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    await real_app(monkeypatch, told).drain()
    assert told == ["deadline", "queue drained", "closed", "done"]


async def test_a_part_that_fails_stops_kopf_and_one_that_does_not_end_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(parts, "CANCEL_SECONDS", 0.1)
    told: list[str] = []
    app = real_app(monkeypatch, told)

    async def fail() -> None:
        raise RuntimeError("the part of the test fails")

    async def stubborn() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            await asyncio.sleep(1)

    app._run("stubborn", stubborn())
    app._run("failing", fail())
    async with asyncio.timeout(5):
        await app._stop.wait()
        await app.drain()
    assert app.failed
    assert "The task failing ended" in caplog.text
    assert told[-1] == "closed", "a failure leaves the exit code of the deadline as it is"


async def test_the_election_that_ends_while_the_lease_is_given_back_is_no_failure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[str] = []
    app = real_app(monkeypatch, told)
    released = asyncio.Event()

    async def release() -> None:
        released.set()
        await asyncio.sleep(0.05)

    monkeypatch.setattr(app._elector, "release", release)
    app._run("election", cast(Coroutine[Any, Any, None], released.wait()))
    await asyncio.sleep(0)
    await app.drain()
    assert not app.failed
    assert told[-1] == "done"


async def test_what_uvloop_raises_for_a_reused_socket_is_a_connection_that_kopf_tries_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def reused(*_: Any, **__: Any) -> None:
        raise RuntimeError("File descriptor 9 is used by transport")

    monkeypatch.setattr(aiohttp.TCPConnector, "connect", reused)
    async with aiohttp.ClientSession(connector=Connector()) as session:
        with pytest.raises(aiohttp.ClientConnectionError, match="is used by transport"):
            await session.get("http://127.0.0.1:9")


async def test_kopf_reaches_the_server_by_the_same_proxy_and_expects_the_same_certificate(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[Any] = []

    async def connect(_: aiohttp.TCPConnector, req: aiohttp.ClientRequest, *__: Any, **___: Any) -> None:
        asked.append((str(req.proxy), req.server_hostname))
        raise OSError("nothing is there")

    monkeypatch.setattr(aiohttp.TCPConnector, "connect", connect)
    app = App([], asyncio.Event(), server="https://127.0.0.1:9", fails=False)
    app.proxy = "http://proxy:3128"
    async with (await log_in(memo=kopf.Memo(app=app))).aiohttp_session as session:
        assert session.trust_env
        with pytest.raises(OSError, match="nothing"):
            await session.get("https://127.0.0.1:9")
    assert asked == [("http://proxy:3128", "api.example")]


async def test_a_log_in_soon_after_the_last_one_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handlers, "LOGIN_PAUSE", 0.2)
    memo = kopf.Memo(app=App([], asyncio.Event(), server="http://127.0.0.1:9", fails=False))
    took = []
    for _ in range(2):
        before = time.monotonic()
        async with (await log_in(memo=memo)).aiohttp_session:
            took.append(time.monotonic() - before)
    assert took[0] < 0.2 <= took[1]


async def test_a_rollout_that_kopf_does_not_tell_is_stale_in_metrics_and_readiness(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    app = real_app(monkeypatch, [])
    app._synced.set()

    def shown() -> tuple[bool, float | None]:
        sample = app._metrics.registry.get_sample_value("modelrollout_cache_stale", {"kind": "modelrollouts"})
        return "modelrollouts: the watch did not tell" in app.unready(), sample

    app.check.listed(("ns", "one"), "5")
    assert shown() == (False, 0)
    monkeypatch.setattr(watch_check, "LATE_SECONDS", -1.0)
    assert shown() == (True, 1)
    await rollout_changed(event={"type": None, "object": stored("one", version=5)}, memo=kopf.Memo(app=app))
    assert shown() == (False, 0)
    app.check.listed(("ns", "one"), "6")
    app.store.remove(("ns", "one"))
    assert shown() == (False, 0), "it is gone"
