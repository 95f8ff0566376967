"""From what a model says to how often it is right, class by class."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from inference_server.artifacts import ArtifactError

CALIBRATION_FILE: Final = "calibration.json"
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Calibrator:
    """From a class's probability to how often that class is right.

    Attributes:
        method: "isotonic" (knots ``x`` and ``y``), "sigmoid" (slope and offset in ``x``) or "none".
        x, y: see ``method``.
    """

    method: str
    x: tuple[float, ...] = ()
    y: tuple[float, ...] = ()

    def __call__(self, probability: Floats) -> Floats:
        """Calibrated probabilities, not yet normalised over the classes."""
        if self.method == "isotonic":
            return np.interp(probability, self.x, self.y)
        if self.method == "sigmoid":
            clipped = np.clip(probability, 1e-6, 1 - 1e-6)
            logits = np.log(clipped / (1 - clipped))
            return np.asarray(1 / (1 + np.exp(-(self.x[0] * logits + self.x[1]))))
        return probability


def calibrate(raw: Floats, calibrators: Sequence[Calibrator]) -> Floats:
    """Calibrate each class and make each row sum to 1 again."""
    columns = np.stack([calibrator(raw[:, at]) for at, calibrator in enumerate(calibrators)], axis=1)
    columns = np.clip(columns, 1e-6, 1)
    return np.asarray(columns / columns.sum(axis=1, keepdims=True))


def read_calibration(path: Path, labels: Sequence[str]) -> tuple[Calibrator, ...]:
    """Read a verified file of calibrators, one for each label.

    Raises:
        ArtifactError: one is missing or not understood.
    """
    try:
        body = json.loads(path.read_text(encoding="utf-8"))
        found = tuple(
            Calibrator(str(item["method"]), tuple(map(float, item["x"])), tuple(map(float, item["y"])))
            for item in (body[label] for label in labels)
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArtifactError(
            path, expected="a calibrator for each label", seen=f"{type(error).__name__}: {error}"
        ) from error
    for item in found:
        fits = {
            "none": not item.x,
            "sigmoid": len(item.x) == 2,
            "isotonic": len(item.x) == len(item.y) > 1 and list(item.x) == sorted(item.x),
        }
        if not fits.get(item.method, False) or not np.isfinite([*item.x, *item.y]).all():
            raise ArtifactError(
                path, expected="isotonic, sigmoid or none with finite knots", seen=f"it is {item}"
            )
    return found
