"""What `decide` reads and what it answers: plain values, no behaviour, no clock."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from modelrollout.api.commands import Command
from modelrollout.api.schedule import Transition as Announcement
from modelrollout.api.status import ModelRolloutStatus


class SampleState(StrEnum):
    """What the question to Prometheus came back with, before any limit is looked at."""

    VALUE = "Value"  # one finite number
    NO_DATA = "NoData"  # an empty vector, NaN, or data that is too old
    ERROR = "Error"  # refused, timed out, several series: not known


@dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    """One value of a range query.

    Attributes:
        at: Evaluation time, UTC.
        value: The value then, or None where there was none (empty, NaN, or fewer samples than `minSamples`).
        reference: For `compare: {to: Stable}` the same query on the stable version at that time, else None.
    """

    at: datetime
    value: float | None
    reference: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """The answer to one criterion's query at one instant.

    Attributes:
        state: Whether there is a number at all.
        at: When Prometheus evaluated it, UTC.
        value: In the criterion's base unit (seconds, ratio 0..1, count); None unless state is VALUE.
        count: How many events the value rests on (requests, comparisons); None where the query does not say.
        reference: The same query on the stable version, for `compare: {to: Stable}`; None if not asked.
        reference_count: Sample count of `reference`.
        history: Points of the last `for` period, oldest first; only where the instant value was bad and the
            criterion has a `for`. None means "not asked"; an empty tuple means "asked, nothing there".
        message: For NO_DATA and ERROR: what was expected, what was seen and what to do, one sentence.
    """

    state: SampleState
    at: datetime
    value: float | None = None
    count: float | None = None
    reference: float | None = None
    reference_count: float | None = None
    history: tuple[Point, ...] | None = None
    message: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Workload:
    """One Deployment as the API server shows it now.

    Attributes:
        name: metadata.name.
        exists: False if there is none of that name (all counts are then 0).
        desired: spec.replicas as last seen.
        ready: Ready endpoints of the rollout's Service that are pods of this Deployment: what clients reach.
        without_ports: Ready pods whose endpoints lack a port of the Service: clients do not reach them.
        pods: Pods that exist and are not terminating, ready or not (status.replicas).
        template: Hash of its pod template; empty where there is none.
        claimed_by: Name of another ModelRollout that was there first, or None.
        parked: Pods that run outside the Service although they belong to this Deployment.
        parked_ready: How many of those are ready, and so could serve at once.
        can_park: Whether pods of it can be taken out of the Service without their Deployment losing them.
        cannot_park: Why not; a sentence.
        cannot_unpark: Why those that are outside cannot be put back, a sentence; empty if they can.
    """

    name: str
    exists: bool = True
    desired: int = 0
    ready: int = 0
    without_ports: int = 0
    pods: int = 0
    template: str = ""
    claimed_by: str | None = None
    parked: int = 0
    parked_ready: int = 0
    can_park: bool = False
    cannot_park: str = ""
    cannot_unpark: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """Something only the operator can see that makes the object unusable.

    Attributes:
        reason: One CamelCase word.
        message: What was expected, what was seen and what to do.
        candidate_only: Whether only the candidate and its analysis are concerned: at rest the stable version
            then still follows spec.replicas.
    """

    reason: str
    message: str
    candidate_only: bool = False


class JobState(StrEnum):
    """Where the Job of one validation stands."""

    ABSENT = "Absent"
    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"


@dataclass(frozen=True, kw_only=True, slots=True)
class JobResult:
    """The Job of one validation for one step of one run."""

    name: str
    state: JobState
    message: str = ""  # reason and tail of the logs for FAILED; image pull trouble for RUNNING


@dataclass(frozen=True, kw_only=True, slots=True)
class Observation:
    """Everything outside that a decision rests on, read back from the cluster and from Prometheus.

    Attributes:
        uid: metadata.uid of the ModelRollout.
        generation: metadata.generation.
        deleting: metadata.deletionTimestamp is set.
        workloads: By Deployment name: every one that `watched_deployments` names. One that is missing here
            counts as absent from the cluster, so an observation is made only from a cache that is complete.
        candidate_name: The Deployment that spec.candidate stands for (given, or derived from the image form).
        samples: By criterion name, the last answers. A due criterion missing here is Pending and holds.
        commands: What people asked for, oldest first (handled ones are in status and are passed over).
        problems: Why the object cannot be worked on; empty if it can.
        jobs: By Job name.
        metrics_error: Set when Prometheus as a whole could not be asked (outage), one sentence.
        name: metadata.name; names of Jobs and copies are made from it.
        baselines: By criterion name: what stable measured over `baseline.window`, for the names that
            `due_baselines` gave; asked with the candidate's place taken by stable.
        copies: Names of the Deployments that exist among those the operator made as copies of stable.
        selector: Label selector of the pods of both versions, for the scale subresource; None if not known.
        foreign: What else clients reach through the Service, one text an endpoint, sorted.
        uneven: Why the Service does not spread requests evenly over its pods.
        stale: What of the cluster is not known as it is now, a clause for each kind; nothing that changes
            from tick to tick.
        reported: Ids of transitions in `status.unreported` of which people have been told.
        clock_skewed: This replica's clock differs from the API server's, whose time is used.
        clock_uncertain: The API server's answers contradict each other about the time: nothing may advance.
    """

    uid: str
    generation: int
    candidate_name: str | None
    name: str = "rollout"
    workloads: Mapping[str, Workload] = field(default_factory=dict)
    samples: Mapping[str, Sample] = field(default_factory=dict)
    commands: tuple[Command, ...] = ()
    problems: tuple[Problem, ...] = ()
    jobs: Mapping[str, JobResult] = field(default_factory=dict)
    deleting: bool = False
    metrics_error: str | None = None
    baselines: Mapping[str, Sample] = field(default_factory=dict)
    copies: frozenset[str] = frozenset()
    selector: str | None = None
    foreign: tuple[str, ...] = ()
    uneven: tuple[Problem, ...] = ()
    stale: tuple[str, ...] = ()
    reported: frozenset[str] = frozenset()
    clock_skewed: bool = False
    clock_uncertain: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Scale:
    """Set spec.replicas of one Deployment through its scale subresource. Repeating it changes nothing."""

    deployment: str
    replicas: int


@dataclass(frozen=True, kw_only=True, slots=True)
class JobRequest:
    """Run one validation; the name is a function of run, step and validation, so that it cannot run twice."""

    name: str
    validation: str
    step: int


class Severity(StrEnum):
    """The type of a Kubernetes Event."""

    NORMAL = "Normal"
    WARNING = "Warning"


@dataclass(frozen=True, kw_only=True, slots=True)
class Transition:
    """One change worth an Event and a log line."""

    reason: str
    message: str
    severity: Severity = Severity.NORMAL
    criterion: str | None = None  # for a revert: which one caused it
    announcement: Announcement | None = (
        None  # what spec.notifications[].events calls it; None: never notified
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class ShadowCopy:
    """The copy of the candidate outside the Service, which serves the shadow phase and first validations.

    Attributes:
        deployment: Name of the copy.
        source: Deployment of the candidate whose pod template is copied.
        replicas: Its pods.
        version: Which candidate with which pod template; a copy of another one does not count.
        template: Hash of the pod template to copy; None where it is not known.
    """

    deployment: str
    source: str
    replicas: int
    version: str
    template: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Decision:
    """What to do now. Written in this order: status, then scales/copies/jobs, then events.

    Attributes:
        status: The complete new status; equal to the old one when nothing changed (then nothing is written).
        scales: Replica counts to set; only those that differ from what was observed.
        create_candidate: The image form needs its copy of stable to be made now.
        jobs: Validations to start.
        delete_jobs: Names of Jobs to end.
        delete_copies: Names of Deployments made by the operator that are not needed any more.
        transitions: For Events and logs.
        evaluate: Names of the criteria to ask Prometheus about before the next decision.
        record_baseline: Names of the criteria to measure on stable over `baseline.window` before that.
        blocking_criteria: Names of the criteria that keep the run from going on.
        shadow: The copy that must exist now; None: none must (one that exists is removed).
        parked: Deployment all of whose pods must run outside the Service; None: there is none.
        serving: Deployments none of whose pods may be outside the Service (others are left as they are).
        requeue_after: Time until the next decision is due by the clock; None: only a change wakes it.
        finalized: Everything is back on stable, the finalizer can go.
    """

    status: ModelRolloutStatus
    scales: tuple[Scale, ...] = ()
    create_candidate: bool = False
    jobs: tuple[JobRequest, ...] = ()
    delete_jobs: tuple[str, ...] = ()
    delete_copies: tuple[str, ...] = ()
    transitions: tuple[Transition, ...] = ()
    evaluate: tuple[str, ...] = ()
    record_baseline: tuple[str, ...] = ()
    blocking_criteria: tuple[str, ...] = ()
    shadow: ShadowCopy | None = None
    parked: str | None = None
    serving: tuple[str, ...] = ()
    requeue_after: timedelta | None = None
    finalized: bool = False
