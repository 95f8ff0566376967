"""The model as it is served: linear scores of n-grams, trees on top, calibration of each class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from inference_server.artifacts import ArtifactError, read_npz
from inference_server.predictors.suggestions.calibration import (
    CALIBRATION_FILE,
    Calibrator,
    calibrate,
    read_calibration,
)
from inference_server.predictors.suggestions.features import BUCKETS, NUMBERS, numbers, places
from inference_server.predictors.suggestions.transactions import Transaction
from inference_server.predictors.suggestions.trees import TREES_FILE, Trees

LINEAR_FILE: Final = "linear.npz"
Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Linear:
    """One weight for each n-gram and class.

    Attributes:
        rows: for each place its row in ``weights``; the last one is of n-grams that were not seen.
        weights: ``(rows, classes)``; includes the inverse document frequency.
        idf: ``(rows,)``; 0 for what was not seen.
        bias: ``(classes,)``.
        scale: what turns scores into the logits that the trees start from.
    """

    rows: NDArray[np.int32]
    weights: NDArray[np.float32]
    idf: NDArray[np.float32]
    bias: NDArray[np.float32]
    scale: float

    @classmethod
    def build(
        cls, *, seen: NDArray[Any], weights: NDArray[Any], idf: NDArray[Any], bias: NDArray[Any], scale: float
    ) -> Linear:
        """Of the places that were seen (ascending) with their weights and frequencies."""
        rows = np.full(BUCKETS, len(seen), np.int32)
        rows[seen] = np.arange(len(seen), dtype=np.int32)
        return cls(
            rows=rows,
            weights=np.vstack([weights, np.zeros((1, weights.shape[1]))]).astype(np.float32),
            idf=np.append(idf, 0).astype(np.float32),
            bias=bias.astype(np.float32),
            scale=scale,
        )

    @classmethod
    def read(cls, path: Path, classes: int) -> Linear:
        """Read a verified file.

        Raises:
            ArtifactError: its arrays do not fit.
        """
        arrays = read_npz(path, {"seen": 1, "weights": 2, "idf": 1, "bias": 1, "scale": 1})
        seen = arrays["seen"].astype(np.int64)
        fits = (
            arrays["weights"].shape == (len(seen), classes)
            and arrays["idf"].shape == seen.shape
            and arrays["bias"].shape == (classes,)
            and arrays["scale"].shape == (1,)
            and (len(seen) == 0 or (seen.min() >= 0 and seen.max() < BUCKETS))
            and all(bool(np.isfinite(arrays[name]).all()) for name in ("weights", "idf", "bias", "scale"))
        )
        if not fits:
            shapes = {name: array.shape for name, array in arrays.items()}
            raise ArtifactError(
                path, expected=f"finite weights for {classes} classes", seen=f"shapes are {shapes}"
            )
        return cls.build(
            seen=seen,
            weights=arrays["weights"],
            idf=arrays["idf"],
            bias=arrays["bias"],
            scale=float(arrays["scale"][0]),
        )

    def scores(self, transactions: Sequence[Transaction]) -> Floats:
        """Return scores ``(transactions, classes)``, not scaled."""
        result = np.tile(self.bias.astype(np.float64), (len(transactions), 1))
        for row, item in enumerate(transactions):
            found = self.rows[places(item)]
            values = self.idf[found]
            length = float(np.linalg.norm(values))
            if length > 0:
                result[row] += (values / np.float32(length)) @ self.weights[found]
        return result


@dataclass(frozen=True, kw_only=True)
class Model:
    """All of it; safe to use from several threads."""

    labels: tuple[str, ...]
    linear: Linear
    trees: Trees
    calibrators: tuple[Calibrator, ...]

    @classmethod
    def read(cls, directory: Path, labels: tuple[str, ...]) -> Model:
        """Read verified artefacts.

        Raises:
            ArtifactError: naming the file, what was expected and what was seen.
        """
        return cls(
            labels=labels,
            linear=Linear.read(directory / LINEAR_FILE, len(labels)),
            trees=Trees.read(directory / TREES_FILE, classes=len(labels), features=features(len(labels))),
            calibrators=read_calibration(directory / CALIBRATION_FILE, labels),
        )

    def raw(self, transactions: Sequence[Transaction]) -> Floats:
        """Return probabilities ``(transactions, classes)`` before calibration."""
        linear = self.linear.scores(transactions)
        return softmax(self.linear.scale * linear + self.trees.scores(tree_rows(linear, transactions)))

    def probabilities(self, transactions: Sequence[Transaction]) -> Floats:
        """Calibrated probabilities ``(transactions, classes)``; each row sums to 1."""
        return calibrate(self.raw(transactions), self.calibrators)


def features(classes: int) -> int:
    """Return how many numbers the trees read."""
    return classes + len(NUMBERS)


def tree_rows(linear: Floats, transactions: Sequence[Transaction]) -> Floats:
    """Return what the trees read: linear scores, then the numbers."""
    return np.hstack([linear, numbers(transactions)])


def softmax(logits: Floats) -> Floats:
    """Return probabilities along the last axis."""
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=-1, keepdims=True))
