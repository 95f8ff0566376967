"""How a rollout looks in a terminal: one block for one rollout, one line each for many."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from modelrollout.api.durations import Duration
from modelrollout.cli.live import Live
from modelrollout.cli.text import criteria_of, exact, hold, moment, percent, readable, since, value_text

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
    "Running": "cyan",
    "Succeeded": "green",
    "Failed": "red",
    "TimedOut": "red",
    "ImagePullFailed": "red",
    "RolledBack": "red",
    "Aborted": "yellow",
    "Superseded": "yellow",
}
FINISHED: Final = (None, "Idle", "Succeeded", "RolledBack", "Invalid")
HISTORY: Final = 5
BAR: Final = 40
Fields = Mapping[str, Any]


def overview(items: Sequence[Fields], now: datetime, *, everywhere: bool) -> Table:
    """Return one line for each rollout."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    columns = ("NAME", "PHASE", "STEP", "WEIGHT", "OBSERVED", "CANDIDATE", "REASON", "AGE")
    for column in (*(("NAMESPACE",) if everywhere else ()), *columns):
        table.add_column(column, no_wrap=True)
    for item in items:
        status, meta = item.get("status") or {}, item["metadata"]
        weight = status.get("weight") or {}
        table.add_row(
            *((meta["namespace"],) if everywhere else ()),
            meta["name"],
            _phase(status),
            (status.get("step") or {}).get("progress") or "-",
            percent(weight.get("desired")),
            percent(weight.get("observed")),
            status.get("candidate") or "-",
            status.get("reason") or "-",
            since(meta.get("creationTimestamp"), now),
        )
    return table


def detail(item: Fields, now: datetime, live: Live | None = None) -> RenderableType:
    """Everything about one rollout that fits on a screen; `live` is fresher than the status."""
    status, meta = item.get("status") or {}, item["metadata"]
    parts: list[RenderableType] = [_head(meta, status, now)]
    told = explanation(item, now)
    parts.append(
        Padding(Text(told, style="dim" if status.get("phase") in ("Idle", "Succeeded") else ""), (0, 2))
    )
    if held := hold(item, now):
        parts.append(Padding(Text(held, style="yellow"), (0, 2)))
    if status:
        parts.extend((Text(), *_traffic(status)))
    for block in (_criteria(item, now, live or Live()), _validations(status, now), _plan(item, status, now)):
        if block is not None:
            parts.extend((Text(), block))
    parts.extend(_history(status.get("history") or (), now))
    return Group(*parts)


def explanation(item: Fields, now: datetime) -> str:
    """Return why a rollout is where it is and what it waits for."""
    status, meta = item.get("status") or {}, item["metadata"]
    if not status.get("phase"):
        return "The operator has not seen it yet: is it running, and does it watch this namespace?"
    message = readable(status.get("message") or status.get("reason") or "", now)
    seen, wanted = status.get("observedGeneration"), meta.get("generation")
    if seen is not None and wanted is not None and seen < wanted:
        message += " The operator has not seen the last change of the spec yet."
    if meta.get("deletionTimestamp"):
        message += " It is being deleted; that ends once all traffic is back on stable."
    return message


def line(item: Fields, now: datetime) -> str:
    """Return a rollout in one line, for a log: where it is, its weights, and why."""
    status = item.get("status") or {}
    step, weight = status.get("step") or {}, status.get("weight") or {}
    parts = [
        status.get("phase") or "Unknown",
        f"step {step['progress']}" if step.get("progress") and status.get("phase") not in FINISHED else "",
        f"desired {percent(weight['desired'])}, observed {percent(weight.get('observed'))}" if weight else "",
    ]
    return f"{'  '.join(part for part in parts if part)}: {explanation(item, now)}"


def _head(meta: Fields, status: Fields, now: datetime) -> Text:
    text = Text.assemble((f"{meta['namespace']}/{meta['name']}", "bold"), "  ", _phase(status))
    run, step = status.get("run") or {}, status.get("step") or {}
    if step.get("progress") and status.get("phase") not in FINISHED:
        text.append(f"  step {step['progress']}")
    if run.get("finishedAt"):
        text.append(f"  {since(run['finishedAt'], now)} ago", style="dim")
        text.append(f" after {exact(moment(run['finishedAt']) - moment(run['startedAt']))}", style="dim")
    elif run.get("startedAt"):
        text.append(f"  for {since(run['startedAt'], now)}", style="dim")
    return text


def _traffic(status: Fields) -> Iterator[RenderableType]:
    weight, pods = status.get("weight") or {}, status.get("pods") or {}
    observed = weight.get("observed")
    filled = min(BAR, max(0, round(BAR * (observed or 0.0) / 100)))
    bar = Text.assemble("  ", ("█" * filled, "yellow"), ("░" * (BAR - filled), "green"))
    bar.append(f"  {percent(observed)} observed, {percent(weight.get('desired'))} desired")
    yield bar
    table = Table.grid(padding=(0, 2, 0, 0))
    rows = [("candidate", status.get("candidate"), "yellow"), ("stable", status.get("stable"), "green")]
    if status.get("candidate") == status.get("stable"):
        rows = rows[1:]  # it has taken over
    for role, name, colour in rows:
        count = pods.get(role) or {}
        ready = f"{count.get('ready', 0)} of {count.get('desired', 0)} pods ready" if count else ""
        table.add_row("", Text(role, style=colour), name or "-", ready)
    yield table


def _criteria(item: Fields, now: datetime, live: Live) -> RenderableType | None:
    status = item.get("status") or {}
    criteria = status.get("criteria") or ()
    if not criteria:
        return None
    known = criteria_of(item)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("  CRITERION", no_wrap=True)
    table.add_column("STATE", no_wrap=True)
    table.add_column("VALUE", justify="right", no_wrap=True)
    table.add_column("LIMIT", overflow="fold")
    table.add_column("FOR", justify="right", no_wrap=True)
    troubles: list[RenderableType] = []
    for criterion in criteria:
        name = criterion["name"]
        state = live.states.get(name, criterion["state"])
        table.add_row(
            f"  {name}",
            _state(state, criterion, dry_run=name in known and known[name].dry_run),
            value_text(known.get(name), live.values.get(name, criterion.get("value"))),
            criterion.get("limit") or "-",
            since(criterion.get("since"), now) if state == criterion["state"] else "0s",
        )
        if state in ("NoData", "Error") and criterion.get("message"):
            told = Text.assemble((f"{name}: ", STATE_COLOURS[state]), readable(criterion["message"], now))
            troubles.append(Padding(told, (0, 2)))
    return Group(table, *troubles)


def _state(state: str, criterion: Fields, *, dry_run: bool) -> Text:
    breached = criterion.get("breached") and state == criterion["state"]
    more = ", breached" if breached else ""
    return Text(f"{state}{more}{' (dry run)' if dry_run else ''}", style=STATE_COLOURS.get(state, ""))


def _validations(status: Fields, now: datetime) -> RenderableType | None:
    run = (status.get("run") or {}).get("id")
    mine = [entry for entry in status.get("validations") or () if entry.get("run") == run]
    if not mine:
        return None
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in ("  VALIDATION", "BEFORE STEP", "STATE", "FOR"):
        table.add_column(column, no_wrap=True)
    table.add_column("WHY", overflow="fold")
    for entry in mine:
        start, end = entry.get("startedAt"), entry.get("finishedAt")
        took = exact(moment(end) - moment(start)) if start and end else since(start, now)
        state = Text(entry["state"], style=STATE_COLOURS.get(entry["state"], ""))
        table.add_row(f"  {entry['name']}", str(entry["step"] + 1), state, took, entry.get("message", ""))
    return table


def _plan(item: Fields, status: Fields, now: datetime) -> Text | None:
    steps = item.get("spec", {}).get("steps") or ()
    step = status.get("step")
    if not steps or not step or status.get("phase") in FINISHED:
        return None
    text = Text("  steps  ", style="bold")
    for index, entry in enumerate(steps):
        style = "green" if index < step["index"] else "bold cyan" if index == step["index"] else "dim"
        text.append(("" if index == 0 else " → ") + f"{entry['weight']} %", style=style)
    observing = status.get("observation")
    if observing is not None:
        length = item["spec"].get("observation", {}).get("duration")
        left = _left(length, observing.get("startedAt"), observing.get("pausedSeconds", 0.0), now)
        text.append(" → observation", style="bold cyan")
    else:
        entry = steps[min(step["index"], len(steps) - 1)]
        left = _left(entry.get("duration"), step.get("reachedAt"), step.get("pausedSeconds", 0.0), now)
    if left and status.get("phase") != "Paused":
        text.append(f"   {left}", style="dim")
    return text


def _left(length: str | None, start: str | None, paused: float, now: datetime) -> str:
    """Return how much of a step's duration is left; it counts from when the weight was reached."""
    if not length:
        return ""
    if not start:
        return f"{length} from when the weight is reached"
    left = moment(start) + Duration(length).timedelta + timedelta(seconds=paused) - now
    return f"{exact(left)} left" if left >= timedelta(seconds=1) else "time is up"


def _history(history: Sequence[Fields], now: datetime) -> Iterator[RenderableType]:
    if not history:
        return
    yield Text()
    yield Text("  past runs", style="bold")
    for entry in history[:HISTORY]:
        result = Text(entry["result"], style=STATE_COLOURS.get(entry["result"], ""))
        head = Text.assemble(f"  {entry.get('from') or '(none)'} → {entry['to']}  ", result)
        took = exact(moment(entry["finishedAt"]) - moment(entry["startedAt"]))
        head.append(f"  {since(entry['finishedAt'], now)} ago after {took}", style="dim")
        yield head
        if entry["result"] != "Succeeded" and (why := entry.get("message") or entry.get("reason")):
            yield Padding(Text(readable(why, now)), (0, 2, 0, 4))
    if len(history) > HISTORY:
        yield Text(f"  and {len(history) - HISTORY} more: -o yaml shows them", style="dim")


def _phase(status: Fields) -> Text:
    phase = status.get("phase") or "Unknown"
    return Text(phase, style=f"bold {PHASE_COLOURS.get(phase, '')}".strip())
