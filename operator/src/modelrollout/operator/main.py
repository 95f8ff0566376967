"""The operator's process: settings and logs, then kopf, which calls `handlers`."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import sys
from collections.abc import Sequence

import kopf
import uvloop

from modelrollout.cluster.errors import ApiError
from modelrollout.operator import handlers  # noqa: F401 - registers them
from modelrollout.operator.app import App
from modelrollout.operator.logs import configure_logs
from modelrollout.operator.settings import Settings, SettingsError, load_settings

logger = logging.getLogger(__name__)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the operator until SIGTERM or SIGINT.

    Returns 0 then, 1 after a failure, 2 for unusable settings.
    """
    try:
        settings = load_settings(sys.argv[1:] if arguments is None else arguments, os.environ)
    except SettingsError as error:
        sys.stderr.write(f"modelrollout-operator: {error}\n")
        return 2
    # What was imported lives as long as the process: no garbage collection has to look at it again.
    gc.collect()
    gc.freeze()
    configure_logs(form=settings.log_format, level=settings.log_level)
    try:
        return uvloop.run(run(settings))
    except KeyboardInterrupt:
        return 0


async def run(settings: Settings) -> int:
    """Run kopf; the first part that fails ends the process, so that a fresh one takes over."""
    stop = asyncio.Event()
    try:
        app = await App.create(settings, stop=stop)
    except (ApiError, SettingsError) as error:  # said here: kopf leaves warnings behind where its start fails
        logger.error("The operator cannot start: %s", error)
        return 1
    try:
        await kopf.operator(
            standalone=True,
            # Else kopf looks up the name of the user, and the one of a container often has none.
            identity="modelrollout-operator",  # type: ignore[arg-type]
            clusterwide=not settings.namespaces,
            namespaces=settings.namespaces,
            stop_flag=stop,
            memo=kopf.Memo(app=app),
        )
    except Exception as error:  # noqa: BLE001 - whatever it is, a fresh process goes on
        logger.error("The operator ends: %s", error)
        return 1
    return 1 if app.failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
