"""The operator's process: settings, parts, tasks, signals."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

import uvloop

from modelrollout.cluster.errors import ApiError
from modelrollout.operator.app import Process
from modelrollout.operator.deadline import REST_SECONDS, ExitDeadline
from modelrollout.operator.logs import configure_logs
from modelrollout.operator.settings import Settings, SettingsError, load_settings

logger = logging.getLogger(__name__)

CANCEL_SECONDS: Final = 3.0
"""For so long the tasks that were cancelled are waited for; the watch of ModelRollouts takes up to 2 s."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the operator until SIGTERM or SIGINT. Returns 0 then, 1 after a failure, 2 for unusable
    settings.
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
    """Runs all tasks; the first that fails ends the process, so that a fresh one takes over."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    try:
        process = await Process.create(settings)
    except (ApiError, SettingsError) as error:
        logger.error("The operator cannot start: %s", error)
        return 1
    deadline = ExitDeadline()
    failed = await _until_stopped(process, stop, partial(deadline.start, settings.shutdown + REST_SECONDS))
    await process.shut_down()
    if not failed:
        deadline.done()
    return 1 if failed else 0


async def _until_stopped(process: Process, stop: asyncio.Event, stopping: Callable[[], None]) -> bool:
    tasks = [asyncio.create_task(coroutine, name=name) for name, coroutine in process.tasks()]
    waiter = asyncio.create_task(stop.wait(), name="signals")
    done, _ = await asyncio.wait([waiter, *tasks], return_when=asyncio.FIRST_COMPLETED)
    failed = [task for task in done if task is not waiter]
    for task in failed:
        logger.error("The task %s ended; the operator stops.", task.get_name(), exc_info=task.exception())
    stopping()
    if waiter in done:
        logger.info("A signal to stop came; ticks under way are finished.")
        await process.finish_ticks()
    for task in (waiter, *tasks):
        task.cancel()
    await asyncio.wait([waiter, *tasks], timeout=CANCEL_SECONDS)
    return bool(failed)


if __name__ == "__main__":
    raise SystemExit(main())
