"""Criteria: what is measured on the candidate, the limit, and what happens beyond it."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from modelrollout.api.base import Bool, Float, Int, Rule, SetOf, SpecModel
from modelrollout.api.criterion_rules import CRITERION_RULES
from modelrollout.api.durations import Duration, PositiveDuration, Quantity, UnsignedQuantity
from modelrollout.api.presets import PRESETS, Preset, PresetInfo
from modelrollout.api.workload import DnsLabel

ArgValue = Annotated[str, Field(max_length=256)]


class CompareTo(StrEnum):
    """What a candidate is compared with."""

    BASELINE = "Baseline"
    STABLE = "Stable"


class OnBreach(StrEnum):
    """What a breach does."""

    ROLLBACK = "Rollback"
    PAUSE = "Pause"
    WARN = "Warn"


class NoDataPolicy(StrEnum):
    """What no data means."""

    HOLD = "Hold"
    IGNORE = "Ignore"
    BREACH = "Breach"


class CriterionPhase(StrEnum):
    """Phases in which a criterion is evaluated."""

    SHADOW = "Shadow"
    PROGRESSING = "Progressing"
    OBSERVING = "Observing"


class Compare(SpecModel):
    """A limit relative to what another version measures with the same query."""

    to: CompareTo = Field(
        description="Baseline: what stable measured before the first step (spec.baseline). Stable: what "
        "stable measures at the same moment; only asked while stable is to have traffic, so neither at a "
        "step of 100 nor in the observation."
    )
    max_increase: UnsignedQuantity | None = Field(
        default=None,
        description="How far the candidate may be above: 20% means a fifth more than the other value, 0.02 "
        "or 20ms that much more.",
    )
    max_decrease: UnsignedQuantity | None = Field(
        default=None,
        description="How far the candidate may be below: 10% means a tenth less than the other value, 0.05 "
        "or 20ms that much less.",
    )

    rules = (
        Rule(
            field="maxIncrease",
            message="at least one of maxIncrease and maxDecrease must be given",
            schema={"anyOf": [{"required": ["maxIncrease"]}, {"required": ["maxDecrease"]}]},
            holds=lambda compare: compare.max_increase is not None or compare.max_decrease is not None,
        ),
    )


class Criterion(SpecModel):
    """One measured quantity and its limit."""

    name: DnsLabel = Field(
        description="Name of the criterion, unique in the rollout. Conditions, Events, metrics and the "
        "report use it.",
    )
    preset: Preset | None = Field(
        default=None,
        description="A query that the operator knows, over the series of the metrics contract. Instead of "
        "query.",
    )
    args: Mapping[str, ArgValue] = Field(
        default_factory=dict,
        max_length=8,
        description="Arguments of the preset, as text: {route: regex} for fallbackRate, {dimension: '768'} "
        "for contract. "
        "Every preset takes model.",
    )
    query: str | None = Field(
        default=None,
        min_length=1,
        max_length=4096,
        description="PromQL that yields one number. ${candidatePods} is a regular expression for the pods "
        "of the version "
        "measured, ${stablePods} for those of stable, ${namespace} the namespace, ${window} the window. "
        "Instead of preset.",
    )
    samples_query: str | None = Field(
        default=None,
        min_length=1,
        max_length=4096,
        description="PromQL that yields the number of samples behind query, for minSamples and confidence. "
        "Presets have their own.",
    )
    window: PositiveDuration = Field(
        default=PositiveDuration("5m"),
        description="Time that a preset looks back, and the value of ${window}.",
    )
    min: Quantity | None = Field(
        default=None,
        description="The value must not be lower: a number, or with a unit as in 75%, 200ms, 1Gi.",
    )
    max: Quantity | None = Field(
        default=None,
        description="The value must not be higher: a number, or with a unit as in 2%, 200ms, 1Gi.",
    )
    pause_below: Quantity | None = Field(
        default=None,
        description="With min: a value between min and this does not fail but pauses the run until a person "
        "looks at it.",
    )
    compare: Compare | None = Field(
        default=None, description="A limit relative to the baseline or to stable. Instead of min and max."
    )
    for_: Duration = Field(
        default=Duration("0s"),
        alias="for",
        description="How long the value must be outside its limit, without a break, before onBreach is "
        "done. 0s: at once.",
    )
    min_samples: Int = Field(
        default=0,
        ge=0,
        le=1_000_000_000,
        description="With fewer samples than this in the window there is no verdict (NoData). Needs a "
        "preset that counts samples, "
        "or samplesQuery.",
    )
    confidence: Float | None = Field(
        default=None,
        description="For ratios: judge by the Wilson bounds at this confidence instead of by the bare "
        "value. A breach needs the "
        "nearer bound beyond the limit; going on needs the farther bound within it, or minSamples reached.",
    )
    on_breach: OnBreach = Field(
        default=OnBreach.ROLLBACK,
        description="Rollback: all traffic back to stable. Pause: hold until a person decides. Warn: say so "
        "and go on.",
    )
    no_data: NoDataPolicy = Field(
        default=NoDataPolicy.HOLD,
        description="What no data (an empty answer, NaN, too few samples) means. Hold: neither go on nor go "
        "back. Ignore: as if it "
        "passed. Breach: as if it failed.",
    )
    phases: SetOf[CriterionPhase] = Field(
        default=(CriterionPhase.PROGRESSING, CriterionPhase.OBSERVING),
        min_length=1,
        max_length=3,
        description="When it is evaluated: Shadow, Progressing (the steps), Observing.",
    )
    dry_run: Bool = Field(
        default=False,
        description="Evaluated and reported, but it neither holds, pauses nor rolls back anything.",
    )

    rules = CRITERION_RULES

    @property
    def info(self) -> PresetInfo | None:
        """What the schema knows of its preset; None for a query."""
        return PRESETS[self.preset] if self.preset else None

    @property
    def has_samples(self) -> bool:
        """Whether the number of samples behind the value is known."""
        return self.info.has_samples if self.info else self.samples_query is not None
