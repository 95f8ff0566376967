"""What a watch passes on: its events, one by one, with the faults of a plan."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

from tests.support.faults.plan import FaultPlan

NEIGHBOUR_SECONDS: Final = 2.0
"""How long an event is held back to be swapped with the next one."""
DELAYS: Final = (0.1, 3.0)
EVENTS_BEFORE_SILENCE: Final = (0, 6)


class CutError(Exception):
    """The connection is to be broken now."""


class SilenceError(Exception):
    """Nothing is to be passed on any more, and the connection stays open."""


class WatchFaults:
    """The events of one watch.

    Args:
        plan: The faults.
        plural: What is watched.
        saw: Called with the resourceVersion of each event that the API server sent.
    """

    def __init__(self, plan: FaultPlan, plural: str, saw: Callable[[str], None]) -> None:
        self._plan = plan
        self._plural = plural
        self._saw = saw
        self._silent_after: int | None = None
        if self._happens("silence"):
            low, high = EVENTS_BEFORE_SILENCE
            drawn = plan.between(low, high, "silence", "watch", plural)
            self._silent_after = round(drawn)

    async def pass_on(self, content: asyncio.StreamReader) -> AsyncIterator[bytes]:
        """The lines to send.

        Raises:
            CutError: The connection breaks here.
            SilenceError: It says nothing more.
        """
        passed = 0
        while line := await content.readline():
            if self._silent_after is not None and passed >= self._silent_after:
                raise SilenceError
            event = self._read(line)
            if event is None:  # a bookmark or an error
                yield line
                continue
            passed += 1
            if self._happens("cut"):
                raise CutError
            if self._happens("delay"):
                await asyncio.sleep(self._plan.between(*DELAYS, "delay", "watch", self._plural))
            if self._happens("lose"):
                self._plan.note(f"lost: {event}")
                continue
            if self._happens("swap"):
                following = await self._neighbour(content)
                if following:
                    self._plan.note(f"swapped: {event} comes after {self._read(following) or 'a bookmark'}")
                    yield following
            yield line
            if self._happens("duplicate"):
                yield line

    async def _neighbour(self, content: asyncio.StreamReader) -> bytes:
        try:
            async with asyncio.timeout(NEIGHBOUR_SECONDS):
                return await content.readline()
        except TimeoutError:
            return b""

    def _happens(self, kind: str) -> bool:
        return self._plan.happens(kind, "watch", self._plural)

    def _read(self, line: bytes) -> str | None:
        """What the event says in short; None for what no fault may touch."""
        event: dict[str, Any] = json.loads(line)
        meta = event["object"].get("metadata") or {}
        if meta.get("resourceVersion"):
            self._saw(str(meta["resourceVersion"]))
        if event["type"] not in ("ADDED", "MODIFIED", "DELETED"):
            return None
        return f"{event['type']} {meta.get('name')} at {meta.get('resourceVersion')}"
