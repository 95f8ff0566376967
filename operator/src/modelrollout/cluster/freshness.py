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


class Freshness:
    """Of one kind in one namespace."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._heard_at = clock()
        self._error = ""
        self._trouble = ""
        self._bookmarked = False
        self._silences = 0

    @property
    def age(self) -> float:
        """Seconds since anything was heard."""
        return self._clock() - self._heard_at

    @property
    def trusted(self) -> bool:
        """Whether nothing went wrong since the watch was last heard."""
        return not self._trouble and not self._error and not (self._bookmarked and self._silences)

    def stale(self) -> str:
        """Why what is known may be out of date, a clause that does not change from tick to tick; or empty."""
        if self._trouble:
            return self._trouble
        if self.age <= STALE_SECONDS:
            return ""
        return self._error or f"nothing was heard for {STALE_SECONDS:.0f} s"

    def listed(self, *, after_silence: bool, news: int) -> None:
        """A list was answered.

        Args:
            after_silence: The watch before it ended at its time without a word.
            news: Objects that the list showed otherwise than the watch had told.
        """
        self._heard_at, self._error = self._clock(), ""
        if not after_silence:
            return
        self._silences += 1
        if news:
            self._trouble = "the watch ended in silence although objects had changed"
        elif not self._bookmarked:
            self._trouble = ""  # such a server sends no bookmarks, and nothing was missed
        elif self._silences > 1:  # one bookmark may be missing
            self._trouble = "watches end in silence, without the bookmarks that were sent before"

    def heard(self, *, bookmark: bool = False) -> None:
        """The watch sent an event or a bookmark: it works."""
        self._heard_at, self._error, self._trouble = self._clock(), "", ""
        self._silences = 0
        self._bookmarked |= bookmark

    def frozen(self) -> None:
        """A watch did not end at its time. Only one that speaks shows that this is over."""
        self._trouble = "the watch is frozen: it neither ended nor said anything"

    def denied(self, message: str) -> None:
        """The API server forbids to list or to watch."""
        self._trouble = f"the API server forbids it ({message})"

    def failed(self, message: str) -> None:
        """A request failed; what is known goes out of date unless a later one succeeds."""
        self._error = message
