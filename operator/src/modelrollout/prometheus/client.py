"""One Prometheus server: a query in, its result or one error out. Blocking; called from worker threads."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Protocol, cast

import requests
import urllib3

from modelrollout.prometheus.errors import FailureKind, PrometheusError
from modelrollout.prometheus.library import query_library
from modelrollout.prometheus.session import PrometheusSession
from modelrollout.prometheus.targets import PrometheusTarget

Series = dict[str, Any]
"""One element of a result as Prometheus sends it: `metric`, and `value` or `values`."""

_CONNECT_SECONDS: Final = 2.0
_RETRY_PAUSE: Final = 0.1
_MAX_ATTEMPTS: Final = 2
_WHOLE: Final = {"partial_response": "false"}
"""Thanos then refuses what it cannot answer in full; Prometheus and others pass over the parameter."""


class RequestHooks(Protocol):
    """Hears of every request; called from worker threads."""

    def request_done(self, *, target: str, kind: str, seconds: float, legs: int, error: str | None) -> None:
        """One request ended.

        Args:
            target: Name of the server in the settings.
            kind: `instant` or `range`.
            seconds: From the first byte out to the last byte in, decoded.
            legs: How many questions it joined.
            error: None, or a FailureKind.
        """


class NoHooks:
    """Nobody listens."""

    def request_done(self, *, target: str, kind: str, seconds: float, legs: int, error: str | None) -> None:
        """Nothing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RangeQuery:
    """Times of a range query in seconds since the epoch; both ends are evaluated."""

    start: float
    end: float
    step: float


class PrometheusClient:
    """A client of one server, with a deadline and at most one retry; its errors say what to do.

    A second attempt is made only where the first cannot have cost the server anything (no connection, or one
    that was closed while idle) or where the server asks for it (502, 503, 504 of a proxy), never after a
    timeout.
    """

    def __init__(self, target: PrometheusTarget, hooks: RequestHooks | None = None) -> None:
        self.target = target
        self._hooks: RequestHooks = hooks or NoHooks()
        self._session = PrometheusSession(target)
        self._library = query_library(target.url, self._session)

    def query(self, promql: str, *, legs: int = 1) -> list[Any]:
        """Return the `result` of an instant query at the server's own present.

        Series, or `[time, text]` for a scalar.
        """

        def ask(timeout: tuple[float, float]) -> list[Any]:
            params = {"timeout": f"{timeout[1]:.3f}", **_WHOLE}
            return cast("list[Any]", self._library.custom_query(promql, params=params, timeout=timeout))

        return self._attempts("instant", legs, ask)

    def query_range(self, promql: str, span: RangeQuery, *, legs: int = 1) -> list[Series]:
        """Return the series of a range query."""
        start, end = (datetime.fromtimestamp(at, tz=UTC) for at in (span.start, span.end))

        def ask(timeout: tuple[float, float]) -> list[Series]:
            # The library rounds the ends to seconds; its `params` have the last word.
            params = {"timeout": f"{timeout[1]:.3f}", **_WHOLE}
            params |= {"start": repr(span.start), "end": repr(span.end)}
            result = self._library.custom_query_range(
                promql, start, end, step=repr(span.step), params=params, timeout=timeout
            )
            return cast("list[Series]", result)

        return self._attempts("range", legs, ask)

    def close(self) -> None:
        """Close the connections."""
        self._library.close()

    def _attempts(self, kind: str, legs: int, ask: Callable[[tuple[float, float]], list[Any]]) -> list[Any]:
        started = time.monotonic()
        for attempt in range(1, _MAX_ATTEMPTS + 1):
            left = max(0.1, self.target.timeout - (time.monotonic() - started))
            try:
                result = ask((min(_CONNECT_SECONDS, left), left))
            except (
                PrometheusError,
                requests.RequestException,
                urllib3.exceptions.HTTPError,
                OSError,
            ) as error:
                failure = self._failure(error)
            except (KeyError, TypeError, ValueError) as error:
                failure = self._not_prometheus(error)
            else:
                self._done(kind, started, legs, None)
                return result
            time_left = self.target.timeout - (time.monotonic() - started)
            if attempt == _MAX_ATTEMPTS or not _may_retry(failure) or time_left < 2 * _RETRY_PAUSE:
                self._done(kind, started, legs, failure.kind.value)
                raise failure
            time.sleep(_RETRY_PAUSE)
        raise AssertionError("the last attempt returns or raises")

    def _done(self, kind: str, started: float, legs: int, error: str | None) -> None:
        seconds = time.monotonic() - started
        self._hooks.request_done(target=self.target.name, kind=kind, seconds=seconds, legs=legs, error=error)

    def _failure(self, error: Exception) -> PrometheusError:
        name = f"Prometheus {self.target.name!r} at {self.target.url}"
        match error:
            case PrometheusError():
                return error
            case requests.Timeout():
                message = (
                    f"{name} did not answer within {self.target.timeout:g} s: see whether it is overloaded"
                )
                return PrometheusError(FailureKind.TIMEOUT, message, detail=str(error))
            case requests.exceptions.SSLError():
                message = (
                    f"{name}: TLS failed ({_root(error)}): check caFile, certFile and keyFile in the settings"
                )
                return PrometheusError(FailureKind.UNAUTHORIZED, message, detail=str(error))
            case requests.JSONDecodeError():
                return self._not_prometheus(error)
            case OSError() if not isinstance(error, requests.RequestException):
                message = f"{name}: {error}: check the files named in the operator's settings"
                return PrometheusError(FailureKind.UNAUTHORIZED, message, detail=str(error))
            case _:
                message = f"{name} cannot be reached ({_root(error)}): is it running, is the address right?"
                return PrometheusError(FailureKind.CONNECTION, message, detail=str(error))

    def _not_prometheus(self, error: Exception) -> PrometheusError:
        message = (
            f"{self.target.url} did not answer as Prometheus does: expected JSON with data.result, "
            f"got {type(error).__name__}: {error}; check the address in the operator's settings"
        )
        return PrometheusError(FailureKind.SERVER, message)


def _may_retry(failure: PrometheusError) -> bool:
    return failure.kind in (FailureKind.CONNECTION, FailureKind.SERVER)


def _root(error: BaseException) -> str:
    """Return the innermost cause in its own words.

    `Connection refused` instead of three wrappers around it.
    """
    seen: BaseException = error
    while True:
        inner = getattr(seen, "reason", None) or seen.__cause__ or seen.__context__
        if not isinstance(inner, BaseException):
            inner = next((arg for arg in seen.args if isinstance(arg, BaseException)), None)
        if inner is None:
            break
        seen = inner
    return str(getattr(seen, "strerror", None) or seen)[:200]
