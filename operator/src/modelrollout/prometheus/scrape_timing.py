"""When the next scrape of a rollout's pods will be, learned from when the last ones were.

A value can only have changed after a scrape. Asking just after one, instead of whenever the interval happens
to end, saves on average half a scrape interval between a bad value and the revert, without one more question.
"""

from __future__ import annotations

import math
from collections import deque
from typing import Final

_TOLERANCE: Final = 0.02
_KEPT: Final = 4
_OFFSETS_KEPT: Final = 20
_FIRST_MARGIN: Final = 0.05
_LEAST_MARGIN: Final = 0.02
_MOST_MARGIN: Final = 1.0
_SHRINK: Final = 0.98  # back to the least that will do; too early happens about once in thirty times
_MISSES_ALLOWED: Final = 3
_EARLIEST: Final = 0.25
_LATEST: Final = 1.25


class ScrapeTiming:
    """Learns the rhythm of one rollout's scrapes.

    All times are seconds; `local` ones are the caller's monotonic clock.

    Prometheus stamps a sample with the time at which its scrape began, and shows it when the scrape has
    ended: the margin between the two is learned as well, by asking a little later each time nothing new was
        there.
    """

    def __init__(self) -> None:
        self._gaps: deque[float] = deque(maxlen=_KEPT)
        self._offsets: deque[float] = deque(maxlen=_OFFSETS_KEPT)
        self._newest: float | None = None
        self._expected: float | None = None
        self._margin = _FIRST_MARGIN
        self._due = 0.0
        self._misses = 0

    @property
    def period(self) -> float | None:
        """Seconds between scrapes, or a multiple of them if we ask more rarely.

        None while no rhythm is known.
        """
        if len(self._gaps) < 2:
            return None
        unit = min(self._gaps)
        regular = all(abs(gap - round(gap / unit) * unit) <= _TOLERANCE + 0.01 * unit for gap in self._gaps)
        return unit if regular else None

    @property
    def newest(self) -> float | None:
        """Time of the newest scrape seen so far, by Prometheus' clock."""
        return self._newest

    @property
    def margin(self) -> float:
        """Seconds after the start of a scrape at which its samples are expected to be visible."""
        return self._margin

    def observe(self, *, newest: float, evaluated: float, asked: float) -> None:
        """Note an answer.

        Args:
            newest: Time of the newest scrape, by Prometheus' clock.
            evaluated: When the query was evaluated, by Prometheus' clock.
            asked: When it was sent, local.
        """
        # The smallest difference seen is the clocks' own; whatever is above it was time on the way.
        self._offsets.append(evaluated - asked)
        if asked >= self._due - _TOLERANCE and not self._is_in_time(newest):
            return  # an earlier scrape than the one expected says nothing of the rhythm
        if self._newest is not None and newest > self._newest + _TOLERANCE:
            self._gaps.append(newest - self._newest)
        if self._newest is None or newest > self._newest:
            self._newest = newest

    def _is_in_time(self, newest: float) -> bool:
        """Compare with what was expected: too early teaches a wider margin, often in vain another rhythm."""
        if self._expected is None:
            return True
        if newest >= self._expected - 2 * _TOLERANCE:
            self._expected, self._misses = None, 0
            self._margin = max(_LEAST_MARGIN, self._margin * _SHRINK)
            return True
        self._misses += 1
        self._margin = min(_MOST_MARGIN, self._margin * 1.5 + 0.02)
        if self._misses >= _MISSES_ALLOWED:
            self._gaps.clear()
            self._expected, self._misses = None, 0
        return self._expected is None

    def next_delay(self, *, now: float, interval: float) -> float:
        """Return seconds from `now` (local) until it is worth asking again.

        Just after a scrape if the rhythm is known.

        The scrape nearest to the end of the interval is taken, from a quarter of it to a quarter beyond; if
        none falls there, the interval itself is kept. After having come too early it is a fraction of a
        second, twice at most.
        """
        period = self.period
        if period is None or self._newest is None:
            return interval
        if self._misses:  # look again at once: the rest of the interval would be lost
            return max(_LEAST_MARGIN, self._margin / 2)
        first = self._newest - min(self._offsets) + self._margin
        before = math.floor((now + interval - first) / period)
        delays = {number: first + number * period - now for number in (before, before + 1)}
        fitting = {
            n: delay for n, delay in delays.items() if _EARLIEST * interval <= delay <= _LATEST * interval
        }
        if not fitting:
            return interval
        number, delay = min(fitting.items(), key=lambda item: abs(item[1] - interval))
        self._expected, self._due = self._newest + number * period, now + delay
        return delay
