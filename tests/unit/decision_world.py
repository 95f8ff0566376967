"""A small simulated cluster, Prometheus and operator around `decide`, with all that can go wrong in it.

The operator here does what the real one does: observe, decide, persist (as JSON), act. It can be killed
between persisting and acting, and a conflict can make it drop a decision. Pods become ready after a while,
crash, or never start. Metrics are good, bad, empty, broken, or Prometheus is away. People give commands, edit
the spec, scale by hand, and delete things.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from modelrollout.api.commands import Command, Verb, append_command, parse_commands
from modelrollout.api.constants import COMMANDS_ANNOTATION
from modelrollout.api.spec import ModelRolloutSpec
from modelrollout.api.status import ModelRolloutStatus
from modelrollout.decision import (
    candidate_deployment,
    decide,
    due_baselines,
    due_criteria,
    needs_history,
    shadow_name,
    shadow_version,
    watched_deployments,
)
from modelrollout.decision.types import (
    Decision,
    JobResult,
    JobState,
    Observation,
    Point,
    Problem,
    Sample,
    SampleState,
    Workload,
)

START = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)  # a Monday morning
NAME = "emotion"
GOOD, BAD, ZERO, EMPTY, BROKEN, FEW = "good", "bad", "zero", "empty", "broken", "few"
VALUES = {GOOD: 0.5, BAD: 2.0, ZERO: 0.0}
HISTORY_STEP = 5.0


class SimulatedDeployment:
    """Pods with the second at which each is ready (inf: never)."""

    def __init__(self, ready: int = 0) -> None:
        self.desired = ready
        self.version = ""  # of a copy: the candidate that it was made from
        self.template = "t1"  # hash of the pod template
        self.pods: list[float] = [0.0] * ready
        self.delay: Callable[[], float] = lambda: 10.0

    def reconcile(self, now: float) -> None:
        """What the Deployment's controller does: make pods, remove those that are not ready first."""
        while len(self.pods) < self.desired:
            self.pods.append(now + self.delay())
        if len(self.pods) > self.desired:
            self.pods.sort()
            del self.pods[self.desired :]

    def ready(self, now: float) -> int:
        """Ready pods."""
        return sum(at <= now for at in self.pods)


@dataclass
class World:
    """Everything outside `decide`. `now` is seconds since START."""

    spec: ModelRolloutSpec
    random: random.Random
    deployments: dict[str, SimulatedDeployment]
    now: float = 0.0
    status_json: dict[str, Any] = field(default_factory=dict)
    generation: int = 1
    commands: str = ""  # the annotation
    given: int = 0
    clock_skewed: bool = False
    clock_uncertain: bool = False
    told: set[str] = field(default_factory=set)  # ids of transitions
    modes: dict[str, list[tuple[float, str]]] = field(default_factory=dict)
    outage: bool = False
    problems: tuple[Problem, ...] = ()
    foreign: tuple[str, ...] = ()
    stale: tuple[str, ...] = ()
    uneven: tuple[Problem, ...] = ()
    invalid: bool = False
    deleting: bool = False
    deleted_at_rest: bool = False
    gone: bool = False
    jobs: dict[str, tuple[float, bool]] = field(default_factory=dict)  # name -> ends at, succeeds
    jobs_ever: list[str] = field(default_factory=list)
    job_outcome: Callable[[], tuple[float, bool]] = lambda: (5.0, True)
    asked_at: float = -1e9
    samples: dict[str, Sample] = field(default_factory=dict)
    last: Decision | None = None
    persisted: int = 0
    _parsed: tuple[dict[str, Any], ModelRolloutStatus] | None = None

    @property
    def time(self) -> datetime:
        """Now as a timestamp."""
        return START + timedelta(seconds=self.now)

    @property
    def status(self) -> ModelRolloutStatus:
        """The status as the API server has it, read back from its JSON."""
        if self._parsed is None or self._parsed[0] is not self.status_json:
            self._parsed = (self.status_json, ModelRolloutStatus.from_json(self.status_json))
        return self._parsed[1]

    def mode(self, criterion: str, at: float | None = None) -> str:
        """What the metric of a criterion looks like at a time."""
        at = self.now if at is None else at
        found = GOOD
        for since, mode in self.modes.get(criterion, []):
            if since <= at:
                found = mode
        return found

    def set_mode(self, criterion: str, mode: str) -> None:
        """Change what the metric looks like from now on."""
        self.modes.setdefault(criterion, []).append((self.now, mode))

    def bad_for(self, criterion: str) -> float:
        """Seconds for which the metric has been bad without a break; -1 if it is not bad."""
        if self.mode(criterion) != BAD:
            return -1.0
        since = 0.0
        previous = GOOD
        for at, mode in self.modes.get(criterion, []):
            if mode == BAD and previous != BAD:
                since = at
            previous = mode
        return self.now - since

    # -- observe ------------------------------------------------------------------------------------------

    def observe(self, status: ModelRolloutStatus) -> Observation:
        """What the real operator would put together."""
        candidate = candidate_deployment(NAME, self.spec.candidate, status)
        names = watched_deployments(self.spec, status, candidate, NAME)
        workloads = {name: self._workload(name, status) for name in names}
        spec = None if self.invalid else self.spec
        self._ask_prometheus(spec, status)
        problems = (Problem(reason="InvalidSpec", message="bad"),) if self.invalid else self.problems
        return Observation(
            uid="uid-1", name=NAME, generation=self.generation, candidate_name=candidate,
            workloads=workloads, samples=dict(self.samples),
            commands=parse_commands({COMMANDS_ANNOTATION: self.commands})[0],
            reported=frozenset(self.told),
            clock_skewed=self.clock_skewed, clock_uncertain=self.clock_uncertain,
            problems=problems, jobs={name: self._job(name) for name in self.jobs},
            deleting=self.deleting, metrics_error="refused" if self.outage else None,
            copies=frozenset(one.name for one in status.owned if one.name in self.deployments),
            baselines={name: self._sample(name, GOOD) for name in due_baselines(spec, status)},
            foreign=self.foreign, stale=self.stale, uneven=self.uneven,
        )  # fmt: skip

    def _workload(self, name: str, status: ModelRolloutStatus) -> Workload:
        deployment = self.deployments.get(name)
        if deployment is None:
            return Workload(name=name, exists=False)
        ready, pods = deployment.ready(self.now), len(deployment.pods)
        if name == shadow_name(NAME) and (
            status.run is None or deployment.version != shadow_version(status.run)
        ):
            ready = 0  # another candidate's
        return Workload(
            name=name, desired=deployment.desired, ready=ready, pods=pods, template=deployment.template
        )

    def _job(self, name: str) -> JobResult:
        ends, succeeds = self.jobs[name]
        if self.now < ends:
            return JobResult(name=name, state=JobState.RUNNING)
        if succeeds:
            return JobResult(name=name, state=JobState.SUCCEEDED)
        return JobResult(name=name, state=JobState.FAILED, message="exit code 1: 3 of 10 wrong")

    def _ask_prometheus(self, spec: ModelRolloutSpec | None, status: ModelRolloutStatus) -> None:
        due = due_criteria(spec, status)
        interval = self.spec.evaluation.interval.seconds
        wanted = self.last is not None and self.last.requeue_after == timedelta()
        if spec is None or (
            self.now - self.asked_at < interval and not wanted and set(due) <= set(self.samples)
        ):
            return
        self.asked_at = self.now
        self.samples = {name: self._sample(name, self.mode(name)) for name in due}
        for name in needs_history(spec, status, self.samples, self.time):
            self.samples[name] = self._with_history(name, self.samples[name])

    def _sample(self, name: str, mode: str) -> Sample:
        if self.outage or mode == BROKEN:
            return Sample(state=SampleState.ERROR, at=self.time, message="connection refused")
        if mode == EMPTY:
            return Sample(state=SampleState.NO_DATA, at=self.time, message="no series")
        count = 1.0 if mode == FEW else 1000.0
        return Sample(
            state=SampleState.VALUE, at=self.time, value=VALUES.get(mode, 0.5), count=count, reference=0.5
        )

    def _with_history(self, name: str, sample: Sample) -> Sample:
        period = next(c.for_.seconds for c in self.spec.criteria if c.name == name)
        points = []
        for back in range(int(period / HISTORY_STEP), -1, -1):
            at = self.now - back * HISTORY_STEP
            value = VALUES.get(self.mode(name, at))
            points.append(Point(at=START + timedelta(seconds=at), value=value))
        return Sample(
            state=sample.state, at=sample.at, value=sample.value, count=sample.count,
            reference=sample.reference, history=tuple(points), message=sample.message,
        )  # fmt: skip

    # -- decide, persist, act -----------------------------------------------------------------------------

    def tick(
        self, *, crash: bool = False, conflict: bool = False
    ) -> tuple[ModelRolloutStatus, Observation, Decision]:
        """One turn of the operator; `crash`: it dies after persisting; `conflict`: its write is refused."""
        for deployment in self.deployments.values():
            deployment.reconcile(self.now)
        status = self.status
        observed = self.observe(status)
        decision = decide(
            spec=None if self.invalid else self.spec, status=status, observed=observed, now=self.time
        )
        self.last = decision
        if conflict and decision.status is not status:
            return status, observed, decision
        if decision.status is not status:
            self.status_json = decision.status.to_json()
            self.persisted += 1
        if not crash:
            self.act(decision)
        return status, observed, decision

    def act(self, decision: Decision) -> None:
        """Apply a decision as the real operator does, and tell people."""
        self.told |= {entry.id for entry in decision.status.unreported}
        for scale in decision.scales:
            deployment = self.deployments[scale.deployment]
            deployment.desired = scale.replicas
            deployment.reconcile(self.now)
        if decision.create_candidate:
            run = decision.status.run
            assert run is not None
            self.deployments.setdefault(run.candidate, self._new())
        copy = shadow_name(NAME)
        if decision.shadow is None:
            self.deployments.pop(copy, None)
        else:
            there = self.deployments.get(copy)
            if there is not None and there.version != decision.shadow.version:
                del self.deployments[copy]  # made anew at a later tick
            else:
                shadow = self.deployments.setdefault(copy, self._new())
                shadow.version = decision.shadow.version
                shadow.desired = decision.shadow.replicas
        for request in decision.jobs:
            if request.name not in self.jobs:
                length, succeeds = self.job_outcome()
                self.jobs[request.name] = (self.now + length, succeeds)
                self.jobs_ever.append(request.name)
        for name in decision.delete_copies:
            deleted = self.deployments.pop(name)
            assert not deleted.ready(self.now), f"the copy {name} was deleted while it served"
        for name in decision.delete_jobs:
            self.jobs.pop(name, None)
        if decision.finalized and self.deleting:
            self.gone = True

    def _new(self) -> SimulatedDeployment:
        deployment = SimulatedDeployment()
        deployment.delay = lambda: self.random.uniform(1, 20)
        return deployment

    def set_image(self, deployment: str, template: str) -> None:
        """A person changes the pod template: a rolling update, here of all pods at once."""
        there = self.deployments[deployment]
        if there.template != template:
            there.template = template
            there.pods = [self.now + there.delay() for _ in there.pods]

    def command(self, verb: Verb) -> None:
        """A person gives a command: it joins those in the list that are not handled yet."""
        self.given += 1
        new = Command(id=f"c{self.given}", verb=verb)
        listed = append_command(
            {COMMANDS_ANNOTATION: self.commands}, new, handled=self.status.handled_commands
        )
        self.commands = listed

    def edit(self, **changes: Any) -> None:
        """A person edits the spec."""
        self.spec = ModelRolloutSpec.model_validate({**self.spec.to_json(), **changes})
        self.generation += 1
