"""What the status of a rollout said over time, from which it can be told whether a step ended early."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from demo.api import Api, ApiError
from demo.background import Background

EVERY = 0.2
Json = dict[str, Any]


@dataclass(frozen=True)
class Step:
    """A step as the status told it."""

    started: datetime
    reached: datetime | None


class RunRecord(Background):
    """Reads the status of one ModelRollout in a thread until its `with` block ends."""

    def __init__(self, api: Api, *, namespace: str, name: str) -> None:
        super().__init__("run record", every=EVERY)
        self._api = api
        self._path = f"/apis/modelrollout.dev/v1alpha1/namespaces/{namespace}/modelrollouts/{name}"
        self.readings: list[Json] = []

    def _look(self) -> None:
        with suppress(ApiError):  # a CRD that changes is not served for a moment
            status = self._api.json(self._path).get("status") or {}
            if status and (not self.readings or status != self.readings[-1]):
                self.readings.append(status)

    def _end(self) -> None:
        self._api.close()

    @property
    def last(self) -> Json:
        """The newest status; empty before the first."""
        return self.readings[-1] if self.readings else {}

    def until(self, check: Any, *, seconds: float, what: str) -> Json:
        """Wait until `check(status)` is true and return the status."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if (status := self.last) and check(status):
                return status
            time.sleep(EVERY / 2)
        raise AssertionError(f"not within {seconds:.0f} s: {what}; last seen {self.last}")

    def phases(self) -> set[str]:
        """Every phase that was shown."""
        return {status["phase"] for status in self.readings}

    def runs(self) -> set[tuple[str, str]]:
        """Id and start of every run that was shown."""
        runs = [status["run"] for status in self.readings if "run" in status]
        return {(run["id"], run["startedAt"]) for run in runs}

    def steps(self) -> dict[int, set[Step]]:
        """Every pair of times that was told of each step: one, or the step began anew."""
        told: dict[int, set[Step]] = {}
        for step in (status["step"] for status in self.readings if "step" in status):
            reached = _time(step["reachedAt"]) if "reachedAt" in step else None
            told.setdefault(step["index"], set()).add(Step(_time(step["startedAt"]), reached))
        return told

    def order(self) -> list[int]:
        """The steps in the order in which they were told, without repetitions."""
        found: list[int] = []
        for status in self.readings:
            if "step" in status and found[-1:] != [status["step"]["index"]]:
                found.append(status["step"]["index"])
        return found

    def lasted(self) -> dict[int, float]:
        """Seconds from the moment a step's weight was reached until the next step was decided."""
        steps = self.steps()
        ends = {index: {step.started for step in steps[index + 1]} for index in steps if index + 1 in steps}
        reached = {index: [one.reached for one in steps[index] if one.reached] for index in ends}
        return {index: (min(ends[index]) - max(reached[index])).total_seconds() for index in ends}


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)
