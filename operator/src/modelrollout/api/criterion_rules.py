"""What must hold between the fields of one criterion."""

from collections.abc import Iterable
from typing import Any, Final

from modelrollout.api.base import Rule
from modelrollout.api.presets import CONTRACT_ARGS, PRESETS, Preset, Unit

QUERY_VARIABLES: Final = ("candidatePods", "stablePods", "namespace", "window")
"""Names that `${...}` in a query may have."""


def _list(names: Iterable[str]) -> str:
    """Return a list of texts in CEL."""
    return "[" + ", ".join(f"'{name}'" for name in names) + "]"


_ARGS: Final = "{" + ", ".join(f"'{p}': {_list(sorted(info.args))}" for p, info in PRESETS.items()) + "}"
_WITHOUT_SAMPLES: Final = _list(preset for preset, info in PRESETS.items() if not info.has_samples)
_RATIOS: Final = _list(preset for preset, info in PRESETS.items() if info.is_ratio)


def _args_text() -> str:
    """Which presets take which arguments, as half a sentence."""
    takers: dict[str, list[str]] = {}
    for preset, info in PRESETS.items():
        own = sorted(info.args - {"model"})
        if own:
            takers.setdefault(", ".join(own), []).append(preset)
    return "; ".join(f"{', '.join(presets)}: {args}" for args, presets in takers.items())


def unknown_variables(query: str | None) -> bool:
    """Tell whether a query has a `${...}` that is none of the known variables."""
    rest = (query or "").replace("$${", "")  # an escaped one stands for itself
    for name in QUERY_VARIABLES:
        rest = rest.replace("${" + name + "}", "")
    return "${" in rest


def _cel_known_variables(field: str) -> str:
    stripped = "".join(f".replace('${{{name}}}', '')" for name in QUERY_VARIABLES)
    return f"!has(self.{field}) || !self.{field}.replace('$${{', ''){stripped}.contains('${{')"


def _variables_rule(field: str, attribute: str) -> Rule:
    known = ", ".join("${" + name + "}" for name in QUERY_VARIABLES)
    return Rule(
        field=field,
        message=f"contains an unknown ${{...}}; known are {known}",
        cel=_cel_known_variables(field),
        holds=lambda criterion: not unknown_variables(getattr(criterion, attribute)),
    )


def _has_limit(criterion: Any) -> bool:
    bounds = criterion.min is not None or criterion.max is not None
    return bounds != (criterion.compare is not None)


def _units_fit(criterion: Any) -> bool:
    """Tell whether every limit with a unit has one that the preset can have; a query can have any."""
    if criterion.info is None:
        return True
    limits = [limit for limit in (criterion.min, criterion.max, criterion.pause_below) if limit is not None]
    if criterion.info.unit is Unit.SECONDS:
        return not any(limit.unit and not limit.is_time for limit in limits)
    return not any(limit.unit and not limit.is_percent for limit in limits)


def _required_args_given(criterion: Any) -> bool:
    return criterion.info is None or criterion.info.required <= set(criterion.args)


CRITERION_RULES: Final = (
    Rule(
        field="preset",
        message=f"exactly one of preset ({', '.join(PRESETS)}) and query must be given",
        cel="has(self.preset) != has(self.query)",
        holds=lambda c: (c.preset is None) != (c.query is None),
    ),
    Rule(
        field="args",
        message="args belong to a preset; write them into the query",
        cel="!has(self.args) || size(self.args) == 0 || has(self.preset)",
        holds=lambda c: not c.args or c.preset is not None,
    ),
    Rule(
        field="args",
        message=f"an argument is unknown to the preset; every preset takes model, further {_args_text()}",
        cel=f"!has(self.args) || !has(self.preset) || self.args.all(arg, arg in {_ARGS}[self.preset])",
        holds=lambda c: c.info is None or set(c.args) <= c.info.args,
    ),
    Rule(
        field="args",
        message="preset routeShare needs args.route, such as args: {route: linear_head}",
        cel="!has(self.preset) || self.preset != 'routeShare' || (has(self.args) && 'route' in self.args)",
        holds=_required_args_given,
    ),
    Rule(
        field="args",
        message=f"preset contract needs at least one of {', '.join(sorted(CONTRACT_ARGS))} in args",
        cel="!has(self.preset) || self.preset != 'contract' || "
        f"(has(self.args) && self.args.exists(arg, arg in {_list(sorted(CONTRACT_ARGS))}))",
        holds=lambda c: c.preset is not Preset.CONTRACT or bool(CONTRACT_ARGS & set(c.args)),
    ),
    Rule(
        field="samplesQuery",
        message="samplesQuery belongs to query; a preset counts its own samples",
        cel="!has(self.samplesQuery) || has(self.query)",
        holds=lambda c: c.samples_query is None or c.query is not None,
    ),
    _variables_rule("query", "query"),
    _variables_rule("samplesQuery", "samples_query"),
    Rule(
        field="query",
        message="with compare the query must contain ${candidatePods}: it is asked once for each version",
        cel="!has(self.compare) || !has(self.query) || self.query.contains('${candidatePods}')",
        holds=lambda c: c.compare is None or c.query is None or "${candidatePods}" in c.query,
    ),
    Rule(
        field="max",
        message="exactly one form of limit must be given: min and/or max, or compare",
        schema={
            "oneOf": [
                {"required": ["compare"]},
                {"anyOf": [{"required": ["max"]}, {"required": ["min"]}]},
            ]
        },
        holds=_has_limit,
    ),
    Rule(
        field="min",
        message="min must not be above max",
        holds=lambda c: c.min is None or c.max is None or c.min.value <= c.max.value,
    ),
    Rule(
        field="preset",
        message="a limit has a unit that the preset does not have: a latency is a time such as 200ms, "
        "all others are plain numbers or percentages",
        holds=_units_fit,
    ),
    Rule(
        field="pauseBelow",
        message="pauseBelow needs min: below min it fails, between min and pauseBelow it pauses",
        schema={"anyOf": [{"required": ["min"]}, {"not": {"required": ["pauseBelow"]}}]},
        holds=lambda c: c.pause_below is None or c.min is not None,
    ),
    Rule(
        field="pauseBelow",
        message="pauseBelow must be above min",
        holds=lambda c: c.pause_below is None or c.min is None or c.pause_below.value > c.min.value,
    ),
    Rule(
        field="minSamples",
        message="minSamples needs a preset that counts samples (not dimensionMismatch or contract) or "
        "samplesQuery",
        cel="self.minSamples == 0 || has(self.samplesQuery) || "
        f"(has(self.preset) && !(self.preset in {_WITHOUT_SAMPLES}))",
        holds=lambda c: c.min_samples == 0 or c.has_samples,
    ),
    Rule(
        field="confidence",
        message="confidence must be from 0.5 to 0.999",
        # not as minimum and maximum: the API server's sentence cuts such numbers to integers
        cel="!has(self.confidence) || (self.confidence >= 0.5 && self.confidence <= 0.999)",
        holds=lambda c: c.confidence is None or 0.5 <= c.confidence <= 0.999,
    ),
    Rule(
        field="confidence",
        message="confidence needs a ratio with a known number of samples: "
        "a preset that is a share, or query with samplesQuery",
        cel="!has(self.confidence) || has(self.samplesQuery) || "
        f"(has(self.preset) && self.preset in {_RATIOS})",
        holds=lambda c: (
            c.confidence is None or c.samples_query is not None or (c.info is not None and c.info.is_ratio)
        ),
    ),
)
"""In the order of the fields. `c` is a Criterion."""
