"""Measuring artefacts as they are served: every text goes through the predictor with all its routes."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inference_server.predictors.base import Prediction, Predictor
from inference_server.predictors.emotion.labels import LABELS
from inference_server.predictors.emotion.training.datasets import Dataset
from inference_server.training.scores import calibration, confusion, f1_by_class, macro_f1

_BATCH = 64


def evaluate(predictor: Predictor, data: Dataset) -> dict[str, Any]:
    """Return scores of ``predictor`` on ``data``, as plain numbers for JSON.

    Its labels must be the eight; macro-F1 is the mean of F1 over the labels that occur in ``data``.
    """
    started = time.perf_counter()
    predictions: list[Prediction] = []
    texts = [row.text for row in data.rows]
    for start in range(0, len(texts), _BATCH):
        predictions += predictor.predict(texts[start : start + _BATCH])
    seconds = time.perf_counter() - started
    truth = np.asarray([row.label for row in data.rows], np.int64)
    answer = np.asarray([LABELS.index(item.label) for item in predictions], np.int64)
    confidence = np.asarray([item.confidence for item in predictions], np.float64)
    table, error = calibration(confidence, truth == answer)
    f1 = f1_by_class(truth, answer, len(LABELS))
    counts = np.bincount(truth, minlength=len(LABELS))
    return {
        "model": predictor.name,
        "version": predictor.version,
        "artifact_sha256": predictor.info.artifact_sha256,
        "encoder": predictor.info.encoder,
        "rows": len(data.rows),
        "left_out": data.left_out,
        "macro_f1": round(macro_f1(truth, answer, len(LABELS)), 4),
        "accuracy": round(float((truth == answer).mean()), 4),
        "f1": {label: round(float(value), 4) for label, value in zip(LABELS, f1, strict=True)},
        "support": {label: int(count) for label, count in zip(LABELS, counts, strict=True)},
        "labels": list(LABELS),
        "confusion": confusion(truth, answer, len(LABELS)).tolist(),
        "calibration": table,
        "expected_calibration_error": round(error, 4),
        "mean_confidence": round(float(confidence.mean()), 4),
        "p90_confidence": round(float(np.quantile(confidence, 0.9)), 4),
        **_shares(predictions),
        "texts_per_second": round(len(texts) / seconds, 1),
    }


def _shares(predictions: Sequence[Prediction]) -> dict[str, Any]:
    total = len(predictions)
    routes = Counter(item.route for item in predictions)
    return {
        "routes": {route: round(count / total, 4) for route, count in sorted(routes.items())},
        "low_confidence": round(sum(item.low_confidence for item in predictions) / total, 4),
        "tie_break": round(sum(item.rule is not None for item in predictions) / total, 4),
        "dimension_mismatches": sum(bool(item.dimension_mismatches) for item in predictions),
    }


def as_text(result: dict[str, Any]) -> str:
    """Return the scores as lines for a person."""
    lines = [
        f"{result['model']} {result['version']} ({result['encoder']}) on {result['rows']} rows"
        f" ({result['left_out']} left out because their labels map to several of ours)",
        f"macro-F1 {result['macro_f1']:.4f}   accuracy {result['accuracy']:.4f}"
        f"   calibration error {result['expected_calibration_error']:.4f}",
        f"low confidence {result['low_confidence']:.1%}   tie-break {result['tie_break']:.1%}"
        f"   routes {result['routes']}",
        "",
        "true \\ answered " + " ".join(f"{label[:7]:>8}" for label in result["labels"]) + "       F1",
    ]
    for label, row in zip(result["labels"], result["confusion"], strict=True):
        lines.append(
            f"{label:<15} " + " ".join(f"{count:>8}" for count in row) + f"   {result['f1'][label]:.4f}"
        )
    return "\n".join(lines)


def draw(result: dict[str, Any], path: Path) -> None:
    """Draw confusion (shares of each true label) and calibration into a PNG or SVG file."""
    import matplotlib as mpl  # noqa: PLC0415 - slow to import, needed for pictures only

    mpl.use("Agg")
    import matplotlib.pyplot as plt  # noqa: PLC0415 - after the backend is chosen

    figure, (left, right) = plt.subplots(1, 2, figsize=(13, 5.6), width_ratios=(1.25, 1))
    table = np.asarray(result["confusion"], np.float64)
    _draw_confusion(left, table / np.maximum(table.sum(axis=1, keepdims=True), 1.0), result["labels"])
    _draw_calibration(right, result)
    figure.suptitle("{model} {version}: macro-F1 {macro_f1:.3f} on {rows} rows".format(**result))
    figure.tight_layout()
    # Without a date and a program's name in it, the picture depends on the result only.
    figure.savefig(path, dpi=110, metadata={"Software": None} if path.suffix == ".png" else {"Date": None})
    plt.close(figure)


def _draw_confusion(axes: Any, shares: NDArray[np.float64], labels: list[str]) -> None:
    axes.imshow(shares, cmap="Blues", vmin=0.0, vmax=1.0)
    axes.set_xticks(range(len(labels)), labels, rotation=40, ha="right")
    axes.set_yticks(range(len(labels)), labels)
    axes.set_xlabel("answered")
    axes.set_ylabel("true")
    axes.set_title("Confusion: share of each true label")
    for row in range(len(labels)):
        for column in range(len(labels)):
            value = float(shares[row, column])
            colour = "white" if value > 0.55 else "black"
            axes.text(column, row, f"{value:.2f}", ha="center", va="center", color=colour, fontsize=8)


def _draw_calibration(axes: Any, result: dict[str, Any]) -> None:
    filled = [entry for entry in result["calibration"] if entry["count"]]
    most = max(entry["count"] for entry in filled)
    axes.plot([0, 1], [0, 1], linestyle="--", color="grey", linewidth=1, label="perfect")
    axes.bar(
        [(entry["low"] + entry["high"]) / 2 for entry in filled],
        [0.3 * entry["count"] / most for entry in filled],
        width=0.09,
        color="lightsteelblue",
        label="rows (scaled)",
    )
    axes.plot(
        [e["confidence"] for e in filled], [e["accuracy"] for e in filled], marker="o", label="measured"
    )
    axes.set_xlabel("confidence")
    axes.set_ylabel("accuracy")
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.set_title(f"Calibration: expected error {result['expected_calibration_error']:.3f}")
    axes.legend(loc="upper left")
