"""What the load generator counts."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final

MAX_LATENCIES: Final = 200_000
"""Latencies kept for the quantiles; older ones are thinned out evenly."""


@dataclass(slots=True)
class Counts:
    """Requests by what became of them. ``sent = ok + failed + in flight``."""

    sent: int = 0
    ok: int = 0
    by_status: Counter[str] = field(default_factory=Counter)
    by_version: Counter[str] = field(default_factory=Counter)
    by_pod: Counter[str] = field(default_factory=Counter)
    lost: Counter[str] = field(default_factory=Counter)
    skipped: int = 0
    latencies: list[float] = field(default_factory=list)
    _keep_every: int = 1

    @property
    def failed(self) -> int:
        """Requests without an answer, and answers of 400 or more."""
        refused = sum(number for status, number in self.by_status.items() if int(status) >= 400)
        return refused + sum(self.lost.values())

    def answered(self, status: int, *, version: str, pod: str, seconds: float) -> None:
        """Count an answer that took ``seconds`` from the moment the request was due."""
        self.by_status[str(status)] += 1
        if status < 400:
            self.ok += 1
            self.by_version[version or "unknown"] += 1
            self.by_pod[pod or "unknown"] += 1
            self._keep(seconds)

    def _keep(self, seconds: float) -> None:
        if self.ok % self._keep_every:
            return
        self.latencies.append(seconds)
        if len(self.latencies) > MAX_LATENCIES:
            self.latencies = self.latencies[::2]
            self._keep_every *= 2

    def to_json(self, *, elapsed: float) -> dict[str, Any]:
        """Return all of it, with quantiles in milliseconds."""
        ordered = sorted(self.latencies)
        return {
            "elapsed_seconds": round(elapsed, 2),
            "sent": self.sent,
            "ok": self.ok,
            "failed": self.failed,
            "in_flight": self.sent - sum(self.by_status.values()) - sum(self.lost.values()),
            "skipped": self.skipped,
            "by_status": dict(sorted(self.by_status.items())),
            "lost": dict(sorted(self.lost.items())),
            "by_version": dict(sorted(self.by_version.items())),
            "by_pod": dict(sorted(self.by_pod.items())),
            "latency_ms": {name: quantile(ordered, q) for name, q in QUANTILES.items()},
        }


QUANTILES: Final = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "max": 1.0}


def quantile(ordered: list[float], share: float) -> float | None:
    """In milliseconds: the smallest of ``ordered`` seconds that at least ``share`` (0..1) do not exceed."""
    if not ordered:
        return None
    return round(ordered[max(0, math.ceil(share * len(ordered)) - 1)] * 1000, 3)
