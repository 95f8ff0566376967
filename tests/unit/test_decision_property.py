"""Random histories of a simulated cluster: whatever happens, `decide` keeps its promises."""

from __future__ import annotations

import os
import random
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, note, settings
from hypothesis import strategies as st

from modelrollout.api.commands import Verb
from modelrollout.api.conditions import Phase, Reason
from modelrollout.api.schedule import Transition as Announcement
from modelrollout.api.spec import ModelRolloutSpec, OnHoldDeadline
from modelrollout.api.status import CriterionState, ModelRolloutStatus, RunResult
from modelrollout.api.unreported import UNREPORTED_LIMIT
from modelrollout.decision import Stage, decide, shadow_name, stage_of
from modelrollout.decision.replicas import limits_of, minimum_ready
from modelrollout.decision.types import Decision, Observation, Problem, SampleState
from tests.conftest import HISTORIES
from tests.unit import decision_world as sim

pytestmark = pytest.mark.property

EXAMPLES = HISTORIES.get(os.environ.get("HYPOTHESIS_PROFILE", "default"), HISTORIES["default"])
STEPS = (
    [(10, "20s"), (50, "20s"), (100, None)],
    [(25, "0s"), (75, "30s"), (100, None)],
    [(50, "15s"), (100, None)],
    [(10, "10s"), (20, "0s"), (75, "10s"), (100, None)],
)
CRITERIA: dict[str, dict[str, Any]] = {
    "now": {"max": 1},
    "lasting": {"max": 1, "for": "15s"},
    "samples": {"max": 1, "minSamples": 100},
    "ignored": {"max": 1, "noData": "Ignore"},
    "pausing": {"max": 1, "onBreach": "Pause"},
    "warning": {"max": 1, "onBreach": "Warn"},
    "dry": {"max": 1, "dryRun": True},
    "stable": {"compare": {"to": "Stable", "maxIncrease": "50%"}},
    "baseline": {"compare": {"to": "Baseline", "maxIncrease": "50%"}},
    "share": {"max": "90%", "confidence": 0.95, "minSamples": 100},
}
BINDING = frozenset(CRITERIA) - {"warning", "dry"}
REVERTING = frozenset(CRITERIA) - {"warning", "dry", "pausing"}
EVENTS = st.one_of(
    st.tuples(
        st.just("mode"),
        st.sampled_from(sorted(CRITERIA)),
        st.sampled_from([sim.GOOD, sim.BAD, sim.BAD, sim.EMPTY, sim.BROKEN, sim.FEW]),
    ),
    st.tuples(st.just("outage"), st.booleans()),
    st.tuples(st.just("command"), st.sampled_from(list(Verb))),
    st.tuples(st.just("replicas"), st.integers(1, 12)),
    st.tuples(st.just("candidate"), st.sampled_from(["a", "b", "c", "image"])),
    st.tuples(st.just("crash"), st.sampled_from(["a", "b", "c"]), st.booleans()),
    st.tuples(st.just("paused"), st.booleans()),
    st.tuples(st.just("steps"), st.sampled_from(STEPS)),
    st.tuples(st.just("problem"), st.booleans()),
    st.tuples(st.just("invalid"), st.booleans()),
    st.tuples(st.just("foreign"), st.booleans()),
    st.tuples(st.just("stale"), st.booleans()),
    st.tuples(st.just("scale"), st.sampled_from(["a", "b", "c"]), st.integers(0, 12)),
    st.tuples(st.just("template"), st.sampled_from(["a", "b", "c"]), st.sampled_from(["t1", "t2"])),
    st.tuples(st.just("remove"), st.sampled_from(["b", "c"])),
    st.tuples(st.just("delete")),
)


@dataclass(frozen=True)
class Plan:
    """One random history, small enough to shrink well."""

    seed: int
    spec: dict[str, Any]
    events: list[tuple[int, tuple[Any, ...]]]
    crashes: float
    conflicts: float
    slow: float  # share of pods that never become ready
    failing_jobs: float


@st.composite
def plans(draw: st.DrawFn, *, phases: bool) -> Plan:
    """Random histories; `phases`: with shadow, baseline, validations and approvals."""
    surge, unavailable = draw(st.sampled_from([("25%", 0), (1, 0), (0, 1), (0, "25%"), ("100%", "50%")]))
    chosen = draw(st.lists(st.sampled_from(sorted(CRITERIA)), unique=True, max_size=4))
    if not phases:
        chosen = [name for name in chosen if name != "baseline"]
    spec: dict[str, Any] = {
        "replicas": draw(st.integers(1, 12)),
        "service": "emotion",
        "stable": {"deployment": "a"},
        "candidate": {"deployment": "b"},
        "capacity": {"maxSurge": surge, "maxUnavailable": unavailable},
        "steps": _steps(draw(st.sampled_from(STEPS))),
        "rollback": {"minCapacity": draw(st.sampled_from(["50%", "100%", 1, "0%"]))},
        "progressDeadline": "60s",
        "evaluation": {"interval": draw(st.sampled_from(["2s", "5s", "10s"]))},
        "criteria": [_criterion(name) for name in chosen],
    }
    if draw(st.booleans()):
        spec["observation"] = {"duration": "20s"}
    if draw(st.booleans()):
        spec["holdDeadline"] = "20s"
        spec["onHoldDeadline"] = draw(st.sampled_from(["Pause", "Rollback"]))
    if draw(st.integers(0, 9)) == 0:
        spec["rollback"]["immediate"] = True
    elif draw(st.integers(0, 9)) == 0:
        del spec["stable"]
    if phases:
        spec |= _phases(draw, "baseline" in chosen)
    return Plan(
        seed=draw(st.integers(0, 2**32)),
        spec=spec,
        events=draw(st.lists(st.tuples(st.integers(0, 150), EVENTS), max_size=7)),
        crashes=draw(st.sampled_from([0.0, 0.0, 0.3])),
        conflicts=draw(st.sampled_from([0.0, 0.0, 0.3])),
        slow=draw(st.sampled_from([0.0, 0.0, 0.0, 0.2])),
        failing_jobs=draw(st.sampled_from([0.0, 0.5])),
    )


def _steps(weights: list[tuple[int, str | None]]) -> list[dict[str, Any]]:
    return [
        {"weight": weight, **({"duration": duration} if duration else {})} for weight, duration in weights
    ]


def _criterion(name: str) -> dict[str, Any]:
    counted = {"samplesQuery": "n${candidatePods}"} if name in ("samples", "share") else {}
    return {"name": name, "query": "q${candidatePods}", **counted, **CRITERIA[name]}


def _phases(draw: st.DrawFn, compares: bool) -> dict[str, Any]:
    spec: dict[str, Any] = {}
    if compares:
        spec["baseline"] = {"window": "1h"}
    if draw(st.booleans()):
        spec["shadow"] = {"duration": "20s", "approval": draw(st.sampled_from(["Required", "NotRequired"]))}
    if draw(st.booleans()):
        spec["validations"] = [
            {"name": "smoke", "image": "i", "timeout": "20s"},
            {"name": "pii", "image": "i", "timeout": "20s", "beforeWeights": [100]},
        ]
    return spec


class Watcher:
    """Checks every tick against what was true before it."""

    def __init__(self, world: sim.World) -> None:
        self.world = world
        self.held = 0.0  # seconds that the present step was paused, as seen from outside
        self.last_at = 0.0
        self.person = False  # a promote or promote-full was given since the step began

    def check(self, before: ModelRolloutStatus, observed: Observation, decision: Decision) -> None:
        """All promises that can be checked tick by tick."""
        after = decision.status
        elapsed = self.world.now - self.last_at
        self.last_at = self.world.now
        if before.pause is not None:
            self.held += elapsed
        fresh = [c.verb for c in observed.commands if c.id not in before.handled_commands]
        self.person |= Verb.PROMOTE in fresh or Verb.PROMOTE_FULL in fresh
        self._commands(before, observed, after)
        self._told(before, observed, decision)
        self._weights(before, after)
        self._templates(before, observed, after)
        self._advance(before, observed, after)
        self._rollback(before, observed, after)
        self._hold(before, decision)
        self._capacity(before, observed, decision)
        self._stale_view(before, observed, decision)
        if after is not before:
            assert self.world.status == after, "JSON and back changed the status"
            self._idempotent(observed, decision)
        if self._place(before) != self._place(after):
            self.held = 0.0
            self.person = False

    @staticmethod
    def _place(status: ModelRolloutStatus) -> tuple[Any, ...]:
        run, step = status.run, status.step
        return (
            run.id if run else None,
            step.index if step else None,
            step.reached_at if step else None,
            status.observation is not None,
        )

    def _weights(self, before: ModelRolloutStatus, after: ModelRolloutStatus) -> None:
        assert after.weight is not None and 0 <= after.weight.desired <= 100
        same_run = before.run and after.run and before.run.id == after.run.id
        if same_run and not after.rollback and before.weight and after.phase is not Phase.INVALID:
            assert after.weight.desired >= before.weight.desired
        if after.weight.observed is not None:
            assert 0 <= after.weight.observed <= 100

    def _templates(
        self, before: ModelRolloutStatus, observed: Observation, after: ModelRolloutStatus
    ) -> None:
        """No weight is kept, and no analysis skipped, by a pod template that did not earn it."""
        old, new = before.run, after.run
        if before.stable is None or old is None or new is None:
            return
        template = {name: seen.template for name, seen in observed.workloads.items() if seen.exists}
        changed = old.template and template.get(old.candidate, old.template) != old.template
        if old.finished_at is None and changed:
            assert after.rollback or new.id != old.id, "a changed candidate kept its weight"
        if new.id != old.id and after.rollback is None and new.skip_analysis and not self.person:
            assert template[new.candidate] == before.previous_stable_template, "analysis was skipped"

    def _advance(self, before: ModelRolloutStatus, observed: Observation, after: ModelRolloutStatus) -> None:
        """A step ends by itself only after its duration, with every criterion good and fresh."""
        moved = self._place(before)[:2] != self._place(after)[:2] or (
            after.observation and not before.observation
        )
        ended_well = after.run is not None and after.run.result in (None, RunResult.SUCCEEDED)
        if not moved or before.step is None or after.rollback or self.person or not ended_well:
            return
        if before.run is None or after.run is None or before.run.id != after.run.id:
            return
        step, spec = before.step, self.world.spec
        assert not observed.stale, "advanced on a stale view"
        assert not observed.foreign or after.run.skip_analysis, "advanced beside foreign endpoints"
        assert step.reached_at is not None or after.step is None or after.step.index <= step.index + 1
        if before.run.skip_analysis or after.run.skip_analysis:
            return
        duration = next((s.duration for s in spec.steps if s.weight == step.weight), None)
        watched = 0.0  # it may be reached and over in the same tick, where it has no duration
        if step.reached_at is not None:
            watched = (self.world.time - step.reached_at).total_seconds() - self.held
        if before.observation is None:
            assert watched >= (duration.seconds if duration else 0) - 1e-6, "a step ended before its duration"
        stable_serves = before.observation is None and before.step is not None and before.step.weight < 100
        for criterion in spec.criteria:
            if criterion.name == "stable" and not stable_serves:
                continue  # there is nothing that it could be compared with
            if criterion.name in BINDING and not observed.deleting:
                sample = observed.samples.get(criterion.name)
                assert sample is not None, "advanced without an answer"
                mode = self.world.mode(criterion.name, (sample.at - sim.START).total_seconds())
                passes = sample.state is SampleState.VALUE and (sample.value or 0) <= 1 and mode != sim.BAD
                ignored = criterion.name == "ignored" and sample.state is SampleState.NO_DATA
                assert passes or ignored, f"advanced although {criterion.name} was {mode}"
                assert self.world.time - sample.at <= spec.evaluation.interval.timedelta
                if step.reached_at is not None and before.observation is None:
                    asked = (sample.at - step.reached_at).total_seconds() - self.held
                    wanted = duration.seconds if duration else 0
                    assert asked >= wanted - 1e-6, "advanced on an answer from before the step's end"

    def _told(self, before: ModelRolloutStatus, observed: Observation, decision: Decision) -> None:
        """Each transition is in status until it was told, but for the oldest of very many."""
        after = decision.status.unreported
        ids = {entry.id for entry in after}
        lost = {entry.id for entry in before.unreported} - ids - observed.reported
        assert not lost or len(after) == UNREPORTED_LIMIT, "a transition was lost"
        texts = {entry.message for entry in after}
        assert {t.message[:100] for t in decision.transitions} <= {text[:100] for text in texts}
        assert len(ids) == len(after)

    def _commands(self, before: ModelRolloutStatus, observed: Observation, after: ModelRolloutStatus) -> None:
        """None is lost, none acts twice, and an abort wins over all that wait with it."""
        new = [c for c in observed.commands if c.id not in before.handled_commands]
        for command in observed.commands if not observed.deleting else ():
            waits = command.verb is Verb.RETRY and after.rollback is not None
            assert command.id in after.handled_commands or waits, f"{command.verb} was lost"
        run = before.run
        under_way = run is not None and run.finished_at is None and before.stable is not None
        if under_way and not observed.deleting and any(c.verb is Verb.ABORT for c in new):
            assert after.rollback is not None, "an abort was lost"

    def _stale_view(self, before: ModelRolloutStatus, observed: Observation, decision: Decision) -> None:
        """On a stale view no weight counts as reached, and only a return to stable takes pods away."""
        if not observed.stale:
            return
        after = decision.status
        newly = after.step is not None and after.step.reached_at is not None
        assert not newly or (before.step is not None and before.step.reached_at == after.step.reached_at)  # type: ignore[union-attr]
        if stage_of(None if self.world.invalid else self.world.spec, after) is not Stage.REVERTING:
            assert all(s.replicas > observed.workloads[s.deployment].desired for s in decision.scales)

    def _rollback(self, before: ModelRolloutStatus, observed: Observation, after: ModelRolloutStatus) -> None:
        """Only what was bad for its whole `for` takes traffic back; no data and errors never do."""
        if before.rollback is not None or after.rollback is None:
            return
        if after.rollback.reason != Reason.CRITERION_BREACHED:
            return
        name = after.rollback.criterion
        assert name in REVERTING
        sample = observed.samples[name]
        at = (sample.at - sim.START).total_seconds()
        assert sample.state is SampleState.VALUE and self.world.mode(name, at) == sim.BAD
        period = next(c.for_.seconds for c in self.world.spec.criteria if c.name == name)
        assert self.world.bad_for(name) >= period - sim.HISTORY_STEP - 1e-6 + (at - self.world.now)
        assert name in after.rollback.message and "expected" in after.rollback.message
        entry = next(e for e in after.criteria if e.name == name)
        assert entry.state is CriterionState.FAIL and entry.value == sample.value

    def _hold(self, before: ModelRolloutStatus, decision: Decision) -> None:
        """A hold is told once when it begins and once when it ends; only its deadline ends it otherwise."""
        after = decision.status
        told = [each.announcement for each in decision.transitions]
        same = before.run is not None and after.run is not None and before.run.id == after.run.id
        if same and after.rollback is None and after.run is not None and after.run.finished_at is None:
            begins = before.hold is None and after.hold is not None
            ends = before.hold is not None and after.hold is None
            assert (told.count(Announcement.HELD), told.count(Announcement.HOLD_ENDED)) == (begins, ends)
        if after.rollback is not None or after.run is None or after.run.finished_at is not None:
            assert after.hold is None
        spec, rollback = self.world.spec, after.rollback
        if before.rollback is None and rollback and rollback.reason == Reason.HOLD_DEADLINE_EXCEEDED:
            assert before.hold is not None and spec.hold_deadline is not None
            assert spec.on_hold_deadline is OnHoldDeadline.ROLLBACK
            assert self.world.time - before.hold.since >= spec.hold_deadline.timedelta

    def _capacity(self, before: ModelRolloutStatus, observed: Observation, decision: Decision) -> None:
        """No action takes ready pods below what is promised."""
        status, spec = decision.status, self.world.spec
        run = status.run
        names = {n for n in observed.workloads if n != shadow_name(sim.NAME)}
        ready = sum(observed.workloads[n].ready for n in names)
        after = {n: observed.workloads[n].ready for n in names}
        for scale in decision.scales:
            after[scale.deployment] = min(after[scale.deployment], scale.replicas)
            assert (
                0
                <= scale.replicas
                <= max(spec.replicas + limits_of(spec.replicas, spec.capacity).surge, _total(status))
            )
        left = sum(after.values())
        if left >= ready:
            return
        limits = limits_of(spec.replicas, spec.capacity)
        total = spec.replicas
        promised = total - limits.unavailable
        if stage_of(None if self.world.invalid else spec, status) is Stage.REVERTING:
            if spec.rollback.immediate or self.world.invalid:
                return
            promised = minimum_ready(total, spec.rollback.min_capacity, limits)
        if run is not None and status.previous_stable in names - {run.candidate, status.stable}:
            return  # a third Deployment, scaled up by hand
        assert left >= min(promised, ready), f"ready {ready} -> {left}, promised {promised}"

    def _idempotent(self, observed: Observation, decision: Decision) -> None:
        """Asked again with the same observation, nothing changes any more and the same is wanted."""
        again = decide(
            spec=None if self.world.invalid else self.world.spec,
            status=decision.status,
            observed=observed,
            now=self.world.time,
        )
        # Before it is acted on, what was decided looks like drift.
        same = again.status.model_copy(update={"unreported": decision.status.unreported})
        if same != decision.status:
            assert same.to_json() == decision.status.to_json()
            raise AssertionError("the same JSON, but another status")
        assert again.scales == decision.scales
        assert again.jobs == decision.jobs
        assert again.shadow == decision.shadow


def _total(status: ModelRolloutStatus) -> int:
    return status.pods.stable.desired + status.pods.candidate.desired if status.pods else 0


def build(plan: Plan) -> sim.World:
    """The world of a plan before anything happened."""
    rng = random.Random(plan.seed)
    spec = ModelRolloutSpec.model_validate(plan.spec)
    deployments = {
        "a": sim.SimulatedDeployment(spec.replicas),
        "b": sim.SimulatedDeployment(),
        "c": sim.SimulatedDeployment(),
    }
    world = sim.World(spec=spec, random=rng, deployments=deployments)

    def delay() -> float:
        return float("inf") if rng.random() < plan.slow else rng.uniform(1, 20)

    for name, deployment in deployments.items():
        deployment.delay = delay if name != "a" else (lambda: rng.uniform(1, 20))
    world.job_outcome = lambda: (rng.uniform(1, 30), rng.random() >= plan.failing_jobs)
    return world


def apply_event(world: sim.World, event: tuple[Any, ...]) -> None:
    """Something happens outside of the operator."""
    match event:
        case ("mode", name, mode):
            world.set_mode(name, mode)
        case ("outage", away):
            world.outage = away
        case ("command", verb):
            world.command(verb)
        case ("replicas", count):
            world.edit(replicas=count)
        case ("candidate", "image"):
            if world.spec.stable is None:
                return  # refused by the API
            world.edit(candidate={"image": "emotion:3"})
        case ("candidate", name):
            world.edit(candidate={"deployment": name})
        case ("crash", name, for_good):
            deployment = world.deployments.get(name)
            if deployment is not None:
                for_good &= name != "a"
                deployment.pods = [float("inf") if for_good else world.now + 15.0 for _ in deployment.pods]
        case ("steps", steps):
            world.edit(steps=_steps(steps))
        case ("paused", paused):
            world.edit(paused=paused)
        case ("problem", there):
            world.problems = (Problem(reason="ServiceNotFound", message="no service"),) if there else ()
        case ("invalid", invalid):
            world.invalid = invalid
        case ("foreign", there):
            world.foreign = ("pod stray-x2x9z",) if there else ()
        case ("stale", there):
            world.stale = ("endpointslices: forbidden",) if there else ()
        case ("scale", name, count):
            if name in world.deployments:
                world.deployments[name].desired = count
        case ("template", name, template):
            if name in world.deployments:
                world.set_image(name, template)
        case ("remove", name):
            if world.status.stable != name:
                world.deployments.pop(name, None)
        case ("delete",):
            world.deleting = True
            world.deleted_at_rest = stage_of(world.spec, world.status) is Stage.NONE


def run_history(plan: Plan) -> tuple[sim.World, Watcher]:
    """Play the plan to its end, checking every tick."""
    world = build(plan)
    watcher = Watcher(world)
    rng = world.random
    events = sorted(plan.events, key=lambda item: item[0])
    horizon = min(160.0, (events[-1][0] if events else 0) + 30.0)
    while world.now < horizon and not world.gone:
        while events and events[0][0] <= world.now:
            apply_event(world, events.pop(0)[1])
        crash, conflict = rng.random() < plan.crashes, rng.random() < plan.conflicts
        before, observed, decision = world.tick(crash=crash, conflict=conflict)
        if not (conflict and decision.status is not before):
            watcher.check(before, observed, decision)
        world.now += rng.choice((2, 5, 5, 10))
    return world, watcher


def calm_down(world: sim.World, watcher: Watcher) -> None:
    """Everything heals and nobody does anything wrong: the rollout must come to an end by itself."""
    for criterion in world.modes:  # from now on: an answer from before may still be judged
        world.set_mode(criterion, sim.GOOD)
    world.outage, world.invalid, world.problems = False, False, ()
    world.foreign, world.stale = (), ()
    world.job_outcome = lambda: (3.0, True)
    if world.spec.paused:
        world.edit(paused=False)
    for name in ("a", "b", "c"):
        deployment = world.deployments.setdefault(name, sim.SimulatedDeployment())
        deployment.delay = lambda: 5.0
        deployment.pods = [min(at, world.now + 5) for at in deployment.pods]
    for _ in range(150):
        status = world.status
        held = status.pause
        if held is not None:
            approve = held.reason == Reason.WAITING_FOR_APPROVAL
            world.command(Verb.PROMOTE if approve else Verb.RESUME)
        before, observed, decision = world.tick()
        watcher.check(before, observed, decision)
        if world.gone:
            return
        finished = decision.status.phase in (Phase.IDLE, Phase.SUCCEEDED, Phase.ROLLED_BACK)
        if (
            finished
            and not decision.scales
            and not decision.status.unreported
            and all(d.ready(world.now) == d.desired for d in world.deployments.values())
        ):
            return
        world.now += 10
    raise AssertionError(f"stuck in {world.status.phase}: {world.status.message}")


def check_end(world: sim.World) -> None:
    """At rest all traffic is on the version that status names."""
    status = world.status
    total = world.spec.replicas
    stable = status.stable
    if stable is None:
        assert world.gone and world.deployments["a"].desired == len(world.deployments["a"].pods)
        return
    if world.gone:
        # deleted at rest: if somebody had scaled stable to nothing by hand, that is how it stays
        assert world.deployments[stable].desired > 0 or world.deleted_at_rest
        reached = {n for n, d in world.deployments.items() if d.ready(world.now) and n != stable}
        run = status.run
        assert run is None or run.finished_at is not None or stage_of(world.spec, status) is Stage.NONE
        # without a run there is nothing to bring back: what somebody scaled by hand since is theirs
        at_rest = world.deleted_at_rest or run is None or run.candidate == stable
        assert at_rest or run is None or run.candidate not in reached
        return
    assert world.deployments[stable].desired == total
    for name, deployment in world.deployments.items():
        tracked = {status.previous_stable, status.run.candidate if status.run else None}
        assert name == stable or name not in tracked or deployment.desired == 0
    # at rest nothing is written and nothing is due
    observed = world.observe(status)
    later = decide(spec=world.spec, status=status, observed=observed, now=world.time + timedelta(hours=1))
    assert later.status is status and not later.scales and not later.transitions
    assert later.requeue_after is None
    assert status.message


def check_history(plan: Plan) -> None:
    """One whole history."""
    note(repr(plan))
    world, watcher = run_history(plan)
    if not world.gone:
        calm_down(world, watcher)
    check_end(world)
    assert len(world.jobs_ever) == len(set(world.jobs_ever)), "a Job was made twice"


@settings(max_examples=EXAMPLES)
@given(plan=plans(phases=False))
@pytest.mark.timeout(0)
@pytest.mark.takes(seconds=60)
def test_property_random_histories_of_the_core(plan: Plan) -> None:
    """Steps, observation, commands, crashes, edits, drift, outages, deletion."""
    check_history(plan)


@settings(max_examples=EXAMPLES)
@given(plan=plans(phases=True))
@pytest.mark.timeout(0)
@pytest.mark.takes(seconds=60)
def test_property_random_histories_with_all_phases(plan: Plan) -> None:
    """The same with shadow, baseline, validations and approvals."""
    check_history(plan)
