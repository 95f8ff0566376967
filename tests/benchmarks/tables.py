"""Figures as median, minimum and maximum, and where they are kept: JSON, and tables in docs/benchmarks.md."""

from __future__ import annotations

import json
import os
import platform
import re
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "benchmarks.md"
OUT = ROOT / "out" / "bench"


@dataclass(frozen=True)
class Figure:
    """One measured quantity.

    Attributes:
        what: What was measured.
        unit: Its unit.
        values: One value a run.
    """

    what: str
    unit: str
    values: tuple[float, ...]

    def row(self) -> str:
        """A row of a Markdown table."""
        if not self.values:
            return f"| {self.what} | {self.unit} | not measured: no run came to its end | | | 0 |"
        columns = [_short(f(self.values)) for f in (statistics.median, min, max)]
        return f"| {self.what} | {self.unit} | {' | '.join(columns)} | {len(self.values)} |"


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.2f}"


def keep(section: str, figures: Sequence[Figure]) -> None:
    """Write the figures of one section to out/bench/SECTION.json and into its place in docs/benchmarks.md."""
    OUT.mkdir(parents=True, exist_ok=True)
    (OUT / f"{section}.json").write_text(json.dumps([asdict(figure) for figure in figures], indent=1) + "\n")
    load = os.getloadavg()[0]
    lines = [
        f"Measured {datetime.now(UTC):%Y-%m-%d %H:%M} UTC; {os.cpu_count()} cores, {platform.system()} "
        f"{platform.release().split('-')[0]}, Python {platform.python_version()}; "
        f"load average at the end {load:.1f}.",
        "",
        "| what | unit | median | min | max | runs |",
        "|---|---|---:|---:|---:|---:|",
        *[figure.row() for figure in figures],
    ]
    print("\n".join(lines), flush=True)
    begin, end = f"<!-- begin {section} -->", f"<!-- end {section} -->"
    page = PAGE.read_text()
    pattern = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
    assert pattern.search(page), f"{PAGE.name} has no place for {section}: expected the line {begin}"
    PAGE.write_text(pattern.sub(lambda _: "\n".join([begin, *lines, end]), page))
