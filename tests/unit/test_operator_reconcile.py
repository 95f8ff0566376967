"""One tick: what must be told although acting failed, and what must not be written over."""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from email.utils import formatdate
from typing import Any, cast

import pytest

from modelrollout.api.constants import FINALIZER
from modelrollout.api.unreported import UnreportedTransition
from modelrollout.api.workload import Candidate
from modelrollout.cluster import resources
from modelrollout.cluster.cache import ClusterCache
from modelrollout.cluster.clock import ServerClock
from modelrollout.cluster.errors import ApiError, ApiUnavailableError, ForbiddenError
from modelrollout.cluster.leader_election import Leadership
from modelrollout.cluster.writer import Writer
from modelrollout.decision.types import Observation, Workload
from modelrollout.operator import events as event_module
from modelrollout.operator.announcer import Announcer
from modelrollout.operator.events import Done, EventRecorder
from modelrollout.operator.executor import Executor
from modelrollout.operator.measure import Measurer
from modelrollout.operator.metrics import OperatorMetrics
from modelrollout.operator.observe import Observer
from modelrollout.operator.preflight import Inspector
from modelrollout.operator.reconcile import Reconciler
from modelrollout.operator.rollouts import RolloutState
from modelrollout.operator.store import RolloutStore
from modelrollout.operator.webhooks import Notifier
from tests.support.fake_kube import FakeKube
from tests.unit.test_operator_rollouts import stored

ROLLOUT = resources.rollout("ns", "emotion")


class Nothing:
    """Measures nothing, notifies nobody, sees a namespace without Deployments."""

    def __init__(self) -> None:
        self.notified: list[str] = []

    async def measure(self, _: RolloutState) -> None: ...

    async def look(self, _: RolloutState) -> None: ...

    def observe(self, rollout: RolloutState) -> Observation:
        return Observation(
            uid=rollout.uid,
            name=rollout.name,
            generation=rollout.generation,
            candidate_name="emotion-2",
            reported=frozenset(rollout.reported),
        )

    async def look_again(self, _: RolloutState) -> None: ...

    async def look_for_kept_pods(self, _: RolloutState) -> None: ...

    def notify(self, _: RolloutState, entry: UnreportedTransition, done: Done) -> None:
        self.notified.append(entry.reason)
        done(True)


class Clumsy:
    """An actor whose every attempt fails."""

    async def look_at_jobs(self, _: RolloutState) -> None: ...

    async def try_again(self, _: RolloutState) -> None: ...

    async def act(self, *_: Any) -> None:
        raise ApiError(500, "InternalError", "refused by the test")


class Idle(Clumsy):
    """An actor with nothing to do."""

    async def act(self, *_: Any) -> None: ...

    def open_jobs(self, _: RolloutState) -> tuple[str, ...]:
        return ()


class Bench:
    """A reconciler over a fake API server and the one rollout in it."""

    def __init__(
        self,
        status: dict[str, Any],
        actor: Clumsy | None = None,
        *,
        others: Nothing | None = None,
        clock: ServerClock | None = None,
    ) -> None:
        self.api: Any = FakeKube()
        self.store = RolloutStore(changed=lambda _: None, forgotten=lambda _: None)
        leadership, metrics = Leadership.always(), OperatorMetrics(lambda: True)
        cache = ClusterCache(self.api, namespaces=(None,), listener=lambda *_: None)
        writer = Writer(self.api, cache)
        self.others = others or Nothing()
        self.reporter = EventRecorder(writer, metrics)
        self.woken: list[tuple[Any, float]] = []
        self.reconciler = Reconciler(
            store=self.store,
            inspector=cast(Inspector, self.others),
            measurer=cast(Measurer, self.others),
            observer=cast(Observer, self.others),
            writer=writer,
            executor=cast(Executor, actor or Clumsy()),
            reporter=self.reporter,
            announcer=Announcer(
                reporter=self.reporter,
                notifier=cast(Notifier, self.others),
                wake=lambda key, after: self.woken.append((key, after)),
            ),
            leadership=leadership,
            clock=clock or ServerClock.local(),
        )
        self.store.apply(self.api.put(ROLLOUT, stored(status=status)))
        found = self.store.get(("ns", "emotion"))
        assert found is not None
        self.rollout = found


async def test_what_was_decided_is_told_although_acting_failed(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench({})
    with caplog.at_level(logging.INFO), pytest.raises(ApiError, match="refused by the test"):
        await bench.reconciler.reconcile(bench.rollout)
    written = bench.api.objects[ROLLOUT]["status"]
    assert written["phase"]
    assert bench.others.notified
    assert all(reason in caplog.text for reason in bench.others.notified)


@pytest.mark.parametrize("ahead", [900.0, -900.0])
async def test_decisions_are_dated_by_the_api_servers_clock(ahead: float) -> None:
    clock, now = ServerClock(), time.monotonic()
    clock.observe(formatdate(time.time() + ahead, usegmt=True), sent=now, received=now)
    bench = Bench({}, Idle(), clock=clock)
    await bench.reconciler.reconcile(bench.rollout)
    entry = bench.api.objects[ROLLOUT]["status"]["unreported"][0]
    assert abs(datetime.fromisoformat(entry["at"]).timestamp() - time.time() - ahead) < 5


async def test_a_status_that_cannot_be_read_is_left_as_it_is_and_that_is_told_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It was written by a newer operator: over it the stable version would be lost."""
    unknown = {"phase": "Levitating", "stable": "emotion-7"}
    bench = Bench(unknown)
    for _ in range(2):
        assert await bench.reconciler.reconcile(bench.rollout) is None
    assert bench.api.objects[ROLLOUT]["status"] == unknown
    assert bench.api.writes() == []
    assert caplog.text.count("StatusUnreadable") == 1


class Late(Nothing):
    """A watch that has not told yet that a pod of the candidate is no longer ready."""

    def __init__(self, *, lost: bool) -> None:
        super().__init__()
        self.lost, self.looked = lost, 0

    async def look_again(self, _: RolloutState) -> None:
        self.looked += 1

    def observe(self, rollout: RolloutState) -> Observation:
        candidate = 0 if self.lost and self.looked else 1
        workloads = {
            "emotion-1": Workload(name="emotion-1", desired=3, ready=3, pods=3),
            "emotion-2": Workload(name="emotion-2", desired=1, ready=candidate, pods=1),
        }
        return replace(super().observe(rollout), workloads=workloads)


def at_the_end_of_a_step(*, reached: bool) -> dict[str, Any]:
    """A status whose step of 25% has taken its time (or has not begun to)."""
    run = {"id": "r", "candidate": "emotion-2", "stable": "emotion-1", "startedAt": "2026-01-01T00:00:00Z"}
    run["fingerprint"] = Candidate(deployment="emotion-2").fingerprint()
    step: dict[str, Any] = {"index": 0, "weight": 25, "startedAt": "2026-01-01T00:00:00Z"}
    step |= {"reachedAt": "2026-01-01T00:00:01Z"} if reached else {"progressedAt": "2099-01-01T00:00:00Z"}
    return {"phase": "Progressing", "stable": "emotion-1", "run": run, "step": step}


@pytest.mark.parametrize("reached", [True, False])
@pytest.mark.parametrize("lost", [True, False])
async def test_scenario_48_nothing_is_reached_or_ended_before_the_api_server_says_what_clients_reach_now(
    reached: bool, lost: bool
) -> None:
    bench = Bench(at_the_end_of_a_step(reached=reached), others=Late(lost=lost))
    with suppress(ApiError):
        await bench.reconciler.reconcile(bench.rollout)
    step = bench.rollout.status.step
    assert cast(Late, bench.others).looked == 1
    assert step is not None
    if reached:
        assert (step.weight == 25) is lost, "the step ended on what was no longer so"
    else:
        assert (step.reached_at is None) is lost, "reached on what was no longer so"


async def test_a_steady_tick_asks_the_api_server_nothing() -> None:
    bench = Bench(at_the_end_of_a_step(reached=False), others=Late(lost=True))
    cast(Late, bench.others).looked = 1  # the watch has told by now
    with suppress(ApiError):
        await bench.reconciler.reconcile(bench.rollout)
    assert cast(Late, bench.others).looked == 1


def events(bench: Bench) -> list[str]:
    return [obj["reason"] for path, obj in bench.api.objects.items() if "/events/" in path]


async def post_events(bench: Bench) -> None:
    """Lets the reporter empty its queue."""
    task = asyncio.create_task(bench.reporter.run())
    await bench.reporter.flush(5)
    task.cancel()


async def test_a_transition_is_in_status_until_it_was_told_and_then_goes() -> None:
    bench = Bench({}, Idle())
    await bench.reconciler.reconcile(bench.rollout)
    kept = bench.api.objects[ROLLOUT]["status"]["unreported"]
    assert [entry["reason"] for entry in kept] == bench.others.notified != []
    await bench.reconciler.reconcile(bench.rollout)
    assert bench.api.objects[ROLLOUT]["status"]["unreported"] == kept, "not told yet"
    assert len(bench.others.notified) == len(kept), "what is being told is not told again"
    await post_events(bench)
    assert events(bench) == bench.others.notified
    assert {key for key, _ in bench.woken} == {("ns", "emotion")}, "a tick takes it out of status"
    await bench.reconciler.reconcile(bench.rollout)
    assert "unreported" not in bench.api.objects[ROLLOUT]["status"]
    assert not bench.rollout.reporting


async def test_whoever_leads_after_a_crash_tells_what_the_dead_one_did_not() -> None:
    """Killed after the write of status: no Event, no webhook, and a rollout that is at rest."""
    dead = Bench({}, Idle())
    dead.reconciler._announcer.announce = lambda _: None  # type: ignore[method-assign]
    await dead.reconciler.reconcile(dead.rollout)
    written = dead.api.objects[ROLLOUT]["status"]
    expected = [entry["reason"] for entry in written["unreported"]]
    assert expected and not events(dead)
    following = Bench(written, Idle())
    await following.reconciler.reconcile(following.rollout)
    await post_events(following)
    assert events(following) == following.others.notified == expected


async def test_an_event_that_fails_for_now_is_tried_again_and_a_refused_one_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(event_module, "AGAIN_SECONDS", 0.01)
    bench = Bench({}, Idle())
    await bench.reconciler.reconcile(bench.rollout)
    bench.api.failures = [ApiUnavailableError(503, "", "down")]
    await post_events(bench)
    assert not bench.rollout.reported, "kept until it is told"
    await asyncio.sleep(0.05)
    await post_events(bench)
    assert events(bench) == bench.others.notified
    assert len(bench.rollout.reported) == len(bench.others.notified)
    refused = Bench({}, Idle())
    await refused.reconciler.reconcile(refused.rollout)
    refused.api.failures = [ForbiddenError(403, "Forbidden", "no right")] * 3
    await post_events(refused)
    assert refused.rollout.reported, "it can never be told"


class LateWatch(Nothing):
    """A rollback that seems to be over: only the API server knows of a pod of stable outside the Service."""

    def __init__(self) -> None:
        super().__init__()
        self.looked = 0
        self.outside = 1

    def observe(self, rollout: RolloutState) -> Observation:
        parked = self.outside if self.looked else 0
        stable = Workload(name="emotion-1", desired=2, ready=2, pods=2, parked=parked)
        workloads = {"emotion-1": stable, "emotion-2": Workload(name="emotion-2")}
        return replace(super().observe(rollout), deleting=True, workloads=workloads)

    async def look_for_kept_pods(self, _: RolloutState) -> None:
        self.looked += 1


async def test_the_finalizer_stays_while_the_api_server_knows_of_a_pod_outside_the_service() -> None:
    at = "2026-01-05T09:00:00Z"
    run = {"id": "r", "candidate": "emotion-2", "stable": "emotion-1", "fingerprint": "f", "startedAt": at}
    rollback = {"startedAt": at, "reason": "Deleted", "message": "It is being deleted.", "result": "Aborted"}
    status = {"phase": "RollingBack", "stable": "emotion-1", "run": run, "rollback": rollback}
    late = LateWatch()
    bench = Bench(status, Idle(), others=late)
    obj = bench.api.objects[ROLLOUT]
    obj["spec"]["replicas"] = 2
    obj["metadata"] |= {"generation": 2, "deletionTimestamp": at, "finalizers": [FINALIZER]}
    bench.store.apply(bench.api.put(ROLLOUT, obj))
    await bench.reconciler.reconcile(bench.rollout)
    assert late.looked == 1
    assert bench.api.objects[ROLLOUT]["metadata"]["finalizers"] == [FINALIZER]
    assert bench.api.objects[ROLLOUT]["status"]["phase"] == "RollingBack"
    late.outside = 0
    await bench.reconciler.reconcile(bench.rollout)
    assert bench.api.objects[ROLLOUT]["metadata"]["finalizers"] == []
    assert bench.api.objects[ROLLOUT]["status"]["phase"] == "RolledBack"
