"""The API server as a replica that may lose the lease sees it: reads pass, each attempt to write asks first.

Everything that acts in the cluster is made with a `FencedApi`, never with a `KubeApi`: a write without the
lease cannot be expressed. Only the election itself writes without (it has to write the Lease to get it).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any

from modelrollout.cluster.client import (
    ANYTHING,
    METADATA,
    METADATA_LIST,
    REQUEST_SECONDS,
    KubeApi,
)
from modelrollout.cluster.leader_election import Leadership
from modelrollout.cluster.resources import JSON
from modelrollout.cluster.retries import ATTEMPTS


class FencedApi:
    """Passes requests on to a `KubeApi`; those that write only while this replica holds the lease."""

    def __init__(self, api: KubeApi, leadership: Leadership) -> None:
        self._api = api
        self._leadership = leadership

    async def get(
        self, path: str, query: Mapping[str, str] | None = None, *, accept: str = ANYTHING
    ) -> dict[str, Any]:
        """Return the object or list at that path."""
        return await self._api.get(path, query, accept=accept)

    async def read_text(self, path: str, query: Mapping[str, str] | None = None) -> str:
        """Return a text answer, such as the log of a pod."""
        return await self._api.read_text(path, query)

    def watch(
        self, path: str, query: Mapping[str, str], *, accept: str = ANYTHING
    ) -> AsyncIterator[dict[str, Any]]:
        """Yield the events of a watch until the server ends it."""
        return self._api.watch(path, query, accept=accept)

    async def request(
        self,
        method: str,
        path: str,
        *,
        body: object = None,
        content_type: str = JSON,
        attempts: int = ATTEMPTS,
        seconds: float = REQUEST_SECONDS,
    ) -> dict[str, Any]:
        """Send one request as `KubeApi.request` does.

        Raises:
            NotLeaderError: Before an attempt (the first one or a repetition) the lease was not ours any more.
            ApiError: As `KubeApi.request`.
        """
        permit = None if method == "GET" else self._leadership.require
        return await self._api.request(
            method,
            path,
            body=body,
            content_type=content_type,
            attempts=attempts,
            seconds=seconds,
            permit=permit,
        )


class MetadataApi:
    """Lists and watches of objects of which the API server sends nothing but the metadata."""

    def __init__(self, api: FencedApi) -> None:
        self._api = api

    async def get(self, path: str, query: Mapping[str, str] | None = None) -> dict[str, Any]:
        """Return the list at that path."""
        return await self._api.get(path, query, accept=METADATA_LIST)

    def watch(self, path: str, query: Mapping[str, str]) -> AsyncIterator[dict[str, Any]]:
        """Yield the events of a watch, as of `FencedApi.watch`."""
        return self._api.watch(path, query, accept=METADATA)
