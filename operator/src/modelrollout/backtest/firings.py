"""When one criterion would have fired.

The operator's own `judge` over every tick that is not plainly good.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from modelrollout.api.criteria import CompareTo, Criterion, OnBreach
from modelrollout.api.status import BaselineStatus, CriterionState
from modelrollout.backtest.tracks import Track
from modelrollout.decision.limits import criterion_limit
from modelrollout.decision.types import Point
from modelrollout.decision.verdicts import Moment, Verdict, judge
from modelrollout.prometheus.history import grid

History = Callable[[datetime], tuple[Point, ...]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Firing:
    """A breach: the criterion was bad for the whole of its `for`.

    Attributes:
        criterion: Its name.
        tick: When its onBreach would have been done.
        until: First tick at which it passed again; None if it did not until the end.
        action: What would have been done.
        value: What was measured then, in base units.
        limit: The limit as text.
        message: What was expected and what was seen.
    """

    criterion: str
    tick: int
    until: int | None
    action: OnBreach
    value: float | None
    limit: str
    message: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Course:
    """One criterion over the whole range.

    Attributes:
        changes: Ticks at which its state became another one, with that state; the first is tick 0.
        firings: In order.
        ticks: How many ticks it was in each state.
    """

    changes: tuple[tuple[int, CriterionState], ...]
    firings: tuple[Firing, ...]
    ticks: dict[CriterionState, int]

    def firing_at(self, tick: int) -> Firing | None:
        """Return the firing that stands at a tick."""
        for firing in self.firings:
            if firing.tick <= tick and (firing.until is None or tick < firing.until):
                return firing
        return None


class Replay:
    """Judges one track. `judge` is asked wherever its answer could be anything but a plain Pass."""

    def __init__(
        self,
        criterion: Criterion,
        track: Track,
        *,
        baseline: BaselineStatus | None,
        history: History,
        interval: timedelta,
    ) -> None:
        self._criterion = criterion
        self._track = track
        self._baseline = baseline
        self._history = history
        self._interval = interval
        self._plain = plainly_good(criterion, track, baseline)

    def course(self) -> Course:
        """Return the whole range."""
        changes: list[tuple[int, CriterionState]] = []
        firings: list[Firing] = []
        ticks = dict.fromkeys(CriterionState, 0)
        state: CriterionState | None = None
        bad_since: int | None = None  # first bad tick after the last one that passed
        standing: Verdict | None = None
        fired_at = 0
        for tick in range(self._track.clock.ticks):
            if self._plain(tick):
                now = CriterionState.PASS
                if standing is not None:
                    firings.append(self._firing(standing, fired_at, tick))
                bad_since = standing = None
            else:
                verdict = self.verdict(tick)
                now = verdict.state
                if now is CriterionState.PASS:
                    if standing is not None:
                        firings.append(self._firing(standing, fired_at, tick))
                    bad_since = standing = None
                elif verdict.suspect:
                    bad_since = tick if bad_since is None else bad_since
                    if standing is None and self._may_have_lasted(bad_since, tick):
                        verdict = verdict if verdict.breached else self.confirmed(tick)
                        if verdict.breached:
                            standing, fired_at = verdict, tick
            ticks[now] += 1
            if now is not state:
                changes.append((tick, now))
                state = now
        if standing is not None:
            firings.append(self._firing(standing, fired_at, None))
        return Course(changes=tuple(changes), firings=tuple(firings), ticks=ticks)

    def verdict(self, tick: int) -> Verdict:
        """Return what the criterion says at a tick, without a look at its past."""
        return self._judge(tick, None)

    def confirmed(self, tick: int) -> Verdict:
        """Return the same with the points of its `for` period, as the operator would have fetched them."""
        return self._judge(tick, self._history(self._track.clock.at(tick)))

    def _judge(self, tick: int, history: tuple[Point, ...] | None) -> Verdict:
        clock = self._track.clock
        moment = Moment(now=clock.at(tick), interval=self._interval, since=clock.start)
        return judge(self._criterion, self._track.sample(tick, history), self._baseline, moment)

    def _may_have_lasted(self, bad_since: int, tick: int) -> bool:
        """Tell whether a look at the past is worth a request: it was good at the tick before `bad_since`.

        The points of the past are finer than the ticks, and one of them may be missing at the start of the
        period.
        """
        seconds = self._criterion.for_.seconds
        if not seconds:
            return True
        slack = timedelta(seconds=2 * grid(0.0, seconds).step)
        clock = self._track.clock
        since = clock.at(max(0, bad_since - 1)) if bad_since else clock.start
        return clock.at(tick) - since + slack >= self._criterion.for_.timedelta

    def _firing(self, verdict: Verdict, tick: int, until: int | None) -> Firing:
        return Firing(
            criterion=self._criterion.name,
            tick=tick,
            until=until,
            action=OnBreach.WARN if self._criterion.dry_run else verdict.action,
            value=verdict.value,
            limit=verdict.limit,
            message=verdict.message,
        )


def _never(_tick: int) -> bool:
    return False


def plainly_good(
    criterion: Criterion, track: Track, baseline: BaselineStatus | None
) -> Callable[[int], bool]:
    """Tell whether a tick's value is within fixed limits on enough samples: `judge` can only say Pass.

    A month has 43,200 minutes and nearly all of them are good; `judge` builds several objects for each. False
    only means that it has to be asked. With confidence bounds or limits that move it always is.
    """
    compares = criterion.compare is not None and criterion.compare.to is CompareTo.STABLE
    reference = None if baseline is None else baseline.value
    limit = None if compares else criterion_limit(criterion, reference)
    if limit is None or criterion.confidence is not None:
        return _never
    values, counts, enough = track.values, track.counts, criterion.min_samples
    # infinite values are no plain Pass, whatever the limits
    low = max(limit.low, limit.pause_below, -sys.float_info.max)
    high = min(limit.high, sys.float_info.max)
    if enough and counts is None:
        return _never
    if enough and counts is not None:
        counted = counts
        return lambda tick: (
            (value := values.get(tick)) is not None
            and low <= value <= high
            and counted.get(tick, 0.0) >= enough
        )
    return lambda tick: (value := values.get(tick)) is not None and low <= value <= high
