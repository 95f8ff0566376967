"""Line charts as inline SVG that takes its colours from the page and stretches to its width.

Everything is drawn in a box of 1000 × 200 whose proportions may change (`preserveAspectRatio="none"`), so
there is no text in it: the labels are HTML around it, which stays readable at any width.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from markupsafe import Markup, escape

WIDTH: Final = 1000
HEIGHT: Final = 200
MARGIN: Final = 5
HUGE: Final = 1e300
"""Stands for infinity: the status has no infinite numbers."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """A series.

    Attributes:
        css: Class that gives it colour and dashes.
        points: (seconds since the epoch, value), in order of time.
        gap: Seconds between neighbours beyond which the line is interrupted.
        steps: Whether a value holds until the next one, as weights do.
    """

    css: str
    points: Sequence[tuple[float, float]]
    gap: float
    steps: bool = False


@dataclass(frozen=True, kw_only=True)
class Chart:
    """A drawing with what its labels say, top to bottom and left to right."""

    svg: Markup
    high: str
    low: str


@dataclass(frozen=True, kw_only=True)
class Frame:
    """What the box shows: from `start` to `end` in seconds since the epoch, from `low` to `high` upwards."""

    start: float
    end: float
    low: float
    high: float

    def x(self, at: float) -> float:
        """Return where a time is."""
        share = (at - self.start) / max(self.end - self.start, 1e-9)
        return round(min(1.0, max(0.0, share)) * WIDTH, 1)

    def y(self, value: float) -> float:
        """Return where a value is; beyond the frame at its edge."""
        share = (value - self.low) / (self.high - self.low)
        # A line along the bottom must not lie on the border.
        return round((1.0 - min(1.0, max(0.0, share))) * (HEIGHT - MARGIN), 1)


def value_range(values: Sequence[float]) -> tuple[float, float]:
    """Return the lowest and highest value of a chart, with some room, from 0 where that is near."""
    finite = [value for value in values if math.isfinite(value) and abs(value) < HUGE]
    if not finite:
        return 0.0, 1.0
    low, high = min(finite), max(finite)
    if 0 <= low <= 0.7 * high:
        low = 0.0
    room = 0.1 * (high - low) or 0.1 * abs(high) or 1.0
    return (low if low == 0 else low - room), high + room


def draw(
    frame: Frame,
    lines: Sequence[Line],
    *,
    title: str,
    bands: Sequence[tuple[float, float]] = (),
    marks: Sequence[float] = (),
    text: Callable[[float], str],
) -> Chart:
    """Return the chart.

    Args:
        frame: What it shows.
        lines: From back to front.
        title: What it shows, for those who cannot see it.
        bands: Times (from, to) that are shaded: breaches.
        marks: Times with a vertical line: transitions.
        text: A value as people read it.
    """
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" preserveAspectRatio="none" role="img"'
        f' aria-label="{escape(title)}">'
    ]
    for begin, end in bands:
        left, right = frame.x(begin), frame.x(end)
        parts.append(
            f'<rect class="breach" x="{left}" y="0" width="{max(right - left, 3):.1f}" height="{HEIGHT}"/>'
        )
    parts += [f'<path class="mark" d="M{frame.x(at)} 0V{HEIGHT}"/>' for at in marks]
    parts += [f'<path class="{line.css}" d="{_path(frame, line)}"/>' for line in lines if line.points]
    parts.append("</svg>")
    return Chart(svg=Markup("".join(parts)), high=text(frame.high), low=text(frame.low))  # noqa: S704 - numbers and escaped text only


def _path(frame: Frame, line: Line) -> str:
    parts: list[str] = []
    before: float | None = None
    for at, value in line.points:
        x, y = frame.x(at), frame.y(value)
        if before is None or at - before > line.gap:
            parts.append(f"M{x} {y}h0")  # a point alone is a dot
        elif line.steps:
            parts.append(f"H{x}V{y}")
        else:
            parts.append(f"L{x} {y}")
        before = at
    return "".join(parts)
