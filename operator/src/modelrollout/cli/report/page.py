"""One self-contained HTML page about one run: verdict, weights and criteria over time, what happened."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined

from modelrollout.api.criteria import Criterion
from modelrollout.api.status import CriterionState
from modelrollout.cli.report.charts import Chart, Frame, Line, draw, value_range
from modelrollout.cli.report.data import CriterionPast, ReportData, at_time
from modelrollout.cli.report.rows import baseline_row, event_row, past_run_row, validation_row
from modelrollout.cli.text import criteria_of, exact, hold, moment, percent, readable, value_text

GOOD, BAD, MIXED, UNDER_WAY = "good", "bad", "mixed", "running"
TONES: Final = {"Succeeded": GOOD, "RolledBack": BAD, "Aborted": MIXED, "Superseded": MIXED}
WORDS: Final = {
    "Succeeded": "Succeeded",
    "RolledBack": "Rolled back",
    "Aborted": "Aborted",
    "Superseded": "Superseded",
}
STATE_TONES: Final = {
    "Pass": GOOD,
    "Succeeded": GOOD,
    "Fail": BAD,
    "Failed": BAD,
    "TimedOut": BAD,
    "ImagePullFailed": BAD,
    "RolledBack": BAD,
    "NoData": MIXED,
    "Error": MIXED,
    "Aborted": MIXED,
    "Superseded": MIXED,
}


@dataclass(frozen=True, kw_only=True)
class CriterionCard:
    """One criterion on the page; texts are ready to be shown."""

    name: str
    state: str
    tone: str
    value: str
    limit: str
    asks: str
    notes: tuple[str, ...]
    chart: Chart | None
    breaches: tuple[str, ...]


def render(data: ReportData) -> str:
    """Return the page."""
    environment = Environment(
        loader=PackageLoader("modelrollout.cli"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["tone"] = lambda state: STATE_TONES.get(state, UNDER_WAY)
    run = data.run
    return environment.get_template("report.html").render(
        title=f"{data.item['metadata']['name']}: {run.before or 'nothing'} → {run.to}",
        meta=data.item["metadata"],
        run=run,
        tone=TONES.get(run.result or "", UNDER_WAY),
        word=WORDS.get(run.result or "", _phase(data)),
        sentence=_sentence(data),
        held=hold(data.item, data.now) if run.current else None,
        facts=_facts(data),
        missing=data.missing,
        axis=_axis(data),
        weights=_weights(data),
        criteria=[_card(data, name) for name in _names(data)],
        events=[event_row(event, run) for event in data.events],
        validations=[
            validation_row(entry) for entry in _status(data).get("validations") or () if run.current
        ],
        baseline=[baseline_row(data, entry) for entry in _status(data).get("baseline") or () if run.current],
        history=[past_run_row(entry, run) for entry in _status(data).get("history") or ()],
        written=f"{data.now:%Y-%m-%d %H:%M:%S} UTC",
        version=_version(),
    )


def _status(data: ReportData) -> Mapping[str, Any]:
    return data.item.get("status") or {}


def _phase(data: ReportData) -> str:
    return str(_status(data).get("phase") or "Unknown")


def _sentence(data: ReportData) -> str:
    """Return what happened, in a sentence."""
    run = data.run
    took = exact((run.end or data.now) - run.start)
    told = readable(run.message, data.now)
    match run.result:
        case "Succeeded":
            return f"{run.to} took over from {run.before or 'nothing'} after {took}."
        case "RolledBack":
            return f"All traffic is back on {run.before}, {took} after the start. {told}"
        case "Aborted":
            return f"Aborted after {took}; all traffic is on {run.before}. {told}"
        case "Superseded":
            return f"A newer candidate took its place after {took}. {told}"
    return f"Under way for {took}. {told}"


def _facts(data: ReportData) -> list[tuple[str, str]]:
    run, status = data.run, _status(data)
    weight = status.get("weight") or {}
    facts = [
        ("From", run.before or "(no version before)"),
        ("To", run.to),
        ("Started", f"{run.start:%Y-%m-%d %H:%M:%S} UTC"),
        ("Ended", f"{run.end:%Y-%m-%d %H:%M:%S} UTC" if run.end else "under way"),
        ("Took", exact((run.end or data.now) - run.start)),
    ]
    if data.observed:
        facts.append(("Most traffic", percent(max(value for _, value in data.observed))))
    elif run.current and not run.end:
        facts.append(("Traffic now", percent(weight.get("observed"))))
    facts.append(("Namespace", data.item["metadata"]["namespace"]))
    attempt = (status.get("run") or {}).get("attempt", 1) if run.current else 1
    facts.append(("Run", run.id + (f", attempt {attempt}" if attempt > 1 else "")))
    return facts


def _axis(data: ReportData) -> tuple[str, str, str]:
    """Return labels of the time axis: begin, middle, end."""
    start, end = data.window.start, data.window.end
    days = end - start > timedelta(hours=20).total_seconds()
    form = "%d %b %H:%M" if days else "%H:%M:%S"
    first, middle, last = (at_time(at).strftime(form) for at in (start, (start + end) / 2, end))
    return first, middle, last


def _marks(data: ReportData) -> list[float]:
    return [moment(event["lastTimestamp"]).timestamp() for event in data.events]


def _weights(data: ReportData) -> Chart | None:
    if not data.desired and not data.observed:
        return None
    frame = Frame(start=data.window.start, end=data.window.end, low=0.0, high=102.0)
    gap = 2.5 * data.window.step
    lines = [
        Line(css="desired", points=data.desired, gap=gap, steps=True),
        Line(css="observed", points=data.observed, gap=gap, steps=True),
    ]
    chart = draw(
        frame, lines, title="Weight of the candidate over time in per cent", marks=_marks(data), text=percent
    )
    return Chart(svg=chart.svg, high="100 %", low="0 %")


def _names(data: ReportData) -> list[str]:
    """Return criteria in the order of the spec; then those that only the status still knows."""
    told = [entry["name"] for entry in _status(data).get("criteria") or ()] if data.run.current else []
    return list(dict.fromkeys([*criteria_of(data.item), *told]))


def _card(data: ReportData, name: str) -> CriterionCard:
    criterion = criteria_of(data.item).get(name)
    entries = _status(data).get("criteria") or () if data.run.current else ()
    entry: Mapping[str, Any] = next((one for one in entries if one["name"] == name), {})
    past = data.criteria.get(name, CriterionPast())
    state = str(entry.get("state") or ("" if past.values else "Pending"))
    if past.breaches and state in ("", CriterionState.PASS):
        state = state or "Fail"
    last = entry.get("value", past.values[-1][1] if past.values else None)
    return CriterionCard(
        name=name,
        state=(state or "Pass") + (", breached" if entry.get("breached") else ""),
        tone=STATE_TONES.get(state or "Pass", UNDER_WAY),
        value=value_text(criterion, last),
        limit=entry.get("limit") or _limit(criterion),
        asks=_asks(criterion),
        notes=_notes(data, criterion, entry, past),
        chart=_chart(data, name, criterion, past),
        breaches=tuple(_span(begin, end, data.window.step) for begin, end in past.breaches),
    )


def _limit(criterion: Criterion | None) -> str:
    if criterion is None:
        return ""
    if criterion.compare is not None:
        compare = criterion.compare
        parts = [f"at most {compare.max_increase} above"] if compare.max_increase is not None else []
        parts += [f"at most {compare.max_decrease} below"] if compare.max_decrease is not None else []
        return f"{' and '.join(parts)} {compare.to.value.lower()}"
    parts = [f"at least {criterion.min}"] if criterion.min is not None else []
    return " and ".join(parts + ([f"at most {criterion.max}"] if criterion.max is not None else []))


def _asks(criterion: Criterion | None) -> str:
    if criterion is None:
        return ""
    if criterion.info is None:
        return criterion.query or ""
    args = ", ".join(f"{key}: {value}" for key, value in criterion.args.items())
    return f"{criterion.preset}{f' ({args})' if args else ''}: {criterion.info.summary}"


def _notes(
    data: ReportData, criterion: Criterion | None, entry: Mapping[str, Any], past: CriterionPast
) -> tuple[str, ...]:
    notes = []
    if criterion is not None:
        does = "only recorded (dry run)" if criterion.dry_run else criterion.on_breach.value
        wait = f" after {criterion.for_}" if criterion.for_.seconds else " at once"
        notes.append(f"On breach: {does}{'' if criterion.dry_run else wait}")
        if criterion.min_samples:
            notes.append(f"At least {criterion.min_samples} samples")
    if entry.get("samples") is not None:
        notes.append(f"{entry['samples']:,.0f} samples last")
    if entry.get("state") in ("NoData", "Error") and entry.get("message"):
        notes.append(readable(entry["message"], data.now))
    if past.source:
        notes.append(f"Drawn from {past.source}")
    return tuple(notes)


def _chart(data: ReportData, name: str, criterion: Criterion | None, past: CriterionPast) -> Chart | None:
    if not past.values:
        return None
    limits = [value for _, value in (*past.high, *past.low)]
    low, high = value_range([*(value for _, value in past.values), *limits])
    frame = Frame(start=data.window.start, end=data.window.end, low=low, high=high)
    gap = 2.5 * data.window.step
    lines = [
        Line(css="limit", points=_stretched(past.high, data), gap=gap, steps=False),
        Line(css="limit", points=_stretched(past.low, data), gap=gap, steps=False),
        Line(css="value", points=past.values, gap=gap),
    ]
    half = data.window.step / 2
    return draw(
        frame,
        lines,
        title=f"{name} over time; {_limit(criterion)}",
        bands=[(begin - half, end + half) for begin, end in past.breaches],
        marks=_marks(data),
        text=lambda value: value_text(criterion, float(f"{value:.3g}")),
    )


def _stretched(limit: tuple[tuple[float, float], ...], data: ReportData) -> tuple[tuple[float, float], ...]:
    """Return a limit that never moved, drawn from edge to edge without gaps."""
    if limit and len({value for _, value in limit}) == 1:
        steps = range(int((data.window.end - data.window.start) / data.window.step) + 1)
        return tuple((data.window.start + index * data.window.step, limit[0][1]) for index in steps)
    return limit


def _span(begin: float, end: float, step: float) -> str:
    if end - begin < step:
        return f"at {at_time(begin):%H:%M:%S}"
    return (
        f"from {at_time(begin):%H:%M:%S} to {at_time(end):%H:%M:%S} ({exact(timedelta(seconds=end - begin))})"
    )


def _version() -> str:
    try:
        return version("modelrollout")
    except PackageNotFoundError:
        return "(from source)"
