"""A past for a Prometheus: series of any age, put into its database by promtool."""

from __future__ import annotations

import math
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from tests.support.exporter import LATENCY_BOUNDS
from tests.support.prometheus import Prometheus, program

Rate = Callable[[float], float]
"""Events per second at a time, in seconds since the beginning of the past."""


@dataclass
class PastWriter:
    """Collects counters that grow at given rates; one sample each `scrape` seconds from `start` to `end`."""

    start: float
    end: float
    scrape: float = 15.0
    _families: dict[str, list[tuple[str, Rate]]] = field(default_factory=dict)

    def counter(self, metric: str, rate: Rate, **labels: str) -> None:
        """Add a counter that grows by `rate(t)` a second."""
        text = ",".join(f'{name}="{value}"' for name, value in sorted(labels.items()))
        self._families.setdefault(metric, []).append((f"{metric}{{{text}}}", rate))

    def model(
        self,
        namespace: str,
        pod: str,
        *,
        rps: float = 10.0,
        errors: Rate = lambda _: 0.0,
        routes: Mapping[str, Rate] | None = None,
        mismatches: Rate = lambda _: 0.0,
        latency: Rate = lambda _: 0.05,
    ) -> None:
        """A pod of a model server; `errors` and `routes` are shares, `latency` is seconds at a time."""
        own = {"namespace": namespace, "pod": pod, "model": "emotion"}
        self.counter("model_requests_total", lambda t: rps * (1 - errors(t)), code="200", **own)
        self.counter("model_requests_total", lambda t: rps * errors(t), code="500", **own)
        for route, share in (routes or {"linear": lambda _: 0.99, "regex": lambda _: 0.01}).items():
            self.counter("model_predictions_total", _scaled(share, rps), route=route, label="joy", **own)
        self.counter("model_dimension_mismatches_total", mismatches, route="linear_head", **own)
        for bound in (*LATENCY_BOUNDS, math.inf):
            self.counter(
                "model_prediction_seconds_bucket",
                _within(latency, bound, rps),
                le="+Inf" if bound == math.inf else str(bound),
                route="linear_head",
                **own,
            )
        self.counter("model_prediction_seconds_count", lambda _: rps, route="linear_head", **own)

    def lines(self) -> Sequence[str]:
        """The series in OpenMetrics text with timestamps."""
        result = []
        samples = int((self.end - self.start) / self.scrape) + 1
        for metric, rows in self._families.items():
            result.append(f"# TYPE {metric} unknown")
            for series, rate in rows:
                value = 0.0
                for index in range(samples):
                    after = index * self.scrape
                    result.append(f"{series} {value!r} {self.start + after:.3f}")
                    value += rate(after) * self.scrape
        return [*result, "# EOF", ""]

    def write(self, prometheus: Prometheus) -> None:
        """Stop the server, give it the past, start it again."""
        write_blocks(prometheus, self.lines())


def write_blocks(prometheus: Prometheus, lines: Sequence[str]) -> None:
    """Stop the server, give it series in OpenMetrics text with timestamps, start it again."""
    prometheus.stop()
    text = prometheus.directory / "past.txt"
    text.write_text("\n".join(lines))
    command = [program("promtool"), "tsdb", "create-blocks-from", "openmetrics", "--max-block-duration=24h"]
    subprocess.run([*command, str(text), str(prometheus.data)], check=True, capture_output=True, timeout=300)
    text.unlink()
    prometheus.run()


def _scaled(share: Rate, rps: float) -> Rate:
    return lambda t: rps * share(t)


def _within(latency: Rate, bound: float, rps: float) -> Rate:
    return lambda t: rps if latency(t) <= bound else 0.0
