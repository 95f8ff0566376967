"""The operator's own metrics. What describes a rollout is collected from the store when somebody asks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from math import isfinite
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from modelrollout.api.conditions import Reason
from modelrollout.api.criteria import CompareTo, Criterion, OnBreach
from modelrollout.api.spec import ModelRolloutSpec
from modelrollout.cluster.cache import ClusterCache
from modelrollout.cluster.client import RequestObserver
from modelrollout.decision import criterion_limit
from modelrollout.operator.rollouts import RolloutState

FAST = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
NAMES = ("namespace", "name")
OTHER_CAUSES: Final = (
    Reason.DEADLINE_EXCEEDED,
    Reason.HOLD_DEADLINE_EXCEEDED,
    Reason.CANDIDATE_DELETED,
    Reason.ABORTED,
    Reason.ROLLED_BACK_BY_COMMAND,
    Reason.SUPERSEDED,
)
"""Why traffic goes back although no criterion was breached. Not Deleted: its counter goes with the object."""
GAUGES: Final[Mapping[str, tuple[str, tuple[str, ...]]]] = {
    "modelrollout_phase": ("1 for the phase a rollout is in.", ("phase",)),
    "modelrollout_weight_desired_percent": ("Weight asked for.", ()),
    "modelrollout_weight_achievable_percent": ("The nearest weight that whole pods allow.", ()),
    "modelrollout_weight_observed_percent": ("Weight read back.", ()),
    "modelrollout_step": ("Index of the step under way, from 0.", ()),
    "modelrollout_criterion_value": ("Last value, in base units.", ("criterion",)),
    "modelrollout_criterion_limit": ("Its limits (max, min, pauseBelow).", ("criterion", "bound")),
    "modelrollout_criterion_state": ("1 for its state.", ("criterion", "state")),
    "modelrollout_criterion_holds": ("1 while it keeps the rollout from going on.", ("criterion",)),
}
"""What is told of each rollout: help, and labels besides its namespace and name."""
ROLLBACKS: Final = "modelrollout_rollbacks"
Sample = tuple[str, tuple[str, ...], float]
"""A family of the above, the values of its labels, and the value."""


class OperatorMetrics(RequestObserver):
    """Counters and histograms of what the operator does; also observes its API requests."""

    def __init__(self, leading: Callable[[], bool]) -> None:
        self._leading = leading
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.ticks = self._counter(
            "modelrollout_ticks", "Ticks, by outcome (done, conflict, error).", "outcome"
        )
        self.tick_seconds = self._seconds("modelrollout_tick_seconds", "Duration of a tick.")
        self.tick_lag = self._seconds("modelrollout_tick_lag_seconds", "How late a tick started.")
        self.evaluation_seconds = self._seconds(
            "modelrollout_evaluation_seconds", "From asking Prometheus to its answer, per rollout."
        )
        self.reaction_seconds = self._seconds(
            "modelrollout_reaction_seconds",
            "From the evaluation that showed a breach to the written replica counts.",
        )
        self.transitions = self._counter("modelrollout_transitions", "Transitions, by reason.", "reason")
        for reason in Reason:  # a counter that is born at 1 hides its first increase
            self.transitions.labels(reason)
        self.prometheus_requests = self._counter(
            "modelrollout_prometheus_requests", "Requests to Prometheus.", "target", "kind", "error"
        )
        self.prometheus_seconds = self._seconds(
            "modelrollout_prometheus_request_seconds", "Their duration.", "target", "kind"
        )
        self.api_requests = self._counter(
            "modelrollout_api_requests", "Requests to the API server.", "method", "kind", "status"
        )
        self._gauge("modelrollout_leader", "1 on the replica that acts.").set_function(leading)
        self._clock_skew = self._gauge(
            "modelrollout_clock_skew_seconds",
            "Seconds by which the clock of the operator's node is ahead of the API server's.",
        )
        self.notifications = self._counter(
            "modelrollout_notifications", "Webhooks called, by outcome.", "outcome"
        )

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(name, text, labels, registry=self.registry)

    def _seconds(self, name: str, text: str, *labels: str) -> Histogram:
        return Histogram(name, text, labels, buckets=FAST, registry=self.registry)

    def _gauge(self, name: str, text: str) -> Gauge:
        return Gauge(name, text, registry=self.registry)

    def describe(self, rollouts: Iterable[RolloutState]) -> None:
        """Tell of these rollouts whenever it is scraped."""
        self.registry.register(RolloutCollector(rollouts, self._leading))

    def watch_clock(self, skew: Callable[[], float]) -> None:
        """Tell the skew whenever it is scraped."""
        self._clock_skew.set_function(skew)

    def request_done(self, *, method: str, kind: str, status: int) -> None:
        """Count a request to the API server."""
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
    """Phase, weight, criteria and reverts of every rollout, read when scraped.

    Only the replica that leads tells them: the others know the same objects, but measure nothing.
    """

    def __init__(self, rollouts: Iterable[RolloutState], leading: Callable[[], bool]) -> None:
        self._rollouts = rollouts
        self._leading = leading

    def describe(self) -> Iterable[Metric]:
        """Nothing: the names are fixed and registering must not walk the store."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Yield the samples of all rollouts."""
        families: dict[str, GaugeMetricFamily | CounterMetricFamily] = {
            name: GaugeMetricFamily(name, text, labels=[*NAMES, *labels])
            for name, (text, labels) in GAUGES.items()
        }
        families[ROLLBACKS] = CounterMetricFamily(
            ROLLBACKS,
            "Rollouts rolled back, by reason, and by criterion where one was the reason.",
            labels=[*NAMES, "criterion", "reason"],
        )
        for rollout in list(self._rollouts) if self._leading() else ():
            for family, labels, value in _samples(rollout):
                families[family].add_metric([rollout.namespace, rollout.name, *labels], value)
        yield from families.values()


class CacheCollector(Collector):
    """How current what is known of the cluster is, by kind. Every replica tells its own."""

    def __init__(self, cache: ClusterCache) -> None:
        self._cache = cache

    def describe(self) -> Iterable[Metric]:
        """Nothing: the names are fixed."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Two samples a kind."""
        age = GaugeMetricFamily(
            "modelrollout_cache_age_seconds", "Seconds since the watch of a kind was heard.", labels=["kind"]
        )
        stale = GaugeMetricFamily(
            "modelrollout_cache_stale",
            "1 while what is known of a kind may be out of date.",
            labels=["kind"],
        )
        for watch in self._cache.watches:
            age.add_metric([watch.plural], watch.age)
            stale.add_metric([watch.plural], bool(watch.stale()))
        yield from (age, stale)


def _samples(rollout: RolloutState) -> Iterator[Sample]:
    spec, status = rollout.parsed
    yield "modelrollout_phase", (rollout.phase or "Unknown",), 1
    if status.weight is not None:
        yield "modelrollout_weight_desired_percent", (), status.weight.desired
        yield "modelrollout_weight_achievable_percent", (), status.weight.achievable
        if status.weight.observed is not None:
            yield "modelrollout_weight_observed_percent", (), status.weight.observed
    if status.step is not None:
        yield "modelrollout_step", (), status.step.index
    yield from _rollbacks(rollout, spec)
    if rollout.finished:
        return
    for criterion in status.criteria:
        name = criterion.name
        yield "modelrollout_criterion_state", (name, criterion.state), 1
        if rollout.blocking_criteria is not None:
            yield "modelrollout_criterion_holds", (name,), name in rollout.blocking_criteria
        sample = rollout.samples.get(name)
        seen = sample.value if sample is not None else criterion.value
        if seen is not None:
            yield "modelrollout_criterion_value", (name,), seen
    for criterion_spec in spec.criteria if spec else ():
        yield from _limits(rollout, criterion_spec)


def _rollbacks(rollout: RolloutState, spec: ModelRolloutSpec | None) -> Iterator[Sample]:
    """Yield every cause from the start, at 0: of a counter that is born at 1 `increase` never sees the first.

    One that has ended has no zeros: most rollouts have, and each series costs at every scrape.
    """
    causes = {} if rollout.finished else {("", str(reason)): 0 for reason in OTHER_CAUSES}
    for criterion in spec.criteria if spec and not rollout.finished else ():
        if criterion.on_breach is OnBreach.ROLLBACK and not criterion.dry_run:
            causes[criterion.name, str(Reason.CRITERION_BREACHED)] = 0
    for cause, count in (causes | rollout.rollbacks).items():
        yield ROLLBACKS, cause, count


def _limits(rollout: RolloutState, criterion: Criterion) -> Iterator[Sample]:
    """Yield the limits of a criterion; of one that compares only where what it compares with is known."""
    limit = criterion_limit(criterion, _reference(rollout, criterion))
    if limit is None:
        return
    for bound, number in (("max", limit.high), ("min", limit.low), ("pauseBelow", limit.pause_below)):
        if isfinite(number):
            yield "modelrollout_criterion_limit", (criterion.name, bound), number


def _reference(rollout: RolloutState, criterion: Criterion) -> float | None:
    if criterion.compare is None:
        return None
    if criterion.compare.to is CompareTo.BASELINE:
        baseline = rollout.parsed[1].baseline
        return next((entry.value for entry in baseline if entry.criterion == criterion.name), None)
    sample = rollout.samples.get(criterion.name)
    return sample.reference if sample is not None else None
