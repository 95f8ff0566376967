"""What must hold between the parts of a spec."""

from itertools import pairwise
from typing import Any

from modelrollout.api.base import Rule


def _increasing(spec: Any) -> bool:
    weights = [step.weight for step in spec.steps]
    return all(earlier < later for earlier, later in pairwise(weights))


def _no_criterion_only_in(spec: Any, phase: str) -> bool:
    return all(criterion.phases != (phase,) for criterion in spec.criteria)


def _validated_weights_exist(spec: Any) -> bool:
    weights = {step.weight for step in spec.steps}
    return all(weights >= set(validation.before_weights) for validation in spec.validations)


SPEC_RULES = (
    Rule(
        field="steps",
        message="weights must rise from step to step",
        cel="self.steps.map(s, s.weight).isSorted() && "
        "self.steps.all(s, self.steps.exists_one(other, other.weight == s.weight))",
        holds=_increasing,
    ),
    Rule(
        field="steps",
        message="the last step must have weight 100",
        cel="size(self.steps) == 0 || self.steps[size(self.steps) - 1].weight == 100",
        holds=lambda spec: spec.steps[-1].weight == 100,
    ),
    Rule(
        field="stable",
        message="a candidate made of image, env, args or command is a copy of stable: stable.deployment "
        "must be given",
        cel="has(self.stable) || has(self.candidate.deployment)",
        holds=lambda spec: spec.stable is not None or not spec.candidate.is_copy,
    ),
    Rule(
        field="baseline",
        message="a criterion compares with the baseline: baseline must be given, such as baseline: {window: "
        "24h}",
        cel="has(self.baseline) || !has(self.criteria) || "
        "self.criteria.all(c, !has(c.compare) || c.compare.to != 'Baseline')",
        holds=lambda spec: (
            spec.baseline is not None
            or all(c.compare is None or c.compare.to != "Baseline" for c in spec.criteria)
        ),
    ),
    Rule(
        field="shadow",
        message="a criterion is for the phase Shadow alone, but there is no shadow",
        cel="has(self.shadow) || !has(self.criteria) || self.criteria.all(c, c.phases != ['Shadow'])",
        holds=lambda spec: spec.shadow is not None or _no_criterion_only_in(spec, "Shadow"),
    ),
    Rule(
        field="observation",
        message="a criterion is for the phase Observing alone, but there is no observation",
        cel="has(self.observation) || !has(self.criteria) || self.criteria.all(c, c.phases != ['Observing'])",
        holds=lambda spec: spec.observation is not None or _no_criterion_only_in(spec, "Observing"),
    ),
    Rule(
        field="validations",
        message="beforeWeights must be weights of steps",
        cel="!has(self.validations) || self.validations.all(v, !has(v.beforeWeights) || "
        "v.beforeWeights.all(w, self.steps.exists(s, s.weight == w)))",
        holds=_validated_weights_exist,
    ),
)
