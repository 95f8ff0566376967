"""The criteria that need no query: names, allowed arguments and units of the presets.

The queries are written in `modelrollout.prometheus`; the series they read are those of the metrics contract.
"""

from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final


class Preset(StrEnum):
    """Names of the presets."""

    ERROR_RATE = "errorRate"
    AVAILABILITY = "availability"
    ROUTE_SHARE = "routeShare"
    FALLBACK_RATE = "fallbackRate"
    LABEL_DRIFT = "labelDrift"
    DIMENSION_MISMATCH = "dimensionMismatch"
    LOW_CONFIDENCE_RATE = "lowConfidenceRate"
    RULE_RATE = "ruleRate"
    ACCEPTED_SHARE = "acceptedShare"
    LATENCY_P50 = "latencyP50"
    LATENCY_P95 = "latencyP95"
    LATENCY_P99 = "latencyP99"
    MEAN_CONFIDENCE = "meanConfidence"
    CONFIDENCE_P90 = "confidenceP90"
    SHADOW_AGREEMENT = "shadowAgreement"
    CONTRACT = "contract"


class Unit(StrEnum):
    """What the value of a criterion is measured in."""

    RATIO = "ratio"
    SECONDS = "seconds"
    COUNT = "count"
    NONE = "none"


@dataclass(frozen=True, kw_only=True)
class PresetInfo:
    """What the schema knows of a preset.

    `args` are allowed, `required` must be given, of `one_of` at least one must be. `is_ratio`: the preset
    yields value and sample count in one answer, so minSamples and confidence work. `suggested` is a
    threshold to start from, as text for the reference.
    """

    summary: str
    unit: Unit
    args: frozenset[str]
    required: frozenset[str] = frozenset()
    one_of: frozenset[str] = frozenset()
    is_ratio: bool = False
    has_samples: bool = True
    suggested: str = ""


COMMON_ARGS: Final = frozenset({"model"})
"""Every preset can be narrowed to one model of a pod that serves several."""

CONTRACT_ARGS: Final = frozenset({"artifactSha256", "configSha256", "dimension", "encoder"})


def _info(
    summary: str,
    unit: Unit,
    *args: str,
    suggested: str,
    required: tuple[str, ...] = (),
    one_of: frozenset[str] = frozenset(),
    samples: bool = True,
) -> PresetInfo:
    return PresetInfo(
        summary=summary,
        unit=unit,
        args=COMMON_ARGS | set(args) | set(required) | one_of,
        required=frozenset(required),
        one_of=one_of,
        is_ratio=unit is Unit.RATIO and samples,
        has_samples=samples,
        suggested=suggested,
    )


PRESETS: Final = MappingProxyType(
    {
        Preset.ERROR_RATE: _info(
            "Share of requests answered with an error (`code`, by default 5..).",
            Unit.RATIO, "code", suggested="max: 1%",
        ),
        Preset.AVAILABILITY: _info(
            "Share of requests not answered with an error (`code`, by default 5..).",
            Unit.RATIO, "code", suggested="min: 99%",
        ),
        Preset.ROUTE_SHARE: _info(
            "Share of predictions that took the route `route`.",
            Unit.RATIO, required=("route",), suggested="min: 90%",
        ),
        Preset.FALLBACK_RATE: _info(
            "Share of predictions that fell back: to the route `route` if given, else for the reason "
            "`reason` if "
            "given, else for any reason.",
            Unit.RATIO, "route", "reason", suggested="max: 2%",
        ),
        Preset.LABEL_DRIFT: _info(
            "Population stability index of the predicted labels, candidate against stable.",
            Unit.NONE, suggested="max: 0.2",
        ),
        Preset.DIMENSION_MISMATCH: _info(
            "Embeddings in the window whose dimension is not what the model expects (on the route `route` "
            "if given).",
            Unit.COUNT, "route", samples=False, suggested="max: 0",
        ),
        Preset.LOW_CONFIDENCE_RATE: _info(
            "Share of predictions under the model's confidence threshold.", Unit.RATIO, suggested="max: 25%",
        ),
        Preset.RULE_RATE: _info(
            "Share of predictions that the rule `rule` (by default any rule) decided; usually a range.",
            Unit.RATIO, "rule", suggested="min: 1%, max: 5%",
        ),
        Preset.ACCEPTED_SHARE: _info(
            "Share of suggestions that users accepted.", Unit.RATIO, suggested="min: 45%",
        ),
        Preset.LATENCY_P50: _info(
            "Median of the prediction time (on the route `route` if given).",
            Unit.SECONDS, "route", suggested="max: 50ms",
        ),
        Preset.LATENCY_P95: _info(
            "95th percentile of the prediction time (on the route `route` if given).",
            Unit.SECONDS, "route", suggested="max: 200ms",
        ),
        Preset.LATENCY_P99: _info(
            "99th percentile of the prediction time (on the route `route` if given).",
            Unit.SECONDS, "route", suggested="max: 500ms",
        ),
        Preset.MEAN_CONFIDENCE: _info(
            "Mean confidence of the predictions.", Unit.NONE, suggested="min: 0.5",
        ),
        Preset.CONFIDENCE_P90: _info(
            "90th percentile of the confidence.", Unit.NONE, suggested="min: 0.7",
        ),
        Preset.SHADOW_AGREEMENT: _info(
            "Share of shadowed requests to which candidate and stable gave the same answer.",
            Unit.RATIO, suggested="min: 75%, pauseBelow: 85%",
        ),
        Preset.CONTRACT: _info(
            "Candidate pods whose artefact, configuration, encoder or dimension is not the expected one, or "
            "whose artefact (`artifact_sha256`) was exchanged while they ran.",
            Unit.COUNT, one_of=CONTRACT_ARGS, samples=False, suggested="max: 0",
        ),
    }
)  # fmt: skip
