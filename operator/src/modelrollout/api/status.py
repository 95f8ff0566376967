"""The status of a ModelRollout: everything the operator has to remember, so that it may die at any instant.

JSON → model → JSON changes nothing: timestamps have microseconds, absent fields stay absent.
"""

from collections.abc import Collection, Mapping
from enum import StrEnum
from typing import Any, Self

from pydantic import Field

from modelrollout.api.base import Message, StatusModel, Timestamp
from modelrollout.api.conditions import Condition, Phase
from modelrollout.api.constants import HANDLED_COMMANDS_LIMIT, HISTORY_LIMIT
from modelrollout.api.run_status import (
    NAME_LENGTH,
    BaselineStatus,
    HoldStatus,
    ObservationStatus,
    PauseStatus,
    RollbackStatus,
    RolledBackCandidate,
    RunResult,
    RunStatus,
    ShadowStatus,
    StepStatus,
    ValidationState,
    ValidationStatus,
    message_field,
)
from modelrollout.api.unreported import UNREPORTED_LIMIT, UnreportedTransition

__all__ = [
    "BaselineStatus",
    "CriterionState",
    "CriterionStatus",
    "HistoryEntry",
    "HoldStatus",
    "ModelRolloutStatus",
    "ObservationStatus",
    "OwnedDeployment",
    "PauseStatus",
    "PodCounts",
    "PodsStatus",
    "RollbackStatus",
    "RolledBackCandidate",
    "RunResult",
    "RunStatus",
    "ShadowStatus",
    "StepStatus",
    "ValidationState",
    "ValidationStatus",
    "WeightStatus",
]


class CriterionState(StrEnum):
    """What a criterion says."""

    PASS = "Pass"  # noqa: S105 - a verdict, not a password
    FAIL = "Fail"
    """Outside its limit now; acts once it has been so for the criterion's `for`."""
    NO_DATA = "NoData"
    ERROR = "Error"
    PENDING = "Pending"
    """Not evaluated yet in this phase."""


class WeightStatus(StatusModel):
    """The candidate's share of the traffic in per cent."""

    desired: int = Field(default=0, ge=0, le=100, description="What the step asks for.")
    achievable: float = Field(
        default=0.0, description="The nearest that whole pods allow with spec.replicas."
    )
    observed: float | None = Field(
        default=None,
        description="The share of ready endpoints that are the candidate's, as read back.",
    )


class PodCounts(StatusModel):
    """Pods of one version."""

    desired: int = Field(default=0, ge=0, description="Replicas that the operator asks for.")
    ready: int = Field(default=0, ge=0, description="Ready endpoints behind the Service.")


class PodsStatus(StatusModel):
    """Pods of both versions."""

    stable: PodCounts = Field(default=PodCounts(), description="Pods of the stable version.")
    candidate: PodCounts = Field(default=PodCounts(), description="Pods of the candidate.")


class CriterionStatus(StatusModel):
    """What one criterion last said."""

    name: str = Field(max_length=63, description="Name of the criterion in spec.criteria.")
    state: CriterionState = Field(description="Pass, Fail, NoData, Error or Pending.")
    value: float | None = Field(
        default=None, description="Last value, in base units (seconds, ratio, bytes)."
    )
    reference: float | None = Field(
        default=None, description="What the value was compared with: the baseline's or stable's value."
    )
    limit: str = Field(default="", max_length=128, description="The limit as text, such as <= 200ms.")
    samples: float | None = Field(default=None, ge=0, description="Samples behind the value, where known.")
    since: Timestamp | None = Field(default=None, description="Since when it has been in this state.")
    breached: bool = Field(
        default=False, description="Failed for the whole of its `for`: onBreach has been or is being done."
    )
    message: Message = message_field("What was expected and what was seen.")


class OwnedDeployment(StatusModel):
    """A Deployment that the operator made from stable with another image or environment."""

    name: str = Field(max_length=NAME_LENGTH, description="Name of the Deployment.")
    fingerprint: str = Field(max_length=64, description="Digest of the spec.candidate it was made for.")
    created_at: Timestamp = Field(description="When it was decided.")


class HistoryEntry(StatusModel):
    """A finished run."""

    id: str = Field(max_length=64, description="Id of the run.")
    from_: str | None = Field(
        default=None,
        alias="from",
        max_length=NAME_LENGTH,
        description="Stable Deployment before; absent for a first version.",
    )
    to: str = Field(max_length=NAME_LENGTH, description="Candidate Deployment.")
    result: RunResult = Field(description="Succeeded, RolledBack, Aborted or Superseded.")
    reason: str = Field(default="", max_length=64, description="Why, as one CamelCase word.")
    message: Message = message_field("Why, as a sentence.")
    started_at: Timestamp = Field(description="When the run started.")
    finished_at: Timestamp = Field(description="When the run ended.")


class ModelRolloutStatus(StatusModel):
    """Everything the operator has observed and decided."""

    phase: Phase | None = Field(
        default=None, description="Where the rollout is; absent before the operator saw it."
    )
    reason: str = Field(default="", max_length=64, description="Why it is there, as one CamelCase word.")
    message: Message = message_field("Why it is there and what it waits for, as a sentence.")
    observed_generation: int | None = Field(
        default=None, ge=0, description="The metadata.generation that this status speaks of."
    )
    stable: str | None = Field(
        default=None, max_length=NAME_LENGTH, description="Deployment in charge; the truth once it is set."
    )
    stable_template: str | None = Field(
        default=None,
        max_length=64,
        description="Hash of the pod template of stable: with it the version that is in charge, whatever its "
        "Deployment is called.",
    )
    stable_edited_at: Timestamp | None = Field(
        default=None,
        description="When the pod template of stable was last seen to have changed while no run was under "
        "way: a rolling update by the Deployment itself, without steps. Absent again in the next run.",
    )
    previous_stable: str | None = Field(
        default=None,
        max_length=NAME_LENGTH,
        description="Deployment before it, kept at zero for a fast way back.",
    )
    previous_stable_template: str | None = Field(
        default=None,
        max_length=64,
        description="Hash of its pod template when it was stable: only with this template is returning to it "
        "without steps.",
    )
    candidate: str | None = Field(
        default=None,
        max_length=NAME_LENGTH,
        description="Deployment of the candidate, also one the operator made.",
    )
    run: RunStatus | None = Field(default=None, description="The run under way or the last one.")
    step: StepStatus | None = Field(default=None, description="The step under way.")
    weight: WeightStatus | None = Field(default=None, description="The candidate's share of the traffic.")
    pods: PodsStatus | None = Field(default=None, description="Pods of both versions, desired and ready.")
    criteria: tuple[CriterionStatus, ...] = Field(
        default=(), max_length=50, description="What each criterion last said."
    )
    baseline: tuple[BaselineStatus, ...] = Field(
        default=(), max_length=50, description="What stable measured before step 1."
    )
    shadow: ShadowStatus | None = Field(default=None, description="The shadow phase of this run.")
    observation: ObservationStatus | None = Field(default=None, description="The observation of this run.")
    pause: PauseStatus | None = Field(default=None, description="Present while paused.")
    hold: HoldStatus | None = Field(
        default=None, description="Present while the run is held for lack of data."
    )
    rollback: RollbackStatus | None = Field(default=None, description="The return to stable of this run.")
    rolled_back_from: RolledBackCandidate | None = Field(
        default=None, description="The candidate that is not tried again by itself."
    )
    validations: tuple[ValidationStatus, ...] = Field(
        default=(), max_length=500, description="Validation Jobs of this run."
    )
    owned: tuple[OwnedDeployment, ...] = Field(
        default=(), max_length=50, description="Deployments that the operator made."
    )
    handled_commands: tuple[str, ...] = Field(
        default=(),
        max_length=HANDLED_COMMANDS_LIMIT,
        description="Ids of commands already done, oldest first.",
    )
    unreported: tuple[UnreportedTransition, ...] = Field(
        default=(),
        max_length=UNREPORTED_LIMIT,
        description="Transitions that may not have been told yet, oldest first; the leader tells them.",
    )
    history: tuple[HistoryEntry, ...] = Field(
        default=(), max_length=HISTORY_LIMIT, description="Finished runs, newest first."
    )
    replicas: int | None = Field(default=None, ge=0, description="Pods of both versions, for /scale.")
    selector: str | None = Field(
        default=None,
        max_length=1024,
        description="Label selector of the pods of both versions, for /scale and an HPA.",
    )
    conditions: tuple[Condition, ...] = Field(
        default=(), max_length=16, description="Conditions in the usual form of Kubernetes."
    )

    @classmethod
    def from_json(cls, value: Mapping[str, Any] | None) -> Self:
        """Return the status of an object as the API server gave it; None or empty is a fresh one."""
        return cls.model_validate(dict(value or {}))

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form; what is None, and top-level lists and texts that are empty, are left out."""
        return {name: value for name, value in super().to_json().items() if value not in ("", [])}

    def with_history(self, entry: HistoryEntry) -> Self:
        """Return the same status with a finished run first in its history, without those beyond the limit."""
        return self.model_copy(update={"history": (entry, *self.history)[:HISTORY_LIMIT]})

    def with_handled_command(self, id_: str, *, present: Collection[str] = ()) -> Self:
        """Return the same status with one more handled command.

        Beyond the limit the oldest id goes, but none of `present`: these are in the object still and would
        act again.
        """
        ids = [*self.handled_commands, id_]
        while len(ids) > HANDLED_COMMANDS_LIMIT:
            ids.remove(next((old for old in ids if old not in present), ids[0]))
        return self.model_copy(update={"handled_commands": tuple(ids)})
