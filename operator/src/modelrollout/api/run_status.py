"""What status remembers of a run: where it is, since when, and what holds it up."""

from enum import StrEnum
from typing import Any

from pydantic import Field

from modelrollout.api.base import Message, StatusModel, Timestamp
from modelrollout.api.conditions import Phase

NAME_LENGTH = 253


def message_field(text: str) -> Any:
    """Return a field for a sentence with that description, empty by default."""
    return Field(default="", description=text)


class RunResult(StrEnum):
    """How a run ended."""

    SUCCEEDED = "Succeeded"
    ROLLED_BACK = "RolledBack"
    ABORTED = "Aborted"
    SUPERSEDED = "Superseded"


class RunStatus(StatusModel):
    """The run under way, or the last one while its outcome stands."""

    id: str = Field(max_length=64, description="Identifies the run, also on everything made for it.")
    candidate: str = Field(max_length=NAME_LENGTH, description="Deployment of the candidate.")
    fingerprint: str = Field(
        default="",
        max_length=64,
        description="Digest of what spec.candidate asks for; a change starts a new run.",
    )
    stable: str | None = Field(
        default=None, max_length=NAME_LENGTH, description="Deployment that was stable when the run started."
    )
    template: str | None = Field(
        default=None,
        max_length=64,
        description="Hash of the candidate's pod template; a change starts the run again at its first step. "
        "Absent until the Deployment was seen.",
    )
    started_at: Timestamp = Field(description="When the run started.")
    attempt: int = Field(
        default=1, ge=1, description="1, and one more for every retry of the same candidate."
    )
    skip_analysis: bool = Field(
        default=False,
        description="No steps and no criteria: the first version of all, a return to the previous version, "
        "or promoted in full.",
    )
    baseline_at: Timestamp | None = Field(
        default=None, description="When the baseline was complete; absent where none is recorded."
    )
    stage_at: Timestamp | None = Field(
        default=None,
        description="When the present stage before step 1 (baseline, shadow, validations) began.",
    )
    serving_at: Timestamp | None = Field(
        default=None,
        description="When the candidate first had the weight of a step: data of it can be missing only from "
        "here on.",
    )
    finished_at: Timestamp | None = Field(
        default=None, description="When the run ended; absent while under way."
    )
    result: RunResult | None = Field(default=None, description="How the run ended; absent while under way.")


class StepStatus(StatusModel):
    """The step under way."""

    index: int = Field(ge=0, description="Position in spec.steps, from 0.")
    weight: int = Field(
        ge=0, le=100, description="Per cent of the traffic that the step gives to the candidate."
    )
    progress: str = Field(
        default="", max_length=16, description="The step for people: 2/5 is the second of five."
    )
    started_at: Timestamp = Field(description="When the step was decided.")
    reached_at: Timestamp | None = Field(
        default=None, description="When the observed weight was first reached; the duration counts from here."
    )
    progressed_at: Timestamp | None = Field(
        default=None, description="When pods last became ready; spec.progressDeadline counts from here."
    )
    most_ready: int = Field(
        default=0, ge=0, description="Most candidate pods ready since progressedAt; one more is progress."
    )
    approved_at: Timestamp | None = Field(default=None, description="When a person approved going on.")
    paused_seconds: float = Field(
        default=0.0,
        ge=0,
        description="Time in this step spent paused; it does not count towards the duration.",
    )


class BaselineStatus(StatusModel):
    """What stable measured before step 1, for one criterion."""

    criterion: str = Field(max_length=63, description="Name of the criterion in spec.criteria.")
    value: float = Field(description="Value in base units.")
    samples: float | None = Field(default=None, ge=0, description="Samples behind the value, where known.")
    recorded_at: Timestamp = Field(description="When it was recorded.")


class ValidationState(StrEnum):
    """Where a validation Job is."""

    PENDING = "Pending"
    """Decided but not seen in the cluster yet."""
    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    TIMED_OUT = "TimedOut"
    IMAGE_PULL_FAILED = "ImagePullFailed"


class ValidationStatus(StatusModel):
    """One validation Job of one step of one run."""

    name: str = Field(max_length=63, description="Name of the validation in spec.validations.")
    run: str = Field(max_length=64, description="Id of the run.")
    step: int = Field(ge=0, description="Index of the step before which it runs.")
    job: str = Field(max_length=63, description="Name of the Job.")
    state: ValidationState = Field(
        description="Pending, Running, Succeeded, Failed, TimedOut or ImagePullFailed."
    )
    started_at: Timestamp | None = Field(default=None, description="When the Job was decided.")
    finished_at: Timestamp | None = Field(default=None, description="When the Job ended.")
    message: Message = message_field("Why it failed; the tail of its logs.")


class ShadowStatus(StatusModel):
    """The shadow phase."""

    started_at: Timestamp = Field(description="When its pods were ready and copies of requests could arrive.")
    deployment: str = Field(
        max_length=NAME_LENGTH, description="Deployment of the copy that gets the requests."
    )
    service: str = Field(max_length=63, description="Service under which stable's servers reach it.")
    approved_at: Timestamp | None = Field(default=None, description="When a person approved going on.")
    paused_seconds: float = Field(default=0.0, ge=0, description="Time spent paused; does not count.")


class ObservationStatus(StatusModel):
    """The observation after 100 %."""

    started_at: Timestamp = Field(description="When the candidate had taken over everything.")
    short_since: Timestamp | None = Field(
        default=None,
        description="Since when fewer pods of the candidate are ready than rollback.minCapacity asks for; "
        "spec.progressDeadline counts from here. Absent while there are enough.",
    )
    paused_seconds: float = Field(default=0.0, ge=0, description="Time spent paused; does not count.")


class PauseStatus(StatusModel):
    """A pause: who or what asked, and where to go on."""

    at: Timestamp = Field(description="When it was paused.")
    phase: Phase = Field(description="The phase that goes on after resume.")
    reason: str = Field(max_length=64, description="Why, such as PausedByCommand or StableTemplateChanged.")
    message: Message = message_field("What was expected and what was seen.")
    criterion: str | None = Field(default=None, max_length=63, description="The criterion that asked for it.")


class HoldStatus(StatusModel):
    """A hold: the run waits because Prometheus does not answer, refuses a query or has no data."""

    since: Timestamp = Field(description="When it began.")
    counts_from: Timestamp = Field(
        description="When the time of spec.holdDeadline began: as since, but later by what pauses took of it."
    )
    reason: str = Field(max_length=64, description="PrometheusUnavailable, QueryFailed or NoData.")
    message: Message = message_field("What is missing.")


class RollbackStatus(StatusModel):
    """The return to stable, under way or done."""

    started_at: Timestamp = Field(description="When it was decided.")
    reason: str = Field(max_length=64, description="Why, as one CamelCase word.")
    message: Message = message_field("Why, as a sentence.")
    criterion: str | None = Field(default=None, max_length=63, description="The criterion that was breached.")
    result: RunResult = Field(
        default=RunResult.ROLLED_BACK, description="What the run becomes once traffic is back."
    )


class RolledBackCandidate(StatusModel):
    """A candidate that must not be tried again until spec.candidate changes or a person says retry."""

    fingerprint: str = Field(max_length=64, description="Digest of spec.candidate as it was.")
    candidate: str = Field(max_length=NAME_LENGTH, description="Its Deployment.")
    template: str | None = Field(
        default=None,
        max_length=64,
        description="Hash of its pod template; a change makes it a new candidate.",
    )
    at: Timestamp = Field(description="When it was rolled back.")
    generation: int | None = Field(default=None, ge=0, description="The metadata.generation at that time.")
