"""Everything that the live view shows, read at one moment."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from prometheus_client.parser import text_string_to_metric_families

from demo.api import ApiError, Json
from demo.lab import Lab
from demo.manifests import OPERATOR_NAMESPACE

METRICS_PORT: Final = 8080


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """One moment.

    Attributes:
        status: Of the ModelRollout.
        generation: Of the ModelRollout; a status with a lower observedGeneration describes an older spec.
        values: Last value of each criterion, from the operator's own metrics: status is not written
            at each tick.
        load: The load generator's counts.
    """

    status: Json
    generation: int
    values: dict[str, float] = field(default_factory=dict)
    load: Json = field(default_factory=dict)

    @property
    def phase(self) -> str:
        """The phase, or Unknown before the operator has seen this version of the spec."""
        if self.status.get("observedGeneration", 0) < self.generation:
            return "Unknown"
        return str(self.status.get("phase") or "Unknown")

    @property
    def lost(self) -> int:
        """Requests that failed, were refused or never sent."""
        return int(self.load.get("failed", 0)) + int(self.load.get("skipped", 0))


class Observer:
    """Takes snapshots of a lab."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._operators: list[str] = []

    def take(self) -> Snapshot:
        """Return a snapshot; ApiError if the rollout or the load cannot be read."""
        rollout = self._lab.rollout()
        return Snapshot(
            status=rollout.get("status") or {},
            generation=int(rollout["metadata"]["generation"]),
            values=self._values(),
            load=self._lab.load_counts(),
        )

    def _values(self) -> dict[str, float]:
        for name in self._operators or self._find():
            try:
                text = self._lab.api.pod(OPERATOR_NAMESPACE, name, METRICS_PORT, "/metrics")
            except ApiError:
                self._operators = []
                continue
            leads, values = read_metrics(text)
            if leads:
                return values
        return {}

    def _find(self) -> list[str]:
        path = f"/api/v1/namespaces/{OPERATOR_NAMESPACE}/pods"
        pods = self._lab.api.items(path, labelSelector="app.kubernetes.io/component=operator")
        self._operators = [pod["metadata"]["name"] for pod in pods]
        return self._operators


def read_metrics(text: str) -> tuple[bool, dict[str, float]]:
    """Tell whether a replica leads, and the last value of each criterion, from the operator's metrics."""
    leads, values = False, {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == "modelrollout_leader":
                leads = sample.value == 1
            elif sample.name == "modelrollout_criterion_value":
                values[sample.labels["criterion"]] = sample.value
    return leads, values
