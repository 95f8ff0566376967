"""The operator's process on the virtual clock: started, stopped, crashed and started again.

Three things of it are replaced: the client library's connection, the socket of Prometheus' session, and kopf.
What kopf would call is called here: the handlers of the start and of the end, and that of events from a watch
of the same kind.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Coroutine
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import kopf

from modelrollout.api.constants import PLURAL
from modelrollout.cluster import client, resources
from modelrollout.cluster.errors import ApiError
from modelrollout.operator import app as processes
from modelrollout.operator import handlers
from modelrollout.operator.settings import Settings, load_settings
from modelrollout.prometheus import client as prometheus_client
from modelrollout.prometheus.session import PrometheusSession
from tests.support.simulation import clock
from tests.support.simulation.gateway import Client, Connection
from tests.support.simulation.prometheus import Adapter

if TYPE_CHECKING:
    from tests.support.simulation.runner import Simulation

LIFE: contextvars.ContextVar[Life | None] = contextvars.ContextVar("life", default=None)


class Life:
    """One process of one operator, from its start to its end."""

    def __init__(self, simulation: Simulation, client: Client, skew: float) -> None:
        self.simulation, self.client = simulation, client
        self.tasks: list[asyncio.Task[Any]] = []
        self._stop = asyncio.Event()
        context = contextvars.copy_context()
        context.run(LIFE.set, self)
        context.run(clock.SKEW.set, skew)
        self.main = asyncio.get_running_loop().create_task(self._live(), context=context)

    async def _live(self) -> None:
        memo = kopf.Memo(app=await processes.App.create(_settings(self.client), stop=self._stop))
        await handlers.start(settings=kopf.OperatorSettings(), memo=memo)
        watching = asyncio.create_task(_watch(memo))
        await self._stop.wait()
        watching.cancel()
        await handlers.drain(memo=memo)
        self.simulation.ended(self.client)

    def terminate(self) -> None:
        """SIGTERM."""
        self._stop.set()

    def kill(self) -> None:
        """SIGKILL: nothing more leaves it."""
        self.client.dead = True
        for stream in list(self.client.streams):
            stream.close()
        for task in list(self.tasks):
            task.cancel()


def _settings(client: Client) -> Settings:
    arguments = ["--prometheus-url", "http://prometheus:9090"]
    arguments += ["--lease-namespace", "system", "--lease-name", "operator"]
    settings = load_settings(arguments, {"POD_NAME": client.identity})
    return replace(settings, kubeconfig=Path(client.name))


class _Configuration:
    """What the connection reads of the client library's configuration."""

    ssl_ca_cert = ca_cert_data = cert_file = key_file = None
    verify_ssl = True

    def __init__(self, host: str) -> None:
        self.host = host

    async def auth_settings(self) -> dict[str, Any]:
        """No credentials."""
        return {}

    async def get_api_key_with_prefix(self, *_: Any, **__: Any) -> None:
        """No token."""


async def _load_configuration(kubeconfig: Path | None, context: str | None) -> _Configuration:
    return _Configuration(f"http://{kubeconfig}")


def _connection(configuration: _Configuration) -> Connection:
    life = LIFE.get()
    assert life is not None
    return Connection(life.simulation, life.client)


class _Session(PrometheusSession):
    def get_adapter(self, url: str | bytes) -> Adapter:  # type: ignore[override]
        life = LIFE.get()
        assert life is not None
        return Adapter(life.simulation.prometheus, life.client.name)


class _Probes:
    """No port is opened."""

    port = 0

    def __init__(self, **_: Any) -> None:
        pass

    async def start(self, host: str, port: int) -> None:
        """Nothing."""

    async def stop(self) -> None:
        """Nothing."""


class _NoDeadline:
    """Virtual time may stand still for as long as the machine is busy."""

    def start(self, seconds: float) -> None:
        """Nothing."""

    def done(self) -> None:
        """Nothing."""


async def _watch(memo: kopf.Memo) -> None:
    """The watch of ModelRollouts as kopf does it: list, watch on; again after a silence or a failure."""
    api = client.KubeApi(_Configuration("http://kopf"))
    while True:
        try:
            page = await api.get(resources.collection(resources.ROLLOUTS, PLURAL))
            for obj in page["items"]:
                await handlers.rollout_changed(event={"type": None, "object": obj}, memo=memo)
            version = page["metadata"]["resourceVersion"]
            while True:
                version = await _watch_once(api, version, memo)
        except ApiError:
            await asyncio.sleep(1.0)


async def _watch_once(api: client.KubeApi, version: str, memo: kopf.Memo) -> str:
    """One watch until the API server ends it, or until it was silent for too long; the version reached."""
    query = {
        "resourceVersion": version,
        "allowWatchBookmarks": "true",
        "timeoutSeconds": str(handlers.WATCH_SECONDS),
    }
    try:
        async with asyncio.timeout(handlers.SILENCE_SECONDS) as silence:
            async for event in api.watch(resources.collection(resources.ROLLOUTS, PLURAL), query):
                silence.reschedule(asyncio.get_running_loop().time() + handlers.SILENCE_SECONDS)
                if event["type"] == "ERROR":
                    raise ApiError(410, "Gone", "list again")
                version = event["object"]["metadata"]["resourceVersion"]
                if event["type"] != "BOOKMARK":
                    await handlers.rollout_changed(event=event, memo=memo)
    except TimeoutError:
        pass
    return version


def install() -> None:
    """Puts the replacements in place, once a process."""
    client.RESTClientObject = _connection  # type: ignore[assignment]
    client._load_configuration = _load_configuration  # type: ignore[assignment]
    prometheus_client.PrometheusSession = _Session  # type: ignore[misc]
    processes.HealthServer = _Probes  # type: ignore[assignment, misc]
    processes.ExitDeadline = _NoDeadline  # type: ignore[assignment, misc]


def task_factory(
    loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, Any], **options: Any
) -> asyncio.Task[Any]:
    """Makes tasks that are known to the life that they belong to, so that it can be killed."""
    task = asyncio.Task(coroutine, loop=loop, **options)
    context = options.get("context")
    life = LIFE.get() if context is None else context.get(LIFE)
    if life is not None:
        life.tasks.append(task)  # in the order in which they began, so that a kill is the same each time
        task.add_done_callback(life.tasks.remove)
        if life.client.dead:
            task.cancel()
    return task
