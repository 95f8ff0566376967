"""A Prometheus whose values follow from the images that run, scraped every few seconds.

The operator's real session, retries and parsing are above it: it answers where `requests` opens a socket.
Every criterion of a scenario asks for `sim{criterion="name",pod=~"..."}`; the value is that of the worst pod.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import parse_qs

import requests
import urllib3
from requests.adapters import BaseAdapter

from tests.support.simulation import clock

LEG: Final = re.compile(r'\(\s*\n?([^\n]+?)\s*\n?\s*\)+,\s*"__mro_id",\s*"([^"]*)"')
PODS: Final = re.compile(r'pod=~"([^"]*)"')
SCRAPE_SECONDS: Final = 5.0
VISIBLE_SECONDS: Final = 0.03
GOOD, BAD, EMPTY, NAN = "good", "bad", "empty", "nan"
VALUES: Final = {GOOD: 0.5, BAD: 2.0, NAN: float("nan")}
UP, SLOW, DOWN, ERROR, PARTIAL = "up", "slow", "down", "error", "partial"


@dataclass(frozen=True, slots=True)
class Asked:
    """One answered question: who asked, when, for which criterion and pods, and what was told.

    `told` is None for no data; `whole` is False for a partial or failed answer.
    """

    client: str
    at: float
    criterion: str
    pods: str
    told: float | None
    whole: bool


@dataclass
class Prometheus:
    """The server. `running` names the ready pods with their images, as a scrape finds them."""

    running: Callable[[], dict[str, str]]
    now: Callable[[], float]
    modes: dict[str, list[tuple[float, str]]] = field(default_factory=dict)
    state: str = UP
    scraping: bool = True
    scrapes: list[tuple[float, dict[str, str]]] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)

    def scrape(self) -> None:
        """One round of scrapes."""
        if self.scraping:
            self.scrapes.append((self.now(), self.running()))

    def set_mode(self, image: str, mode: str) -> None:
        """What an image measures from now on."""
        self.modes.setdefault(image, []).append((self.now(), mode))

    def mode(self, image: str, at: float) -> str:
        """What an image measured at a time."""
        found = BAD if "bad" in image else GOOD
        for since, mode in self.modes.get(image, ()):
            if since <= at:
                found = mode
        return found

    def value(self, pods: str, at: float) -> float | None:
        """The worst of the pods that match, at the last scrape before `at`."""
        scrape = self._before(at)
        if scrape is None:
            return None
        when, running = scrape
        modes = {self.mode(image, when) for name, image in running.items() if re.fullmatch(pods, name)}
        for mode in (BAD, NAN, GOOD):
            if mode in modes:
                return VALUES[mode]
        return None

    def newest(self, pods: str, at: float) -> float | None:
        """When a pod that matches was last scraped."""
        for when, running in reversed(self.scrapes):
            if when + VISIBLE_SECONDS <= at and any(re.fullmatch(pods, name) for name in running):
                return when if at - when < 300 else None
        return None

    def _before(self, at: float) -> tuple[float, dict[str, str]] | None:
        for when, running in reversed(self.scrapes):
            if when + VISIBLE_SECONDS <= at:
                return (when, running) if at - when < 300 else None
        return None

    def leg(self, promql: str, at: float) -> float | None:
        """The value of one question."""
        found = PODS.search(promql)
        if "sim_count{" in promql:
            return 1000.0
        if found is None or ("sim{" not in promql and "timestamp(" not in promql):
            if "vector(1)" not in promql:
                self.unknown.append(promql)
            return 1.0
        pods = found.group(1)
        if "timestamp(" in promql:
            newest = self.newest(pods, at)
            return None if newest is None else clock.EPOCH + newest
        return self.value(pods, at)

    def note(self, client: str, promql: str, told: float | None, whole: bool) -> None:
        """Remember what was told to whom."""
        name, pods = re.search(r'sim\{criterion="([^"]*)"', promql), PODS.search(promql)
        if name and pods:
            self.asked.append(Asked(client, self.now(), name.group(1), pods.group(1), told, whole))


class Adapter(BaseAdapter):
    """Answers the requests of one operator."""

    def __init__(self, server: Prometheus, client: str) -> None:
        super().__init__()
        self._server, self._client = server, client

    def close(self) -> None:
        """Nothing is open."""

    def send(  # type: ignore[override]
        self, request: requests.PreparedRequest, timeout: Any = None, **_: Any
    ) -> requests.Response:
        """One HTTP exchange."""
        server = self._server
        limit = timeout[1] if isinstance(timeout, tuple) else float(timeout or 5)
        if server.state == DOWN:
            clock.sleep(0.001)
            raise requests.ConnectionError("connection refused")
        if server.state == SLOW:
            clock.sleep(limit)
            raise requests.ReadTimeout("timed out")
        clock.sleep(0.01)
        if server.state == ERROR:
            return _response(request, 503, {"status": "error", "errorType": "unavailable", "error": "busy"})
        body = request.body or ""
        form = {k: v[0] for k, v in parse_qs(body.decode() if isinstance(body, bytes) else body).items()}
        span = "query_range" in str(request.url)
        result = list(self._range(form) if span else self._instant(form["query"]))
        kind = "matrix" if span else "vector"
        answer = {"status": "success", "data": {"resultType": kind, "result": result}}
        if server.state == PARTIAL:
            answer["warnings"] = ["partial response: a store did not answer"]  # type: ignore[assignment]
        return _response(request, 200, answer)

    def _legs(self, query: str) -> list[tuple[str, dict[str, str]]]:
        legs = [(inner, {"__mro_id": id_}) for inner, id_ in LEG.findall(query)]
        return legs or [(query, {})]

    def _instant(self, query: str) -> Iterator[Any]:
        server, at = self._server, self._server.now()
        whole = server.state == UP
        for inner, metric in self._legs(query):
            told = server.leg(inner, at)
            if not whole and told is not None and "sim{" in inner:
                told = VALUES[GOOD]  # the store that knows of the errors did not answer
            server.note(self._client, inner, told, whole)
            if told is not None:
                yield {"metric": metric, "value": [clock.EPOCH + at, repr(told)]}

    def _range(self, form: dict[str, str]) -> Iterator[Any]:
        start, end, step = (float(form[name]) for name in ("start", "end", "step"))
        count = int((end - start) / step + 1e-6) + 1
        for inner, metric in self._legs(form["query"]):
            points = []
            for index in range(count):
                told = self._server.leg(inner, start + index * step - clock.EPOCH)
                if told is not None:
                    points.append([start + index * step, repr(told)])
            if points:
                yield {"metric": metric, "values": points}


def _response(request: requests.PreparedRequest, status: int, body: Any) -> requests.Response:
    answer = requests.Response()
    answer.status_code, answer.request, answer.url = status, request, str(request.url)
    answer.headers["Content-Type"] = "application/json"
    raw = io.BytesIO(json.dumps(body).encode())
    answer.raw = urllib3.HTTPResponse(body=raw, status=status, preload_content=False)
    return answer
