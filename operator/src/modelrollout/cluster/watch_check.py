"""Whether a watch that is not ours tells what lists show: kopf's, of ModelRollouts.

kopf looks only once whether the resource exists, and tells no handler that a watch is refused or silent. So
what a list showed first has to come from the watch too, some time later.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from modelrollout.cluster.source import Key, is_older

LATE_SECONDS: Final = 40.0
"""After so long the watch should have told what a list showed: a silent one is begun anew by then."""


class NotWatchedError(Exception):
    """The watch tells nothing for so long that a fresh process has to begin another one."""


class WatchCheck:
    """What lists of a kind showed and its watch has not told yet.

    What a list does not show any more is not counted: kopf tells of no deletion while it did not watch.
    """

    def __init__(self, plural: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.plural = plural
        self._clock = clock
        self._untold: dict[Key, tuple[str, float]] = {}  # the oldest first
        self._late_since: float | None = None

    def listed(self, key: Key, version: str) -> None:
        """Note that a list showed a version of an object that was not known."""
        _, since = self._untold.get(key, ("", self._clock()))
        self._untold[key] = (version, since)

    def heard(self, key: Key, version: str) -> None:
        """Note that the watch told that version of an object."""
        untold, _ = self._untold.get(key, ("", 0.0))
        if not is_older(version, untold):
            self.forget(key)

    def forget(self, key: Key) -> None:
        """Expect nothing of an object any more: it is gone."""
        self._untold.pop(key, None)

    @property
    def waiting(self) -> bool:
        """Whether the watch still has to tell something."""
        return bool(self._untold)

    @property
    def age(self) -> float:
        """Seconds since a list showed what the watch has not told; 0 if it told everything."""
        return next((self._clock() - since for _, since in self._untold.values()), 0.0)

    def stale(self, namespace: str | None = None) -> str:
        """Return why what is known of a namespace (None: of any) may be out of date; else empty."""
        now = self._clock()
        for key, (_, since) in self._untold.items():
            if now - since <= LATE_SECONDS:
                break
            if namespace in {None, key[0]}:
                return f"the watch did not tell within {LATE_SECONDS:.0f} s what a list showed"
        return ""

    def require(self) -> None:
        """Check, after a list that was answered, that the watch is not late for long.

        Raises:
            NotWatchedError: So it was already at a list at least 40 s ago. Only lists count: while the API
                server does not answer, no watch can tell anything.
        """
        if not self.stale():
            self._late_since = None
            return
        now = self._clock()
        if self._late_since is None:
            self._late_since = now
        elif now - self._late_since >= LATE_SECONDS:
            raise NotWatchedError(
                f"kopf does not watch {self.plural}: {self.stale()}; a fresh process watches anew"
            )
