"""One ModelRollout as last seen, parsed once per version, and what is remembered of it between ticks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from pydantic import ValidationError

from modelrollout.api.commands import Command, parse_commands
from modelrollout.api.spec import ModelRolloutSpec
from modelrollout.api.status import ModelRolloutStatus
from modelrollout.cluster.writer import RolloutRef
from modelrollout.decision import candidate_deployment, watched_deployments
from modelrollout.decision.types import Problem, Sample
from modelrollout.prometheus import RolloutQueries

Key = tuple[str, str]
Claim = tuple[str, str, str]
"""Kind (deployments or services), namespace and name."""

NOT_PARSED: Final = object()
NEVER: Final = datetime.max.replace(tzinfo=UTC)
PROBLEMS_SHOWN: Final = 5


@dataclass(slots=True)
class RolloutState:
    """One ModelRollout: what the API server says of it, and what this process remembers between ticks.

    Nothing here is needed after a restart: what has to survive is in status.

    Attributes:
        samples: The last answers to its criteria, by name; for the spec of this generation.
        baselines: The same for what is being recorded on stable.
        refused_queries: Why Prometheus refuses a query, by criterion; None: not asked yet in this generation.
        evaluate_at, evaluated_at: When its criteria are due again and were last asked, by the monotonic
            clock.
        failed_evaluations: How often in a row they were asked and one of them was an Error.
        queries, queries_for: What to ask, and what that was made for.
        pending_problem: Why something could not be made (a problem), and until when to believe that.
        unsaved: Its status is only here: the API server forbids to write it.
        taken: Path of the object of somebody else that keeps it from being made; empty if that is not why.
        failures: Ticks that failed in a row.
        reporting, reported: Ids of transitions in status that are being told, and that have been told.
        claims, in_use: What it names, and the part of that which serves or is in its run.
        blocking_criteria: Criteria that keep the run from going on, by the last decision; None: none is made.
        rollbacks: Reverts that this process has begun, by criterion (empty: no criterion's) and reason.
    """

    namespace: str
    name: str
    uid: str
    created: str
    resource_version: str = ""
    generation: int = 0
    deleting: bool = False
    finalizers: tuple[str, ...] = ()
    commands: tuple[Command, ...] = ()
    command_error: str = ""
    reported_command: str = ""
    reported_status: str = ""
    phase: str = ""
    claims: frozenset[Claim] = frozenset()
    in_use: frozenset[Claim] = frozenset()
    samples: dict[str, Sample] = field(default_factory=dict)
    baselines: dict[str, Sample] = field(default_factory=dict)
    refused_queries: dict[str, str] | None = None
    metrics_error: str | None = None
    evaluate_at: float = 0.0
    evaluated_at: float = 0.0
    failed_evaluations: int = 0
    queries: RolloutQueries | None = None
    queries_for: tuple[Any, ...] = ()
    pending_problem: tuple[Problem, float] | None = None
    taken: str = ""
    unsaved: bool = False
    failures: int = 0
    conflicts: int = 0
    reporting: set[str] = field(default_factory=set)
    reported: set[str] = field(default_factory=set)
    blocking_criteria: tuple[str, ...] | None = None
    rollbacks: dict[tuple[str, str], int] = field(default_factory=dict)
    status_error: str = ""
    spec_error: str = ""
    _raw_spec: Any = NOT_PARSED
    _raw_status: Any = NOT_PARSED
    _spec: ModelRolloutSpec | None = None
    _service: str | None = None
    _status: ModelRolloutStatus = field(default_factory=ModelRolloutStatus)

    @classmethod
    def of(cls, obj: Mapping[str, Any]) -> RolloutState:
        """Return a ModelRollout from the API server's JSON.

        Nothing in it is trusted to be of the right type but metadata.
        """
        meta = obj["metadata"]
        new = cls(
            namespace=meta["namespace"], name=meta["name"], uid=meta["uid"], created=meta["creationTimestamp"]
        )
        new.take(obj)
        return new

    def take(self, obj: Mapping[str, Any]) -> None:
        """Take in a newer version of the object."""
        meta, status = obj["metadata"], obj.get("status")
        self.resource_version = meta["resourceVersion"]
        self.deleting = bool(meta.get("deletionTimestamp"))
        self.finalizers = tuple(meta.get("finalizers") or ())
        self.commands, self.command_error = parse_commands(meta.get("annotations"))
        self._raw_status = status
        self.phase = str(status.get("phase") or "") if isinstance(status, Mapping) else ""
        generation = meta.get("generation") or 1
        if generation != self.generation:
            self.generation = generation
            self._raw_spec = obj.get("spec")
            self.forget_measurements()
            self.pending_problem, self.taken = None, ""

    def forget_measurements(self) -> None:
        """Everything asked of Prometheus is to be asked anew."""
        self.samples, self.baselines, self.refused_queries = {}, {}, None
        self.metrics_error, self.evaluate_at, self.failed_evaluations = None, 0.0, 0
        self.queries, self.queries_for = None, ()

    @property
    def key(self) -> Key:
        """Namespace and name."""
        return (self.namespace, self.name)

    @property
    def ref(self) -> RolloutRef:
        """The object at the version last seen."""
        return RolloutRef(
            namespace=self.namespace, name=self.name, uid=self.uid, resource_version=self.resource_version
        )

    @property
    def age_order(self) -> tuple[str, datetime, str]:
        """Sorts the older of two first.

        The API server counts creation in whole seconds. Of two made in the same one, that which has already
        begun a run keeps what it holds: its traffic must not stop half-way for a newcomer.
        """
        run = self.status.run
        return (self.created, run.started_at if run else NEVER, self.uid)

    def rank(self, claim: Claim) -> tuple[int, tuple[str, datetime, str]]:
        """Sort the rollout first to which the Deployment or Service belongs."""
        run = self.status.run
        under_way = run is not None and run.finished_at is None
        in_use = claim in self.in_use
        return (0 if in_use and under_way else 1 if in_use else 2, self.age_order)

    @property
    def spec(self) -> ModelRolloutSpec | None:
        """The spec, parsed once a generation; None where it is no valid one, `spec_error` then says why."""
        if self._raw_spec is not NOT_PARSED:
            raw, self._raw_spec = self._raw_spec, NOT_PARSED
            try:
                self._spec, self.spec_error = ModelRolloutSpec.model_validate(raw), ""
            except ValidationError as error:
                self._spec, self.spec_error = None, explain(error)
        return self._spec

    @property
    def status(self) -> ModelRolloutStatus:
        """The status, parsed once a version.

        A fresh one where it cannot be understood, `status_error` says why.
        """
        if self._raw_status is not NOT_PARSED:
            raw, self._raw_status = self._raw_status, NOT_PARSED
            try:
                self._status, self.status_error = ModelRolloutStatus.from_json(raw), ""
            except (ValidationError, TypeError, ValueError) as error:
                self._status, self.status_error = ModelRolloutStatus(), str(error)
        return self._status

    @property
    def parsed(self) -> tuple[ModelRolloutSpec | None, ModelRolloutStatus]:
        """Spec and status as last parsed, perhaps of an older version.

        For other threads than that of the ticks: two that parse at once would see each other's half-done
        work.
        """
        return self._spec, self._status

    @property
    def status_unreadable(self) -> bool:
        """Whether its status is one that this version of the operator cannot understand.

        It says which version serves; what is written over it would be lost, and stable with it.
        """
        _ = self.status
        return bool(self.status_error)

    def set_status(self, status: ModelRolloutStatus, resource_version: str) -> None:
        """Take over a status that was just written."""
        self._status, self._raw_status = status, NOT_PARSED
        self.resource_version = resource_version
        self.phase = status.phase or ""

    @property
    def finished(self) -> bool:
        """Whether nothing happens until somebody changes something; judged without parsing."""
        return self.phase in {"Idle", "Succeeded", "RolledBack", "Invalid"}

    @property
    def candidate_name(self) -> str | None:
        """Return the Deployment of spec.candidate: the one given, or the copy that the operator makes."""
        spec = self.spec
        if spec is None:
            return None
        return candidate_deployment(self.name, spec.candidate, self.status)

    @property
    def service_name(self) -> str | None:
        """The Service that clients call; None where the spec is invalid and none was known before."""
        if self.spec is not None:
            self._service = self.spec.service
        return self._service

    def deployments(self) -> tuple[str, ...]:
        """Return every Deployment that a decision about it must know of, each once."""
        return watched_deployments(self.spec, self.status, self.candidate_name, self.name)

    def deployments_in_use(self) -> tuple[str, ...]:
        """Return those of them that serve now, are in the run under way, or are kept to return to."""
        status = self.status
        run = status.run if status.run is not None and status.run.finished_at is None else None
        named = [status.stable, status.previous_stable]
        if run is not None:
            named += [run.candidate, run.stable]
        return tuple(dict.fromkeys(name for name in named if name))


def explain(error: ValidationError) -> str:
    """Return the first few things wrong with a spec, each with its field."""
    parts = [
        f"{'.'.join(['spec', *(str(part) for part in one['loc'])])}: {one['msg']}"
        for one in error.errors(include_url=False)[:PROBLEMS_SHOWN]
    ]
    more = error.error_count() - len(parts)
    return "; ".join(parts) + (f"; and {more} more" if more > 0 else "")
