"""Watching one ModelRollout: where a watch begins, and what follows when it ends."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncIterator, Mapping
from typing import Any, cast

import pytest

from modelrollout.api.commands import Command, Verb, append_command, parse_commands
from modelrollout.api.constants import COMMANDS_ANNOTATION
from modelrollout.cli import client
from modelrollout.cli.client import CommandRefusedError, Rollouts
from modelrollout.cluster.errors import ApiUnavailableError, ConflictError, GoneError, NotFoundError
from modelrollout.cluster.plain_client import PlainKubeApi
from modelrollout.cluster.resources import MERGE_PATCH

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
    watching = Rollouts(api=cast(PlainKubeApi, server), namespace="models").watch("emotion")
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
    watching = Rollouts(api=cast(PlainKubeApi, server), namespace="models").watch("emotion")
    await anext(watching)
    server.items = []
    assert await anext(watching) is None
    with pytest.raises(NotFoundError):
        await seen(server, 1)


class Store:
    """Holds one ModelRollout and takes a patch only with the resourceVersion that it has."""

    def __init__(self) -> None:
        self.item: Json = rollout(1) | {"status": {}}
        self.before_patch: list[str] = []

    async def get(self, _path: str, query: Mapping[str, str] | None = None) -> Json:
        if query is not None:  # the wait for the operator, of which there is none
            await asyncio.sleep(60)
        return copy.deepcopy(self.item)

    async def request(self, method: str, _path: str, *, body: Json, content_type: str) -> Json:
        assert (method, content_type) == ("PATCH", MERGE_PATCH)
        if self.before_patch:
            self.add(self.before_patch.pop(0))
        meta = self.item["metadata"]
        if body["metadata"]["resourceVersion"] != meta["resourceVersion"]:
            raise ConflictError(409, "Conflict", "the object has been modified")
        meta["annotations"] = body["metadata"]["annotations"]
        meta["resourceVersion"] = str(int(meta["resourceVersion"]) + 1)
        return copy.deepcopy(self.item)

    def add(self, id_: str) -> None:
        """Another person's command, written between a read and the write that rests on it."""
        meta = self.item["metadata"]
        command = Command(id=id_, verb=Verb.ABORT)
        text = append_command(meta.get("annotations"), command, handled=())
        meta["annotations"] = {COMMANDS_ANNOTATION: text}
        meta["resourceVersion"] = str(int(meta["resourceVersion"]) + 1)

    @property
    def verbs(self) -> list[str]:
        return [command.verb for command in parse_commands(self.item["metadata"]["annotations"])[0]]


async def ask(store: Store, verb: Verb) -> Json | None:
    return await Rollouts(api=cast(PlainKubeApi, store), namespace="models").command(
        "emotion", verb, wait=0.0
    )


async def test_of_two_people_who_ask_at_once_neither_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "ADD_PAUSE", 0.0)
    store = Store()
    store.before_patch = ["theirs", "theirs too"]
    assert await ask(store, Verb.PROMOTE) is None
    assert store.verbs == ["abort", "abort", "promote"]


async def test_what_is_handled_makes_room_and_a_full_list_is_said() -> None:
    store = Store()
    for number in range(10):
        store.add(str(number))
    with pytest.raises(CommandRefusedError, match="pause was not asked for: 10 commands wait"):
        await ask(store, Verb.PAUSE)
    store.item["status"] = {"handledCommands": [str(number) for number in range(10)]}
    assert await ask(store, Verb.PAUSE) is None
    assert store.verbs == ["pause"]


async def test_an_object_that_never_stops_changing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "ADD_PAUSE", 0.0)
    store = Store()

    async def outdated(_path: str) -> Json:
        return copy.deepcopy(store.item) | rollout(0)

    monkeypatch.setattr(store, "get", outdated)
    with pytest.raises(CommandRefusedError, match="changed 20 times; try again"):
        await ask(store, Verb.PAUSE)
