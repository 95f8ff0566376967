"""Watching one ModelRollout: where a watch begins, and what follows when it ends."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any, cast

import pytest

from modelrollout.cli import client
from modelrollout.cli.client import Rollouts
from modelrollout.cluster.connection import KubeApi
from modelrollout.cluster.errors import ApiUnavailableError, GoneError, NotFoundError

Json = dict[str, Any]


def rollout(version: int) -> Json:
    return {"metadata": {"name": "emotion", "resourceVersion": str(version)}}


class Server:
    """Answers lists from `now`, and watches from a script, each of which is events or an error."""

    def __init__(self, *watches: list[Json] | Exception) -> None:
        self.now, self.items = 900, [rollout(7)]
        self.watches = list(watches)
        self.began: list[str] = []

    async def get(self, path: str, query: Mapping[str, str] | None = None) -> Json:
        if query is None:
            raise NotFoundError(404, "NotFound", "there is none")
        assert query == {"fieldSelector": "metadata.name=emotion"}
        self.now += 1
        return {
            "apiVersion": "modelrollout.dev/v1alpha1",
            "kind": "ModelRolloutList",
            "metadata": {"resourceVersion": str(self.now)},
            "items": self.items,
        }

    async def watch(self, _path: str, query: Mapping[str, str]) -> AsyncIterator[Json]:
        self.began.append(query["resourceVersion"])
        script = self.watches.pop(0)
        if isinstance(script, Exception):
            raise script
        for event in script:
            yield event


async def seen(server: Server, count: int) -> list[Json | None]:
    watching = Rollouts(api=cast(KubeApi, server), namespace="models").watch("emotion")
    return [await anext(watching) for _ in range(count)]


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "AGAIN_SECONDS", 0.0)


async def test_a_watch_begins_at_the_version_of_the_list_not_of_the_object() -> None:
    """An object that has not changed for long is older than what the API server remembers."""
    server = Server([{"type": "MODIFIED", "object": rollout(905)}])
    first, second = await seen(server, 2)
    assert first is not None and second is not None
    assert first["kind"] == "ModelRollout"
    assert second["metadata"]["resourceVersion"] == "905"
    assert server.began == ["901"]


@pytest.mark.parametrize(
    "end", [GoneError(410, "Expired", "too old"), [{"type": "ERROR", "object": {"code": 410}}]]
)
async def test_a_version_that_is_too_old_is_replaced_by_the_one_of_now(end: Any) -> None:
    server = Server(end, [{"type": "MODIFIED", "object": rollout(905)}])
    assert len(await seen(server, 3)) == 3
    assert server.began == ["901", "902"]


async def test_a_watch_that_ends_or_breaks_goes_on_where_it_was() -> None:
    server = Server(
        [{"type": "MODIFIED", "object": rollout(905)}],
        ApiUnavailableError(0, "ClientError", "broke"),
        [{"type": "DELETED", "object": rollout(906)}],
    )
    assert (await seen(server, 3))[-1] is None
    assert server.began == ["901", "905", "905"]


async def test_what_was_deleted_meanwhile_is_told_and_what_never_was_is_an_error() -> None:
    server = Server(GoneError(410, "Expired", "too old"))
    watching = Rollouts(api=cast(KubeApi, server), namespace="models").watch("emotion")
    await anext(watching)
    server.items = []
    assert await anext(watching) is None
    with pytest.raises(NotFoundError):
        await seen(server, 1)
