"""How good a model is on rows that it did not see."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from inference_server.training.scores import f1_by_class

Floats = NDArray[np.float64]
_BINS: Final = 15
_COVERAGES: Final = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0)


def expected_calibration_error(probabilities: Floats, truth: NDArray[np.int64]) -> float:
    """Mean distance between confidence and accuracy over 15 bins of equal width, weighted by rows."""
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == truth
    bins = np.minimum((confidence * _BINS).astype(int), _BINS - 1)
    error = 0.0
    for at in np.unique(bins):
        inside = bins == at
        error += inside.mean() * abs(confidence[inside].mean() - right[inside].mean())
    return float(error)


def brier(probabilities: Floats, truth: NDArray[np.int64]) -> float:
    """Mean squared distance to the truth over all classes; 0 is perfect, 2 the worst."""
    wanted = np.zeros_like(probabilities)
    wanted[np.arange(len(truth)), truth] = 1
    return float(((probabilities - wanted) ** 2).sum(axis=1).mean())


def risk_coverage(probabilities: Floats, truth: NDArray[np.int64]) -> list[dict[str, float]]:
    """Return how wrong the most confident answers are, for several shares of them."""
    confidence = probabilities.max(axis=1)
    wrong = (probabilities.argmax(axis=1) != truth)[np.argsort(-confidence, kind="stable")]
    table = []
    for coverage in _COVERAGES:
        count = max(1, round(len(wrong) * coverage))
        table.append({"coverage": coverage, "risk": round(float(wrong[:count].mean()), 4)})
    return table


def score(
    raw: Floats,
    probabilities: Floats,
    truth: NDArray[np.int64],
    labels: Sequence[str],
    thresholds: Mapping[str, float],
) -> dict[str, Any]:
    """Everything that the gate and people want to know, as plain numbers for JSON.

    Args:
        raw, probabilities: ``(rows, labels)`` before and after calibration.
        truth: the label of each row by its place.
        labels: their names.
        thresholds: confidence from which the model's answer is used, by label, with ``default``.
    """
    answer = probabilities.argmax(axis=1)
    f1 = f1_by_class(truth, answer, len(labels))
    counts = np.bincount(truth, minlength=len(labels))
    present = counts > 0
    limits = np.asarray([thresholds.get(label, thresholds["default"]) for label in labels])
    used = probabilities.max(axis=1) >= limits[answer]
    right = answer == truth
    return {
        "rows": len(truth),
        "val_f1_macro": round(float(f1[present].mean()), 4),
        "val_f1_min": round(float(f1[present].min()), 4),
        "val_f1_per_class": {label: round(float(value), 4) for label, value in zip(labels, f1, strict=True)},
        "support": {label: int(count) for label, count in zip(labels, counts, strict=True)},
        "accuracy": round(float(right.mean()), 4),
        "calibration_error": round(expected_calibration_error(probabilities, truth), 4),
        "calibration_error_before": round(expected_calibration_error(raw, truth), 4),
        "brier": round(brier(probabilities, truth), 4),
        "coverage_at_thresholds": round(float(used.mean()), 4),
        "accuracy_at_thresholds": round(float(right[used].mean()), 4) if used.any() else None,
        "risk_coverage": risk_coverage(probabilities, truth),
    }
