"""`status -w`: a live view in a terminal, one line for each change elsewhere."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any, Final

from rich.console import Console
from rich.live import Live as Screen

from modelrollout.api.printable import printable
from modelrollout.cli.client import Rollouts
from modelrollout.cli.live import Live
from modelrollout.cli.session import Harmless
from modelrollout.cli.view import detail, line

REFRESH_SECONDS: Final = 1.0
BLIND_SECONDS: Final = 30.0
"""Pause before the operator's metrics are asked again after they could not be reached."""
OVER: Final = frozenset({"Succeeded", "RolledBack", "Invalid", "Idle"})
FAILED: Final = frozenset({"RolledBack", "Invalid"})


class Ending:
    """When to stop watching: when the run that was under way, or the next one, has ended."""

    def __init__(self) -> None:
        self._running = False

    def of(self, item: dict[str, Any]) -> int | None:
        """Return the exit code once it is over: 0, or 1 if traffic went back to stable; None until then."""
        status = item.get("status") or {}
        phase = status.get("phase")
        stale = (status.get("observedGeneration") or 0) < (item["metadata"].get("generation") or 0)
        if phase not in OVER or stale:
            self._running = self._running or phase not in (None, *OVER)
            return None
        if not self._running:
            return None
        return 1 if phase in FAILED else 0


async def watch(rollouts: Rollouts, name: str, console: Console) -> int:
    """Show each change until the run ends; the exit code."""
    if console.is_terminal:
        return await _screen(rollouts, name, console)
    return await _lines(rollouts, name, console)


async def _lines(rollouts: Rollouts, name: str, console: Console) -> int:
    told = ""
    ending = Ending()
    async for item in rollouts.watch(name):
        if item is None:
            console.print(f"{name} was deleted.", highlight=False)
            return 1
        now = datetime.now(UTC)
        text = line(item, now)
        # What passes with time alone is no change.
        mark = line(item, datetime.fromtimestamp(0, tz=UTC))
        if mark != told:
            console.print(f"{now:%H:%M:%S} {printable(text)}", highlight=False, markup=False, soft_wrap=True)
            told = mark
        code = ending.of(item)
        if code is not None:
            return code
    return 1


async def _screen(rollouts: Rollouts, name: str, console: Console) -> int:
    latest: dict[str, Any] = {}
    seen = Live()
    ending = Ending()
    with Screen(console=console, auto_refresh=False) as screen:

        def show() -> None:
            screen.update(Harmless(detail(latest, datetime.now(UTC), seen)), refresh=True)

        async def refresh() -> None:
            nonlocal seen
            blind_until = 0.0
            clock = asyncio.get_running_loop().time
            while True:
                await asyncio.sleep(REFRESH_SECONDS)
                if clock() >= blind_until:
                    seen = await rollouts.live(name)
                    blind_until = 0.0 if seen else clock() + BLIND_SECONDS
                show()

        ticking: asyncio.Task[None] | None = None
        try:
            async for item in rollouts.watch(name):
                if item is None:
                    console.print(f"{name} was deleted.")
                    return 1
                latest = item
                seen = Live()  # the status is newer
                show()
                ticking = ticking or asyncio.create_task(refresh())
                code = ending.of(item)
                if code is not None:
                    return code
        finally:
            if ticking is not None:
                ticking.cancel()
    return 1
