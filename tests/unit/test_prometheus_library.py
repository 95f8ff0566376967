"""Queries are the same with prometheus-api-client and without it, as in the plugin."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
import requests

from modelrollout.prometheus.library import PlainQueries, QueryLibrary, query_library

TIMEOUT = (1.0, 2.0)
PARAMS = {"timeout": "2.000", "start": "10.5", "end": "20.5"}


class Recorder(requests.Session):
    """Keeps what is sent and answers like Prometheus."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[tuple[str, str, dict[str, str], Any]] = []

    def request(self, method: Any, url: Any, *args: Any, **kwargs: Any) -> Any:
        self.sent.append((method, url, kwargs["params"], kwargs["timeout"]))
        return SimpleNamespace(status_code=200, json=lambda: {"data": {"result": [{"value": [1, "2"]}]}})


def asked(session: Recorder, library: QueryLibrary) -> list[Any]:
    start, end = (datetime.fromtimestamp(at, tz=UTC) for at in (10.5, 20.5))
    answers = [
        library.custom_query("up", params={"timeout": "2.000"}, timeout=TIMEOUT),
        library.custom_query_range("up", start, end, step="1.0", params=PARAMS, timeout=TIMEOUT),
    ]
    library.close()
    return [*answers, *session.sent]


def test_both_ask_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    session = Recorder()
    library = query_library("http://prometheus:9090/base", session)
    assert type(library).__name__ == "PrometheusConnect"
    with_library = asked(session, library)
    monkeypatch.setitem(sys.modules, "prometheus_api_client", None)
    monkeypatch.delitem(sys.modules, "prometheus_api_client.prometheus_connect")
    session = Recorder()
    library = query_library("http://prometheus:9090/base", session)
    assert isinstance(library, PlainQueries)
    assert asked(session, library) == with_library
