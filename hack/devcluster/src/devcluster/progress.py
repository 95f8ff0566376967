"""What the tool is doing, on standard error, with elapsed time where it takes over five seconds."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

FIRST_REPORT_SECONDS = 5.0
REPORT_EVERY_SECONDS = 15.0
_START = time.monotonic()


def say(message: str) -> None:
    """Print one line with the seconds since the tool started, unless `DEVCLUSTER_QUIET` is set."""
    if not os.environ.get("DEVCLUSTER_QUIET"):
        print(f"[{time.monotonic() - _START:6.1f} s] {message}", file=sys.stderr, flush=True)


@contextmanager
def step(what: str) -> Iterator[None]:
    """Run a block; silent when it is quick, else say that it still runs, and at last how long it took."""
    done = threading.Event()
    spoken = threading.Event()
    began = time.monotonic()

    def report() -> None:
        wait = FIRST_REPORT_SECONDS
        while not done.wait(wait):
            spoken.set()
            say(f"{what}: {time.monotonic() - began:.0f} s so far")
            wait = REPORT_EVERY_SECONDS

    thread = threading.Thread(target=report, name="progress", daemon=True)
    thread.start()
    outcome = "failed"
    try:
        yield
        outcome = "done"
    finally:
        done.set()
        thread.join()
        if spoken.is_set():
            say(f"{what}: {outcome} after {time.monotonic() - began:.1f} s")
