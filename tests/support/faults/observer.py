"""What happened in a namespace, told by the API server itself, and what must hold in any such history."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from http.client import HTTPException, HTTPSConnection
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import urlsplit

from tests.support.world import World

Json = dict[str, Any]
WATCHED: Final = ("ModelRollout", "EndpointSlice", "Job")


@dataclass(frozen=True)
class Change:
    """One change of one object.

    Attributes:
        version: The resourceVersion; one etcd counts for all kinds, so changes of all kinds have one order.
        type: ADDED, MODIFIED or DELETED.
        obj: The object afterwards (before, if it was deleted).
        at: When it was told, by `time.monotonic`; infinite for what was there before.
    """

    version: int
    kind: str
    type: str
    obj: Json
    at: float = float("inf")


class Recorder:
    """Watches a namespace directly at the API server, past any proxy, while its `with` block runs."""

    def __init__(self, world: World, *, kinds: Sequence[str] = WATCHED) -> None:
        self._world = world
        self._changes: list[Change] = []
        self._stopped = threading.Event()
        self._threads = [threading.Thread(target=self._follow, args=(k,), daemon=True) for k in kinds]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join(10)

    def changes(self) -> Sequence[Change]:
        """All changes so far, in the order in which they happened."""
        return sorted(self._changes, key=lambda change: change.version)

    def _follow(self, kind: str) -> None:
        version = ""
        while not self._stopped.is_set():
            try:
                if not version:
                    version = self._list(kind)
                for change in self._watch(kind, version):
                    version = str(change.version)
                    if change.type != "BOOKMARK":
                        self._changes.append(change)
            except (OSError, HTTPException):
                pass  # the API server is being restarted
            except ValueError:
                version = ""  # and does not remember that version any more
            self._stopped.wait(0.1)

    def _list(self, kind: str) -> str:
        status, answer = self._world.call("GET", self._world.path(kind))
        if status != 200:
            raise ValueError(answer)
        version = str(answer["metadata"]["resourceVersion"])
        for obj in answer["items"]:
            self._changes.append(Change(int(obj["metadata"]["resourceVersion"]), kind, "ADDED", obj))
        return version

    def _watch(self, kind: str, version: str) -> Iterator[Change]:
        """One watch of two seconds at most, so that the end of the test is noticed."""
        address = urlsplit(self._world.plane.server)
        connection = HTTPSConnection(
            address.hostname or "", address.port, timeout=10, context=self._world.plane.ssl_context()
        )
        query = f"?watch=1&timeoutSeconds=2&allowWatchBookmarks=true&resourceVersion={version}"
        with contextlib.closing(connection):
            connection.request("GET", self._world.path(kind) + query)
            answer = connection.getresponse()
            if answer.status != 200:
                raise ValueError(answer.read())
            for line in answer:
                event = json.loads(line)
                obj = event["object"]
                if event["type"] == "ERROR":
                    raise ValueError(obj)
                number = int(obj["metadata"]["resourceVersion"])
                yield Change(number, kind, event["type"], obj, time.monotonic())
