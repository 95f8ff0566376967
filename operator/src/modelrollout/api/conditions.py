"""Phases, conditions and reasons: the words in which a rollout says where it is and why."""

from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum

from pydantic import Field

from modelrollout.api.base import Message, StatusModel, Timestamp, truncate_to_seconds


class Phase(StrEnum):
    """Where a rollout is."""

    IDLE = "Idle"
    """Stable serves everything and the candidate is the stable version."""
    VALIDATING = "Validating"
    """Validation Jobs run, or the baseline is recorded, before an increase."""
    SHADOW = "Shadow"
    """The candidate gets copies of requests; clients only see stable's answers."""
    PROGRESSING = "Progressing"
    PAUSED = "Paused"
    OBSERVING = "Observing"
    """The candidate serves everything and stable is kept ready to take over."""
    SUCCEEDED = "Succeeded"
    ROLLING_BACK = "RollingBack"
    ROLLED_BACK = "RolledBack"
    INVALID = "Invalid"
    """The resource asks for something that cannot be done; the Ready condition says what."""

    @property
    def finished(self) -> bool:
        """Whether nothing happens any more until somebody changes something."""
        return self in (Phase.IDLE, Phase.SUCCEEDED, Phase.ROLLED_BACK, Phase.INVALID)


class ConditionType(StrEnum):
    """Types of the conditions in status."""

    READY = "Ready"
    """One version serves everything as asked and nothing is under way. kstatus: Current."""
    RECONCILING = "Reconciling"
    """kstatus: InProgress."""
    STALLED = "Stalled"
    """No progress without a person. kstatus: Failed."""
    PROGRESSING = "Progressing"
    HEALTHY = "Healthy"
    """No criterion is breached."""
    METRICS_AVAILABLE = "MetricsAvailable"
    """Prometheus answers and every criterion has data."""
    WEIGHT_REACHED = "WeightReached"
    """The observed weight is the desired one, as closely as the replicas allow."""
    STABLE_KEPT = "StableKept"
    """Only while the candidate is observed: stable's pods run outside the Service, ready to take over."""
    FOREIGN_ENDPOINTS = "ForeignEndpoints"
    """Only while true: the Service reaches pods that belong to neither version."""
    UNEVEN_TRAFFIC = "UnevenTraffic"
    """Only while true: a setting of the Service keeps requests from being spread evenly over its pods."""
    CACHE_STALE = "CacheStale"
    """Only while true: what the operator knows of the cluster may be out of date."""
    CLOCK_IN_SYNC = "ClockInSync"
    """Only while it is not True: the clocks of the operator's node and of the API server differ."""
    STABLE_EDITED = "StableEdited"
    """Only after stable's pod template was changed in place at rest, until the next run."""
    PAUSED = "Paused"
    SUCCEEDED = "Succeeded"
    ROLLED_BACK = "RolledBack"


class ConditionStatus(StrEnum):
    """The three values of a condition."""

    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


class Reason(StrEnum):
    """Why a condition or a phase is what it is: one CamelCase word for machines."""

    # Where things are
    FIRST_VERSION = "FirstVersion"
    UP_TO_DATE = "UpToDate"
    STARTED = "Started"
    NEW_CANDIDATE = "NewCandidate"
    RECORDING_BASELINE = "RecordingBaseline"
    SHADOWING = "Shadowing"
    VALIDATING = "Validating"
    SCALING = "Scaling"
    STEP_ADVANCED = "StepAdvanced"
    OBSERVING = "Observing"
    RECOVERED = "Recovered"
    RESUMED = "Resumed"
    PROMOTED = "Promoted"
    RETURNED_TO_PREVIOUS = "ReturnedToPrevious"
    DELETED = "Deleted"
    # What it waits for
    WAITING_FOR_DURATION = "WaitingForDuration"
    WAITING_FOR_CRITERIA = "WaitingForCriteria"
    WAITING_FOR_WEIGHT = "WaitingForWeight"
    WAITING_FOR_PODS = "WaitingForPods"
    WAITING_FOR_APPROVAL = "WaitingForApproval"
    WAITING_FOR_SCHEDULE = "WaitingForSchedule"
    WAITING_FOR_SAMPLES = "WaitingForSamples"
    PAUSED_BY_SPEC = "PausedBySpec"
    PAUSED_BY_COMMAND = "PausedByCommand"
    PAUSED_BY_CRITERION = "PausedByCriterion"
    STABLE_TEMPLATE_CHANGED = "StableTemplateChanged"
    # How it ended
    CRITERION_BREACHED = "CriterionBreached"
    DEADLINE_EXCEEDED = "DeadlineExceeded"
    HOLD_DEADLINE_EXCEEDED = "HoldDeadlineExceeded"
    CANDIDATE_DELETED = "CandidateDeleted"
    CANDIDATE_TEMPLATE_CHANGED = "CandidateTemplateChanged"
    ABORTED = "Aborted"
    SUPERSEDED = "Superseded"
    ROLLED_BACK_BY_COMMAND = "RolledBackByCommand"
    ROLLED_BACK = "RolledBack"
    ALREADY_ROLLED_BACK = "AlreadyRolledBack"
    # Validations and commands
    VALIDATION_SUCCEEDED = "ValidationSucceeded"
    VALIDATION_FAILED = "ValidationFailed"
    IMAGE_PULL_FAILED = "ImagePullFailed"
    COMMAND_REFUSED = "CommandRefused"
    BAD_COMMAND = "BadCommand"
    # Metrics
    ALL_PASS = "AllPass"  # noqa: S105 - a verdict, not a password
    NO_CRITERIA = "NoCriteria"
    WARNING = "Warning"
    NO_DATA = "NoData"
    QUERY_FAILED = "QueryFailed"
    PROMETHEUS_UNAVAILABLE = "PrometheusUnavailable"
    HOLD_ENDED = "HoldEnded"
    NOT_EVALUATED = "NotEvaluated"
    # Weight
    WEIGHT_REACHED = "WeightReached"
    WEIGHT_TOO_COARSE = "WeightTooCoarse"
    # What clients reach
    FOREIGN_ENDPOINTS = "ForeignEndpoints"
    SESSION_AFFINITY = "SessionAffinity"
    LOCAL_TRAFFIC_POLICY = "LocalTrafficPolicy"
    TRAFFIC_DISTRIBUTION = "TrafficDistribution"
    NOT_READY_PUBLISHED = "NotReadyPublished"
    HEADLESS_SERVICE = "HeadlessService"
    CACHE_STALE = "CacheStale"
    # Clocks
    CLOCK_SKEWED = "ClockSkewed"
    CLOCK_UNCERTAIN = "ClockUncertain"
    # What is kept of stable
    PARKED = "Parked"
    PARKING = "Parking"
    CANNOT_PARK = "CannotPark"
    CANNOT_UNPARK = "CannotUnpark"
    # What only the operator can see
    INVALID_SPEC = "InvalidSpec"
    UNSUPPORTED = "Unsupported"
    DEPLOYMENT_NOT_FOUND = "DeploymentNotFound"
    SERVICE_NOT_FOUND = "ServiceNotFound"
    SERVICE_DOES_NOT_SELECT = "ServiceDoesNotSelect"
    SELECTORS_OVERLAP = "SelectorsOverlap"
    AMBIGUOUS_NAMES = "AmbiguousNames"
    DEPLOYMENT_CLAIMED = "DeploymentClaimed"
    SERVICE_CLAIMED = "ServiceClaimed"
    CONFLICTING_ROLLOUT = "ConflictingRollout"
    AUTOSCALER_CONFLICT = "AutoscalerConflict"
    UNKNOWN_PROMETHEUS = "UnknownPrometheus"
    BAD_QUERY = "BadQuery"
    FORBIDDEN = "Forbidden"
    DRIFT_CORRECTED = "DriftCorrected"
    CANDIDATE_NOT_CREATED = "CandidateNotCreated"
    NAME_TAKEN = "NameTaken"
    STATUS_UNREADABLE = "StatusUnreadable"
    TICK_FAILED = "TickFailed"


class Condition(StatusModel):
    """One condition, in the usual form of Kubernetes."""

    type: str = Field(max_length=64, description="Type of the condition, such as Ready or Succeeded.")
    status: ConditionStatus = Field(description="True, False or Unknown.")
    reason: str = Field(max_length=64, description="Why, as one CamelCase word for machines.")
    message: Message = Field(default="", description="Why, as a sentence for people.")
    last_transition_time: Timestamp = Field(description="When the status last changed.")
    observed_generation: int | None = Field(
        default=None, ge=0, description="The metadata.generation that the condition describes."
    )


def get_condition(conditions: Iterable[Condition], type_: str) -> Condition | None:
    """Return the condition of that type, or None."""
    return next((condition for condition in conditions if condition.type == type_), None)


def set_condition(  # noqa: PLR0913 - the six parts of a condition, by name
    conditions: tuple[Condition, ...],
    *,
    type_: str,
    status: ConditionStatus | bool,
    reason: str,
    message: str = "",
    now: datetime,
    generation: int | None = None,
) -> tuple[Condition, ...]:
    """Return the conditions with one replaced or added, in place and in order.

    lastTransitionTime moves only when the status changes, and has whole seconds as everywhere in
    Kubernetes. A condition that already says the same leaves the tuple as it was (the same object).
    """
    if isinstance(status, bool):
        status = ConditionStatus.TRUE if status else ConditionStatus.FALSE
    old = get_condition(conditions, type_)
    since = old.last_transition_time if old and old.status == status else truncate_to_seconds(now)
    new = Condition(
        type=str(type_),
        status=status,
        reason=str(reason),
        message=message,
        last_transition_time=since,
        observed_generation=generation,
    )
    if old is None:
        return (*conditions, new)
    if old == new:
        return conditions
    return tuple(new if condition is old else condition for condition in conditions)
