"""Who gets the traffic, ten times a second: the ready endpoints of the Service by version."""

from __future__ import annotations

import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from demo.api import Api, ApiError
from demo.background import Background

EVERY: Final = 0.1


@dataclass(frozen=True, slots=True)
class Reading:
    """Ready endpoints by Deployment at one instant (seconds since the epoch)."""

    at: float
    ready: Counter[str]

    @property
    def total(self) -> int:
        """All of them."""
        return self.ready.total()


class EndpointRecorder(Background):
    """Reads the EndpointSlices of one Service in a thread until its `with` block ends."""

    def __init__(self, api: Api, *, namespace: str, service: str) -> None:
        super().__init__("endpoints", every=EVERY)
        self._api = api
        self._path = f"/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices"
        self._selector = f"kubernetes.io/service-name={service}"
        self.readings: list[Reading] = []

    def since(self, at: float) -> list[Reading]:
        """Return the readings from an instant on."""
        return [reading for reading in list(self.readings) if reading.at >= at]

    def gone_at(self, deployment: str, *, after: float) -> float | None:
        """When the Deployment had lost its last ready endpoint for good; None if it has some or never had."""
        held = [reading.at for reading in self.readings if reading.at >= after and reading.ready[deployment]]
        if not held:
            return None
        return next((reading.at for reading in self.readings if reading.at > held[-1]), None)

    def _look(self) -> None:
        # The view says so if it fails; here a missing reading only makes the time coarser.
        with suppress(ApiError):
            self.readings.append(self._read())

    def _end(self) -> None:
        self._api.close()

    def _read(self) -> Reading:
        ready: Counter[str] = Counter()
        for part in self._api.items(self._path, labelSelector=self._selector):
            for endpoint in part.get("endpoints") or []:
                name = (endpoint.get("targetRef") or {}).get("name", "")
                # A pod is <Deployment>-<hash>-<five characters>.
                ready[name.rsplit("-", 2)[0]] += bool((endpoint.get("conditions") or {}).get("ready"))
        return Reading(time.time(), ready)
