"""A small client of a server under validation."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import httpx

from inference_server.predictors.table import DEFAULT_KIND
from inference_server.service import SOURCE_HEADER, SOURCE_VALIDATION


class UnreachableError(Exception):
    """The server does not answer as one that can be validated; the text says what was tried and seen."""


@dataclass(frozen=True, slots=True)
class Client:
    """Asks one server; every problem becomes :class:`UnreachableError`.

    Attributes:
        http: with the server's address as base.
    """

    http: httpx.Client

    @classmethod
    def connect(cls, url: str, *, timeout: float, wait: float) -> Client:
        """Wait for at most ``wait`` seconds until the server at ``url`` is ready; ``timeout`` is per request.

        Raises:
            UnreachableError: it is not ready in time.
        """
        uncounted = {SOURCE_HEADER: SOURCE_VALIDATION}
        client = cls(httpx.Client(base_url=url, timeout=timeout, trust_env=False, headers=uncounted))
        ends = time.monotonic() + wait
        while True:
            seen = client._readiness()
            if seen is None:
                return client
            if time.monotonic() >= ends:
                raise UnreachableError(
                    f"{url} was not ready within {wait:g} s: {seen}. Check the address and the pod."
                )
            time.sleep(min(0.5, max(0.0, ends - time.monotonic()) + 0.01))

    def kind(self) -> str:
        """Return the kind of predictor that the server says it serves."""
        try:
            response = self.http.get("/model/status")
            response.raise_for_status()
        except httpx.HTTPError as error:
            raise UnreachableError(f"GET /model/status at {self.http.base_url} failed: {error}.") from error
        # A server from before there were several kinds says nothing.
        return str(response.json().get("kind", DEFAULT_KIND))

    def mask(self, text: str) -> dict[str, Any]:
        """Return the text as the server masks it, and as it would log it."""
        return self.post("/pii/mask", {"text": text})

    def metrics(self) -> str:
        """Return the page that Prometheus scrapes."""
        try:
            response = self.http.get("/metrics")
            response.raise_for_status()
        except httpx.HTTPError as error:
            raise UnreachableError(f"GET /metrics at {self.http.base_url} failed: {error}.") from error
        return response.text

    def _readiness(self) -> str | None:
        try:
            response = self.http.get("/v2/health/ready")
        except httpx.HTTPError as error:
            return f"{type(error).__name__} {error}".strip()
        return None if response.status_code == 200 else f"HTTP {response.status_code} {response.text[:200]}"

    def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Return what the server answers to a JSON body; an overloaded server is asked again."""
        attempts = 3
        for attempt in range(attempts):
            try:
                response = self.http.post(path, json=body)
            except httpx.HTTPError as error:
                if attempt == attempts - 1:
                    raise UnreachableError(f"POST {path} at {self.http.base_url} failed: {error}.") from error
                continue
            if response.status_code != 503 or attempt == attempts - 1:
                break
            time.sleep(min(5.0, float(response.headers.get("retry-after", "1"))))
        if response.status_code != 200:
            seen = f"HTTP {response.status_code}: {response.text[:200]}"
            raise UnreachableError(f"POST {path} at {self.http.base_url} answered {seen}.")
        answer = response.json()
        assert isinstance(answer, dict)
        return answer
