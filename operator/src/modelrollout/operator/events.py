"""Tells people what happened: one Event and one log line per transition, none per tick."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from modelrollout.api.conditions import Reason
from modelrollout.api.schedule import Transition as Announcement
from modelrollout.api.unreported import UnreportedTransition
from modelrollout.cluster.errors import ApiError, ApiUnavailableError, NotLeaderError
from modelrollout.cluster.writer import EventNote, RolloutRef, Writer
from modelrollout.decision.types import Severity
from modelrollout.operator.metrics import OperatorMetrics
from modelrollout.operator.rollouts import RolloutState

logger = logging.getLogger("modelrollout.rollouts")

QUEUE_LENGTH: Final = 2000
AGAIN_SECONDS: Final = 5.0

Done = Callable[[bool], None]
"""Called once: whether people have been told (or never can be); False if it is to be tried again."""


@dataclass(frozen=True, kw_only=True)
class _Posting:
    ref: RolloutRef
    note: EventNote
    done: Done


class EventRecorder:
    """Logs at once; Events go through a queue, so that no tick ever waits for one."""

    def __init__(self, writer: Writer, metrics: OperatorMetrics) -> None:
        self._writer = writer
        self._metrics = metrics
        self._queue: asyncio.Queue[_Posting] = asyncio.Queue(QUEUE_LENGTH)

    def report(self, rollout: RolloutState, entry: UnreportedTransition, done: Done) -> None:
        """Report a transition that stands in status."""
        if entry.announcement is Announcement.ROLLING_BACK:
            cause = (entry.criterion or "", entry.reason)
            rollout.rollbacks[cause] = rollout.rollbacks.get(cause, 0) + 1
        note = EventNote(
            reason=entry.reason, message=entry.message, severity=entry.severity, id=entry.id, at=entry.at
        )
        self._tell(rollout, note, done)

    def warn(self, rollout: RolloutState, reason: Reason, message: str) -> None:
        """Report something that no decision stands for."""
        note = EventNote(reason=str(reason), message=message, severity=Severity.WARNING.value)
        self._tell(rollout, note, lambda _: None)

    def command_ignored(self, rollout: RolloutState) -> None:
        """Say once what in the annotations is no command."""
        if rollout.command_error and rollout.command_error != rollout.reported_command:
            rollout.reported_command = rollout.command_error
            self.warn(rollout, Reason.BAD_COMMAND, rollout.command_error)

    def status_unreadable(self, rollout: RolloutState) -> None:
        """Say once for each version that nothing is done for the object, and why."""
        if rollout.reported_status != rollout.resource_version:
            rollout.reported_status = rollout.resource_version
            self.warn(
                rollout,
                Reason.STATUS_UNREADABLE,
                "Nothing is done: the status was written by another version of the operator, or by hand, and "
                f"this one cannot read it. Install the newer operator again. {rollout.status_error}"[:1000],
            )

    async def run(self) -> None:
        """Post Events until cancelled."""
        while True:
            posting = await self._queue.get()
            try:
                await self._post(posting)
            finally:
                self._queue.task_done()

    async def flush(self, seconds: float) -> None:
        """Wait until all Events are posted, at most so long."""
        try:
            async with asyncio.timeout(seconds):
                await self._queue.join()
        except TimeoutError:
            logger.warning("%d Events were not posted in time.", self._queue.qsize())

    async def _post(self, posting: _Posting) -> None:
        try:
            await self._writer.post_event(posting.ref, posting.note)
        except ApiUnavailableError as error:
            logger.warning("An Event could not be recorded and is tried again: %s", error)
            if posting.note.id:
                asyncio.get_running_loop().call_later(AGAIN_SECONDS, self._put, posting)
        except NotLeaderError:
            posting.done(False)  # whoever leads tells it
        except ApiError as error:
            logger.warning("An Event could not be recorded: %s", error)
            posting.done(True)
        else:
            posting.done(True)

    def _put(self, posting: _Posting) -> None:
        try:
            self._queue.put_nowait(posting)
        except asyncio.QueueFull:
            logger.warning("Too many Events wait; one of %s is only in the log.", posting.ref.name)
            posting.done(True)

    def _tell(self, rollout: RolloutState, note: EventNote, done: Done) -> None:
        level = logging.WARNING if note.severity == Severity.WARNING.value else logging.INFO
        fields = {"namespace": rollout.namespace, "rollout": rollout.name, "reason": note.reason}
        logger.log(level, "%s: %s", note.reason, note.message, extra=fields)
        self._metrics.transitions.labels(note.reason).inc()
        self._put(_Posting(ref=rollout.ref, note=note, done=done))
