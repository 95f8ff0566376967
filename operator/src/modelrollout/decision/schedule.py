"""Schedule windows: whether steps may advance now, and when they may next."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from modelrollout.api.schedule import Schedule, ScheduleWindow, Weekday

_DAYS = tuple(Weekday)


@lru_cache(maxsize=64)
def zone(name: str) -> ZoneInfo | None:
    """Return the time zone of that IANA name.

    None if there is none (the caller reports it and does not advance).
    """
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, KeyError):
        return None


def is_open(schedule: Schedule | None, now: datetime) -> bool:
    """Tell whether `now` is within a window. No schedule is always open; an unknown time zone never is."""
    if schedule is None:
        return True
    return any(start <= now < end for start, end in _openings(schedule, now))


def next_opening(schedule: Schedule, now: datetime) -> datetime | None:
    """When the next window opens after `now`, UTC; None if the time zone is unknown."""
    return min((start for start, _ in _openings(schedule, now) if start > now), default=None)


def _openings(schedule: Schedule, now: datetime) -> Iterator[tuple[datetime, datetime]]:
    """Yield openings from yesterday (one may last over midnight) to a week ahead, in UTC."""
    place = zone(schedule.time_zone)
    if place is None:
        return
    today = now.astimezone(place).date()
    for offset in range(-1, 9):
        day = today + timedelta(days=offset)
        for window in schedule.windows:
            if _DAYS[day.weekday()] in window.days:
                start, end = (time.fromisoformat(text) for text in (window.from_, window.to))
                last = day + timedelta(days=1) if _over_midnight(window) else day
                # wall-clock times made aware one by one, so that a change of the clocks between them is right
                yield (
                    datetime.combine(day, start, place).astimezone(UTC),
                    datetime.combine(last, end, place).astimezone(UTC),
                )


def _over_midnight(window: ScheduleWindow) -> bool:
    return window.to <= window.from_
