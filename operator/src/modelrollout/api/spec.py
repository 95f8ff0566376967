"""The spec of a ModelRollout: what is asked for."""

from enum import StrEnum

from pydantic import Field

from modelrollout.api.base import ADDED_LATER, Bool, Int, NamedList, Rule, SpecModel
from modelrollout.api.criteria import Criterion
from modelrollout.api.durations import Duration, IntOrPercent, PositiveDuration
from modelrollout.api.schedule import Notification, Schedule
from modelrollout.api.spec_rules import SPEC_RULES
from modelrollout.api.workload import (
    Candidate,
    Capacity,
    DnsLabel,
    Stable,
    Traffic,
    Validation,
)


class Approval(StrEnum):
    """Whether a person must agree."""

    NOT_REQUIRED = "NotRequired"
    REQUIRED = "Required"


class OnHoldDeadline(StrEnum):
    """What ends a hold that has lasted too long."""

    PAUSE = "Pause"
    ROLLBACK = "Rollback"


class KeepStable(StrEnum):
    """What stays of stable during observation."""

    FULL = "Full"
    SCALED = "Scaled"
    NONE = "None"


class Step(SpecModel):
    """One step of the traffic."""

    weight: Int = Field(ge=1, le=100, description="Per cent of the traffic for the candidate, rising to 100.")
    duration: Duration | None = Field(
        default=None,
        description="How long the step lasts at least, such as 30m or 24h. Needed by every step but the "
        "last; 0s goes on as soon "
        "as everything passes.",
    )
    approval: Approval = Field(
        default=Approval.NOT_REQUIRED,
        description="Required: after its duration the step waits for `kubectl modelrollout promote`.",
    )

    rules = (
        Rule(
            field="duration",
            message="a step under 100 needs a duration, such as 30m",
            cel="self.weight == 100 || has(self.duration)",
            holds=lambda step: step.weight == 100 or step.duration is not None,
        ),
        Rule(
            field="duration",
            message="the step at 100 has no duration: observation.duration is the time that it is watched",
            cel="self.weight != 100 || !has(self.duration)",
            holds=lambda step: step.weight != 100 or step.duration is None,
        ),
        Rule(
            field="approval",
            message="the step at 100 cannot wait for an approval: put it on the step before",
            cel="self.weight != 100 || self.approval != 'Required'",
            holds=lambda step: step.weight != 100 or step.approval is not Approval.REQUIRED,
        ),
    )


DEFAULT_STEPS = (
    *(Step(weight=weight, duration=Duration("10m")) for weight in (10, 20, 50, 75)),
    Step(weight=100),
)


class Baseline(SpecModel):
    """What is measured on stable before the first step."""

    window: PositiveDuration = Field(
        default=PositiveDuration("24h"),
        description="How far back stable is measured, up to the start of the run.",
    )
    min_samples: Int = Field(
        default=0,
        ge=0,
        le=1_000_000_000,
        description="A criterion that compares with the baseline does not start with fewer samples than "
        "this.",
    )


class Shadow(SpecModel):
    """A phase before the first step in which the candidate only gets copies of requests."""

    duration: PositiveDuration = Field(description="How long the candidate runs in the shadow, such as 48h.")
    replicas: Int = Field(
        default=1, ge=1, le=1000, description="Pods of the candidate in the shadow, beyond spec.replicas."
    )
    approval: Approval = Field(
        default=Approval.NOT_REQUIRED,
        description="Required: a person must agree before clients see the candidate.",
    )


class Observation(SpecModel):
    """A phase after 100 % in which a breach still brings stable back."""

    duration: PositiveDuration = Field(description="How long the new version is watched, such as 7d.")
    keep_stable: KeepStable = Field(
        default=KeepStable.FULL,
        description="What of stable keeps running for a rollback, outside the Service. Full: all of its "
        "pods, beyond spec.replicas and capacity. Scaled: a part. None: nothing, a rollback then starts "
        "pods. Keeping needs a label in the Service's selector that is not in the selector of stable's "
        "Deployment; where there is none, the condition StableKept says so and nothing is kept.",
    )
    scaled: IntOrPercent = Field(
        default=IntOrPercent("25%"),
        description="With keepStable Scaled: how many pods, or which share of spec.replicas.",
    )


class Evaluation(SpecModel):
    """When criteria are evaluated."""

    interval: Duration = Field(
        default=Duration("10s"), description="Time between evaluations, from 1s to 1h."
    )

    rules = (
        Rule(
            field="interval",
            message="interval must be from 1s to 1h, written with ms, s, m or h",
            cel="self.interval.matches('^([0-9]+([.][0-9]+)?(ms|s|m|h))+$') && "
            "duration(self.interval) >= duration('1s') && duration(self.interval) <= duration('1h')",
            holds=lambda evaluation: (
                "d" not in evaluation.interval and 1 <= evaluation.interval.seconds <= 3600
            ),
        ),
    )


class Rollback(SpecModel):
    """How traffic returns to stable."""

    min_capacity: IntOrPercent = Field(
        default=IntOrPercent("50%"),
        description="Ready pods that must always remain, as a number or a percentage of spec.replicas "
        "(rounded up). While the candidate "
        "cannot be removed at once without going lower, its pods go one by one as stable's become ready.",
    )
    immediate: Bool = Field(
        default=False,
        description="Remove the candidate at once, whatever minCapacity says: wrong answers are worse than "
        "none.",
    )


class PrometheusRef(SpecModel):
    """Which Prometheus is asked."""

    name: DnsLabel = Field(
        default="default",
        description="A name from the operator's settings, where the addresses and credentials are; a "
        "resource cannot name an address.",
    )


class ModelRolloutSpec(SpecModel):
    """What is asked for."""

    replicas: Int = Field(
        default=1,
        ge=1,
        le=10_000,
        description="Serving pods in all, of both versions. An HPA or KEDA may target the ModelRollout and "
        "set it.",
    )
    service: DnsLabel = Field(
        description="Service that clients call; it must select the pods of every version."
    )
    stable: Stable | None = Field(
        default=None,
        description="The version in charge when the object is first applied. Without one the first "
        "candidate goes straight to 100 %.",
    )
    candidate: Candidate = Field(
        description="What to roll out. A change starts a new run; setting it back to the stable version "
        "aborts one."
    )
    capacity: Capacity = Field(
        default=Capacity(), description="How many pods more or fewer there may be while traffic moves."
    )
    traffic: Traffic = Field(default=Traffic(), description="How traffic is divided.")
    baseline: Baseline | None = Field(
        default=None,
        description="Measure stable before the first step, for criteria that compare with the baseline.",
    )
    shadow: Shadow | None = Field(
        default=None,
        description="Before the first step, let the candidate answer copies of requests that no client sees.",
    )
    validations: NamedList[Validation] = Field(
        default=(), max_length=20, description="Jobs that must succeed before each increase."
    )
    steps: tuple[Step, ...] = Field(
        default=DEFAULT_STEPS,
        min_length=1,
        max_length=50,
        description="The candidate's share of the traffic, step by step, to 100. By default 10, 20, 50, 75 "
        "for 10 minutes each, then 100.",
    )
    observation: Observation | None = Field(
        default=None, description="After 100 %, keep watching and keep stable ready to take over."
    )
    criteria: NamedList[Criterion] = Field(
        default=(),
        max_length=50,
        description="What the candidate must satisfy. Without any, steps advance by time and readiness "
        "alone.",
    )
    evaluation: Evaluation = Field(default=Evaluation(), description="When criteria are evaluated.")
    rollback: Rollback = Field(default=Rollback(), description="How traffic returns to stable.")
    progress_deadline: PositiveDuration = Field(
        default=PositiveDuration("10m"),
        description="A candidate whose pods make no progress towards readiness for this long is rolled "
        "back. Pauses do not count.",
    )
    hold_deadline: PositiveDuration | None = Field(
        default=None,
        description="How long a run may be held because Prometheus does not answer or has no data; by "
        "default for ever. Pauses do not count.",
    )
    on_hold_deadline: OnHoldDeadline = Field(
        default=OnHoldDeadline.PAUSE,
        description="What is done after holdDeadline. Pause: hold until a person decides, even if data comes "
        "back. Rollback: all traffic back to stable.",
        json_schema_extra=ADDED_LATER,
    )
    paused: Bool = Field(
        default=False, description="Hold where it is until this is false again. Breaches still roll back."
    )
    prometheus: PrometheusRef = Field(default=PrometheusRef(), description="Which Prometheus is asked.")
    schedule: Schedule | None = Field(
        default=None, description="When steps may advance; by default at any time."
    )
    revision_history_limit: Int = Field(
        default=3,
        ge=0,
        le=40,
        description="How many Deployments that the operator made and that no longer serve are kept, the "
        "previous stable version first. Older ones are deleted; yours never are.",
        json_schema_extra=ADDED_LATER,
    )
    notifications: NamedList[Notification] = Field(
        default=(), max_length=10, description="Webhooks that hear of transitions."
    )

    rules = SPEC_RULES
