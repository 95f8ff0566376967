"""A test's hold on the exporter process: pods that export the metrics contract with the values a test
wants."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

LABELS = ("joy", "fear", "frustration", "sadness", "anger", "surprise", "disgust", "neutral")
ROUTES = ("linear_head", "prototypes", "regex")
REASONS = ("unavailable", "not_in_canary", "low_confidence", "dimension_mismatch", "error", "unknown")
LATENCY_BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.25, 0.5, 1.0, 2.5)
CONFIDENCE_BOUNDS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


class ExporterError(AssertionError):
    """The exporter refused an operation."""


@dataclass
class Exporter:
    """A running exporter process; a context manager that ends it."""

    process: subprocess.Popen[str]
    port: int
    _batch: list[dict[str, Any]] | None = field(default=None, repr=False)
    _pods: list[Pod] = field(default_factory=list, repr=False)

    @classmethod
    def start(cls, *, host: str = "127.0.0.1", port: int = 0) -> Self:
        """Start the process; `port` 0 takes a free one."""
        script = Path(__file__).with_name("exporter_server.py")
        command = [sys.executable, "-S", "-E", str(script), "--host", host, "--port", str(port)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line.strip().isdigit():
            process.kill()
            process.wait()
            process.stdout.close()
            raise ExporterError(f"the exporter did not start: it said {line!r} instead of its port")
        return cls(process=process, port=int(line))

    @property
    def url(self) -> str:
        """Base address on loopback."""
        return f"http://127.0.0.1:{self.port}"

    def pod(self, namespace: str, name: str, *, model: str = "emotion", version: str = "1") -> Pod:
        """A pod with every series of the contract at zero."""
        pod = Pod(exporter=self, namespace=namespace, name=name, model=model, version=version)
        with self.together():
            pod.born()
        self._pods.append(pod)
        return pod

    @contextmanager
    def for_a_while(self) -> Iterator[None]:
        """Pods made inside are removed at the end: each would make every later page longer."""
        before = len(self._pods)
        try:
            yield
        finally:
            with self.together():
                for pod in self._pods[before:]:
                    pod.remove()
            del self._pods[before:]

    @contextmanager
    def together(self) -> Iterator[None]:
        """Everything set inside is applied at once, so that no scrape sees half of it."""
        if self._batch is not None:
            yield
            return
        self._batch = []
        try:
            yield
            operations, self._batch = self._batch, None
            self.control(operations)
        finally:
            self._batch = None

    def control(self, operations: list[dict[str, Any]]) -> None:
        """Apply raw operations (see exporter_server.Store.apply)."""
        if self._batch is not None:
            self._batch.extend(operations)
            return
        request = urllib.request.Request(
            f"{self.url}/control", data=json.dumps(operations).encode(), method="POST"
        )
        try:
            with urllib.request.urlopen(request, timeout=10):
                pass
        except urllib.error.HTTPError as error:
            with error:
                raise ExporterError(error.read().decode()) from None

    def close(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@dataclass(frozen=True, kw_only=True)
class Pod:
    """One pod of the exporter. `model` and `version` are put on every series."""

    exporter: Exporter
    namespace: str
    name: str
    model: str = "emotion"
    version: str = "1"

    def set(self, metric: str, value: float, **labels: str) -> None:
        """Set a series to `value`, at rest."""
        self._do("set", metric, value, labels)

    def inc(self, metric: str, value: float = 1.0, **labels: str) -> None:
        """Add `value` to a series once."""
        self._do("inc", metric, value, labels)

    def rate(self, metric: str, value: float, **labels: str) -> None:
        """Let a series grow by `value` a second from now on."""
        self._do("rate", metric, value, labels)

    def drop(self, metric: str, **labels: str) -> None:
        """Take one series away."""
        self._do("drop", metric, 0.0, labels)

    def remove(self) -> None:
        """The pod is gone."""
        self._pod("remove")

    def add(self) -> None:
        """The pod is there, without any series."""
        self._pod("add")

    def fail(self, failing: bool = True) -> None:
        """Its scrape answers 500 (or no longer)."""
        self._pod("fail", value=failing)

    def delay(self, seconds: float) -> None:
        """Its own page answers that much later (only where pods are targets of their own)."""
        self._pod("delay", value=seconds)

    def born(self) -> None:
        """Every counter and histogram of the contract at zero, as a server that has just started."""
        with self.exporter.together():
            info = {
                "artifact_sha256": "a" * 64,
                "encoder": "minilm",
                "dimension": "384",
                "config_sha256": "c" * 64,
            }
            self.set("model_info", 1, **info)
            self.set("model_requests_total", 0, code="200")
            for route in ROUTES:
                self.set("model_dimension_mismatches_total", 0, route=route)
                self._histogram("model_prediction_seconds", LATENCY_BOUNDS, {"route": route}, per_bound=[])
                for label in LABELS:
                    self.set("model_predictions_total", 0, route=route, label=label)
            for reason in REASONS:
                self.set("model_fallbacks_total", 0, reason=reason)
            self.set("model_low_confidence_total", 0)
            self.set("model_rule_applications_total", 0, rule="tiebreak")
            for accepted in ("true", "false"):
                self.set("model_accepted_total", 0, accepted=accepted)
            for agree in ("true", "false", "none"):
                self.set("model_shadow_comparisons_total", 0, agree=agree)
            self._histogram("model_confidence", CONFIDENCE_BOUNDS, {}, per_bound=[])

    def healthy(self, rps: float = 50.0) -> None:
        """Steady good traffic of `rps` requests a second: all by the linear head, P95 under 50 ms, no
        error."""
        with self.exporter.together():
            self.rate("model_requests_total", rps, code="200")
            for label in LABELS:
                self.rate("model_predictions_total", rps / len(LABELS), route="linear_head", label=label)
            self.rate("model_rule_applications_total", rps * 0.02, rule="tiebreak")
            self.rate("model_low_confidence_total", rps * 0.2)
            self.rate("model_accepted_total", rps * 0.5, accepted="true")
            self.rate("model_accepted_total", rps * 0.5, accepted="false")
            self.rate("model_shadow_comparisons_total", rps * 0.9, agree="true")
            self.rate("model_shadow_comparisons_total", rps * 0.1, agree="false")
            self.latency(0.03, rps=rps)
            self.confidence(0.65, rps=rps)

    def routes(self, rps: float, **shares: float) -> None:
        """Predictions of `rps` a second split over the routes by share (linear=0.95, regex=0.05)."""
        with self.exporter.together():
            for route in ROUTES:
                for label in LABELS:
                    rate = rps * shares.get(route, 0.0) / len(LABELS)
                    self.rate("model_predictions_total", rate, route=route, label=label)

    def labels(self, rps: float, **shares: float) -> None:
        """Predictions of `rps` a second by the linear head split over the labels by share (joy=0.5,
        anger=0.5)."""
        with self.exporter.together():
            for label in LABELS:
                self.rate(
                    "model_predictions_total", rps * shares.get(label, 0.0), route="linear_head", label=label
                )

    def latency(self, seconds: float, *, rps: float = 50.0, route: str = "linear") -> None:
        """All predictions take about `seconds` from now on (they fall into the bucket that holds it)."""
        rates = [rps if seconds <= bound else 0.0 for bound in LATENCY_BOUNDS]
        self._histogram(
            "model_prediction_seconds", LATENCY_BOUNDS, {"route": route}, rates, rps=rps, mean=seconds
        )

    def confidence(self, mean: float, *, rps: float = 50.0) -> None:
        """All predictions have about that confidence from now on."""
        rates = [rps if mean <= bound else 0.0 for bound in CONFIDENCE_BOUNDS]
        self._histogram("model_confidence", CONFIDENCE_BOUNDS, {}, rates, rps=rps, mean=mean)

    def _histogram(
        self,
        name: str,
        bounds: tuple[float, ...],
        labels: dict[str, str],
        per_bound: list[float],
        *,
        rps: float = 0.0,
        mean: float = 0.0,
    ) -> None:
        op = "rate" if per_bound else "set"
        with self.exporter.together():
            for bound, rate in zip(
                (*map(str, bounds), "+Inf"), [*per_bound, rps] if per_bound else [0.0] * 99, strict=False
            ):
                self._do(op, f"{name}_bucket", rate, {**labels, "le": bound})
            self._do(op, f"{name}_sum", rps * mean, labels)
            self._do(op, f"{name}_count", rps, labels)

    def _do(self, op: str, metric: str, value: float, labels: dict[str, str]) -> None:
        full = {"model": self.model, "version": self.version, **labels}
        body = {"op": op, "metric": metric, "labels": full, "value": value}
        self.exporter.control([{"namespace": self.namespace, "pod": self.name, **body}])

    def _pod(self, op: str, value: float | bool = 0.0) -> None:
        self.exporter.control([{"op": op, "namespace": self.namespace, "pod": self.name, "value": value}])
