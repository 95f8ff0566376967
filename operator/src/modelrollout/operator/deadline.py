"""The last resort of a process that was told to end and does not."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from typing import Final

logger = logging.getLogger(__name__)

REST_SECONDS: Final = 11.0
"""What may come after the ticks ended: Events go out (2 s), the lease is given back (6 s), parts close."""


class ExitDeadline:
    """Ends the process at a time from a thread of its own, whatever its event loop and its threads do.

    A thread that waits for a name server or a request cannot be cancelled, and Python waits for it.
    """

    def __init__(self, end: Callable[[int], None] = os._exit) -> None:
        self._end = end
        self._code = 1

    def start(self, seconds: float) -> None:
        """From now on the process has so long.

        `drain` calls it, which kopf does after its own tasks ended: before that, only the grace period of the
        pod bounds the time.
        """
        timer = threading.Timer(seconds, self._over, args=(seconds,))
        timer.daemon = True
        timer.start()

    def done(self) -> None:
        """Everything that had to be done is done; only threads may still be waited for."""
        self._code = 0

    def _over(self, seconds: float) -> None:
        logger.error("The operator did not end by itself within %.0f s and is ended.", seconds)
        self._end(self._code)
