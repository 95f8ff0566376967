"""Which faults happen to which request or event: drawn from a seed, traced."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Mapping
from typing import Final

EVENT_FAULTS: Final = ("cut", "delay", "lose", "duplicate", "swap")
"""Drawn for each event of a watch."""
WATCH_FAULTS: Final = ("silence", "gone")
"""Drawn for each watch."""
LIST_FAULTS: Final = ("stale-list", "slow-list")
WRITE_FAULTS: Final = ("crash-before", "crash-after", "timeout-before", "timeout-after", "conflict")
REQUEST_FAULTS: Final = ("error-before", "error-after")
"""Drawn for each list, read and write; a read that fails after it was done is the same as one before."""
KINDS: Final = EVENT_FAULTS + WATCH_FAULTS + LIST_FAULTS + WRITE_FAULTS + REQUEST_FAULTS
EXEMPT: Final = frozenset({"leases"})
"""Requests at fixed times: to draw for them would let the number of draws depend on how long a test took.
Faults of the election have tests of their own."""


class FaultPlan:
    """The faults of one seed.

    The n-th draw for a kind of fault and a place (`watch deployments`, `PUT modelrollouts/status`) depends on
    the seed, the kind, the place and n alone: requests of other kinds that come earlier or later in another
    run change nothing.

    Args:
        seed: Same seed, same faults, as far as the operator sends the same requests.
        rates: Probability of each kind of fault, 0 to 1, for each event, watch, list or write.
        at_most: How often a kind happens at most in all.
        only: Plurals of the kinds of objects concerned; None: all but `EXEMPT`.
    """

    def __init__(
        self,
        seed: int | str,
        rates: Mapping[str, float],
        *,
        at_most: Mapping[str, int] | None = None,
        only: frozenset[str] | None = None,
    ) -> None:
        unknown = sorted(set(rates) - set(KINDS))
        if unknown:
            raise ValueError(f"expected faults out of {', '.join(KINDS)}, got {', '.join(unknown)}")
        self.seed = seed
        self.counts: Counter[str] = Counter()
        self.trace: list[str] = []
        self.over = False
        self._rates = dict(rates)
        self._at_most = dict(at_most or {})
        self._only = only
        self._draws: Counter[tuple[str, str]] = Counter()
        self._started = time.monotonic()
        self._lock = threading.Lock()

    def happens(self, kind: str, verb: str, plural: str) -> bool:
        """Whether this fault happens to the request or event that is at hand."""
        rate = self._rates.get(kind, 0.0)
        if not rate or self.over or not self.concerns(plural):
            return False
        place = f"{verb} {plural}"
        with self._lock:
            self._draws[kind, place] += 1
            number = self._draws[kind, place]
            if self.counts[kind] >= self._at_most.get(kind, 1_000_000):
                return False
            if self._of(kind, place, number).random() >= rate:
                return False
            self.counts[kind] += 1
            at = time.monotonic() - self._started
            self.trace.append(f"{at:8.2f} s  {kind:<14} {place}, number {number}")
        return True

    def between(self, low: float, high: float, kind: str, verb: str, plural: str) -> float:
        """A value for a fault that has just happened, such as the seconds it lasts."""
        place = f"{verb} {plural}"
        drawn = self._of(kind, place, self._draws[kind, place], "value").uniform(low, high)
        self.note(f"{kind} for {drawn:.2f} s")
        return drawn

    def concerns(self, plural: str) -> bool:
        """Whether anything may happen to objects of that kind."""
        base = plural.partition("/")[0]
        return base not in EXEMPT and (self._only is None or base in self._only)

    def note(self, text: str) -> None:
        """Add a line to the trace."""
        self.trace.append(f"{time.monotonic() - self._started:8.2f} s      {text}")

    def end(self) -> None:
        """No faults from now on."""
        self.note("no faults from now on")
        self.over = True

    def report(self) -> str:
        """The trace, to be printed when a test fails."""
        counts = ", ".join(f"{kind} {number}" for kind, number in sorted(self.counts.items()) if number)
        return "\n".join((f"faults of seed {self.seed}: {counts or 'none'}", *self.trace))

    def _of(self, *parts: object) -> random.Random:
        return random.Random("/".join(map(str, (self.seed, *parts))))
