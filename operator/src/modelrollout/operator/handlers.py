"""The operator's entrance.

What kopf calls at the start, at the end, to log in, and for each change of a ModelRollout.

kopf owns the process, its signals and its event loop. What else is watched, and why not through kopf, is in
docs/design/operator.md.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import kopf

from modelrollout.api.constants import GROUP, PLURAL, VERSION
from modelrollout.cluster.client import Credentials
from modelrollout.operator.kopf_session import open_session

TOKEN_LIFETIME: Final = timedelta(minutes=5)
WATCH_SECONDS: Final = 30
"""The API server is asked to end each watch after so long."""
SOON_SECONDS: Final = 5.0
LOGIN_PAUSE: Final = 1.0
"""Seconds before the next log-in where the last one is less than SOON_SECONDS ago."""
SILENCE_SECONDS: Final = 40.0
"""A watch that said nothing for so long is begun anew from the version last seen."""


class EndlessBackoff:
    """Seconds between attempts of kopf's requests.

    Never exhausted: an outage of an hour must not end the operator.
    """

    def __iter__(self) -> Iterator[float]:
        yield from (0.2, 0.5, 1, 2)
        while True:
            yield 3.0


@kopf.on.startup(errors=kopf.ErrorsMode.PERMANENT)  # type: ignore[untyped-decorator, unused-ignore]
async def start(*, settings: kopf.OperatorSettings, memo: Any, **_: Any) -> None:
    """Start the app and its work queue; kopf watches once every ModelRollout has been listed."""
    configure(settings)
    await memo.app.start()


@kopf.on.cleanup(errors=kopf.ErrorsMode.PERMANENT)  # type: ignore[untyped-decorator, unused-ignore]
async def drain(*, memo: Any, **_: Any) -> None:
    """Let the ticks under way end, give the lease back, end everything else."""
    await memo.app.drain()


@kopf.on.login()  # type: ignore[untyped-decorator, unused-ignore]
async def log_in(*, memo: Any, **_: Any) -> kopf.AiohttpSession:
    """Return the operator's own credentials, read anew after a 401 and before a token expires.

    kopf asks for them again at once after each 401, also where they are the same as before.
    """
    if time.monotonic() - memo.get("logged_in_at", -SOON_SECONDS) < SOON_SECONDS:
        await asyncio.sleep(LOGIN_PAUSE)
    memo["logged_in_at"] = time.monotonic()
    seen = await memo.app.credentials()
    info = connection_info(seen)
    return kopf.AiohttpSession(
        aiohttp_session=open_session(
            ssl=info.as_ssl_context(),
            headers=info.as_http_headers(),
            proxy=seen.proxy,
            server_name=seen.server_name,
        ),
        server=info.server,
        expiration=info.expiration,
    )


@kopf.on.event(GROUP, VERSION, PLURAL)  # type: ignore[arg-type, unused-ignore]
async def rollout_changed(*, event: Any, memo: Any, **_: Any) -> None:
    """Take in a ModelRollout from the first list or the watch, and queue it."""
    app, changed = memo.app, event["object"]
    meta = changed["metadata"]
    key, version = (meta["namespace"], meta["name"]), meta["resourceVersion"]
    app.check.heard(key, version)
    if event["type"] == "DELETED":
        app.store.remove(key, uid=meta["uid"], version=version)
    elif app.store.apply(changed):
        app.queue.wake(key)


def configure(settings: kopf.OperatorSettings) -> None:
    """Set kopf up: no Events, no annotations, no discovery of its own; a silent watch is begun anew."""
    settings.posting.enabled = False
    settings.scanning.disabled = True
    settings.peering.standalone = True
    settings.process.ultimate_exiting_timeout = (
        None  # from `drain` on operator/deadline.py also ends a process whose loop hangs
    )
    settings.networking.request_timeout = 30.0
    settings.networking.connect_timeout = 5.0
    settings.networking.error_backoffs = EndlessBackoff()
    settings.watching.reconnect_backoff = 0.5
    settings.watching.server_timeout = WATCH_SECONDS  # whole seconds: kopf sends it as it is
    settings.watching.inactivity_timeout = SILENCE_SECONDS
    settings.queueing.idle_timeout = 0.5
    settings.queueing.exit_timeout = 0.5
    # Never put on anything; and not our own one, which kopf would take off as not needed by its handlers.
    settings.persistence.finalizer = f"{GROUP}/kopf"


def connection_info(seen: Credentials) -> kopf.ConnectionInfo:
    """Credentials as kopf wants them."""
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
