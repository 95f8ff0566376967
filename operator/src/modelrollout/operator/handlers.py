"""kopf watches the ModelRollouts and hands every change to the engine.

It runs in a thread with an event loop of its own: when kopf ends it cancels every task it finds on its loop,
and an operator that restarts its watcher must not lose the ticks that are under way.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import kopf

from modelrollout.api.constants import GROUP, PLURAL, VERSION
from modelrollout.cluster.client import Credentials
from modelrollout.cluster.informer import is_older

logger = logging.getLogger(__name__)

TOKEN_LIFETIME: Final = timedelta(minutes=5)
RESTART_SECONDS: Final = 2.0
STOP_SECONDS: Final = 2.0
SILENCE_SECONDS: Final = 40.0

Handler = Callable[[str | None, dict[str, Any]], None]
"""Called on the main loop with the type of the event (None for a list) and the object."""


class EndlessBackoff:
    """Seconds between attempts of kopf's requests. Never exhausted: an outage of an hour must not end the
    watch.
    """

    def __iter__(self) -> Iterator[float]:
        yield from (0.2, 0.5, 1, 2)
        while True:
            yield 3.0


def build_settings() -> kopf.OperatorSettings:
    """kopf's settings: no Events, no annotations, no discovery of its own."""
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.scanning.disabled = True
    settings.peering.standalone = True
    settings.process.ultimate_exiting_timeout = None
    settings.networking.request_timeout = 30.0
    settings.networking.connect_timeout = 5.0
    settings.networking.error_backoffs = EndlessBackoff()
    settings.watching.reconnect_backoff = 0.5
    settings.watching.server_timeout = 600  # whole seconds: kopf sends it as it is
    settings.queueing.idle_timeout = 0.5
    # Never put on anything; and not our own one, which kopf would take off as not needed by its handlers.
    settings.persistence.finalizer = f"{GROUP}/kopf"
    return settings


def build_registry(
    handler: Callable[[str | None, dict[str, Any]], None], login: Callable[[], Credentials]
) -> kopf.OperatorRegistry:
    """The handlers: one that logs in with the operator's credentials, one that passes events on."""
    registry = kopf.OperatorRegistry()

    @kopf.on.login(registry=registry)  # type: ignore[untyped-decorator, unused-ignore]
    def log_in(**_: Any) -> kopf.ConnectionInfo:
        seen = login()
        return kopf.ConnectionInfo(
            server=seen.server,
            ca_path=seen.ca_file,
            ca_data=seen.ca_data if not seen.ca_file else None,
            insecure=seen.insecure or None,
            scheme="Bearer" if seen.token else None,
            token=seen.token,
            certificate_path=seen.cert_file,
            private_key_path=seen.key_file,
            expiration=datetime.now(UTC) + TOKEN_LIFETIME if seen.token else None,
        )

    @kopf.on.event(GROUP, VERSION, PLURAL, registry=registry)  # type: ignore[arg-type, unused-ignore]
    async def rollout_changed(event: Any, **_: Any) -> None:
        handler(event["type"], event["object"])

    return registry


class Expectation:
    """Whether the watch still owes an event of a version that is known to exist."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seen = ""
        self._owed = ""
        self._since = 0.0

    def expect(self, version: str) -> None:
        """An object has that resourceVersion: the watch has told it already, or will."""
        if self._seen and not is_older(self._seen, version):
            return  # the event came before the answer to the write
        if not self._owed:
            self._since = self._clock()
        if not self._owed or is_older(self._owed, version):
            self._owed = version

    def heard(self, version: str) -> None:
        """The watch told of that version; it tells versions in order, so every earlier one too."""
        if not self._seen or is_older(self._seen, version):
            self._seen = version
        if self._owed:
            self._since = self._clock()  # it lives, whatever it still owes
            if not is_older(self._seen, self._owed):
                self._owed = ""

    def forget(self) -> None:
        """A new watch begins with a list, which owes nothing."""
        self._owed = ""

    def silence(self) -> float:
        """Seconds for which the watch has told nothing although it owes something."""
        return self._clock() - self._since if self._owed else 0.0


class KopfWatcher:
    """Runs kopf in a thread for as long as `run()` runs, again after a failure."""

    def __init__(
        self,
        *,
        namespaces: Sequence[str],
        credentials: Callable[[], Awaitable[Credentials]],
        on_event: Handler,
    ) -> None:
        self._namespaces = tuple(namespaces)
        self._credentials = credentials
        self._on_event = on_event
        self._expectation = Expectation()

    def expect(self, version: str) -> None:
        """A ModelRollout has that resourceVersion; if the watch never tells of it, the watch is dead."""
        self._expectation.expect(version)

    async def run(self) -> None:
        """Watches until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            stop, ended = threading.Event(), asyncio.Event()
            thread = threading.Thread(target=self._watch, args=(loop, stop, ended), name="kopf", daemon=True)
            thread.start()
            try:
                await self._until_dead(ended)
            finally:
                stop.set()
                if not ended.is_set():
                    await self._wait_stopped(ended)
            logger.error("The watch of ModelRollouts ended and is started again in %.0f s.", RESTART_SECONDS)
            await asyncio.sleep(RESTART_SECONDS)

    async def _until_dead(self, ended: asyncio.Event) -> None:
        """kopf may lose a watcher without ending: then events stay away, and so does the end."""
        self._expectation.forget()
        while not ended.is_set():
            try:
                async with asyncio.timeout(SILENCE_SECONDS / 4):
                    await ended.wait()
            except TimeoutError:
                if self._expectation.silence() > SILENCE_SECONDS:
                    logger.error(
                        "No watch event for our own write within %.0f s; restarting the watch.",
                        SILENCE_SECONDS,
                    )
                    return

    def _heard(self, kind: str | None, obj: dict[str, Any]) -> None:
        self._expectation.heard(str(obj["metadata"]["resourceVersion"]))
        self._on_event(kind, obj)

    async def _wait_stopped(self, ended: asyncio.Event) -> None:
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await ended.wait()
        except TimeoutError:
            logger.warning("kopf did not end within %.0f s and is left behind.", STOP_SECONDS)

    def _watch(self, loop: asyncio.AbstractEventLoop, stop: threading.Event, ended: asyncio.Event) -> None:
        def pass_on(kind: str | None, obj: dict[str, Any]) -> None:
            loop.call_soon_threadsafe(self._heard, kind, obj)

        def login() -> Credentials:
            return asyncio.run_coroutine_threadsafe(_await(self._credentials), loop).result(timeout=10)

        try:
            asyncio.run(
                kopf.operator(
                    registry=build_registry(pass_on, login),
                    settings=build_settings(),
                    standalone=True,
                    # Else kopf looks up the name of the user, and the one of a container often has none.
                    identity="modelrollout-operator",  # type: ignore[arg-type]
                    clusterwide=not self._namespaces,
                    namespaces=self._namespaces,
                    stop_flag=stop,
                )
            )
        except Exception:
            # The top of a thread: any other error would end it with a print on stderr, outside of the log.
            # `run` starts kopf again, whatever the error was.
            logger.exception("kopf ended with an error.")
        finally:
            if not loop.is_closed():
                loop.call_soon_threadsafe(ended.set)


async def _await(credentials: Callable[[], Awaitable[Credentials]]) -> Credentials:
    return await credentials()
