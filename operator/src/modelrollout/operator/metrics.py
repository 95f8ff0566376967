"""The operator's own metrics. What describes a rollout is collected from the store when somebody asks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from modelrollout.api.durations import Quantity
from modelrollout.cluster.connection import RequestObserver
from modelrollout.operator.store import Tracked

FAST = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
NAMES = ("namespace", "name")


class OperatorMetrics(RequestObserver):
    """Counters and histograms of what the operator does; also observes its API requests."""

    def __init__(self, rollouts: Callable[[], Iterable[Tracked]]) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.registry.register(RolloutCollector(rollouts))
        own = self.registry
        self.ticks = Counter(
            "modelrollout_ticks", "Ticks, by outcome (done, conflict, error).", ["outcome"], registry=own
        )
        self.tick_seconds = Histogram(
            "modelrollout_tick_seconds", "Duration of a tick.", buckets=FAST, registry=own
        )
        self.tick_lag = Histogram(
            "modelrollout_tick_lag_seconds", "How late a tick started.", buckets=FAST, registry=own
        )
        self.evaluation_seconds = Histogram(
            "modelrollout_evaluation_seconds",
            "From asking Prometheus to its answer, per rollout.",
            buckets=FAST,
            registry=own,
        )
        self.reaction_seconds = Histogram(
            "modelrollout_reaction_seconds",
            "From the evaluation that showed a breach to the written replica counts.",
            buckets=FAST,
            registry=own,
        )
        self.transitions = Counter(
            "modelrollout_transitions", "Transitions, by reason.", ["reason"], registry=own
        )
        self.rollbacks = Counter(
            "modelrollout_rollbacks",
            "Rollouts taken back, by criterion.",
            [*NAMES, "criterion"],
            registry=own,
        )
        self.prometheus_requests = Counter(
            "modelrollout_prometheus_requests",
            "Requests to Prometheus.",
            ["target", "kind", "error"],
            registry=own,
        )
        self.prometheus_seconds = Histogram(
            "modelrollout_prometheus_request_seconds",
            "Their duration.",
            ["target", "kind"],
            buckets=FAST,
            registry=own,
        )
        self.api_requests = Counter(
            "modelrollout_api_requests",
            "Requests to the API server.",
            ["method", "kind", "status"],
            registry=own,
        )
        self.leader = Gauge("modelrollout_leader", "1 on the replica that acts.", registry=own)
        self.notifications = Counter(
            "modelrollout_notifications", "Webhooks called, by outcome.", ["outcome"], registry=own
        )

    def request_done(self, *, method: str, kind: str, status: int) -> None:
        """Counts a request to the API server."""
        self.api_requests.labels(method, kind, str(status) if status else "none").inc()


class PrometheusHooks:
    """Counts requests to Prometheus; called from worker threads."""

    def __init__(self, metrics: OperatorMetrics) -> None:
        self._metrics = metrics

    def request_done(self, *, target: str, kind: str, seconds: float, legs: int, error: str | None) -> None:  # noqa: ARG002
        """`kind` is instant or range, `legs` how many questions travelled in it, `error` its kind or None."""
        self._metrics.prometheus_requests.labels(target, kind, error or "").inc()
        self._metrics.prometheus_seconds.labels(target, kind).observe(seconds)


class RolloutCollector(Collector):
    """Phase, weight and criteria of every rollout, read when scraped."""

    def __init__(self, rollouts: Callable[[], Iterable[Tracked]]) -> None:
        self._rollouts = rollouts

    def describe(self) -> Iterable[Metric]:
        """Nothing: the names are fixed and registering must not walk the store."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """The samples of all rollouts."""
        phase = GaugeMetricFamily(
            "modelrollout_phase", "1 for the phase a rollout is in.", labels=[*NAMES, "phase"]
        )
        desired = GaugeMetricFamily("modelrollout_weight_desired_percent", "Weight asked for.", labels=NAMES)
        observed = GaugeMetricFamily(
            "modelrollout_weight_observed_percent", "Weight read back.", labels=NAMES
        )
        step = GaugeMetricFamily("modelrollout_step", "Index of the step under way, from 0.", labels=NAMES)
        labels = [*NAMES, "criterion"]
        value = GaugeMetricFamily("modelrollout_criterion_value", "Last value, in base units.", labels=labels)
        limit = GaugeMetricFamily("modelrollout_criterion_limit", "Its limit.", labels=[*labels, "bound"])
        state = GaugeMetricFamily(
            "modelrollout_criterion_state", "1 for its state.", labels=[*labels, "state"]
        )
        for rollout in list(self._rollouts()):
            names = [rollout.namespace, rollout.name]
            phase.add_metric([*names, rollout.phase or "Unknown"], 1)
            status = rollout.status
            if status.weight is not None:
                desired.add_metric(names, status.weight.desired)
                if status.weight.observed is not None:
                    observed.add_metric(names, status.weight.observed)
            if status.step is not None:
                step.add_metric(names, status.step.index)
            if rollout.finished:
                continue
            for criterion in status.criteria:
                state.add_metric([*names, criterion.name, criterion.state], 1)
                sample = rollout.samples.get(criterion.name)
                seen = sample.value if sample is not None else criterion.value
                if seen is not None:
                    value.add_metric([*names, criterion.name], seen)
            for name, bound, number in _limits(rollout):
                limit.add_metric([*names, name, bound], number)
        yield from (phase, desired, observed, step, value, limit, state)


def _limits(rollout: Tracked) -> Iterator[tuple[str, str, float]]:
    for criterion in rollout.spec.criteria if rollout.spec else ():
        bounds: dict[str, Quantity | None] = {"max": criterion.max, "min": criterion.min}
        for bound, quantity in bounds.items():
            if quantity is not None:
                yield criterion.name, bound, quantity.value
