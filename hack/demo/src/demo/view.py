"""The live table, and the same in one line for where there is no terminal."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping
from typing import Any, Final

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from demo.snapshot import Snapshot

PHASE_STYLES: Final = {
    "Succeeded": "bold green", "Idle": "green", "Progressing": "bold cyan", "Observing": "cyan",
    "RollingBack": "bold red", "RolledBack": "bold red", "Invalid": "bold red", "Paused": "yellow",
}  # fmt: skip
STATE_STYLES: Final = {
    "Pass": "green",
    "Fail": "bold red",
    "Error": "yellow",
    "NoData": "yellow",
    "Pending": "dim",
}
DETAIL: Final = re.compile(r"\((NoData|Pending|Error): .*?\)(?=[;.])")
"""Why there is no value yet: sentences with whole queries in them, which say nothing new while pods start."""
MESSAGE_LENGTH: Final = 200
BAR_WIDTH: Final = 40
SECONDS: Final = frozenset({"latency-p95"})
COUNTS: Final = frozenset({"dimension-mismatch"})


def panel(title: str, clock: str, now: Snapshot) -> RenderableType:
    """Everything, for a terminal."""
    return Panel(
        Group(_where(now), Text(), _bar(now), Text(), _criteria(now), Text(), _load(now)),
        title=f"[bold]{title}[/] · {clock}", title_align="left", border_style="blue",
        padding=(1, 2), width=100,
    )  # fmt: skip


def line(now: Snapshot) -> str:
    """Return the essentials, for a log."""
    status = now.status
    weight, pods = status.get("weight") or {}, status.get("pods") or {}
    step = (status.get("step") or {}).get("progress", "-")
    judged = ", ".join(
        f"{c['name']} {value_text(c['name'], now.values.get(c['name']))} {c['state']}"
        for c in status.get("criteria") or []
    )
    return (
        f"{now.phase}  step {step}  "
        f"weight {weight.get('desired', 0)} % observed {_percent(weight.get('observed'))}  "
        f"pods {_pods(pods, 'stable')} stable {_pods(pods, 'candidate')} candidate  "
        f"sent {now.load.get('sent', 0)} lost {now.lost}  {judged}"
    )


def message(now: Snapshot) -> str:
    """Return the status' message, short enough for two lines."""
    text = DETAIL.sub(r"(\1)", str(now.status.get("message", "")))
    return textwrap.shorten(text, MESSAGE_LENGTH, placeholder=" …")


def value_text(criterion: str, value: float | None) -> str:
    """Return a value in the unit that people think in."""
    if value is None:
        return "–"
    if criterion in SECONDS:
        return f"{value * 1000:.0f} ms"
    if criterion in COUNTS:
        return f"{value:.0f}"
    return f"{value * 100:.1f} %"


def _where(now: Snapshot) -> Table:
    status = now.status
    pods = status.get("pods") or {}
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim")
    table.add_column()
    table.add_row("Phase", Text(now.phase, style=PHASE_STYLES.get(now.phase, "")))
    table.add_row("Step", (status.get("step") or {}).get("progress", "–"))
    table.add_row("Stable", f"{status.get('stable', '–')}   {_pods(pods, 'stable')} pods ready")
    table.add_row("Candidate", f"{status.get('candidate', '–')}   {_pods(pods, 'candidate')} pods ready")
    table.add_row("", Text(message(now), style="italic"))
    return table


def _bar(now: Snapshot) -> Text:
    weight = now.status.get("weight") or {}
    observed, desired = float(weight.get("observed") or 0), int(weight.get("desired") or 0)
    filled, wanted = round(BAR_WIDTH * observed / 100), round(BAR_WIDTH * desired / 100)
    text = Text("stable ", style="dim")
    for cell in range(BAR_WIDTH):
        from_right = BAR_WIDTH - cell
        text.append("█" if from_right <= filled else "░" if from_right <= wanted else "·",
                    style="magenta" if from_right <= max(filled, wanted) else "green")  # fmt: skip
    return text.append(" candidate", style="dim").append(f"   {desired} % wanted, {observed:g} % observed")


def _criteria(now: Snapshot) -> Table:
    table = Table(box=None, header_style="dim", padding=(0, 2, 0, 0), pad_edge=False)
    for name in ("Criterion", "Value", "Limit", "State"):
        table.add_column(name, justify="right" if name == "Value" else "left")
    for criterion in now.status.get("criteria") or []:
        state = str(criterion["state"])
        table.add_row(
            criterion["name"],
            value_text(criterion["name"], now.values.get(criterion["name"])),
            str(criterion.get("limit", "")),
            Text(state, style=STATE_STYLES.get(state, "")),
        )
    return table


def _load(now: Snapshot) -> Text:
    load = now.load
    latency = (load.get("latency_ms") or {}).get("p95")
    text = Text("Requests ", style="dim").append(f"{load.get('ok', 0):,} answered, ", style="not dim")
    text.append(f"{now.lost} lost", style="bold green" if now.lost == 0 else "bold red")
    return text.append(f", 95 % within {latency:.0f} ms" if latency is not None else "", style="not dim")


def _pods(pods: Mapping[str, Any], side: str) -> str:
    counts = pods.get(side) or {}
    return f"{counts.get('ready', 0)}/{counts.get('desired', 0)}"


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:g} %"
