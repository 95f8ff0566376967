"""Tells what status says has not been told, by Event, log and webhook, and notes what has been.

A transition is written to status together with what it tells of. So whoever leads after a crash tells it
again; the Event has a name of its own and the CloudEvent an id, by which a repetition is recognized.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from modelrollout.api.unreported import UnreportedTransition
from modelrollout.operator.events import EventRecorder
from modelrollout.operator.rollouts import Key, RolloutState
from modelrollout.operator.webhooks import Notifier

WAYS: Final = 2
"""An Event, and the notifications."""
TOLD_SECONDS: Final = 0.2
"""After this the next tick takes what has been told out of status; others may be told meanwhile."""


class Announcer:
    """Tells each transition in `status.unreported` once, and again where that failed."""

    def __init__(
        self, *, reporter: EventRecorder, notifier: Notifier, wake: Callable[[Key, float], None]
    ) -> None:
        self._reporter = reporter
        self._notifier = notifier
        self._wake = wake

    def announce(self, rollout: RolloutState) -> None:
        """Begin to tell what is neither told nor being told."""
        entries = rollout.status.unreported
        there = {entry.id for entry in entries}
        rollout.reported &= there
        rollout.reporting &= there
        for entry in entries:
            if entry.id not in rollout.reported and entry.id not in rollout.reporting:
                rollout.reporting.add(entry.id)
                self._tell(rollout, entry)

    def _tell(self, rollout: RolloutState, entry: UnreportedTransition) -> None:
        outcomes: list[bool] = []

        def done(told: bool) -> None:
            outcomes.append(told)
            if len(outcomes) < WAYS or entry.id not in rollout.reporting:
                return
            rollout.reporting.discard(entry.id)
            if all(outcomes):
                rollout.reported.add(entry.id)
                self._wake(rollout.key, TOLD_SECONDS)

        self._reporter.report(rollout, entry, done)
        self._notifier.notify(rollout, entry, done)
