"""One clock for all replicas: the API server's, told by the Date of its answers.

What one leader writes to status is compared with the time of the next one, so both must mean the same clock,
and that of a node may be wrong by minutes or be set while the operator runs. The time is carried on by our
monotonic clock, so setting the node's clock changes nothing. A Date has whole seconds: as long as it and the
time of the request do not contradict our clock, ours counts.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

logger = logging.getLogger(__name__)

DATE_SECONDS: Final = 1.0
"""A Date leaves out the fraction of its second."""
AGREEMENT_SECONDS: Final = 60.0
"""For so long after a Date that contradicts the others nothing advances; after so long without one that
agrees with what was known the new time counts."""


class ServerClock:
    """The time of the API server.

    Args:
        bound: Seconds by which clocks may differ before it is said; a Date that differs by more from what the
            earlier ones told is not believed at once.
        monotonic, wall: The clocks of this machine.
    """

    def __init__(
        self,
        *,
        bound: float = 2.0,
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._bound = bound
        self._monotonic = monotonic
        self._wall = wall
        self._offset: float | None = None
        self._agreed_at = 0.0
        self._contradicted_at: float | None = None
        self._said = False

    @classmethod
    def local(cls) -> ServerClock:
        """Return one that nobody corrects: the time of this machine."""
        return cls()

    def now(self) -> datetime:
        """Return the time, UTC."""
        if self._offset is None:
            return datetime.fromtimestamp(self._wall(), tz=UTC)
        return datetime.fromtimestamp(self._monotonic() + self._offset, tz=UTC)

    @property
    def skew(self) -> float:
        """Seconds by which this machine's clock is ahead of the API server's."""
        return 0.0 if self._offset is None else self._wall() - self._monotonic() - self._offset

    @property
    def skewed(self) -> bool:
        """Whether this machine's clock differs by more than the bound."""
        return abs(self.skew) > self._bound

    @property
    def uncertain(self) -> bool:
        """Whether the API server's answers contradicted each other within the last minute."""
        at = self._contradicted_at
        return at is not None and self._monotonic() - at < AGREEMENT_SECONDS

    def observe(self, date: str | None, *, sent: float, received: float) -> None:
        """Take in the Date of an answer; `sent` and `received` are monotonic times of request and answer."""
        try:
            told = parsedate_to_datetime(date or "").timestamp()
        except ValueError:
            return
        low, high = told - received, told + DATE_SECONDS - sent
        if self._offset is None:
            self._take(self._wall() - self._monotonic(), low, high, received)
        elif low - self._bound <= self._offset <= high + self._bound:
            self._take(self._offset, low, high, received)
        else:
            self._contradict(low, high, received)
        self._say()

    def _take(self, offset: float, low: float, high: float, at: float) -> None:
        self._offset = min(max(offset, low), high)
        self._agreed_at = at

    def _contradict(self, low: float, high: float, at: float) -> None:
        assert self._offset is not None
        if not self.uncertain:
            logger.error(
                "The Date of the API server's answer differs by %.0f s from that of earlier ones: clocks of "
                "its replicas differ, or one was set. Nothing advances meanwhile; synchronize them.",
                low - self._offset,
            )
        self._contradicted_at = at
        if at - self._agreed_at > AGREEMENT_SECONDS:
            logger.error("The API server's clock was set; its new time counts from now on.")
            self._take(self._offset, low, high, at)

    def _say(self) -> None:
        if self.skewed and not self._said:
            logger.error(
                "This machine's clock is %.1f s ahead of the API server's (expected at most %.1f s); the API "
                "server's time is used. Synchronize the node's clock.",
                self.skew,
                self._bound,
            )
        elif self._said and not self.skewed:
            logger.info("This machine's clock agrees with the API server's again.")
        self._said = self.skewed
