"""Whole runs, told as stories: given a spec and a world, when something happens, then this is decided."""

from __future__ import annotations

import random
from typing import Any

from modelrollout.api.conditions import ConditionStatus, ConditionType, Phase, get_condition
from modelrollout.api.spec import ModelRolloutSpec
from modelrollout.api.status import ModelRolloutStatus
from modelrollout.decision.types import Decision, JobRequest, Observation, Transition
from tests.unit import decision_world as sim

STEPS = [{"weight": 10, "duration": "60s"}, {"weight": 50, "duration": "60s"}, {"weight": 100}]
SIMPLE = {"name": "errors", "query": "q(${candidatePods})", "max": 1}
LASTING = {**SIMPLE, "name": "fallback", "for": "60s"}


class Story:
    """A world with a log of what happened in it."""

    def __init__(self, **spec: Any) -> None:
        base: dict[str, Any] = {
            "replicas": 10,
            "service": "emotion",
            "stable": {"deployment": "a"},
            "candidate": {"deployment": "b"},
            "steps": STEPS,
            "criteria": [SIMPLE],
            "evaluation": {"interval": "5s"},
            **spec,
        }
        parsed = ModelRolloutSpec.model_validate({k: v for k, v in base.items() if v is not None})
        deployments = {
            "a": sim.SimulatedDeployment(parsed.replicas),
            "b": sim.SimulatedDeployment(),
            "c": sim.SimulatedDeployment(),
        }
        self.world = sim.World(spec=parsed, random=random.Random(1), deployments=deployments)
        self.told: list[Transition] = []
        self.weights: list[tuple[float, int]] = []  # second, desired weight: one entry per change
        self.asked: list[JobRequest] = []
        self.least_ready = 10**6
        self.last: Decision | None = None

    @property
    def status(self) -> ModelRolloutStatus:
        return self.world.status

    @property
    def observed(self) -> Observation:
        return self.world.observe(self.status)

    def tick(self, **how: bool) -> Decision:
        _, _, decision = self.world.tick(**how)
        self.told += decision.transitions
        self.asked += decision.jobs
        weight = decision.status.weight.desired if decision.status.weight else 0
        if not self.weights or self.weights[-1][1] != weight:
            self.weights.append((self.world.now, weight))
        ready = sum(
            d.ready(self.world.now) for n, d in self.world.deployments.items() if n in ("a", "b", "c")
        )
        self.least_ready = min(self.least_ready, ready)
        self.last = decision
        return decision

    def play(self, seconds: float, step: float = 5.0) -> Decision:
        """Let the time pass, a tick every `step` seconds."""
        end = self.world.now + seconds
        decision = self.tick()
        while self.world.now + step <= end:
            self.world.now += step
            decision = self.tick()
        return decision

    def until(self, *phases: Phase, limit: float = 3600) -> ModelRolloutStatus:
        """Let the time pass until one of the phases."""
        end = self.world.now + limit
        while self.world.now < end:
            if self.tick().status.phase in phases:
                return self.status
            self.world.now += 5
        raise AssertionError(f"{self.status.phase}: {self.status.message}")

    def until_weight(self, weight: int, *, reached: bool = True) -> None:
        """Let the time pass until a step has begun (and its weight is observed)."""
        for _ in range(500):
            self.tick()
            step = self.status.step
            if step is not None and step.weight == weight and (step.reached_at or not reached):
                return
            self.world.now += 5
        raise AssertionError(f"{self.status.phase}: {self.status.message}")

    def reasons(self) -> list[str]:
        return [transition.reason for transition in self.told]

    def desired(self) -> dict[str, int]:
        return {n: d.desired for n, d in self.world.deployments.items() if n in ("a", "b", "c")}

    def condition(self, type_: ConditionType) -> tuple[ConditionStatus, str, str]:
        found = get_condition(self.status.conditions, type_)
        assert found is not None
        return found.status, found.reason, found.message
