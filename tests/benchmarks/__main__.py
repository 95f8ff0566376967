"""`make bench`: measure, print, and write the tables of docs/benchmarks.md.

`python -m tests.benchmarks [SECTION ...]` measures only those sections.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

from tests.benchmarks import (
    clusters,
    docdetector,
    endpoint_delay,
    inference,
    operator_clock,
    operator_cost,
    operator_reaction,
    plugin,
    prometheus_figures,
)
from tests.benchmarks.tables import Figure, keep

SECTIONS: dict[str, Callable[[], list[Figure]]] = {
    "reaction": operator_reaction.reaction,
    "endpoints": endpoint_delay.hops,
    "restart": operator_reaction.restart,
    "step-clock": operator_clock.step_clock,
    "crash-loop": operator_clock.crash_loop,
    "outage": operator_clock.outage,
    "cost-1": lambda: operator_cost.active(1),
    "cost-200": lambda: operator_cost.active(200),
    "cost-1000": lambda: operator_cost.active(1000),
    "cost-1000-finished": lambda: operator_cost.finished(1000),
    "joined-requests": prometheus_figures.joined,
    "backtest": prometheus_figures.backtest,
    "live-view": plugin.live_view,
    "inference": inference.figures,
    "image": inference.image,
    "docdetector-python": docdetector.python_figures,
    "docdetector-rust": docdetector.rust_figures,
    "clusters": clusters.cached,
    "clusters-from-nothing": clusters.from_nothing,
}


def main() -> None:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("section", nargs="*", help=f"one or more of {', '.join(SECTIONS)}; all by default")
    asked = parser.parse_args().section or list(SECTIONS)
    unknown = [section for section in asked if section not in SECTIONS]
    if unknown:
        parser.error(f"there is no section {', '.join(unknown)}: expected one of {', '.join(SECTIONS)}")
    for section in asked:
        keep(section, SECTIONS[section]())


if __name__ == "__main__":
    main()
