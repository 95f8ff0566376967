"""The executor: when Jobs of validations may be cleaned up."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from modelrollout.api.status import ModelRolloutStatus, ValidationState, ValidationStatus
from modelrollout.cluster.clock import ServerClock
from modelrollout.decision.types import Decision
from modelrollout.operator.executor import OPEN, Executor
from modelrollout.operator.rollouts import RolloutState
from tests.unit.test_operator_rollouts import stored


class Keeper:
    """Stands in for everything that acts; notes which Jobs were given a time to live."""

    def __init__(self) -> None:
        self.expired: dict[str, float] = {}

    async def unpark(self, *_: Any, **__: Any) -> frozenset[str]:
        return frozenset()

    async def expire(self, name: str, *, after: float, owner: Any) -> None:
        self.expired[name] = after

    async def remove_shadow(self, *_: Any) -> None: ...

    def refusal(self, *_: Any) -> str:
        return ""

    def forget(self, *_: Any) -> None: ...


@pytest.mark.parametrize("state", ValidationState)
async def test_a_job_may_end_once_its_result_is_in_status_and_not_before(state: ValidationState) -> None:
    keeper: Any = Keeper()
    nothing: Any = SimpleNamespace(deployments=SimpleNamespace(get=lambda *_: None))
    unused = dict.fromkeys(("api", "provider", "copies", "cache", "metrics"), nothing)
    executor = Executor(side=keeper, jobs=keeper, parking=keeper, clock=ServerClock(), **unused)
    validations = [{"name": "smoke", "image": "check:1", "ttl": "0s"}]
    rollout = RolloutState.of(stored(validations=validations))
    entries = tuple(
        ValidationStatus(name=name, run="r", step=0, job=f"job-{name}", state=state)
        for name in ("smoke", "gone")
    )
    await executor.act(rollout, Decision(status=ModelRolloutStatus(validations=entries)))
    expected = {} if state in OPEN else {"job-smoke": 0.0, "job-gone": 86400.0}
    assert keeper.expired == expected
