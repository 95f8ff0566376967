"""What people still have to be told: kept in status, so that a crash after its write loses no transition."""

from __future__ import annotations

from modelrollout.api.unreported import UNREPORTED_LIMIT, UnreportedTransition
from modelrollout.decision.draft import Draft


def remember_unreported(draft: Draft) -> None:
    """Add the transitions of this decision to those in status, and take out those that have been told."""
    before = draft.status.unreported
    kept = [entry for entry in before if entry.id not in draft.observed.reported]
    known = {entry.content for entry in before}
    for number, transition in enumerate(draft.transitions):
        entry = UnreportedTransition(
            id=_id(draft, number),
            at=draft.now,
            reason=transition.reason,
            message=transition.message,
            severity=transition.severity.value,
            criterion=transition.criterion,
            announcement=transition.announcement,
        )
        if entry.content not in known:
            kept.append(entry)
    unreported = tuple(kept[-UNREPORTED_LIMIT:])
    if unreported != before:
        draft.set(unreported=unreported)


def _id(draft: Draft, number: int) -> str:
    """Return nanoseconds in hexadecimal, of which the last three digits count.

    Sorts by time, as Events do.
    """
    return f"{int(draft.now.timestamp() * 1_000_000) * 1000 + number:x}"
