"""Which run a report is about."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from modelrollout.cli.text import moment


class ReportError(ValueError):
    """There is nothing to report on; the message says why."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """The run that is reported.

    Attributes:
        id: As in status.
        before: Deployment that was stable; None for a first version.
        to: Deployment of the candidate.
        result: None while under way.
        message: Why it ended so.
        start: When it began.
        end: When it ended; None while under way.
        current: Whether the status still describes it.
    """

    id: str
    before: str | None
    to: str
    result: str | None
    message: str
    start: datetime
    end: datetime | None
    current: bool


def choose_run(item: Mapping[str, Any], wanted: str | None) -> Run:
    """Return the run with that id, or the last one. ReportError if there is none."""
    status = item.get("status") or {}
    history = {entry["id"]: entry for entry in status.get("history") or ()}
    last = status.get("run") or {}
    if not last and history and wanted is None:
        wanted = next(iter(history))
    if last and wanted in (None, last["id"]):
        entry = history.get(last["id"], {})
        end = last.get("finishedAt") or entry.get("finishedAt")
        return Run(
            id=last["id"],
            before=entry.get("from", last.get("stable")),
            to=last["candidate"],
            result=last.get("result") or entry.get("result"),
            message=entry.get("message") or status.get("message", ""),
            start=moment(last["startedAt"]),
            end=moment(end) if end else None,
            current=True,
        )
    if wanted is not None and wanted in history:
        entry = history[wanted]
        return Run(
            id=wanted,
            before=entry.get("from"),
            to=entry["to"],
            result=entry["result"],
            message=entry.get("message") or entry.get("reason", ""),
            start=moment(entry["startedAt"]),
            end=moment(entry["finishedAt"]),
            current=False,
        )
    if wanted is None:
        raise ReportError("nothing has been rolled out yet: status has neither a run nor a history")
    known = ", ".join(dict.fromkeys([*([last["id"]] if last else []), *history])) or "none"
    raise ReportError(f"there is no run {wanted!r} in status; there: {known}")
