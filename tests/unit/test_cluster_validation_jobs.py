"""What is told of a validation's Job that failed or does not start, and how often it is asked for."""

from __future__ import annotations

from typing import Any

import pytest

from modelrollout.cluster.cache import ClusterCache
from modelrollout.cluster.errors import ApiError
from modelrollout.cluster.views import parse_job
from modelrollout.cluster.workloads.validation_jobs import LOG_LINES, LOG_TAIL_LENGTH, JobKeeper
from modelrollout.cluster.writer import RolloutRef
from modelrollout.decision.types import JobState
from tests.support.owned import job

OWNER = RolloutRef(namespace="ns", name="emotion", uid="uid-emotion", resource_version="1")
STEERING = "\x1b]52;c;AAAA\x07 and \x1b[2J"
"""Sets the clipboard of a terminal, and clears it."""


class Api:
    """The pods of a Job, and the log of its first pod."""

    def __init__(self, *statuses: dict[str, Any], log: str | ApiError = "") -> None:
        self.pods = [{"metadata": {"name": "pod"}, "status": {"containerStatuses": list(statuses)}}]
        self.log = log
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.failure: ApiError | None = None

    def again(self) -> Api:
        """One that was not asked anything yet: cases are made once, and may run more than once."""
        self.asked = []
        return self

    async def get(self, path: str, query: dict[str, str]) -> dict[str, Any]:
        self.asked.append((path, query))
        if self.failure is not None:
            raise self.failure
        return {"items": self.pods}

    async def read_text(self, path: str, query: dict[str, str]) -> str:
        self.asked.append((path, query))
        if isinstance(self.log, ApiError):
            raise self.log
        return self.log


def ended(code: int) -> dict[str, Any]:
    return {"image": "check:1", "state": {"terminated": {"exitCode": code}}}


def waiting(reason: str, message: str | None = None) -> dict[str, Any]:
    return {"image": "check:1", "state": {"waiting": {"reason": reason, "message": message}}}


def keeper(api: Any, *, failed: bool) -> JobKeeper:
    cache = ClusterCache(api, namespaces=(None,), listener=lambda *_: None)
    body = job("job", owner=OWNER)
    if failed:
        body["status"]["conditions"] = [
            {"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded", "message": "too often",
             "lastTransitionTime": "2026-01-01T00:01:00Z"}
        ]  # fmt: skip
    cache.jobs.put(parse_job(body))
    return JobKeeper(api, cache)


async def told(api: Any, *, failed: bool) -> tuple[JobState, str]:
    jobs = keeper(api.again(), failed=failed)
    await jobs.look("ns", ["job"])
    result = jobs.results(["job"], owner=OWNER)["job"]
    return result.state, result.message


@pytest.mark.parametrize(
    ("api", "message"),
    [
        (Api(ended(3), log=" first\nlast\n"), "Exit code 3. Last lines of its log:\nfirst\nlast"),
        (Api(ended(1)), "Exit code 1. It logged nothing."),
        (Api(log="x"), "The Job failed (BackoffLimitExceeded). Last lines of its log:\nx"),
        (
            Api(ended(1), log=ApiError(403, "Forbidden", "no logs")),
            "Exit code 1. Its log could not be read: no logs",
        ),
    ],
)
async def test_a_failed_job_is_told_with_its_exit_code_and_the_end_of_its_log(api: Api, message: str) -> None:
    assert await told(api, failed=True) == (JobState.FAILED, message)
    assert api.asked == [
        ("/api/v1/namespaces/ns/pods", {"labelSelector": "batch.kubernetes.io/job-name=job"}),
        ("/api/v1/namespaces/ns/pods/pod/log", {"tailLines": LOG_LINES, "limitBytes": "65536"}),
    ]


async def test_a_failed_job_without_pods_is_told_by_its_condition() -> None:
    api = Api()
    api.pods = []
    state, message = await told(api, failed=True)
    assert message == "The Job failed (BackoffLimitExceeded: too often) and has no pod left."
    api.failure = ApiError(500, "InternalError", "broken")
    assert await told(api, failed=True) == (state, message)


async def test_a_long_log_is_cut_from_the_front() -> None:
    _, message = await told(Api(ended(1), log="a" * 9000 + "the end"), failed=True)
    assert len(message) <= LOG_TAIL_LENGTH and message.endswith("the end") and "aaa" in message


async def test_control_characters_of_logs_and_messages_are_shown_and_not_obeyed() -> None:
    for api, failed in ((Api(ended(1), log=STEERING), True), (Api(waiting("ErrImagePull", STEERING)), False)):
        _, message = await told(api, failed=failed)
        assert "clipboard" not in message and "␛]52;c;AAAA␇ and" in message, message
        assert message.replace("\n", "").isprintable(), message


@pytest.mark.parametrize(
    ("api", "message"),
    [
        (Api(waiting("ErrImagePull", "no such tag")), "ErrImagePull for image check:1: no such tag"),
        (Api(waiting("ImagePullBackOff")), "ImagePullBackOff for image check:1: no further explanation"),
        (Api(waiting("CreateContainerConfigError", "x")), "CreateContainerConfigError for image check:1: x"),
        (Api(waiting("ContainerCreating")), ""),
        (Api({"image": "check:1", "state": {"running": {}}}), ""),
    ],
)
async def test_a_job_that_cannot_start_says_why(api: Api, message: str) -> None:
    assert await told(api, failed=False) == (JobState.RUNNING, message)


async def test_why_a_job_failed_is_read_once_and_why_it_waits_every_ten_seconds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [1000.0]
    monkeypatch.setattr("modelrollout.cluster.workloads.validation_jobs.time.monotonic", lambda: now[0])
    api: Any = Api(ended(1))
    jobs = keeper(api, failed=True)
    await jobs.look("ns", ["job", "unknown"])
    await jobs.look("ns", ["job"])
    assert len(api.asked) == 2
    jobs.forget("ns", ["job"])
    await jobs.look("ns", ["job"])
    assert len(api.asked) == 4, "another one of that name is read again"
    api = Api(waiting("ErrImagePull", "x"))
    jobs = keeper(api, failed=False)
    await jobs.look("ns", ["job"])
    now[0] += 9.9
    await jobs.look("ns", ["job"])
    assert len(api.asked) == 1
    now[0] += 0.2
    api.pods = []
    await jobs.look("ns", ["job"])
    assert len(api.asked) == 2
    assert jobs.results(["job"], owner=OWNER)["job"].message == "", "it started"
