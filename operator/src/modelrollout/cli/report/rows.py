"""Rows of the report's tables; texts are ready to be shown."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from modelrollout.cli.report.data import ReportData
from modelrollout.cli.report.run import Run
from modelrollout.cli.text import criteria_of, exact, moment, readable, value_text


def event_row(event: Mapping[str, Any], run: Run) -> dict[str, str]:
    """Return one Event."""
    at = moment(event["lastTimestamp"])
    return {
        "time": f"{at:%H:%M:%S}",
        "after": exact(at - run.start),
        "reason": event.get("reason", ""),
        "tone": "bad" if event.get("type") == "Warning" else "",
        "message": readable(event.get("message", ""), at),
    }


def validation_row(entry: Mapping[str, Any]) -> dict[str, str]:
    """Return one validation Job."""
    start, end = entry.get("startedAt"), entry.get("finishedAt")
    return {
        "name": entry["name"],
        "step": str(entry["step"] + 1),
        "state": entry["state"],
        "took": exact(moment(end) - moment(start)) if start and end else "-",
        "message": entry.get("message", ""),
    }


def baseline_row(data: ReportData, entry: Mapping[str, Any]) -> dict[str, str]:
    """Return what stable measured before, for one criterion."""
    samples = entry.get("samples")
    return {
        "criterion": entry["criterion"],
        "value": value_text(criteria_of(data.item).get(entry["criterion"]), entry["value"]),
        "samples": "-" if samples is None else f"{samples:,.0f}",
        "at": f"{moment(entry['recordedAt']):%Y-%m-%d %H:%M:%S} UTC",
    }


def past_run_row(entry: Mapping[str, Any], run: Run) -> dict[str, Any]:
    """Return one run of the history."""
    start, end = moment(entry["startedAt"]), moment(entry["finishedAt"])
    return {
        "id": entry["id"],
        "this": entry["id"] == run.id,
        "change": f"{entry.get('from') or '(none)'} → {entry['to']}",
        "result": entry["result"],
        "start": f"{start:%Y-%m-%d %H:%M}",
        "took": exact(end - start),
        "message": readable(entry.get("message") or entry.get("reason", ""), datetime.now(end.tzinfo)),
    }
