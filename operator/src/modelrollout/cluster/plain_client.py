"""The API server for the plugin: plain JSON in and out, bounded retries, watches as lines, over urllib3.

The same methods as `client.KubeApi`, without the client library and aiohttp, which are too large for a
plugin. Requests run in daemon threads: Ctrl-C, or the end of a time limit, does not wait for them.
"""

from __future__ import annotations

import asyncio
import json
import threading
import urllib.request
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import urlencode, urlsplit

import urllib3

from modelrollout.cluster.errors import ApiUnavailableError, answer, refusal
from modelrollout.cluster.kubeconfig import Access, load
from modelrollout.cluster.resources import JSON
from modelrollout.cluster.retries import ATTEMPTS, with_retries

T = TypeVar("T")
REQUEST_SECONDS: Final = 5.0
"""Longest time for one attempt."""
WATCH_SILENCE_SECONDS: Final = 90.0
"""The API server sends a bookmark about every minute; a longer silence means a dead connection."""


class PlainKubeApi:
    """Connections to one API server with a user's own rights."""

    def __init__(self, read_access: Callable[[], Access]) -> None:
        self._read_access = read_access
        self._access = read_access()
        self._pool = _pool(self._access)

    @classmethod
    async def connect(cls, *, kubeconfig: Path | None, context: str | None = None) -> PlainKubeApi:
        """Load a kubeconfig, or the service account of the pod where none is given.

        Raises:
            ApiError: Neither is usable; the message says what was looked for.
        """
        return await in_thread(lambda: cls(lambda: load(kubeconfig, context)))

    async def close(self) -> None:
        """Close all connections."""
        self._pool.clear()

    async def get(self, path: str, query: Mapping[str, str] | None = None) -> dict[str, Any]:
        """Return the object or list at that path."""
        return await self.request("GET", path, query=query)

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: object = None,
        content_type: str = JSON,
        attempts: int = ATTEMPTS,
    ) -> dict[str, Any]:
        """Send one request, again after 429, 5xx and broken connections, and return the answer's JSON.

        Raises:
            ApiError: One of its kinds; ApiUnavailableError when all attempts failed.
        """

        def once() -> dict[str, Any]:
            encoded = None if body is None else json.dumps(body).encode()
            raw = self._once(method, _address(path, query), encoded, content_type)
            return answer(raw, f"{method} {path}")

        return await self._with_retries(once, attempts)

    async def read_text(self, path: str, query: Mapping[str, str] | None = None) -> str:
        """Return a text answer, such as a page of metrics."""
        raw = await self._with_retries(lambda: self._once("GET", _address(path, query), None, JSON), 2)
        return raw.decode("utf-8", errors="replace")

    async def watch(self, path: str, query: Mapping[str, str]) -> AsyncIterator[dict[str, Any]]:
        """Yield the events of a watch until the server ends it.

        Raises:
            ApiError: Refused, or the connection broke (ApiUnavailableError).
        """
        response = await in_thread(lambda: self._open_watch(_address(path, {**query, "watch": "1"})))
        loop, lines = asyncio.get_running_loop(), asyncio.Queue[bytes | Exception | None]()

        def read() -> None:
            with suppress(RuntimeError):  # the loop is closed: nobody waits for lines any more
                try:
                    for line in response:
                        loop.call_soon_threadsafe(lines.put_nowait, line)
                    loop.call_soon_threadsafe(lines.put_nowait, None)
                except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
                    loop.call_soon_threadsafe(lines.put_nowait, error)
                finally:
                    response.close()

        threading.Thread(target=read, name="watch", daemon=True).start()
        try:
            while (line := await lines.get()) is not None:
                if isinstance(line, Exception):
                    raise _broken(path, line)
                if line.strip():
                    yield _event(path, line)
        finally:
            with suppress(OSError, ValueError, RuntimeError):
                response.shutdown()  # ends the reading thread

    def _open_watch(self, address: str) -> urllib3.BaseHTTPResponse:
        limits = urllib3.Timeout(connect=REQUEST_SECONDS, read=WATCH_SILENCE_SECONDS)
        response = self._send("GET", address, None, JSON, limits)
        if response.status >= 300:
            try:
                raise refusal(response.status, response.read())
            finally:
                response.close()
        return response

    async def _with_retries(self, once: Callable[[], T], attempts: int) -> T:
        return await with_retries(lambda: in_thread(once), attempts=attempts, renew=self._renew_credentials)

    async def _renew_credentials(self) -> None:
        self._access = await in_thread(self._read_access)
        self._pool = _pool(self._access)

    def _once(self, method: str, address: str, body: bytes | None, content_type: str) -> bytes:
        response = self._send(method, address, body, content_type, urllib3.Timeout(total=REQUEST_SECONDS))
        try:
            raw = response.read()
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise _unanswered(method, address, error) from error
        finally:
            response.release_conn()
        if response.status >= 300:
            raise refusal(response.status, raw)
        return raw

    def _send(
        self, method: str, address: str, body: bytes | None, content_type: str, limits: urllib3.Timeout
    ) -> urllib3.BaseHTTPResponse:
        headers = urllib3.HTTPHeaderDict(self._access.headers)
        headers |= {"Accept": "application/json, */*", "User-Agent": "kubectl-modelrollout"}
        if body is not None:
            headers["Content-Type"] = content_type
        try:
            return self._pool.request(
                method,
                self._access.server + address,
                body=body,
                headers=headers,
                timeout=limits,
                retries=False,
                redirect=False,
                preload_content=False,
            )
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise _unanswered(method, address, error) from error


async def in_thread(call: Callable[[], T]) -> T:
    """Return the result of a blocking call, from a thread that does not keep the program alive."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: BaseException | None) -> None:
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # type: ignore[arg-type]  # there is one where there is no error

    def work() -> None:
        result, failure = None, None
        try:
            result = call()
        except BaseException as error:  # noqa: BLE001 - raised again where the result is awaited
            failure = error
        with suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(settle, result, failure)

    threading.Thread(target=work, name="request", daemon=True).start()
    return await future


def _pool(access: Access) -> urllib3.PoolManager:
    options: dict[str, Any] = {}
    if access.tls is not None:
        options["ssl_context"] = access.tls
    if access.tls_server_name:
        options |= {"server_hostname": access.tls_server_name, "assert_hostname": access.tls_server_name}
    proxy = access.proxy or _proxy_of_environment(access.server)
    return urllib3.ProxyManager(proxy, **options) if proxy else urllib3.PoolManager(**options)


def _proxy_of_environment(server: str) -> str | None:
    """As kubectl: HTTPS_PROXY and NO_PROXY."""
    parts = urlsplit(server)
    if urllib.request.proxy_bypass(parts.netloc):
        return None
    return urllib.request.getproxies().get(parts.scheme)


def _address(path: str, query: Mapping[str, str] | None) -> str:
    return path + (f"?{urlencode(query)}" if query else "")


def _unanswered(method: str, address: str, error: Exception) -> ApiUnavailableError:
    text = f"{method} {address.split('?', maxsplit=1)[0]} got no answer: {error or type(error).__name__}"
    return ApiUnavailableError(0, type(error).__name__, text)


def _broken(path: str, error: Exception) -> ApiUnavailableError:
    return ApiUnavailableError(0, type(error).__name__, f"the watch of {path} broke: {error}")


def _event(path: str, line: bytes) -> dict[str, Any]:
    try:
        event: dict[str, Any] = json.loads(line)
    except ValueError as error:  # cut in the middle
        raise _broken(path, error) from error
    return event
