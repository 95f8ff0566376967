"""Times, values and sentences as people read them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from pydantic import ValidationError

from modelrollout.api.base import format_timestamp
from modelrollout.api.criteria import Criterion
from modelrollout.api.durations import format_duration, parse_duration
from modelrollout.decision import format_value, special_text

TIMESTAMP: Final = re.compile(r"\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z")


def moment(text: str) -> datetime:
    """Return a timestamp of the API."""
    return datetime.fromisoformat(text).astimezone(UTC)


def elapsed(seconds: float) -> str:
    """Return a length of time, as short as kubectl's: 45s, 12m, 3h, 5d."""
    whole = max(0, int(seconds))
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if whole >= 2 * length:
            return f"{whole // length}{unit}"
    return f"{whole}s"


def since(text: str | None, now: datetime) -> str:
    """Return how long ago a timestamp of the API was; `-` for none."""
    return elapsed((now - moment(text)).total_seconds()) if text else "-"


def exact(length: timedelta) -> str:
    """Return a length of time to the second: 1h30m."""
    return format_duration(max(0, round(length.total_seconds()))) if length.total_seconds() >= 0.5 else "0s"


def readable(message: str, now: datetime) -> str:
    """Return a sentence of the operator with its timestamps as `10:48:46 UTC (in 38s)`."""

    def told(match: re.Match[str]) -> str:
        when = moment(match[0])
        left = when - now
        clock = f"{when:%H:%M:%S} UTC" if abs(left) < timedelta(hours=18) else f"{when:%Y-%m-%d %H:%M} UTC"
        return f"{clock} (in {exact(left)})" if left > timedelta(0) else f"{clock} ({exact(-left)} ago)"

    return TIMESTAMP.sub(told, message)


HOLD_ENDS: Final = {
    "PrometheusUnavailable": "It ends when Prometheus answers",
    "QueryFailed": "It ends when the query is answered",
    "NoData": "It ends when there is data",
}


def hold(item: Mapping[str, Any], now: datetime) -> str | None:
    """Return what a held run waits for, since when, and what ends the hold.

    None where the run is not held.
    """
    spec, status = item.get("spec") or {}, item.get("status") or {}
    held = status.get("hold")
    if not held:
        return None
    message = readable(held.get("message") or "", now).rstrip(".")
    begun = readable(held["since"], now)
    told = f"Held since {begun}, {held['reason']}: {message}. "
    told += HOLD_ENDS.get(held["reason"], HOLD_ENDS["NoData"])
    if status.get("pause"):
        return f"{told}; the run is paused as well."
    deadline = _seconds(spec.get("holdDeadline"))
    if deadline is None:
        return f"{told}, or by promote or abort: no holdDeadline is set."
    at = format_timestamp(moment(held["countsFrom"]) + timedelta(seconds=deadline))
    action = "rolled back" if spec.get("onHoldDeadline") == "Rollback" else "paused"
    limit = f"{readable(at, now)}, by holdDeadline {spec['holdDeadline']}"
    return f"{told}; otherwise the run is {action} at {limit}."


def _seconds(text: object) -> float | None:
    """Return the length of a duration of the spec; None where it is absent or this version cannot read it."""
    try:
        return parse_duration(str(text)) if text else None
    except ValueError:
        return None


def percent(value: float | None) -> str:
    """Return a weight: `25 %`, `33.3 %`; `-` for none."""
    return "-" if value is None else f"{round(value, 1):g} %"


def criteria_of(item: Mapping[str, Any]) -> dict[str, Criterion]:
    """Return the criteria of an object by name. Those that this version cannot read are left out."""
    found = {}
    for entry in item.get("spec", {}).get("criteria") or ():
        try:
            criterion = Criterion.model_validate(entry)
        except ValidationError:
            continue
        found[criterion.name] = criterion
    return found


def value_text(criterion: Criterion | None, value: float | None) -> str:
    """Return a measured value in the unit of its criterion: 2.6%, 212ms, 3."""
    if value is None:
        return "-"
    if special := special_text(value):
        return special
    short = float(f"{value:.4g}")
    return format_value(criterion, short) if criterion is not None else f"{short:g}"
