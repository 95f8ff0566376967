"""How a rollout looks in a terminal: one block for one rollout, one line each for many."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from modelrollout.api.durations import Duration, format_duration

PHASE_COLOURS: Final = {
    "Succeeded": "green",
    "Idle": "green",
    "Progressing": "cyan",
    "Observing": "cyan",
    "Shadow": "cyan",
    "Validating": "cyan",
    "Paused": "yellow",
    "RollingBack": "red",
    "RolledBack": "red",
    "Invalid": "red",
}
STATE_COLOURS: Final = {
    "Pass": "green",
    "Fail": "red",
    "Error": "yellow",
    "NoData": "yellow",
    "Pending": "dim",
}
BAR: Final = 40


def overview(items: Sequence[Mapping[str, Any]], now: datetime, *, everywhere: bool) -> Table:
    """One line for each rollout."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in (
        *(("NAMESPACE",) if everywhere else ()),
        "NAME",
        "PHASE",
        "STEP",
        "WEIGHT",
        "OBSERVED",
        "CANDIDATE",
    ):
        table.add_column(column, no_wrap=True)
    table.add_column("REASON")
    table.add_column("AGE", justify="right")
    for item in items:
        status, meta = item.get("status") or {}, item["metadata"]
        weight = status.get("weight") or {}
        table.add_row(
            *((meta["namespace"],) if everywhere else ()),
            meta["name"],
            _phase(status),
            (status.get("step") or {}).get("progress", "-"),
            _percent(weight.get("desired")),
            _percent(weight.get("observed")),
            status.get("candidate") or "-",
            status.get("reason") or "-",
            _since(meta.get("creationTimestamp"), now),
        )
    return table


def detail(item: Mapping[str, Any], now: datetime, live: Mapping[str, float] | None = None) -> RenderableType:
    """Everything about one rollout that fits on a screen; `live` are values fresher than the status."""
    status, meta = item.get("status") or {}, item["metadata"]
    parts: list[RenderableType] = [_head(meta, status, now)]
    if status.get("message"):
        parts.append(
            Text(
                f"  {status['message']}", style="dim" if status.get("phase") in ("Idle", "Succeeded") else ""
            )
        )
    parts.append(_traffic(status))
    criteria = _criteria(status, now, live or {})
    if criteria is not None:
        parts.extend((Text(), criteria))
    steps = _steps(item, status, now)
    if steps is not None:
        parts.extend((Text(), steps))
    history = status.get("history") or ()
    if history:
        parts.extend((Text(), _history(history, now)))
    return Group(*parts)


def _head(meta: Mapping[str, Any], status: Mapping[str, Any], now: datetime) -> Text:
    text = Text.assemble((f"{meta['namespace']}/{meta['name']}", "bold"), "  ", _phase(status))
    step = status.get("step") or {}
    if step.get("progress") and not _finished(status):
        text.append(f"  step {step['progress']}")
    run = status.get("run") or {}
    if run.get("startedAt"):
        text.append(f"  started {_since(run['startedAt'], now)} ago", style="dim")
    return text


def _traffic(status: Mapping[str, Any]) -> RenderableType:
    weight, pods = status.get("weight") or {}, status.get("pods") or {}
    observed = weight.get("observed")
    filled = round(BAR * (observed or 0.0) / 100)
    table = Table.grid(padding=(0, 2))
    bar = Text.assemble(("█" * filled, "yellow"), ("█" * (BAR - filled), "green"))
    table.add_row("", bar, Text(f"desired {_percent(weight.get('desired'))}, observed {_percent(observed)}"))
    rows = (("stable", status.get("stable"), "green"), ("candidate", status.get("candidate"), "yellow"))
    for role, name, colour in rows:
        count = pods.get(role) or {}
        ready = f"{count.get('ready', 0)} of {count.get('desired', 0)} pods ready" if count else ""
        table.add_row("", Text.assemble((f"{role:<10}", colour), name or "-"), ready)
    return table


def _criteria(status: Mapping[str, Any], now: datetime, live: Mapping[str, float]) -> Table | None:
    criteria = status.get("criteria") or ()
    if not criteria:
        return None
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column, justify in (
        ("  CRITERION", "left"),
        ("STATE", "left"),
        ("VALUE", "right"),
        ("LIMIT", "left"),
    ):
        table.add_column(column, justify=justify, no_wrap=True)  # type: ignore[arg-type]  # literals of rich
    table.add_column("FOR", justify="right")
    table.add_column("WHY", overflow="fold")
    for criterion in criteria:
        state = criterion["state"]
        value = live.get(criterion["name"], criterion.get("value"))
        told = criterion.get("message", "") if state != "Pass" else ""
        table.add_row(
            f"  {criterion['name']}",
            Text(
                state + (" (breached)" if criterion.get("breached") else ""),
                style=STATE_COLOURS.get(state, ""),
            ),
            "-" if value is None else f"{value:.4g}",
            criterion.get("limit", ""),
            _since(criterion.get("since"), now),
            told,
        )
    return table


def _steps(item: Mapping[str, Any], status: Mapping[str, Any], now: datetime) -> Text | None:
    steps = item.get("spec", {}).get("steps") or ()
    step = status.get("step")
    if not steps or step is None or _finished(status):
        return None
    text = Text("  steps  ", style="bold")
    for index, entry in enumerate(steps):
        style = "green" if index < step["index"] else "bold cyan" if index == step["index"] else "dim"
        text.append(("" if index == 0 else " → ") + f"{entry['weight']} %", style=style)
    left = _left(steps[step["index"]], step, now) if step["index"] < len(steps) else None
    if left is not None:
        text.append(f"   {left}", style="dim")
    return text


def _left(entry: Mapping[str, Any], step: Mapping[str, Any], now: datetime) -> str | None:
    if not entry.get("duration"):
        return None
    if not step.get("reachedAt"):
        return "waiting for the weight"
    duration = timedelta(seconds=Duration(entry["duration"]).seconds + step.get("pausedSeconds", 0.0))
    left = (_time(step["reachedAt"]) + duration - now).total_seconds()
    return f"{format_duration(int(left))} left" if left >= 1 else "time is up"


def _history(history: Sequence[Mapping[str, Any]], now: datetime) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in ("  RUN", "RESULT", "ENDED", "WHY"):
        table.add_column(column, overflow="fold")
    for entry in history[:5]:
        colour = (
            "green"
            if entry["result"] == "Succeeded"
            else "red"
            if entry["result"] == "RolledBack"
            else "yellow"
        )
        table.add_row(
            f"  {entry.get('from') or '(none)'} → {entry['to']}",
            Text(entry["result"], style=colour),
            f"{_since(entry['finishedAt'], now)} ago",
            entry.get("message") or entry.get("reason", ""),
        )
    return table


def _phase(status: Mapping[str, Any]) -> Text:
    phase = status.get("phase") or "Unknown"
    return Text(phase, style=f"bold {PHASE_COLOURS.get(phase, 'default')}")


def _finished(status: Mapping[str, Any]) -> bool:
    return status.get("phase") in (None, "Idle", "Succeeded", "RolledBack", "Invalid")


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:g} %"


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def _since(text: str | None, now: datetime) -> str:
    if not text:
        return "-"
    seconds = max(0, int((now - _time(text)).total_seconds()))
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length}{unit}"
    return f"{seconds}s"
