"""Tells people what happened: one Event and one log line per transition, none per tick."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from modelrollout.api.conditions import Reason
from modelrollout.api.schedule import Transition as Announcement
from modelrollout.cluster.errors import ApiError, NotLeaderError
from modelrollout.cluster.writer import RolloutRef, Writer
from modelrollout.decision.types import Decision, Severity, Transition
from modelrollout.operator.metrics import OperatorMetrics
from modelrollout.operator.store import Tracked

logger = logging.getLogger("modelrollout.rollouts")

QUEUE_LENGTH: Final = 2000


class Reporter:
    """Logs at once; Events go through a queue, so that no tick ever waits for one."""

    def __init__(self, writer: Writer, metrics: OperatorMetrics) -> None:
        self._writer = writer
        self._metrics = metrics
        self._queue: asyncio.Queue[tuple[RolloutRef, Transition]] = asyncio.Queue(QUEUE_LENGTH)

    def report(self, rollout: Tracked, decision: Decision) -> None:
        """Reports the transitions of a decision that has been carried out."""
        for transition in decision.transitions:
            self._tell(rollout, transition)
            if transition.announcement is Announcement.ROLLING_BACK:
                cause = (transition.criterion or "", transition.reason)
                rollout.rollbacks[cause] = rollout.rollbacks.get(cause, 0) + 1

    def warn(self, rollout: Tracked, reason: Reason, message: str) -> None:
        """Reports something that no decision stands for."""
        self._tell(rollout, Transition(reason=reason, message=message, severity=Severity.WARNING))

    def command_ignored(self, rollout: Tracked) -> None:
        """Says once what in the annotations is no command."""
        if rollout.command_error and rollout.command_error != rollout.reported_command:
            rollout.reported_command = rollout.command_error
            self.warn(rollout, Reason.BAD_COMMAND, rollout.command_error)

    def status_unreadable(self, rollout: Tracked) -> None:
        """Says once for each version that nothing is done for the object, and why."""
        if rollout.reported_status != rollout.resource_version:
            rollout.reported_status = rollout.resource_version
            self.warn(
                rollout,
                Reason.STATUS_UNREADABLE,
                "Nothing is done: the status was written by another version of the operator, or by hand, and "
                f"this one cannot read it. Install the newer operator again. {rollout.status_error}"[:1000],
            )

    async def run(self) -> None:
        """Posts Events until cancelled."""
        while True:
            ref, transition = await self._queue.get()
            try:
                await self._writer.post_event(
                    ref, reason=transition.reason, message=transition.message, severity=transition.severity
                )
            except (ApiError, NotLeaderError) as error:
                logger.warning("An Event could not be recorded: %s", error)
            finally:
                self._queue.task_done()

    async def flush(self, seconds: float) -> None:
        """Waits until all Events are posted, at most so long."""
        try:
            async with asyncio.timeout(seconds):
                await self._queue.join()
        except TimeoutError:
            logger.warning("%d Events were not posted in time.", self._queue.qsize())

    def _tell(self, rollout: Tracked, transition: Transition) -> None:
        level = logging.WARNING if transition.severity is Severity.WARNING else logging.INFO
        fields = {"namespace": rollout.namespace, "rollout": rollout.name, "reason": transition.reason}
        logger.log(level, "%s: %s", transition.reason, transition.message, extra=fields)
        self._metrics.transitions.labels(transition.reason).inc()
        try:
            self._queue.put_nowait((rollout.ref, transition))
        except asyncio.QueueFull:
            logger.warning("Too many Events wait; this one is only in the log.", extra=fields)
