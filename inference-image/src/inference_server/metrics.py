"""The metrics contract, exactly: every series carries model and version, every known counter exists at zero.

One :class:`ServerMetrics` a process, one :class:`ModelMetrics` a model and version. A version that was
swapped out keeps its counters (a rate over both stays right), but its ``model_info`` goes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.metrics_core import Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from inference_server.predictors.base import ModelInfo, Prediction
from inference_server.predictors.kinds import LabelSets

IDENTITY: Final = ("model", "version")
CODES: Final = ("200", "400", "404", "408", "413", "422", "500", "503")
"""Every status code that a request for a prediction can get from this server."""
AGREEMENTS: Final = ("true", "false", "none")
SHADOW_DROPS: Final = ("queue_full", "breaker_open", "error", "timeout", "refused")
RELOAD_OUTCOMES: Final = ("success", "failure", "refused")
LOG_DROPS: Final = ("queue_full", "write_failed")
# Finer than the library's defaults around the limits people set: 50, 100 and 200 ms.
LATENCY_BUCKETS: Final = (
    *(0.001, 0.002, 0.003, 0.004, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.04, 0.05, 0.06, 0.08, 0.1, 0.125),
    *(0.15, 0.175, 0.2, 0.225, 0.25, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 10.0),
)
CONFIDENCE_BUCKETS: Final = tuple(step / 20 for step in range(1, 21))


# Times of birth would double the number of series, and the contract does not know them.
disable_created_metrics()  # type: ignore[no-untyped-call]


@dataclass(frozen=True, slots=True)
class Identity:
    """Name and version that every series carries."""

    model: str
    version: str


class ServerMetrics:
    """All metric families of one process, in a registry of their own.

    Args:
        label_sets: of the kind of predictor that the process serves.
    """

    def __init__(self, label_sets: LabelSets) -> None:
        self.registry = CollectorRegistry()
        self.label_sets = label_sets

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(name, text, (*IDENTITY, *labels), registry=self.registry)

        self.info = Gauge(
            "model_info",
            "1 for the model that serves; its digests, encoder and dimension are labels.",
            (*IDENTITY, "artifact_sha256", "encoder", "dimension", "config_sha256"),
            registry=self.registry,
        )
        self.requests = counter("model_requests", "Requests for predictions by HTTP status code.", "code")
        self.predictions = counter("model_predictions", "Predictions by route and label.", "route", "label")
        self.fallbacks = counter("model_fallbacks", "Routes left for the next one, by reason.", "reason")
        self.mismatches = counter(
            "model_dimension_mismatches",
            "Predictions whose route does not fit the encoder's dimension.",
            "route",
        )
        self.low_confidence = counter("model_low_confidence", "Predictions below the confidence threshold.")
        self.rules = counter("model_rule_applications", "Predictions decided by a tie-break rule.", "rule")
        self.accepted = counter(
            "model_accepted",
            "Predictions that a client may act on: confident and not by the last route.",
            "accepted",
        )
        self.seconds = Histogram(
            "model_prediction_seconds",
            "Time from a request's last byte to its answer, waiting included, counted once for each text.",
            (*IDENTITY, "route"),
            buckets=LATENCY_BUCKETS,
            registry=self.registry,
        )
        self.confidence = Histogram(
            "model_confidence", "Confidence of each prediction.", IDENTITY, buckets=CONFIDENCE_BUCKETS,
            registry=self.registry,
        )  # fmt: skip
        self.comparisons = counter(
            "model_shadow_comparisons", "Requests compared with another server's answer.", "agree"
        )
        self.shadow_dropped = counter(
            "model_shadow_dropped", "Copies of requests that reached no other server.", "reason"
        )
        self.reloads = counter("model_reloads", "Attempts to load other artefacts while serving.", "outcome")
        self.log_dropped = counter("model_log_dropped", "Records missing in the prediction log.", "reason")
        self.queue_depth = Gauge(
            "model_queue_texts", "Texts that wait for a free worker.", IDENTITY, registry=self.registry
        )
        self.own: dict[str, Counter | Gauge] = {
            family.name: (Counter if family.type == "counter" else Gauge)(
                family.name, family.text, (*IDENTITY, *family.labels), registry=self.registry
            )
            for family in label_sets.families
        }
        self._process = _LabelledProcess()
        self.registry.register(self._process)

    def model(self, identity: Identity, info: ModelInfo) -> ModelMetrics:
        """Make all series of a model exist at zero and declare it as the one that serves."""
        self.info.clear()
        self.info.labels(
            identity.model,
            identity.version,
            info.artifact_sha256,
            info.encoder,
            str(info.dimension),
            info.config_sha256,
        ).set(1)
        self._process.identity = identity
        return ModelMetrics(self, identity, info)

    def page(self) -> bytes:
        """Return the page that Prometheus scrapes, in its text format."""
        return generate_latest(self.registry)


@dataclass(slots=True)
class ModelMetrics:
    """The series of one model and version; safe to use from several threads."""

    families: ServerMetrics
    identity: Identity
    info: ModelInfo
    _ids: tuple[str, str] = field(init=False)

    def __post_init__(self) -> None:
        self._ids = (self.identity.model, self.identity.version)
        families, ids = self.families, self._ids
        sets = families.label_sets
        for counter, values in (
            (families.requests, CODES),
            (families.fallbacks, sets.fallback_reasons),
            (families.mismatches, sets.routes),
            (families.rules, sets.rules),
            (families.accepted, ("true", "false")),
            (families.comparisons, AGREEMENTS),
            (families.shadow_dropped, SHADOW_DROPS),
            (families.reloads, RELOAD_OUTCOMES),
            (families.log_dropped, LOG_DROPS),
        ):
            for value in values:
                counter.labels(*ids, value)
        for route in sets.routes:
            families.seconds.labels(*ids, route)
            for label in self.info.labels:
                families.predictions.labels(*ids, route, label)
        for family in sets.families:
            for combination in product(*family.labels.values()):
                families.own[family.name].labels(*ids, *combination)
        families.low_confidence.labels(*ids)
        families.confidence.labels(*ids)
        families.queue_depth.labels(*ids)

    def prediction(self, prediction: Prediction, *, seconds: float) -> None:
        """Count one answered text that took ``seconds`` from the end of its request's body."""
        families, ids = self.families, self._ids
        families.predictions.labels(*ids, prediction.route, prediction.label).inc()
        families.seconds.labels(*ids, prediction.route).observe(seconds)
        families.confidence.labels(*ids).observe(prediction.confidence)
        families.accepted.labels(*ids, "true" if self.accepts(prediction) else "false").inc()
        for reason in prediction.fallbacks:
            families.fallbacks.labels(*ids, reason).inc()
        for route in prediction.dimension_mismatches:
            families.mismatches.labels(*ids, route).inc()
        if prediction.low_confidence:
            families.low_confidence.labels(*ids).inc()
        if prediction.rule is not None:
            families.rules.labels(*ids, prediction.rule).inc()

    def accepts(self, prediction: Prediction) -> bool:
        """Tell whether a client may act on the prediction: confident, and not answered by the last resort."""
        return not prediction.low_confidence and prediction.route != self.families.label_sets.last_resort

    def count(self, name: str, amount: float = 1, **labels: str) -> None:
        """Add to a counter of the kind's own."""
        counter = self._own(name, labels)
        assert isinstance(counter, Counter)
        counter.inc(amount)

    def set(self, name: str, value: float, **labels: str) -> None:
        """Set a gauge of the kind's own."""
        gauge = self._own(name, labels)
        assert isinstance(gauge, Gauge)
        gauge.set(value)

    def _own(self, name: str, labels: Mapping[str, str]) -> Counter | Gauge:
        family = next(family for family in self.families.label_sets.families if family.name == name)
        for label, values in family.labels.items():
            if labels.get(label) not in values:
                # A programming error: what a client sends must never become the value of a label.
                raise ValueError(f"{name} has no {label}={labels.get(label)!r}; it has {', '.join(values)}.")
        return self.families.own[name].labels(*self._ids, *(labels[label] for label in family.labels))

    def request(self, code: int) -> None:
        """Count one finished request for predictions."""
        self.families.requests.labels(*self._ids, str(code)).inc()

    def comparison(self, agree: str) -> None:
        """Count one comparison; ``agree`` is one of :data:`AGREEMENTS`."""
        self.families.comparisons.labels(*self._ids, agree).inc()

    def shadow_drop(self, reason: str) -> None:
        """Count one copy that was not compared; ``reason`` is one of :data:`SHADOW_DROPS`."""
        self.families.shadow_dropped.labels(*self._ids, reason).inc()

    def reload(self, outcome: str) -> None:
        """Count one attempt to reload; ``outcome`` is one of :data:`RELOAD_OUTCOMES`."""
        self.families.reloads.labels(*self._ids, outcome).inc()

    def log_drop(self, reason: str) -> None:
        """Count one record that is missing in the log; ``reason`` is one of :data:`LOG_DROPS`."""
        self.families.log_dropped.labels(*self._ids, reason).inc()

    def queue(self, texts: int) -> None:
        """Set how many texts wait."""
        self.families.queue_depth.labels(*self._ids).set(texts)


class _LabelledProcess(Collector):
    """The library's process metrics (memory, CPU, open files) with our identity on them."""

    def __init__(self) -> None:
        self.identity: Identity | None = None
        self._collector = ProcessCollector(registry=CollectorRegistry())

    def collect(self) -> Iterator[Metric]:
        if self.identity is None:
            return
        labels = {"model": self.identity.model, "version": self.identity.version}
        for metric in self._collector.collect():
            labelled = Metric(metric.name, metric.documentation, metric.type)
            for sample in metric.samples:
                labelled.add_sample(sample.name, {**sample.labels, **labels}, sample.value)
            yield labelled
