"""Scores of classifiers: F1, confusion, calibration."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def confusion(truth: NDArray[Any], answer: NDArray[Any], classes: int) -> NDArray[np.int64]:
    """Count ``(classes, classes)``: rows are the truth, columns the answers."""
    flat = np.asarray(truth, np.int64) * classes + np.asarray(answer, np.int64)
    return np.bincount(flat, minlength=classes * classes).reshape(classes, classes).astype(np.int64)


def f1_by_class(truth: NDArray[Any], answer: NDArray[Any], classes: int) -> NDArray[np.float64]:
    """Return F1 of each class ``(classes,)``; 0 for a class that neither occurs nor is answered."""
    table = confusion(truth, answer, classes).astype(np.float64)
    hits = np.diag(table)
    total = table.sum(axis=0) + table.sum(axis=1)
    return np.asarray(np.where(total > 0, 2.0 * hits / np.maximum(total, 1.0), 0.0), np.float64)


def macro_f1(truth: NDArray[Any], answer: NDArray[Any], classes: int) -> float:
    """Mean of F1 over the classes that occur in ``truth``."""
    present = np.bincount(np.asarray(truth, np.int64), minlength=classes) > 0
    return float(f1_by_class(truth, answer, classes)[present].mean()) if present.any() else 0.0


def calibration(
    confidence: NDArray[np.float64], right: NDArray[np.bool_], bins: int = 10
) -> tuple[list[dict[str, float]], float]:
    """Reliability table and expected calibration error.

    Returns:
        for each of ``bins`` equal intervals of confidence its bounds, count, mean confidence and accuracy;
        and the mean distance of confidence and accuracy, weighted by count (0..1).
    """
    rows: list[dict[str, float]] = []
    error = 0.0
    edges = np.linspace(0.0, 1.0, bins + 1)
    places = np.clip((confidence * bins).astype(np.int64), 0, bins - 1)
    for index in range(bins):
        inside = places == index
        count = int(inside.sum())
        mean = float(confidence[inside].mean()) if count else 0.0
        accuracy = float(right[inside].mean()) if count else 0.0
        error += count * abs(mean - accuracy) / max(1, len(confidence))
        rows.append(
            {
                "low": round(float(edges[index]), 3),
                "high": round(float(edges[index + 1]), 3),
                "count": count,
                "confidence": round(mean, 4),
                "accuracy": round(accuracy, 4),
            }
        )
    return rows, error
