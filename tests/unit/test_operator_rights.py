"""What a lost right leaves possible: pods that cannot be put back, and a status that cannot be written."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

import pytest

from modelrollout.api.conditions import ConditionType, Reason, get_condition, set_condition
from modelrollout.api.constants import ANNOTATION_PARKED, LABEL_PARKED
from modelrollout.cluster import resources
from modelrollout.cluster.cache import ClusterCache
from modelrollout.cluster.clock import ServerClock
from modelrollout.cluster.errors import ApiError, ForbiddenError
from modelrollout.cluster.views import parse_deployment, parse_parked
from modelrollout.cluster.workloads.standby import Parking
from modelrollout.cluster.writer import RolloutRef
from modelrollout.decision.types import Scale
from modelrollout.operator.executor import Executor
from modelrollout.operator.rollouts import RolloutState
from tests.support import manifests
from tests.support.fake_kube import FakeKube
from tests.unit.test_operator_reconcile import ROLLOUT, Bench
from tests.unit.test_operator_rollouts import stored

OWNER = RolloutRef(namespace="ns", name="emotion", uid="uid-emotion", resource_version="1")
NO = ForbiddenError(403, "Forbidden", "pods is forbidden")


class Setup:
    """Two pods of stable outside the Service, in a fake API server and in the cache."""

    def __init__(self) -> None:
        self.api: Any = FakeKube()
        self.cache = ClusterCache(self.api, namespaces=(None,), listener=lambda *_: None)
        self.parking = Parking(self.api, self.cache)
        note = {"deployment": "emotion-1", "key": "serving", "value": "yes"}
        for name in ("a", "b"):
            meta = {
                "namespace": "ns",
                "name": name,
                "labels": {LABEL_PARKED: "emotion", "serving": "parked"},
                "annotations": {ANNOTATION_PARKED: json.dumps(note)},
            }
            view = parse_parked(self.api.put(resources.pod("ns", name), {"metadata": meta}))
            assert view is not None
            self.cache.parked.put(view)
        self.deployment(pods=2)

    def deployment(self, *, pods: int) -> None:
        made = manifests.deployment("emotion-1", replicas=pods, namespace="ns") | {
            "status": {"replicas": pods}
        }
        self.cache.deployments.put(
            parse_deployment(self.api.put(resources.deployment("ns", "emotion-1"), made))
        )


async def test_a_refusal_to_put_pods_back_is_an_answer_and_no_failure() -> None:
    setup = Setup()
    setup.api.failures += [NO, NO]
    assert await setup.parking.unpark(["emotion-1"], owner=OWNER) == {"emotion-1"}
    assert "pods is forbidden" in setup.parking.refusal("ns")
    assert await setup.parking.unpark(["emotion-1"], owner=OWNER) == frozenset()
    assert setup.parking.refusal("ns") == "", "it is allowed again"
    labels = setup.api.objects[resources.pod("ns", "a")]["metadata"]["labels"]
    assert labels == {"serving": "yes"}


async def test_counts_that_were_chosen_before_the_refusal_was_known_are_not_set() -> None:
    """They would end stable's serving pods first: the newest of a Deployment go first."""
    setup = Setup()
    actor = Executor(
        api=setup.api,
        parking=setup.parking,
        **dict.fromkeys(("provider", "copies", "side", "jobs"), cast(Any, None)),
        cache=setup.cache,
        metrics=cast(Any, None),
        clock=ServerClock(),
    )
    scales = (Scale(deployment="emotion-1", replicas=1), Scale(deployment="emotion-2", replicas=0))
    decision: Any = SimpleNamespace(serving=("emotion-1",), parked=None, scales=scales)
    setup.api.failures += [NO, NO, NO, NO]
    rollout = RolloutState.of(stored())
    assert await actor._park(rollout, decision) == scales[1:]
    assert await actor._park(rollout, decision) == scales, "decided with the refusal known"


@pytest.mark.parametrize(("denied", "known"), [(True, 0), (False, 2)])
def test_without_a_watch_pods_outside_are_gone_when_their_deployment_has_none(
    denied: bool, known: int
) -> None:
    setup = Setup()
    setup.cache.parked.denied = denied
    setup.deployment(pods=0)
    assert len(setup.cache.parked_of("ns", "emotion")) == known


ROLLING_BACK = {
    "phase": "RollingBack",
    "stable": "emotion-1",
    "reason": "Aborted",
    "run": {
        "id": "r",
        "candidate": "emotion-2",
        "fingerprint": "f",
        "startedAt": "2026-01-01T00:00:00Z",
        "stable": "emotion-1",
    },
    "rollback": {
        "reason": "Aborted",
        "message": "m",
        "startedAt": "2026-01-01T00:00:00Z",
        "result": "Aborted",
    },
}


async def test_a_rollback_goes_on_where_the_status_may_not_be_written(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bench = Bench(ROLLING_BACK)
    bench.rollout.finalizers = ("modelrollout.dev/return-traffic",)
    acted: list[Any] = []

    async def act(_: RolloutState, decision: Any) -> bool:
        acted.append(decision)
        return False

    async def nothing(_: RolloutState) -> None: ...

    actor = SimpleNamespace(look_at_jobs=nothing, try_again=nothing, act=act, open_jobs=lambda _: ())
    bench.reconciler._executor = cast(Executor, actor)
    before = dict(bench.api.objects[ROLLOUT]["status"])
    bench.api.failures.append(NO)
    wait = await bench.reconciler.reconcile(bench.rollout)
    assert wait is not None and wait <= 5
    assert len(acted) == 1, "nothing was done because nothing could be written"
    assert bench.rollout.unsaved and bench.rollout.status == acted[0].status
    assert bench.api.objects[ROLLOUT]["status"] == before
    assert caplog.text.count("the status cannot be written") == 1
    await bench.reconciler.reconcile(bench.rollout)
    assert not bench.rollout.unsaved
    assert bench.api.objects[ROLLOUT]["status"] != before, "it is written as soon as that is allowed"


async def test_nothing_else_is_done_that_cannot_be_written() -> None:
    bench = Bench({})
    bench.api.failures.append(NO)
    with pytest.raises(ForbiddenError):
        await bench.reconciler.reconcile(bench.rollout)
    assert bench.others.notified == []


async def test_the_condition_of_a_failure_stays_until_a_tick_succeeds() -> None:
    """It went off and on with each attempt: nobody who waited for it could rely on it."""
    bench = Bench({})
    with pytest.raises(ApiError):  # the actor of the bench fails always
        await bench.reconciler.reconcile(bench.rollout)
    status = bench.rollout.status
    told = set_condition(
        status.conditions,
        type_=ConditionType.STALLED,
        status=True,
        reason=Reason.FORBIDDEN,
        message="deployments/scale is forbidden",
        now=datetime(2026, 1, 1, tzinfo=UTC),
    )
    version = bench.rollout.resource_version
    bench.rollout.set_status(status.model_copy(update={"conditions": told}), version)
    bench.rollout.failures = 1
    written = len(bench.api.writes())
    with pytest.raises(ApiError):
        await bench.reconciler.reconcile(bench.rollout)
    assert len(bench.api.writes()) == written
    stalled = get_condition(bench.rollout.status.conditions, ConditionType.STALLED)
    assert stalled is not None and stalled.reason == Reason.FORBIDDEN

    async def act(*_: Any) -> bool:
        return False

    async def nothing(_: RolloutState) -> None: ...

    actor = SimpleNamespace(look_at_jobs=nothing, try_again=nothing, act=act, open_jobs=lambda _: ())
    bench.reconciler._executor = cast(Executor, actor)
    assert await bench.reconciler.reconcile(bench.rollout) == 0.0, "the condition is taken off at once"
    bench.rollout.failures = 0
    await bench.reconciler.reconcile(bench.rollout)
    stalled = get_condition(bench.rollout.status.conditions, ConditionType.STALLED)
    assert stalled is not None and stalled.reason != Reason.FORBIDDEN
