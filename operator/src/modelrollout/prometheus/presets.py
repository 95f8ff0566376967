"""The PromQL of the presets, as templates over the series of the metrics contract.

Every template asks about `${candidatePods}` in `${namespace}` over `${window}`. A ratio is guarded by `> 0`
on its
denominator: nothing asked means an empty answer, which is NoData, never 0 and never a division by zero. A
    numerator
whose label values a server cannot know beforehand (`code`) or that are fixed by the contract (`accepted`,
`agree`) counts as 0 where it is missing; one that the user named (`route`, `reason`, `rule`) does not: a
misspelt route must not look like a perfect score.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from modelrollout.api.presets import PRESETS, Preset
from modelrollout.prometheus.errors import TemplateError
from modelrollout.prometheus.templating import quoted

Args = Mapping[str, str]

PSI_FLOOR: Final = "0.0001"
"""A label that one side never predicts counts as one in ten thousand, or the index would be infinite."""

_REMEMBERED: Final = "1d"
"""How long it is known which artefacts a pod has served."""
_LONGEST_GAP: Final = "1d:5m"
"""How long ago the last scrape before a gap may have been, and how closely it is looked for: one look in five
minutes finds every sample, as an instant selector looks back so far."""

_CONTRACT_LABELS: Final = {
    "artifactSha256": "artifact_sha256",
    "configSha256": "config_sha256",
    "dimension": "dimension",
    "encoder": "encoder",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class PresetQuery:
    """Two PromQL templates.

    The value and the number of samples behind it (None where counting makes no sense).
    """

    value: str
    count: str | None = None


def preset_query(preset: Preset, args: Args) -> PresetQuery:
    """Return the templates of a preset.

    Raises:
        TemplateError: An argument that the preset does not take, or one that is missing.
    """
    info = PRESETS[preset]
    for name in args:
        if name not in info.args:
            raise TemplateError(f"preset {preset} takes no argument {name!r}; it takes {_listed(info.args)}")
    for name in info.required:
        if name not in args:
            raise TemplateError(f"preset {preset} needs the argument {name!r}")
    if info.one_of and not info.one_of & args.keys():
        raise TemplateError(f"preset {preset} needs at least one of {_listed(info.one_of)}")
    return _BUILDERS[preset](args)


def _listed(names: frozenset[str]) -> str:
    return ", ".join(sorted(names))


def _select(metric: str, args: Args, *matchers: str, pods: str = "candidatePods") -> str:
    parts = ['namespace="${namespace}"', f'pod=~"${{{pods}}}"']
    if model := args.get("model"):
        parts.append(f'model="{_literal(model)}"')
    return f"{metric}{{{','.join([*parts, *matchers])}}}"


def _literal(text: str) -> str:
    """Quoted for PromQL, and kept from being read as a placeholder."""
    return quoted(text).replace("${", "$${")


def _equal(label: str, args: Args, name: str | None = None) -> tuple[str, ...]:
    value = args.get(name or label)
    return () if value is None else (f'{label}="{_literal(value)}"',)


def _increase(selector: str) -> str:
    return f"sum(increase({selector}[${{window}}]))"


def _ratio(part: str, whole: str, *, born_late: bool = False) -> PresetQuery:
    """`part / whole`; `born_late`: a part without any series is 0 as long as the whole has some."""
    numerator = f"({_increase(part)} or vector(0))" if born_late else _increase(part)
    return PresetQuery(value=f"{numerator} / ({_increase(whole)} > 0)", count=_increase(whole))


def _error_rate(args: Args) -> PresetQuery:
    code = _literal(args.get("code", "5.."))
    errors = _select("model_requests_total", args, f'code=~"{code}"')
    return _ratio(errors, _select("model_requests_total", args), born_late=True)


def _availability(args: Args) -> PresetQuery:
    errors = _error_rate(args)
    return PresetQuery(value=f"1 - {errors.value}", count=errors.count)


def _route_share(args: Args) -> PresetQuery:
    predictions = "model_predictions_total"
    return _ratio(_select(predictions, args, *_equal("route", args)), _select(predictions, args))


def _fallback_rate(args: Args) -> PresetQuery:
    if "route" in args and "reason" in args:
        raise TemplateError(
            "preset fallbackRate takes route or reason, not both: they count different things"
        )
    if "route" in args:
        return _route_share(args)
    fallbacks = _select("model_fallbacks_total", args, *_equal("reason", args))
    return _ratio(fallbacks, _select("model_predictions_total", args))


def _label_drift(args: Args) -> PresetQuery:
    candidate = _select("model_predictions_total", args)
    stable = _select("model_predictions_total", args, pods="stablePods")

    def by_label(selector: str) -> str:
        return f"sum by (label) (increase({selector}[${{window}}]))"

    def share(own: str, other: str) -> str:
        # A label that only the other version predicts must take part, with the floor as its share.
        counts = f"({by_label(own)} or 0 * {by_label(other)})"
        return f"clamp_min({counts} / on () group_left () ({_increase(own)} > 0), {PSI_FLOOR})"

    p, q = share(candidate, stable), share(stable, candidate)
    smaller = f'min({_increase(candidate)} or label_replace({_increase(stable)}, "side", "stable", "", ""))'
    return PresetQuery(value=f"sum(({p} - {q}) * ln({p} / {q}))", count=smaller)


def _dimension_mismatch(args: Args) -> PresetQuery:
    """Count events in the window, also those that came before the first scrape or while nothing was scraped.

    `increase` sees a counter only from its first sample on, so one that appears at 1 would never be noticed.
    So the total of now is compared with the last one known before the window, however long scraping was
    interrupted in the last day. Where none is known, or the counter was reset, all that it counts is new.
    """
    selector = _select("model_dimension_mismatches_total", args, *_equal("route", args))
    series = f"{selector}[${{window}}]"
    total = f"max_over_time({series})"
    before = (
        f"(last_over_time({series} offset ${{window}})"
        f" or last_over_time({selector}[{_LONGEST_GAP}] offset ${{window}}))"
    )
    since = f"({total} - {before} >= 0 or {total})"
    return PresetQuery(value=f"sum(increase({series}) > {since} or {since})")


def _per_prediction(metric: str, *labels: str) -> Callable[[Args], PresetQuery]:
    def build(args: Args) -> PresetQuery:
        matchers = [matcher for label in labels for matcher in _equal(label, args)]
        return _ratio(_select(metric, args, *matchers), _select("model_predictions_total", args))

    return build


def _accepted_share(args: Args) -> PresetQuery:
    accepted = _select("model_accepted_total", args, 'accepted="true"')
    return _ratio(accepted, _select("model_accepted_total", args), born_late=True)


def _shadow_agreement(args: Args) -> PresetQuery:
    """`none` (no comparison was possible) is neither agreement nor disagreement."""
    metric = "model_shadow_comparisons_total"
    compared = _select(metric, args, 'agree=~"true|false"')
    return _ratio(_select(metric, args, 'agree="true"'), compared, born_late=True)


def _quantile(metric: str, quantile: str, *labels: str) -> Callable[[Args], PresetQuery]:
    def build(args: Args) -> PresetQuery:
        matchers = [matcher for label in labels for matcher in _equal(label, args)]
        buckets = f"sum by (le) (rate({_select(f'{metric}_bucket', args, *matchers)}[${{window}}]))"
        count = _increase(_select(f"{metric}_count", args, *matchers))
        return PresetQuery(value=f"histogram_quantile({quantile}, {buckets})", count=count)

    return build


def _mean_confidence(args: Args) -> PresetQuery:
    return _ratio(_select("model_confidence_sum", args), _select("model_confidence_count", args))


def _contract(args: Args) -> PresetQuery:
    """Count pods that do not say what is expected of them, or whose artefact changed while they ran.

    0 only if at least one pod says anything.

    A rollout replaces pods and never changes what one of them serves, so a pod of which two digests are known
    has had its model exchanged behind the operator's back. Pods that are gone do not count.
    """
    expected = [m for name, label in _CONTRACT_LABELS.items() for m in _equal(label, args, name)]
    everyone, good = _select("model_info", args), _select("model_info", args, *expected)
    digests = f"count by (pod, model, artifact_sha256) (last_over_time({everyone}[{_REMEMBERED}]))"
    changed = f"count by (pod) (count by (pod, model) ({digests}) > 1) and on (pod) {everyone}"
    unexpected = f"count by (pod) ({everyone} unless {good})"
    return PresetQuery(value=f"count({unexpected} or ({changed})) or 0 * count({everyone})")


_BUILDERS: Final[Mapping[Preset, Callable[[Args], PresetQuery]]] = MappingProxyType(
    {
        Preset.ERROR_RATE: _error_rate,
        Preset.AVAILABILITY: _availability,
        Preset.ROUTE_SHARE: _route_share,
        Preset.FALLBACK_RATE: _fallback_rate,
        Preset.LABEL_DRIFT: _label_drift,
        Preset.DIMENSION_MISMATCH: _dimension_mismatch,
        Preset.LOW_CONFIDENCE_RATE: _per_prediction("model_low_confidence_total"),
        Preset.RULE_RATE: _per_prediction("model_rule_applications_total", "rule"),
        Preset.ACCEPTED_SHARE: _accepted_share,
        Preset.LATENCY_P50: _quantile("model_prediction_seconds", "0.5", "route"),
        Preset.LATENCY_P95: _quantile("model_prediction_seconds", "0.95", "route"),
        Preset.LATENCY_P99: _quantile("model_prediction_seconds", "0.99", "route"),
        Preset.MEAN_CONFIDENCE: _mean_confidence,
        Preset.CONFIDENCE_P90: _quantile("model_confidence", "0.9"),
        Preset.SHADOW_AGREEMENT: _shadow_agreement,
        Preset.CONTRACT: _contract,
    }
)
