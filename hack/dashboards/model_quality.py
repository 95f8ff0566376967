"""The dashboard of the models: what the metrics contract says about each version, side by side."""

from __future__ import annotations

from typing import Final

from grafana import Dashboard, Panel, Query, Variable, row, stat, table, timeseries

from modelrollout.api.constants import SHADOW_SUFFIX

CHOSEN: Final = 'namespace="$namespace",model="$model",version=~"$version"'
FOR_CLIENTS: Final = f'pod!~".+{SHADOW_SUFFIX}-[a-z0-9]+-[a-z0-9]{{5}}"'
"""Not the pods of shadow copies: no client sees what they answer."""


def _rate(metric: str, *matchers: str) -> str:
    return f"rate({metric}{{{','.join([CHOSEN, *matchers])}}}[$__rate_interval])"


def _share(part: str, whole: str, by: str = "version") -> str:
    """Return a ratio for each version; nothing where nothing was asked, rather than a division by zero."""
    return f"sum by ({by}) ({part}) / on (version) group_left () (sum by (version) ({whole}) > 0)"


def _plain_share(part: str, whole: str) -> str:
    return f"sum by (version) ({part}) / (sum by (version) ({whole}) > 0)"


def _quantile(metric: str, quantile: float) -> str:
    return f"histogram_quantile({quantile:g}, sum by (le, version) ({_rate(f'{metric}_bucket')}))"


def _per_version(title: str, promql: str, **more: object) -> Panel:
    return timeseries(title, Query(promql=promql, legend="{{version}}"), **more)


PREDICTIONS: Final = _rate("model_predictions_total")
SERVED: Final = _rate("model_requests_total", FOR_CLIENTS)

_TRAFFIC = [
    row("Traffic"),
    timeseries(
        "Canary progress",
        Query(
            promql=f"sum by (version) ({SERVED}) / ignoring (version) group_left () sum({SERVED})",
            legend="{{version}}",
        ),
        unit="percentunit",
        stacked=True,
        minimum=0,
        maximum=1,
        help="The share of the requests that each version answers.",
    ),
    _per_version("Requests", f"sum by (version) ({SERVED})", unit="reqps", minimum=0),
    _per_version(
        "Errors",
        _plain_share(_rate("model_requests_total", FOR_CLIENTS, 'code=~"5.."'), SERVED),
        unit="percentunit",
        minimum=0,
        limit=0.01,
        help="Requests answered with a 5xx.",
    ),
]

_ROUTES = [
    row("Routes and fallbacks"),
    timeseries(
        "Routes",
        Query(promql=_share(PREDICTIONS, PREDICTIONS, "version, route"), legend="{{version}} {{route}}"),
        unit="percentunit",
        minimum=0,
        maximum=1,
        help="The share of the predictions that each route made.",
    ),
    _per_version(
        "Regex fallback",
        _plain_share(_rate("model_predictions_total", 'route="regex"'), PREDICTIONS),
        unit="percentunit",
        minimum=0,
        limit=0.02,
        help="More than 2 % for 15 minutes is too much.",
    ),
    timeseries(
        "Fallbacks by reason",
        Query(promql=f"sum by (reason) ({_rate('model_fallbacks_total')})", legend="{{reason}}"),
        unit="ops",
        stacked=True,
        minimum=0,
    ),
    _per_version(
        "Dimension mismatches",
        f"sum by (version) (increase(model_dimension_mismatches_total{{{CHOSEN}}}[$__rate_interval]))",
        minimum=0,
        limit=0.5,
        help="One is enough: the encoder does not fit the artefacts.",
    ),
    _per_version(
        "Tie-break rule",
        _plain_share(_rate("model_rule_applications_total"), PREDICTIONS),
        unit="percentunit",
        minimum=0,
        help="Expected between 1 and 5 %.",
    ),
    _per_version(
        "Accepted",
        _plain_share(_rate("model_accepted_total", 'accepted="true"'), _rate("model_accepted_total")),
        unit="percentunit",
        minimum=0,
        maximum=1,
    ),
]

_ANSWERS = [
    row("Answers"),
    _per_version(
        "Low confidence",
        _plain_share(_rate("model_low_confidence_total"), PREDICTIONS),
        unit="percentunit",
        minimum=0,
        limit=0.25,
    ),
    timeseries(
        "Confidence",
        Query(
            promql=_plain_share(_rate("model_confidence_sum"), _rate("model_confidence_count")),
            legend="mean {{version}}",
        ),
        Query(promql=_quantile("model_confidence", 0.9), legend="P90 {{version}}"),
        unit="percentunit",
        minimum=0,
        maximum=1,
    ),
    timeseries(
        "Labels",
        Query(promql=_share(PREDICTIONS, PREDICTIONS, "version, label"), legend="{{version}} {{label}}"),
        unit="percentunit",
        minimum=0,
        help="How often each label is the answer; two versions that differ much here differ in what they say.",
    ),
    _per_version(
        "Agreement in the shadow",
        _plain_share(
            _rate("model_shadow_comparisons_total", 'agree="true"'),
            _rate("model_shadow_comparisons_total", 'agree=~"true|false"'),
        ),
        unit="percentunit",
        minimum=0,
        maximum=1,
        limit=0.75,
        help="From 85 % on it goes on, below 75 % it stops.",
    ),
    timeseries(
        "Shadow copies lost",
        Query(promql=f"sum by (reason) ({_rate('model_shadow_dropped_total')})", legend="{{reason}}"),
        unit="ops",
        minimum=0,
    ),
    timeseries(
        "Reloads",
        Query(
            promql=f"sum by (outcome) (increase(model_reloads_total{{{CHOSEN}}}[$__rate_interval]))",
            legend="{{outcome}}",
        ),
        minimum=0,
    ),
]

_LATENCY = [
    row("Latency"),
    *(
        _per_version(f"P{100 * quantile:g}", _quantile("model_prediction_seconds", quantile), unit="s", minimum=0,
                     limit=0.2 if quantile == 0.95 else None)
        for quantile in (0.5, 0.95, 0.99)
    ),
    stat(
        "Versions serving",
        Query(promql=f"count(count by (version) (model_info{{{CHOSEN}}}))"),
        help="Two while a rollout is under way.",
    ),
    table(
        "What they are",
        Query(
            promql=f"count by (version, encoder, dimension, artifact_sha256, config_sha256) (model_info{{{CHOSEN}}})",
            instant=True,
        ),
        width=20,
        height=4,
        help="Pods by version, with the digests of what they loaded.",
    ),
]  # fmt: skip

DASHBOARD: Final = Dashboard(
    uid="modelrollout-models",
    title="ModelRollout / Model quality",
    description="What the metrics contract says about each version of a model, side by side.",
    variables=(
        Variable(name="namespace", label="Namespace", promql="label_values(model_info, namespace)"),
        Variable(
            name="model", label="Model", promql='label_values(model_info{namespace="$namespace"}, model)'
        ),
        Variable(
            name="version",
            label="Version",
            promql='label_values(model_info{namespace="$namespace",model="$model"}, version)',
            every=True,
        ),
    ),
    panels=[*_TRAFFIC, *_ROUTES, *_ANSWERS, *_LATENCY],
)
