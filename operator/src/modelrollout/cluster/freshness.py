"""How far what a watch told can be relied on: when it was last heard, and what is wrong with it.

The API server ends every watch after the time that it was asked for, and sends a bookmark just before. So a
watch that neither ends nor says anything is frozen, and one that ends in silence has to prove by a list that
nothing was missed.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

STALE_SECONDS: Final = 45.0
"""After so long without a word, what is known counts as out of date."""

QUIET_WATCHES: Final = 5
"""So many watches in a row that end in silence, with nothing missed, are relied on again."""


class Freshness:
    """Of one kind in one namespace."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._heard_at = clock()
        self._error = ""
        self._trouble = ""
        self._quiet = 0

    @property
    def age(self) -> float:
        """Seconds since anything was heard."""
        return self._clock() - self._heard_at

    @property
    def trusted(self) -> bool:
        """Whether nothing went wrong since the watch was last heard."""
        return not self._trouble and not self._error

    def stale(self) -> str:
        """Return why what is known may be out of date, a clause that does not change from tick to tick.

        Or empty.
        """
        if self._trouble:
            return self._trouble
        if self.age <= STALE_SECONDS:
            return ""
        return self._error or f"nothing was heard for {STALE_SECONDS:.0f} s"

    def listed(self, *, after_silence: bool, news: int) -> None:
        """Note that a list was answered.

        Args:
            after_silence: The watch before it ended at its time without a word.
            news: Objects that the list showed otherwise than the watch had told.
        """
        self._heard_at, self._error = self._clock(), ""
        if not after_silence:
            return
        if news:
            self._trouble, self._quiet = "the watch ended in silence although objects had changed", 0
            return
        # An API server sends no bookmarks of a kind of which it saw no event since its start, so silence
        # alone says nothing.
        self._quiet += 1
        if self._quiet >= QUIET_WATCHES:
            self._trouble = ""

    def heard(self) -> None:
        """Note that the watch sent an event or a bookmark: it works."""
        self._heard_at, self._error, self._trouble = self._clock(), "", ""

    def frozen(self) -> None:
        """Note that a watch did not end at its time. Only later ones show that this is over."""
        self._quiet = 0
        self._trouble = "the watch is frozen: it neither ended nor said anything"

    def denied(self, message: str) -> None:
        """Note that the API server forbids to list or to watch."""
        self._quiet = 0
        self._trouble = f"the API server forbids it ({message})"

    def failed(self, message: str) -> None:
        """Note that a request failed; what is known goes out of date unless a later one succeeds."""
        self._error = message
