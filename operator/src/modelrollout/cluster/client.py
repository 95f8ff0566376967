"""Asynchronous access to the API server.

Plain JSON in and out, bounded retries with jitter, watches as lines.

The generated model classes of the client library are not used: parsing a Deployment into them costs more
time and memory than everything the operator wants to know about it.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import urlencode

import aiohttp
from kubernetes.aio.client.configuration import Configuration
from kubernetes.aio.client.rest import RESTClientObject

from modelrollout.cluster.clock import ServerClock
from modelrollout.cluster.errors import ApiError, ApiUnavailableError, answer, refusal
from modelrollout.cluster.resources import JSON
from modelrollout.cluster.retries import ATTEMPTS, with_retries

T = TypeVar("T")
METADATA_LIST: Final = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
METADATA: Final = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
ANYTHING: Final = "application/json, */*"
REQUEST_SECONDS: Final = 5.0
"""Longest time for one attempt."""
BROKEN: Final = (aiohttp.ClientError, TimeoutError, OSError, RuntimeError)
"""What a broken connection raises. RuntimeError: uvloop still held the number of a socket that another
connection has now; at a restart of the API server this ended the election and with it the operator."""
WATCH_SILENCE_SECONDS: Final = 90.0
"""The API server sends a bookmark about every minute; a longer silence means a dead connection."""


@dataclass(frozen=True, kw_only=True)
class Credentials:
    """How to reach the API server, for other clients in the same process."""

    server: str
    ca_file: str | None
    ca_data: str | bytes | None
    insecure: bool
    token: str | None
    cert_file: str | None
    key_file: str | None
    proxy: str | None = None
    server_name: str | None = None


class RequestObserver:
    """Is told of every request that ended; the default ignores it."""

    def request_done(self, *, method: str, kind: str, status: int) -> None:
        """`kind` is the plural of the resource, `status` the HTTP status or 0 for no answer."""


class KubeApi:
    """One keep-alive connection pool to the API server, from one event loop; its answers set `clock`."""

    def __init__(
        self,
        configuration: Configuration,
        *,
        reload: Callable[[], Any] | None = None,
        observer: RequestObserver | None = None,
        clock: ServerClock | None = None,
    ) -> None:
        self.clock = clock or ServerClock()
        self._configuration = configuration
        self._reload = reload
        self._observer = observer or RequestObserver()
        self._rest = RESTClientObject(configuration)
        self._renewing = asyncio.Lock()

    @classmethod
    async def connect(
        cls,
        *,
        kubeconfig: Path | None = None,
        context: str | None = None,
        observer: RequestObserver | None = None,
        clock: ServerClock | None = None,
    ) -> KubeApi:
        """Load a kubeconfig, or the service account of the pod where none is given.

        Raises:
            ApiError: Neither is usable; the message says what was looked for.
        """

        async def load() -> Configuration:
            return await _load_configuration(kubeconfig, context)

        return cls(await load(), reload=load, observer=observer, clock=clock)

    async def close(self) -> None:
        """Close all connections."""
        await self._rest.close()

    async def credentials(self) -> Credentials:
        """Return address and credentials as they are now; a token may be replaced every few minutes."""
        loaded = self._configuration
        token = await loaded.get_api_key_with_prefix("BearerToken", alias="authorization")
        return Credentials(
            server=loaded.host,
            ca_file=loaded.ssl_ca_cert,
            ca_data=loaded.ca_cert_data,
            insecure=not loaded.verify_ssl,
            token=token.split(" ", 1)[-1].strip() if token else None,
            cert_file=loaded.cert_file,
            key_file=loaded.key_file,
            proxy=loaded.proxy,
            server_name=loaded.tls_server_name,
        )

    async def get(
        self, path: str, query: Mapping[str, str] | None = None, *, accept: str = ANYTHING
    ) -> dict[str, Any]:
        """Return the object or list at that path."""
        return await self.request("GET", path, query=query, accept=accept)

    async def request(  # noqa: PLR0913 - one HTTP request has these parts
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: object = None,
        content_type: str = JSON,
        attempts: int = ATTEMPTS,
        seconds: float = REQUEST_SECONDS,
        permit: Callable[[], float] | None = None,
        accept: str = ANYTHING,
    ) -> dict[str, Any]:
        """Send one request, again after 429, 5xx and broken connections, and return the answer's JSON.

        A repeated write is harmless: every write of the operator carries a resourceVersion or a fixed name,
        so the second copy of one that did arrive is answered by a conflict.

        `permit` is called before every attempt; it returns the seconds that the attempt may take, or raises
        what ends the request.

        Raises:
            ApiError: One of its kinds; ApiUnavailableError when all attempts failed.
        """

        async def once() -> dict[str, Any]:
            limit = seconds if permit is None else min(seconds, permit())
            raw = await self._once(method, path, query, body, _media(content_type, accept), limit)
            return answer(raw, f"{method} {path}")

        return await self._with_retries(once, attempts=attempts)

    async def read_text(self, path: str, query: Mapping[str, str] | None = None) -> str:
        """Return a text answer, such as the log of a pod."""
        raw = await self._with_retries(
            lambda: self._once("GET", path, query, None, _media(), REQUEST_SECONDS), attempts=2
        )
        return raw.decode("utf-8", errors="replace")

    async def watch(
        self, path: str, query: Mapping[str, str], *, accept: str = ANYTHING
    ) -> AsyncIterator[dict[str, Any]]:
        """Yield the events of a watch until the server ends it.

        Raises:
            ApiError: Refused, or the connection broke (ApiUnavailableError).
        """
        timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=REQUEST_SECONDS, sock_read=WATCH_SILENCE_SECONDS
        )
        response: aiohttp.ClientResponse | None = None
        try:
            response = await self._send(
                "GET", path, {**query, "watch": "1"}, None, _media(accept=accept), timeout
            )
            if response.status >= 300:
                raise refusal(response.status, await response.read())
            async for line in response.content:
                if line.strip():
                    yield json.loads(line)
        except (*BROKEN, ValueError) as error:
            raise ApiUnavailableError(
                0, type(error).__name__, f"the watch of {path} broke: {error}"
            ) from error
        finally:
            if response is not None:
                response.close()

    async def _with_retries(self, once: Callable[[], Awaitable[T]], *, attempts: int) -> T:
        renew = self._renew_credentials if self._reload is not None else None
        return await with_retries(once, attempts=attempts, renew=renew)

    async def _renew_credentials(self) -> None:
        assert self._reload is not None
        old = self._rest
        async with self._renewing:
            if self._rest is not old:
                return  # another request that was refused at the same time did it
            self._configuration = await self._reload()
            self._rest = RESTClientObject(self._configuration)
        await old.close()

    async def _once(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None,
        body: object,
        media: Mapping[str, str],
        seconds: float,
    ) -> bytes:
        status, sent = 0, time.monotonic()
        try:
            timeout = aiohttp.ClientTimeout(total=seconds)
            response = await self._send(method, path, query, body, media, timeout)
            async with response:
                status = response.status
                self.clock.observe(response.headers.get("Date"), sent=sent, received=time.monotonic())
                raw: bytes = await response.read()
        except BROKEN as error:
            text = f"{method} {path} got no answer: {error or type(error).__name__}"
            raise ApiUnavailableError(0, type(error).__name__, text) from error
        finally:
            self._observer.request_done(method=method, kind=kind_of(path), status=status)
        if status >= 300:
            raise refusal(status, raw)
        return raw

    async def _send(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None,
        body: object,
        media: Mapping[str, str],
        limits: aiohttp.ClientTimeout,
    ) -> aiohttp.ClientResponse:
        headers = {"User-Agent": "modelrollout-operator", **media}
        for setting in (await self._configuration.auth_settings()).values():
            if setting["value"]:
                headers[setting["key"]] = setting["value"]
        url = f"{self._configuration.host}{path}" + (f"?{urlencode(query)}" if query else "")
        sent = await self._rest.request(method, url, headers=headers, body=body, _request_timeout=limits)
        response: aiohttp.ClientResponse = sent.response
        return response


def kind_of(path: str) -> str:
    """Return the plural (and subresource) that an API path names, for metrics.

    `/apis/apps/v1/.../deployments/x/scale`.
    """
    parts = path.strip("/").split("/")
    parts = parts[2:] if parts[0] == "api" else parts[3:]
    if len(parts) > 2 and parts[0] == "namespaces":
        parts = parts[2:]
    return parts[0] + (f"/{parts[2]}" if len(parts) > 2 else "") if parts else "discovery"


def _media(content_type: str = JSON, accept: str = ANYTHING) -> dict[str, str]:
    return {"Content-Type": content_type, "Accept": accept}


async def _load_configuration(kubeconfig: Path | None, context: str | None) -> Configuration:
    configuration = Configuration()
    configuration.retries = None  # retried here, where jitter and bounds are ours
    try:
        if kubeconfig is not None:
            # Imported only where needed: in a cluster nobody pays for it.
            from kubernetes.aio.config.kube_config import load_kube_config  # noqa: PLC0415

            await load_kube_config(
                config_file=str(kubeconfig),
                context=context,
                client_configuration=configuration,
                persist_config=False,
            )
        else:
            from kubernetes.aio.config.incluster_config import load_incluster_config  # noqa: PLC0415

            load_incluster_config(configuration)
    except Exception as error:  # the library raises whatever YAML, files and ssl raise
        wanted = f"kubeconfig {kubeconfig}" if kubeconfig else "the service account of this pod"
        text = (
            f"expected to reach the cluster by {wanted}, but it is not usable: {error}; "
            "set KUBECONFIG or run in a pod"
        )
        raise ApiError(0, "Configuration", text) from error
    return configuration
