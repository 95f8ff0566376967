"""The queue of one Prometheus server after an outage."""

from __future__ import annotations

import asyncio
from typing import Any

from modelrollout.prometheus.batcher import Question
from modelrollout.prometheus.errors import FailureKind, PrometheusError
from modelrollout.prometheus.request_queue import Limits, Reply, RequestQueue, Waiting
from modelrollout.prometheus.targets import PrometheusTarget

QUESTION = Question("1.0", "heavy", "heavy", joinable=False)


class Client:
    """A server that is silent or answers every question with 1."""

    def __init__(self) -> None:
        self.target = PrometheusTarget(name="default", url="http://prometheus:9090")
        self.silent = False

    def query(self, promql: str, **_: Any) -> list[Any]:
        if self.silent:
            raise PrometheusError(FailureKind.CONNECTION, "connection refused")
        return [{"metric": {}, "value": [1.0, "1"]}]

    def close(self) -> None:
        """Nothing is open."""


async def _ask(lane: RequestQueue) -> Reply:
    future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
    rendered: Any = None
    lane.put(Waiting(rendered, [QUESTION], future), 0.0)
    return await asyncio.wait_for(future, 10)


async def test_a_question_that_is_asked_alone_finds_out_that_the_server_is_back() -> None:
    client: Any = Client()
    lane = RequestQueue(client, Limits())
    client.silent = True
    assert (await _ask(lane)).outage is not None
    assert (await _ask(lane)).outage is not None
    client.silent = False
    assert (await _ask(lane)).outage is None
    await lane.close()
