"""A lean informer: list once, watch on from there, keep only small values, tell who listens what changed."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, Generic

from modelrollout.cluster.errors import ApiError, ForbiddenError, GoneError
from modelrollout.cluster.fence import FencedApi, MetadataApi
from modelrollout.cluster.freshness import Freshness
from modelrollout.cluster.removals import Removals
from modelrollout.cluster.resources import collection
from modelrollout.cluster.source import Key, Source, V, is_older, watch_error

logger = logging.getLogger(__name__)

PAGE: Final = "250"
"""Objects per page of a list: bounds the memory for JSON that is thrown away at once."""
LONGEST_PAUSE: Final = 10.0
SHORTEST_WATCH: Final = 1.0
WATCH_SECONDS: Final = (25, 35)
"""The API server is asked to end each watch after so long: a frozen one is noticed when it does not end."""
PROVING_SECONDS: Final = 6
"""The same for a watch that has to prove itself."""
SILENT_SECONDS: Final = 20.0
"""After so long without a word also watches that end at once call for a list."""
RELIST_SECONDS: Final = 300.0
"""After so long everything is listed again: an event that was lost in between is told by nothing else."""
GRACE_SECONDS: Final = 5.0
"""How much later than asked for a watch may end."""


class Informer(Generic[V]):
    """The values of one kind in some namespaces, kept up to date by `run()`.

    `on_change(old, new)` is called from the event loop after the value changed in a field that counts;
    old is None for a new object, new is None for a deleted one.
    """

    def __init__(
        self,
        api: FencedApi | MetadataApi,
        source: Source[V],
        *,
        namespaces: Sequence[str | None],
        on_change: Callable[[V | None, V | None], None],
    ) -> None:
        self._api = api
        self._relist = RELIST_SECONDS
        self._source = source
        self._namespaces = tuple(namespaces)
        self._on_change = on_change
        self._items: dict[Key, V] = {}
        self._removals = Removals()
        self._unsynced = set(self._namespaces)
        self._jitter = random.Random()  # noqa: S311 - spreads reconnects, no secret
        self._freshness = {namespace: Freshness() for namespace in self._namespaces}
        self.synced = asyncio.Event()
        self.denied = False
        self.relists = 0
        self._told = 0

    def get(self, namespace: str, name: str) -> V | None:
        """Return the value of one object, or None."""
        return self._items.get((namespace, name))

    def __iter__(self) -> Iterator[V]:
        return iter(self._items.values())

    def __len__(self) -> int:
        return len(self._items)

    def put(self, value: V) -> None:
        """Take over what a write of our own answered, before the watch tells it.

        What the watch has told already is more than the answer, and at the same version too: the answer
        knows only what was written. It must not come back, since no further event would put it right.
        """
        old = self._items.get((value.namespace, value.name))
        if old is None or is_older(old.resource_version, value.resource_version):
            self._store(value)

    def discard(self, namespace: str, name: str) -> None:
        """Forget a value of which it is known otherwise that its object is gone."""
        self._remove((namespace, name))

    async def refresh(self, namespace: str, *, label_selector: str, known: Sequence[Key]) -> None:
        """Read some objects of one namespace, whatever the watch told.

        Args:
            namespace: Where they are.
            label_selector: Which they are.
            known: Those of them that are known: what the API server does not have any more is forgotten.

        Raises:
            ApiError: They could not be read; a refusal also counts against the watch of a kind
                that must be there.
        """
        query = {"labelSelector": label_selector}
        try:
            found = await self._api.get(
                collection(self._source.group_version, self._source.plural, namespace), query
            )
        except ForbiddenError as error:
            if self._source.missing_ok:
                raise  # the operator does without
            scope = namespace if namespace in self._freshness else None
            self._freshness[scope].denied(error.message)
            raise
        values = [value for value in map(self._parse, found.get("items") or ()) if value is not None]
        for value in values:
            self._store(value)
        read_at = str(found["metadata"].get("resourceVersion", ""))
        for key in set(known) - {(value.namespace, value.name) for value in values}:
            held = self._items.get(key)
            if held is not None and not is_older(read_at, held.resource_version):
                self._remove(key, read_at)

    async def run(self, relist: float = RELIST_SECONDS) -> None:
        """List and watch until cancelled; list anew after so many seconds."""
        self._relist = relist
        await asyncio.gather(*(self._follow(namespace) for namespace in self._namespaces))

    @property
    def plural(self) -> str:
        """The kind, as the API server calls it."""
        return self._source.plural

    @property
    def age(self) -> float:
        """Seconds since the watch that was silent for longest was heard; 0 for a kind that may be missing."""
        return 0.0 if self.denied else max(freshness.age for freshness in self._freshness.values())

    def stale(self, namespace: str | None = None) -> str:
        """Return why what is known of a namespace (None: of any) may be out of date, a clause; else empty."""
        if self.denied:
            return ""  # there are none, or the operator does without
        for scope, freshness in self._freshness.items():
            if namespace is None or scope in {None, namespace}:
                why = freshness.stale()
                if why:
                    return why
        return ""

    async def _follow(self, namespace: str | None) -> None:
        pause, version, silent, listed_at = 0.2, None, False, 0.0
        freshness = self._freshness[namespace]
        while True:
            try:
                if version is None:
                    listed_at = time.monotonic()
                    version, news = await self._list(namespace)
                    freshness.listed(after_silence=silent, news=news)
                reached, silent = await self._watch(namespace, version)
                outdated = time.monotonic() - listed_at > self._relist * self._jitter.uniform(0.9, 1.1)
                version = reached if not silent and not outdated else None
                pause = 0.2
            except GoneError:
                logger.info("The watch of %s was too far behind; they are listed again.", self._source.plural)
                version, silent = None, False
            except ApiError as error:
                refused = error.status in {401, 403, 404}
                if refused:
                    version, silent = None, False  # only a list can tell that it is allowed again
                if refused and self._source.missing_ok:
                    self.denied = True
                    self._mark_synced(namespace)
                elif refused:
                    freshness.denied(error.message)
                else:
                    freshness.failed(error.message)
                log = logger.warning if version is None else logger.debug
                log("Watching %s failed and is tried again in %.1f s: %s", self._source.plural, pause, error)
                await asyncio.sleep(pause * self._jitter.uniform(0.5, 1.5))
                pause = min(2 * pause, LONGEST_PAUSE)

    async def _list(self, namespace: str | None) -> tuple[str, int]:
        """List everything; where the watch goes on, and how many objects were not as they were known."""
        seen: set[Key] = set()
        told, removed = self._told, self._removals.noted()
        query = {**self._selection, "limit": PAGE}
        while True:
            page = await self._api.get(
                collection(self._source.group_version, self._source.plural, namespace), query
            )
            for obj in page.get("items") or ():
                value = self._parse(obj)
                if value is not None:
                    seen.add((value.namespace, value.name))
                    self._store(value)
            follow_up = page["metadata"].get("continue")
            if not follow_up:
                break
            query["continue"] = follow_up
        version = str(page["metadata"]["resourceVersion"])
        for key in [k for k in self._items if k not in seen and (namespace is None or k[0] == namespace)]:
            # One that is known from a later write is not missing: the watch starts before that write.
            if not is_older(version, self._items[key].resource_version):
                self._remove(key, version)
        self._removals.forget(removed, namespace=namespace)  # what was read before them has come in by now
        self.relists += 1
        self.denied = False
        self._mark_synced(namespace)
        return version, self._told - told

    async def _watch(self, namespace: str | None, version: str) -> tuple[str | None, bool]:
        """Watch to its end; where to go on (None: list again), and whether it ended without a word."""
        freshness = self._freshness[namespace]
        seconds = self._jitter.randrange(*WATCH_SECONDS) if freshness.trusted else PROVING_SECONDS
        seconds = min(seconds, max(1, int(self._relist)))
        query = {**self._selection, "resourceVersion": version, "allowWatchBookmarks": "true"}
        query["timeoutSeconds"] = str(seconds)
        path = collection(self._source.group_version, self._source.plural, namespace)
        started = time.monotonic()
        silent = True
        try:
            async with asyncio.timeout(seconds + GRACE_SECONDS):
                async for event in self._api.watch(path, query):
                    kind, obj = event["type"], event["object"]
                    if kind == "ERROR":
                        raise watch_error(obj)
                    version = obj["metadata"]["resourceVersion"]
                    silent = False
                    freshness.heard()
                    if kind != "BOOKMARK":
                        self._take(kind, obj)
        except TimeoutError:
            freshness.frozen()
            logger.warning("The watch of %s is frozen and is started again.", self._source.plural)
            return None, False
        except ApiError as error:
            if isinstance(error, GoneError):
                raise
            # Where the watch got to is kept: the next one goes on from there without a list.
            logger.debug("The watch of %s ended: %s", self._source.plural, error)
            if error.status == 0:
                freshness.failed(error.message)
                await asyncio.sleep(self._jitter.uniform(0.1, 1.0))
                return version, False
            raise
        early = time.monotonic() - started < SHORTEST_WATCH
        if early:  # somebody in between ends every watch at once
            await asyncio.sleep(self._jitter.uniform(0.5, 1.5))
        return version, silent and not (early and freshness.age < SILENT_SECONDS)

    @property
    def _selection(self) -> dict[str, str]:
        return {"labelSelector": self._source.label_selector} if self._source.label_selector else {}

    def _take(self, kind: str, obj: Mapping[str, Any]) -> None:
        value = self._parse(obj)
        meta = obj["metadata"]
        key = (meta.get("namespace", ""), meta["name"])
        if kind == "DELETED":
            self._remove(key, meta["resourceVersion"])
        elif value is None:
            self._remove(key)
        else:
            self._store(value)

    def _parse(self, obj: Mapping[str, Any]) -> V | None:
        try:
            return self._source.parse(obj)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            one = f"{self.plural} {obj.get('metadata', {}).get('name')}"
            logger.warning("%s cannot be understood and is passed over: %r", one, error)
            return None

    def _store(self, value: V) -> None:
        key = (value.namespace, value.name)
        if is_older(value.resource_version, self._removals.last(key)):
            return  # overtaken by its deletion: nothing would ever take the object away
        old = self._items.get(key)
        if old is not None and is_older(value.resource_version, old.resource_version):
            return
        self._items[key] = value
        if old != value:
            self._tell(old, value)

    def _remove(self, key: Key, version: str = "") -> None:
        """Forget an object; of what is older than the version at which it was gone nothing is kept."""
        self._removals.note(key, version)
        old = self._items.pop(key, None)
        if old is not None:
            self._tell(old, None)

    def _tell(self, old: V | None, new: V | None) -> None:
        self._told += 1
        self._on_change(old, new)

    def _mark_synced(self, namespace: str | None) -> None:
        self._unsynced.discard(namespace)
        if not self._unsynced:
            self.synced.set()
