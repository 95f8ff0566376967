"""What turns an embedding into scores: the linear head and the prototypes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from inference_server.artifacts import ArtifactError, read_npz
from inference_server.predictors.emotion.features import BUCKETS, count_features, weigh

LINEAR_FILE: Final = "linear_head.npz"
PROTOTYPES_FILE: Final = "prototypes.npz"


class DimensionMismatchError(Exception):
    """An embedding whose length is not the one that a head was trained on."""

    def __init__(self, *, expected: int, seen: int) -> None:
        super().__init__(
            f"The head was trained on embeddings of length {expected}, but the encoder gives {seen}."
        )


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return probabilities along the last axis."""
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=-1, keepdims=True), np.float32)


@dataclass(frozen=True, kw_only=True, slots=True)
class LinearHead:
    """Logistic regression on an embedding and, beside it, on hashed n-grams.

    Attributes:
        embedding: weights ``(dimension, labels)``.
        lexical: weights ``(BUCKETS, labels)``; all zero where n-grams are not used.
        idf: inverse document frequencies ``(BUCKETS,)``.
        bias: ``(labels,)``; includes what tuning for macro-F1 added.
        temperature: divides the logits, so that the largest probability means what it says.
        uses_lexical: whether n-grams are counted at all.
    """

    embedding: NDArray[np.float32]
    lexical: NDArray[np.float32]
    idf: NDArray[np.float32]
    bias: NDArray[np.float32]
    temperature: float
    uses_lexical: bool

    @classmethod
    def read(cls, path: Path, labels: int) -> LinearHead:
        """Read a verified file.

        Raises:
            ArtifactError: its arrays do not fit each other or the number of labels.
        """
        axes = {"embedding": 2, "lexical_rows": 1, "lexical": 2, "idf": 1, "bias": 1, "temperature": 1}
        arrays = read_npz(path, axes)
        rows, values = arrays["lexical_rows"].astype(np.int64), arrays["lexical"].astype(np.float32)
        fits = (
            arrays["embedding"].shape[1] == labels
            and arrays["bias"].shape == (labels,)
            and values.shape == (len(rows), labels)
            and arrays["idf"].shape == rows.shape
            and (len(rows) == 0 or (rows.min() >= 0 and rows.max() < BUCKETS))
            and arrays["temperature"].shape == (1,)
            and float(arrays["temperature"][0]) > 0.0
            and all(bool(np.isfinite(array).all()) for array in (arrays["embedding"], values, arrays["bias"]))
        )
        if not fits:
            shapes = {name: array.shape for name, array in arrays.items()}
            raise ArtifactError(
                path, expected=f"finite weights for {labels} labels", seen=f"shapes are {shapes}"
            )
        used = len(rows) > 0
        lexical = np.zeros((BUCKETS if used else 0, labels), np.float32)
        idf = np.zeros(BUCKETS if used else 0, np.float32)
        lexical[rows], idf[rows] = values, arrays["idf"].astype(np.float32)
        return cls(
            embedding=arrays["embedding"].astype(np.float32),
            lexical=lexical,
            idf=idf,
            bias=arrays["bias"].astype(np.float32),
            temperature=float(arrays["temperature"][0]),
            uses_lexical=used,
        )

    @property
    def dimension(self) -> int:
        """Length of the embeddings the head was trained on."""
        return int(self.embedding.shape[0])

    def scores(self, embedding: NDArray[np.float32], text: str) -> NDArray[np.float32]:
        """Return probabilities ``(labels,)`` of one embedding ``(dimension,)`` and its normalised text.

        Raises:
            DimensionMismatchError: the embedding has another length.
        """
        if embedding.shape != (self.dimension,):
            raise DimensionMismatchError(expected=self.dimension, seen=int(embedding.size))
        logits = embedding @ self.embedding + self.bias
        if self.uses_lexical:
            places, values, words = count_features(text)
            if len(places):
                logits = logits + weigh(places, values, words, self.idf) @ self.lexical[places]
        return softmax(np.asarray(logits / self.temperature, np.float32))


@dataclass(frozen=True, kw_only=True, slots=True)
class Prototypes:
    """Nearest class centre by cosine.

    Attributes:
        centres: unit vectors ``(labels, dimension)``.
        temperature: divides the cosines before the softmax.
    """

    centres: NDArray[np.float32]
    temperature: float

    @classmethod
    def read(cls, path: Path, labels: int) -> Prototypes:
        """Read a verified file.

        Raises:
            ArtifactError: it does not hold one centre per label.
        """
        arrays = read_npz(path, {"centres": 2, "temperature": 1})
        centres = arrays["centres"].astype(np.float32)
        if centres.shape[0] != labels or not np.isfinite(centres).all():
            raise ArtifactError(
                path, expected=f"{labels} finite centres", seen=f"the shape is {centres.shape}"
            )
        return cls(centres=centres, temperature=float(arrays["temperature"][0]))

    @property
    def dimension(self) -> int:
        """Length of the embeddings the centres are means of."""
        return int(self.centres.shape[1])

    def scores(self, embedding: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return probabilities ``(labels,)`` of one embedding ``(dimension,)``.

        Raises:
            DimensionMismatchError: the embedding has another length.
        """
        if embedding.shape != (self.dimension,):
            raise DimensionMismatchError(expected=self.dimension, seen=int(embedding.size))
        return softmax(np.asarray(self.centres @ embedding / self.temperature, np.float32))
