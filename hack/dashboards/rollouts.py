"""The dashboard of the rollouts: where each is, why, and how the operator does."""

from __future__ import annotations

from typing import Final

from grafana import Dashboard, Query, Variable, row, stat, states, table, timeseries

ONE: Final = 'namespace="$namespace",name="$name"'


def _q(promql: str, legend: str = "", *, instant: bool = False) -> Query:
    return Query(promql=promql, legend=legend, instant=instant)


def _quantile(histogram: str) -> str:
    return f"histogram_quantile(0.99, sum by (le) (rate({histogram}_bucket[$__rate_interval])))"


def _count(phases: str) -> str:
    """Return how many rollouts are in one of the phases, each counted once while two replicas take turns."""
    return f'count(max by (namespace, name) (modelrollout_phase{{phase=~"{phases}"}})) or vector(0)'


_ALL = [
    row("All rollouts"),
    stat(
        "Under way",
        _q(_count("Validating|Shadow|Progressing|Observing|Paused")),
    ),
    stat("Taken back", _q(_count("RollingBack|RolledBack"))),
    stat("Invalid", _q(_count("Invalid"))),
    table(
        "Where each of them is",
        _q("max by (namespace, name, phase) (modelrollout_phase)", instant=True),
        width=12,
        height=4,
        help="One line for each ModelRollout; its phase is a label.",
    ),
]

_ONE = [
    row("$namespace / $name"),
    timeseries(
        "Weight",
        _q(f"max(modelrollout_weight_desired_percent{{{ONE}}})", "desired"),
        _q(f"max(modelrollout_weight_achievable_percent{{{ONE}}})", "achievable"),
        _q(f"max(modelrollout_weight_observed_percent{{{ONE}}})", "observed"),
        unit="percent",
        minimum=0,
        maximum=100,
        width=12,
        help="Desired is what the step asks for, achievable what whole pods allow of it; observed is read back from the Service's ready endpoints.",
    ),
    states(
        "Phase",
        _q(f"max by (phase) (modelrollout_phase{{{ONE}}})", "{{phase}}"),
        help="One bar for each phase, for as long as the rollout was in it.",
    ),
    timeseries(
        "Step",
        _q(f"max(modelrollout_step{{{ONE}}}) + 1", "step"),
        minimum=0,
        width=6,
        height=6,
        help="The step under way, the first is 1.",
    ),
    states(
        "Criteria that do not pass",
        _q(f'max by (criterion, state) (modelrollout_criterion_state{{{ONE},state!="Pass"}})',
           "{{criterion}}: {{state}}"),
        width=12,
        height=6,
        help="Fail: beyond its limit. NoData and Error: no verdict, the rollout is held unless the criterion lets it go on. Pending: not asked yet.",
    ),
    stat(
        "Taken back by",
        _q(f"sum by (reason, criterion) (increase(modelrollout_rollbacks_total{{{ONE}}}[$__range])) > 0",
           "{{reason}} {{criterion}}"),
        width=6,
        height=6,
        help="Reverts in the time shown, by reason, and by the criterion that caused them.",
        defaults={"noValue": "none"},
    ),
    row("Criteria of $namespace / $name against their limits"),
    timeseries(
        "$criterion",
        _q(f'max(modelrollout_criterion_value{{{ONE},criterion="$criterion"}})', "value"),
        _q(f'max by (bound) (modelrollout_criterion_limit{{{ONE},criterion="$criterion"}})', "{{bound}}"),
        repeat="criterion",
        width=8,
        height=7,
        help="In base units: ratios from 0 to 1, times in seconds.",
    ),
]  # fmt: skip

_OPERATOR = [
    row("The operator"),
    stat("Leaders", _q("sum(modelrollout_leader)"), help="One, always: 0 means that nothing acts."),
    stat("Memory of the leader", _q("max(process_resident_memory_bytes and on (pod) modelrollout_leader == 1)"),
         unit="bytes"),
    stat("CPU of all replicas",
         _q("sum(rate(process_cpu_seconds_total[$__rate_interval]) and on (pod) modelrollout_leader)"),
         unit="percentunit"),
    timeseries(
        "Ticks",
        _q("sum by (outcome) (rate(modelrollout_ticks_total[$__rate_interval]))", "{{outcome}}"),
        unit="ops",
        width=12,
        height=6,
        help="A conflict is made good by the next tick; an error is in the log.",
    ),
    timeseries(
        "Time, 99th percentile",
        _q(_quantile("modelrollout_tick_lag_seconds"), "a tick starts late by"),
        _q(_quantile("modelrollout_tick_seconds"), "a tick"),
        _q(_quantile("modelrollout_evaluation_seconds"), "Prometheus answers"),
        _q(_quantile("modelrollout_reaction_seconds"), "from a breach to written replicas"),
        unit="s",
        minimum=0,
    ),
    timeseries(
        "Requests to Prometheus",
        _q("sum by (target, kind, error) (rate(modelrollout_prometheus_requests_total[$__rate_interval]))",
           "{{target}} {{kind}} {{error}}"),
        unit="reqps",
        minimum=0,
    ),
    timeseries(
        "Requests to the API server",
        _q("sum by (method, kind, status) (rate(modelrollout_api_requests_total[$__rate_interval]))",
           "{{method}} {{kind}} {{status}}"),
        unit="reqps",
        minimum=0,
        help="Next to nothing while no rollout changes.",
    ),
    timeseries(
        "Transitions",
        _q("sum by (reason) (increase(modelrollout_transitions_total[$__rate_interval])) > 0", "{{reason}}"),
        minimum=0,
        width=24,
        height=6,
    ),
]  # fmt: skip

DASHBOARD: Final = Dashboard(
    uid="modelrollout-rollouts",
    title="ModelRollout / Rollouts",
    description="Where every rollout is, its criteria against their limits, and how the operator does.",
    variables=(
        Variable(name="namespace", label="Namespace", promql="label_values(modelrollout_phase, namespace)"),
        Variable(
            name="name",
            label="Rollout",
            promql='label_values(modelrollout_phase{namespace="$namespace"}, name)',
        ),
        Variable(
            name="criterion",
            label="Criterion",
            promql=f"label_values(modelrollout_criterion_value{{{ONE}}}, criterion)",
            every=True,
        ),
    ),
    panels=[*_ALL, *_ONE, *_OPERATOR],
)
