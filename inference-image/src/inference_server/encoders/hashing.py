"""A dependency-free encoder: hashed words and character n-grams, projected to a chosen dimension."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from inference_server.encoders.base import unit_rows
from inference_server.text import QUERY_PREFIX


class HashingEncoder:
    """Signed feature hashing of words and of their character 3- and 4-grams.

    It knows no meaning, only spelling; it is there for tests, for machines without an encoder, and to show
    what an encoder of another dimension does to a trained head.

    Args:
        dimension: length of one embedding, 8..4096.
    """

    def __init__(self, dimension: int) -> None:
        if not 8 <= dimension <= 4096:
            message = f"The dimension of a hashing encoder must be 8..4096, but it is {dimension}."
            raise ValueError(message)
        self._dimension = dimension

    @property
    def name(self) -> str:
        """Always ``hashing``; the dimension is reported beside it."""
        return "hashing"

    @property
    def dimension(self) -> int:
        """Length of one embedding."""
        return self._dimension

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return unit vectors ``(len(texts), dimension)``; an empty text gives a row of zeros."""
        matrix = np.zeros((len(texts), self._dimension), np.float32)
        for row, text in enumerate(texts):
            for gram in _grams(text.removeprefix(QUERY_PREFIX).lower()):
                digest = zlib.crc32(gram.encode("utf-8", "replace"))
                matrix[row, (digest >> 1) % self._dimension] += 1.0 if digest & 1 else -1.0
        return unit_rows(matrix)

    def close(self) -> None:
        """Nothing to free."""


def _grams(text: str) -> Iterator[str]:
    for word in text.split():
        yield f"w{word}"
        padded = f" {word} "
        for size in (3, 4):
            for start in range(len(padded) - size + 1):
                yield padded[start : start + size]
