"""How long clusters take, with everything cached and with nothing."""

from __future__ import annotations

from tests.benchmarks.tables import Figure
from tests.support.cluster_tool import bench


def cached(runs: int = 5) -> list[Figure]:
    """`up` and `down` of a control plane and of a kind cluster."""
    return _figures(bench.warm(runs, with_kind=True))


def from_nothing() -> list[Figure]:
    """One `up` of each with empty caches: every Go module downloaded, everything built."""
    return _figures(bench.cold(with_kind=True))


def _figures(rows: list[bench.Row]) -> list[Figure]:
    return [Figure(what, "s", tuple(seconds)) for what, seconds in rows]
