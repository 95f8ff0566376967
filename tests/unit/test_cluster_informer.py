"""The informer: list, watch, resume, list again, and tell what changed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from modelrollout.cluster.errors import ApiError, ApiUnavailableError, GoneError
from modelrollout.cluster.informer import RELIST_SECONDS, Informer
from modelrollout.cluster.source import Source, is_older, watch_error


@dataclass(frozen=True)
class Thing:
    """A view with one field that counts."""

    namespace: str
    name: str
    resource_version: str = field(compare=False)
    size: int


def thing(name: str, version: int, size: int = 0) -> dict[str, Any]:
    return {
        "metadata": {"namespace": "ns", "name": name, "resourceVersion": str(version)},
        "size": size,
    }


def parse(obj: Mapping[str, Any]) -> Thing:
    meta = obj["metadata"]
    return Thing(meta["namespace"], meta["name"], meta["resourceVersion"], obj["size"])


class Script:
    """Answers lists and watches from a script and notes what was asked."""

    def __init__(self, lists: list[Any], watches: list[list[Any]]) -> None:
        self.lists, self.watches = lists, watches
        self.asked: list[dict[str, str]] = []
        self.done = asyncio.Event()

    async def get(self, path: str, query: Mapping[str, str] | None = None) -> dict[str, Any]:
        self.asked.append(dict(query or {}))
        answer = self.lists.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return dict(answer)

    async def watch(self, path: str, query: Mapping[str, str]) -> AsyncIterator[dict[str, Any]]:
        self.asked.append(dict(query))
        if not self.watches:
            self.done.set()
            await asyncio.Event().wait()
        for event in self.watches.pop(0):
            if isinstance(event, Exception):
                raise event
            yield event


def page(version: int, *items: dict[str, Any], follow: str = "") -> dict[str, Any]:
    return {"metadata": {"resourceVersion": str(version), "continue": follow}, "items": list(items)}


def event(kind: str, obj: dict[str, Any]) -> dict[str, Any]:
    return {"type": kind, "object": obj}


async def play(
    script: Script, *, before: Sequence[Thing] = (), relist: float = RELIST_SECONDS, **source: Any
) -> tuple[Informer[Thing], list[tuple[Any, Any]]]:
    """Runs an informer to the end of the script; `before`: what is known already."""
    told: list[tuple[Any, Any]] = []
    informer: Informer[Thing] = Informer(
        script,  # type: ignore[arg-type]
        Source(group_version="/apis/x/v1", plural="things", parse=parse, **source),
        namespaces=(None,),
        on_change=lambda old, new: told.append((old, new)),
    )
    for known in before:
        informer.put(known)
    task = asyncio.create_task(informer.run(relist))
    async with asyncio.timeout(20):
        await script.done.wait()
    task.cancel()
    return informer, told


async def test_pages_are_followed_and_the_watch_starts_where_the_list_ended() -> None:
    script = Script([page(7, thing("a", 1), follow="more"), page(9, thing("b", 2))], [])
    informer, told = await play(script)
    assert sorted(item.name for item in informer) == ["a", "b"]
    assert script.asked[1]["continue"] == "more"
    assert script.asked[2]["resourceVersion"] == "9"
    assert informer.synced.is_set()
    assert len(told) == 2


async def test_changes_are_told_with_what_was_there_before() -> None:
    watch = [
        event("MODIFIED", thing("a", 11, size=5)),
        event("ADDED", thing("b", 12)),
        event("DELETED", thing("a", 13, size=5)),
    ]
    informer, told = await play(Script([page(10, thing("a", 1))], [watch]))
    changes = [(old and old.size, new and new.size, (new or old).name) for old, new in told]
    assert changes == [(None, 0, "a"), (0, 5, "a"), (None, 0, "b"), (5, None, "a")]
    assert [item.name for item in informer] == ["b"]


async def test_a_change_that_does_not_count_is_not_told() -> None:
    _, told = await play(Script([page(10, thing("a", 1))], [[event("MODIFIED", thing("a", 11))]]))
    assert len(told) == 1


async def test_after_a_break_the_watch_goes_on_where_it_was_without_a_list() -> None:
    bookmark = event("BOOKMARK", {"metadata": {"resourceVersion": "44"}})
    broken = ApiUnavailableError(0, "ClientError", "connection reset")
    script = Script([page(10)], [[bookmark, broken], []])
    informer, _ = await play(script)
    assert [asked.get("resourceVersion") for asked in script.asked] == [None, "10", "44", "44"]
    assert informer.relists == 1


async def test_a_version_too_old_lists_again_and_finds_what_was_deleted_meanwhile() -> None:
    expired = event("ERROR", {"code": 410, "reason": "Expired", "message": "too old"})
    script = Script([page(10, thing("a", 1), thing("b", 2)), page(50, thing("b", 2))], [[expired]])
    informer, told = await play(script)
    assert informer.relists == 2
    assert [item.name for item in informer] == ["b"]
    assert told[-1] == (Thing("ns", "a", "1", 0), None)


async def test_gone_as_a_status_lists_again_too() -> None:
    script = Script([page(10), page(50)], [[GoneError(410, "Expired", "too old")]])
    informer, _ = await play(script)
    assert informer.relists == 2


async def test_an_outage_of_the_list_is_waited_for() -> None:
    script = Script([ApiUnavailableError(503, "", "busy"), page(10, thing("a", 1))], [])
    informer, _ = await play(script)
    assert len(informer) == 1


async def test_an_older_event_does_not_undo_what_a_write_of_ours_answered() -> None:
    script = Script([page(10, thing("a", 8))], [[event("MODIFIED", thing("a", 9, size=1))]])
    told: list[Any] = []
    informer: Informer[Thing] = Informer(
        script,  # type: ignore[arg-type]
        Source(group_version="/apis/x/v1", plural="things", parse=parse),
        namespaces=(None,),
        on_change=lambda old, new: told.append(new),
    )
    informer.put(Thing("ns", "a", "12", 7))
    task = asyncio.create_task(informer.run())
    await script.done.wait()
    task.cancel()
    seen = informer.get("ns", "a")
    assert seen is not None and seen.size == 7


def test_the_answer_to_a_write_does_not_undo_what_the_watch_has_told_of_that_version() -> None:
    """A write that changed nothing is answered with the version that is there; its content is more."""
    informer: Informer[Thing] = Informer(
        Script([], []),  # type: ignore[arg-type]
        Source(group_version="/apis/x/v1", plural="things", parse=parse),
        namespaces=(None,),
        on_change=lambda old, new: None,
    )
    informer.put(Thing("ns", "a", "12", 7))
    informer.put(Thing("ns", "a", "12", 6))
    informer.put(Thing("ns", "a", "11", 5))
    seen = informer.get("ns", "a")
    assert seen is not None and seen.size == 7


class SlowRead:
    """Answers a read with what was there before `during` was called."""

    def __init__(self, answer: dict[str, Any], during: Callable[[], None]) -> None:
        self._answer, self._during = answer, during

    async def get(self, path: str, query: Mapping[str, str] | None = None) -> dict[str, Any]:
        self._during()
        return self._answer


def informer_of(api: Any, *namespaces: str | None) -> Informer[Thing]:
    return Informer(
        api,
        Source(group_version="/apis/x/v1", plural="things", parse=parse),
        namespaces=namespaces or (None,),
        on_change=lambda old, new: None,
    )


@pytest.mark.parametrize("how", ["read", "write"])
async def test_an_answer_from_before_the_deletion_brings_no_object_back(how: str) -> None:
    def deleted() -> None:
        informer._take("DELETED", thing("a", 13))

    informer = informer_of(SlowRead(page(12, thing("a", 12)), deleted))
    informer.put(Thing("ns", "a", "11", 0))
    if how == "read":
        await informer.refresh("ns", label_selector="x", known=[("ns", "a")])
    else:
        deleted()
        informer.put(Thing("ns", "a", "12", 0))
    assert len(informer) == 0
    informer.put(Thing("ns", "a", "14", 0))
    assert len(informer) == 1, "made again after it"


async def test_what_a_list_did_not_find_is_not_brought_back_by_an_earlier_answer() -> None:
    informer, _ = await play(Script([page(20)], []), before=[Thing("ns", "a", "11", 0)])
    informer.put(Thing("ns", "a", "12", 0))
    assert len(informer) == 0


async def test_the_list_of_one_namespace_keeps_the_deletions_of_another() -> None:
    informer = informer_of(SlowRead(page(20), lambda: None), "ns", "other")
    informer._take("DELETED", thing("a", 13))
    await informer._list("other")
    informer.put(Thing("ns", "a", "12", 0))
    assert len(informer) == 0


async def test_a_deletion_is_forgotten_after_the_next_list() -> None:
    informer = informer_of(SlowRead(page(20), lambda: None))
    informer._take("DELETED", thing("a", 13))
    await informer._list(None)
    assert informer._removals.noted() == {}


async def test_an_object_that_cannot_be_understood_hurts_no_other() -> None:
    odd = {"metadata": {"namespace": "ns", "name": "odd", "resourceVersion": "3"}}
    informer, _ = await play(Script([page(10, odd, thing("a", 1))], []))
    assert [item.name for item in informer] == ["a"]


async def test_a_kind_that_may_be_missing_counts_as_empty() -> None:
    refused = ApiError(403, "Forbidden", "no")
    script = Script([refused, page(10)], [])
    informer, _ = await play(script, missing_ok=True)
    assert informer.synced.is_set()


async def test_a_right_that_was_missing_for_a_moment_is_seen_to_be_back() -> None:
    refused = ApiError(403, "Forbidden", "no")
    script = Script([page(10, thing("a", 1)), page(20, thing("a", 1))], [[refused]])
    informer, _ = await play(script, missing_ok=True)
    assert not informer.denied
    assert informer.relists == 2


def test_versions_that_are_no_numbers_are_never_called_older() -> None:
    assert is_older("9", "10")
    assert not is_older("10", "9")
    assert not is_older("x", "10")


@pytest.mark.parametrize(("version", "left"), [(10, 1), (30, 0)])
async def test_a_list_from_before_a_write_of_our_own_does_not_take_away_what_was_written(
    version: int, left: int
) -> None:
    informer, _ = await play(Script([page(version)], []), before=[parse(thing("mine", 20))])
    assert len(informer) == left


async def test_an_event_that_its_deletion_overtook_does_not_bring_the_object_back() -> None:
    late = event("MODIFIED", thing("a", 2, size=1))
    again = event("ADDED", thing("a", 9, size=2))
    script = Script([page(1, thing("a", 1))], [[event("DELETED", thing("a", 3)), late]])
    informer, _ = await play(script)
    assert len(informer) == 0
    script = Script([page(1, thing("a", 1))], [[event("DELETED", thing("a", 3)), late, again]])
    informer, _ = await play(script)
    assert [view.size for view in informer] == [2], "a new object of that name counts"


async def test_an_event_that_was_lost_is_found_by_a_list_now_and_then() -> None:
    said = event("MODIFIED", thing("b", 7))  # the watch lives, so nothing else calls for a list
    lists = [page(1, thing("a", 1)), page(7, thing("a", 5, size=3), thing("b", 7)), page(8), page(9)]
    informer, _ = await play(Script(lists[:2], [[said]]), relist=0.0)
    seen = informer.get("ns", "a")
    assert seen is not None and seen.size == 3
    informer, _ = await play(Script(lists[:1], [[said]]))
    seen = informer.get("ns", "a")
    assert seen is not None and seen.size == 0, "not after every watch"


@pytest.mark.parametrize(
    ("status", "gone", "text"),
    [
        ({"code": 410, "reason": "Gone", "message": "too old"}, True, "too old"),
        ({"reason": "Expired"}, True, "the API server ended the watch"),
        ({"code": 500, "reason": "InternalError", "message": "broken"}, False, "broken"),
        ({}, False, "the API server ended the watch"),
    ],
)
def test_what_ends_a_watch_says_whether_to_list_again(status: dict[str, Any], gone: bool, text: str) -> None:
    error = watch_error(status)
    assert isinstance(error, GoneError) is gone
    assert (error.status, error.reason) == (status.get("code", 0), status.get("reason", ""))
    assert error.message == text
