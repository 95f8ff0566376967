"""Who sends a query: prometheus-api-client where it is installed, as in the operator's image.

The plugin is installed without it: with what it brings along it would be a quarter of the plugin. It asks
the same two questions by itself then.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Protocol, cast

import requests
import urllib3


class QueryLibrary(Protocol):
    """What is used of prometheus-api-client's PrometheusConnect."""

    def custom_query(self, query: str, params: dict[str, str], timeout: tuple[float, float]) -> Any:
        """Return the `result` of an instant query."""

    def custom_query_range(
        self,
        query: str,
        start_time: datetime,
        end_time: datetime,
        step: str,
        params: dict[str, str],
        timeout: tuple[float, float],
    ) -> Any:
        """Return the `result` of a range query."""

    def close(self) -> None:
        """Close the connections."""


def query_library(url: str, session: requests.Session) -> QueryLibrary:
    """Return what sends queries to the server at `url` over the session."""
    try:
        from prometheus_api_client.prometheus_connect import PrometheusConnect  # noqa: PLC0415
    except ModuleNotFoundError:
        return PlainQueries(url, session)
    library = PrometheusConnect(
        url=url, session=session, method="POST", retry=urllib3.Retry(total=0, redirect=False)
    )
    return cast("QueryLibrary", library)


class PlainQueries:
    """The two questions, over a session that raises what is not an answer."""

    def __init__(self, url: str, session: requests.Session) -> None:
        self._url = url.rstrip("/")
        self._session = session

    def custom_query(self, query: str, params: dict[str, str], timeout: tuple[float, float]) -> Any:
        """As in QueryLibrary."""
        return self._ask("query", {"query": query, **params}, timeout)

    def custom_query_range(
        self,
        query: str,
        start_time: datetime,
        end_time: datetime,
        step: str,
        params: dict[str, str],
        timeout: tuple[float, float],
    ) -> Any:
        """As in QueryLibrary."""
        span = {"start": repr(start_time.timestamp()), "end": repr(end_time.timestamp()), "step": step}
        return self._ask("query_range", {"query": query, **span, **params}, timeout)

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def _ask(self, what: str, params: dict[str, str], timeout: tuple[float, float]) -> Any:
        answer = self._session.request("POST", f"{self._url}/api/v1/{what}", params=params, timeout=timeout)
        return answer.json()["data"]["result"]
