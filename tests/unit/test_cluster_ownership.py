"""What others have under a name of ours is neither changed nor deleted, and is reported (scenario 50)."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest

from modelrollout.api.conditions import Reason
from modelrollout.api.workload import Validation
from modelrollout.cluster import resources
from modelrollout.cluster.cache import ClusterCache
from modelrollout.cluster.clock import ServerClock
from modelrollout.cluster.errors import ForbiddenError
from modelrollout.cluster.ownership import NameTakenError
from modelrollout.cluster.views import parse_deployment, parse_job, parse_service
from modelrollout.cluster.workloads.shadow import Shadow, SideKeeper
from modelrollout.cluster.workloads.validation_jobs import JobKeeper, JobOrder, build_job
from modelrollout.cluster.writer import RolloutRef, Writer
from modelrollout.decision.types import JobState
from modelrollout.operator.executor import Executor
from modelrollout.operator.rollouts import RolloutState
from tests.support import manifests
from tests.support.fake_kube import FakeKube
from tests.support.owned import job, owned
from tests.unit.test_operator_rollouts import stored

OWNER = RolloutRef(namespace="ns", name="emotion", uid="uid-emotion", resource_version="1")
FORMER = replace(OWNER, uid="uid-of-the-one-before")
"""A ModelRollout of the same name that was deleted."""
COPY, SHADOW_SERVICE = resources.deployment("ns", "emotion-shadow"), resources.service("ns", "emotion-shadow")
CANDIDATE_SERVICE, JOB = resources.service("ns", "emotion-candidate"), resources.job("ns", "job")
JOBS = resources.collection(resources.BATCH, "jobs", "ns")


class Setup:
    """A candidate and the clients' Service in a fake API server; `see` is what the watches do."""

    def __init__(self) -> None:
        self.api: Any = FakeKube()
        self.cache = ClusterCache(self.api, namespaces=(None,), listener=lambda *_: None)
        self.side = SideKeeper(self.api, self.cache, Writer(self.api, self.cache))
        self.jobs = JobKeeper(self.api, self.cache)
        self.put(resources.deployment("ns", "emotion-2"), manifests.deployment("emotion-2", namespace="ns"))
        self.put(resources.service("ns", "emotion"), manifests.service(namespace="ns"))

    def put(self, path: str, obj: dict[str, Any], *, seen: bool = True) -> dict[str, Any]:
        made: dict[str, Any] = self.api.put(path, obj)
        if seen:
            self.see(path)
        return made

    def see(self, path: str) -> None:
        obj = self.api.objects[path]
        match obj["kind"]:
            case "Deployment":
                self.cache.deployments.put(parse_deployment(obj))
            case "Service":
                self.cache.services.put(parse_service(obj))
            case "Job":
                self.cache.jobs.put(parse_job(obj))

    async def make_shadow(self) -> None:
        shadow = Shadow(deployment="emotion-shadow", source="emotion-2", replicas=1, version="aaaa")
        await self.side.ensure_shadow(shadow, service="emotion", owner=OWNER)

    async def make_candidate_service(self) -> None:
        await self.side.candidate_url(candidate="emotion-2", shadowed=False, service="emotion", owner=OWNER)

    async def make_job(self) -> None:
        await self.jobs.start(order())


def order() -> JobOrder:
    validation = Validation(name="smoke", image="check:1", ttl="0s")
    return JobOrder(name="job", run="r", validation=validation, candidate_url="http://x", owner=OWNER)


def foreign(path: str, owner: RolloutRef | None) -> dict[str, Any]:
    name = path.rpartition("/")[2]
    if path == JOB:
        return job(name, owner=owner)
    if path == COPY:
        return owned(manifests.deployment(name, namespace="ns"), owner)
    return owned(manifests.service(name, selector={"app": "theirs"}, namespace="ns"), owner)


MAKERS = {
    COPY: Setup.make_shadow,
    SHADOW_SERVICE: Setup.make_shadow,
    CANDIDATE_SERVICE: Setup.make_candidate_service,
    JOB: Setup.make_job,
}


@pytest.mark.parametrize("seen", [True, False], ids=["seen", "not seen yet"])
@pytest.mark.parametrize("owner", [None, FORMER], ids=["of nobody", "of the one before"])
@pytest.mark.parametrize("path", MAKERS)
async def test_a_foreign_object_is_left_alone_and_told(
    path: str, owner: RolloutRef | None, seen: bool
) -> None:
    setup = Setup()
    setup.put(path, foreign(path, owner), seen=seen)
    before = copy.deepcopy(setup.api.objects[path])
    with pytest.raises(NameTakenError, match=path.rpartition("/")[2]) as told:
        await MAKERS[path](setup)
    assert told.value.path == path
    assert setup.api.objects[path] == before


@pytest.mark.parametrize("owner", [None, FORMER, OWNER])
@pytest.mark.parametrize("path", [COPY, SHADOW_SERVICE])
async def test_only_our_own_shadow_is_removed(path: str, owner: RolloutRef | None) -> None:
    setup = Setup()
    setup.put(path, foreign(path, owner))
    await setup.side.remove_shadow(OWNER)
    assert (path in setup.api.objects) is (owner is not OWNER)


@pytest.mark.parametrize("path", [COPY, SHADOW_SERVICE])
async def test_what_took_the_place_of_our_own_meanwhile_is_not_deleted(path: str) -> None:
    setup = Setup()
    setup.put(path, foreign(path, OWNER))
    theirs = foreign(path, None)
    theirs["metadata"]["uid"] = "uid-theirs"
    setup.put(path, theirs, seen=False)
    await setup.side.remove_shadow(OWNER)
    assert path in setup.api.objects


@pytest.mark.parametrize("seen", [True, False])
@pytest.mark.parametrize("owner", [None, FORMER, OWNER])
async def test_only_our_own_job_is_ended(owner: RolloutRef | None, seen: bool) -> None:
    setup = Setup()
    setup.put(JOB, foreign(JOB, owner), seen=seen)
    await setup.jobs.end("job", owner=OWNER)
    assert (JOB in setup.api.objects) is (owner is not OWNER)


@pytest.mark.parametrize(("owner", "state"), [(OWNER, JobState.SUCCEEDED), (FORMER, JobState.ABSENT)])
async def test_a_foreign_job_says_nothing_of_our_validation(owner: RolloutRef, state: JobState) -> None:
    setup = Setup()
    setup.put(JOB, job("job", owner=owner, succeeded=True))
    assert setup.jobs.results(["job"], owner=OWNER)["job"].state is state


async def test_a_job_lives_until_its_result_is_in_status() -> None:
    """With `ttl: 0s` the cluster deleted it before the operator had seen that it succeeded."""
    setup = Setup()
    assert "ttlSecondsAfterFinished" not in build_job(order())["spec"]
    setup.put(JOB, job("job", owner=OWNER))
    await setup.jobs.expire("job", after=0, owner=OWNER)
    assert setup.api.writes() == []  # it still runs
    setup.put(JOB, job("job", owner=OWNER, succeeded=True))
    await setup.jobs.expire("job", after=0, owner=OWNER)
    assert setup.api.objects[JOB]["spec"]["ttlSecondsAfterFinished"] == 0
    setup.see(JOB)
    await setup.jobs.expire("job", after=0, owner=OWNER)
    assert len(setup.api.writes()) == 1


@pytest.mark.parametrize("owner", [None, FORMER])
async def test_a_foreign_job_is_not_made_to_expire(owner: RolloutRef | None) -> None:
    setup = Setup()
    setup.put(JOB, job("job", owner=owner, succeeded=True))
    await setup.jobs.expire("job", after=0, owner=OWNER)
    assert setup.api.writes() == []


async def test_without_the_right_to_change_jobs_they_stay_and_that_is_not_asked_all_the_time() -> None:
    setup = Setup()
    setup.put(JOB, job("job", owner=OWNER, succeeded=True))
    setup.api.failures.append(ForbiddenError(403, "Forbidden", "no"))
    for _ in range(3):
        await setup.jobs.expire("job", after=0, owner=OWNER)
    assert len(setup.api.writes()) == 1


async def test_a_taken_name_stays_a_problem_until_it_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the problem coming and going: each time it would be an Event."""
    setup = Setup()
    setup.put(JOB, foreign(JOB, None))
    rollout = RolloutState.of(stored())
    nothing: Any = None
    parts = dict.fromkeys(("provider", "copies", "side", "jobs", "parking", "metrics"), nothing)
    actor = Executor(api=setup.api, cache=setup.cache, clock=ServerClock(), **parts)
    with pytest.raises(NameTakenError) as told:
        await setup.make_job()
    actor._note(rollout, told.value)
    assert rollout.pending_problem is not None
    assert rollout.pending_problem[0].reason == Reason.NAME_TAKEN
    noted = rollout.pending_problem
    actor._note(rollout, told.value)
    assert rollout.pending_problem is noted  # nothing new: no tick at once
    rollout.pending_problem = (noted[0], 0.0)
    await actor.try_again(rollout)
    assert (
        rollout.pending_problem is not None
        and rollout.pending_problem[0] is noted[0]
        and rollout.pending_problem[1] > 0
    )
    del setup.api.objects[JOB]
    rollout.pending_problem = (noted[0], 0.0)
    await actor.try_again(rollout)
    assert rollout.pending_problem is None
