"""Windows in which steps may advance."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from modelrollout.api.schedule import Schedule
from modelrollout.decision.schedule import is_open, next_opening


def schedule(*windows: dict[str, Any], zone: str = "UTC") -> Schedule:
    return Schedule.model_validate({"timeZone": zone, "windows": list(windows)})


OFFICE = {"days": ["Mon", "Tue", "Wed", "Thu", "Fri"], "from": "09:00", "to": "17:00"}
NIGHT = {"days": ["Fri"], "from": "22:00", "to": "04:00"}


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("windows", "zone", "now", "expected"),
    [
        ([OFFICE], "UTC", "2026-01-05T09:00", True),  # a Monday; the start belongs to it, the end does not
        ([OFFICE], "UTC", "2026-01-05T08:59:59", False),
        ([OFFICE], "UTC", "2026-01-05T17:00", False),
        ([OFFICE], "UTC", "2026-01-10T12:00", False),  # Saturday
        ([OFFICE], "Europe/Paris", "2026-01-05T08:00", True),  # 09:00 there
        ([OFFICE], "Europe/Paris", "2026-07-06T07:00", True),  # summer time
        ([OFFICE], "Europe/Paris", "2026-07-06T06:59", False),
        ([NIGHT], "UTC", "2026-01-09T23:00", True),
        ([NIGHT], "UTC", "2026-01-10T03:59", True),  # after midnight it is still Friday's window
        ([NIGHT], "UTC", "2026-01-10T04:00", False),
        ([NIGHT], "UTC", "2026-01-09T03:00", False),  # Thursday has none
        ([OFFICE, NIGHT], "UTC", "2026-01-09T23:00", True),
    ],
)
def test_is_open(windows: list[dict[str, Any]], zone: str, now: str, expected: bool) -> None:
    assert is_open(schedule(*windows, zone=zone), at(now)) is expected


def test_without_a_schedule_it_is_always_open() -> None:
    assert is_open(None, at("2026-01-10T03:00"))


@pytest.mark.parametrize(
    ("windows", "zone", "now", "expected"),
    [
        ([OFFICE], "UTC", "2026-01-05T08:00", "2026-01-05T09:00"),
        ([OFFICE], "UTC", "2026-01-09T18:00", "2026-01-12T09:00"),
        ([OFFICE], "America/New_York", "2026-01-05T10:00", "2026-01-05T14:00"),
        ([OFFICE], "Europe/Paris", "2026-03-28T12:00", "2026-03-30T07:00"),  # the clocks change in between
        ([{**NIGHT}], "UTC", "2026-01-10T05:00", "2026-01-16T22:00"),
    ],
)
def test_next_opening(windows: list[dict[str, Any]], zone: str, now: str, expected: str) -> None:
    assert next_opening(schedule(*windows, zone=zone), at(now)) == at(expected)


def test_an_unknown_time_zone_never_opens() -> None:
    """The models refuse one; a time zone database that lacks it must not open the gate either."""
    lost = schedule(OFFICE).model_copy(update={"time_zone": "Mars/Olympus"})
    assert next_opening(lost, at("2026-01-05T12:00")) is None
    assert not is_open(lost, at("2026-01-05T12:00"))
