"""The interface of sentence encoders."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class Encoder(Protocol):
    """Turns texts into unit-length vectors. Implementations are safe to call from several threads."""

    @property
    def name(self) -> str:
        """Name for logs and ``model_info``, for example ``onnx:all-MiniLM-L6-v2``."""
        ...

    @property
    def dimension(self) -> int:
        """Length of one embedding; constant for the encoder's life."""
        ...

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return an array ``(len(texts), dimension)`` whose rows have length 1.

        ``texts`` are already preprocessed (:func:`inference_server.text.encoder_input`).
        """
        ...

    def close(self) -> None:
        """Free what the encoder holds. Idempotent."""
        ...


def unit_rows(matrix: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scale each row of ``(n, d)`` to length 1; rows of zeros stay zeros."""
    lengths = np.linalg.norm(matrix, axis=1, keepdims=True)
    scaled: NDArray[np.float32] = (matrix / np.maximum(lengths, 1e-12)).astype(np.float32)
    return scaled
