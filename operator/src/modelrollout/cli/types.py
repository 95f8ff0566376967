"""Kinds of values on the command line."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Final

import click

from modelrollout.api.durations import parse_duration


class DurationParam(click.ParamType[float]):
    """A duration such as 30m; becomes seconds."""

    name = "DURATION"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Seconds."""
        if isinstance(value, float):
            return value
        try:
            return float(parse_duration(str(value)))
        except ValueError as error:
            self.fail(str(error), param, ctx)


class TimeParam(click.ParamType[datetime]):
    """A time: `2026-03-01T12:00:00Z`, `2026-03-01`, `now`, or a duration ago such as `7d`. UTC by default."""

    name = "TIME"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """Return a time with its zone."""
        if isinstance(value, datetime):
            return value
        text = str(value).strip()
        now = datetime.now(UTC).replace(microsecond=0)
        if text == "now":
            return now
        try:
            found = datetime.fromisoformat(text)
        except ValueError:
            pass
        else:
            return found if found.tzinfo else found.replace(tzinfo=UTC)
        try:
            return now - timedelta(seconds=float(parse_duration(text.removeprefix("-"))))
        except ValueError:
            self.fail(
                f"{text!r} is no time: write 2026-03-01T12:00:00Z, 2026-03-01, now, or how long ago: 7d",
                param,
                ctx,
            )


DURATION: Final = DurationParam()
TIME: Final = TimeParam()
