"""Writing of trained parts into an artefact directory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inference_server.artifacts import write_npz
from inference_server.predictors.emotion.labels import LABELS
from inference_server.predictors.emotion.training import heads


def write_linear(
    path: Path, affine: heads.Affine, lexical: heads.Lexical | None, mixture: heads.Mixture
) -> None:
    """Write the mixed head: what mixing multiplies and adds is folded into weights and bias."""
    bias = affine.bias * mixture.dense + mixture.bias
    rows, idf = np.zeros(0, np.int32), np.zeros(0, np.float16)
    weights = np.zeros((0, len(LABELS)), np.float16)
    if lexical is not None:
        bias = bias + lexical.affine.bias * mixture.lexical
        rows, idf = lexical.rows.astype(np.int32), lexical.idf.astype(np.float16)
        weights = (lexical.affine.weights * mixture.lexical).astype(np.float16)
    arrays: dict[str, NDArray[Any]] = {
        "embedding": (affine.weights * mixture.dense).astype(np.float32),
        "lexical_rows": rows,
        "lexical": weights,
        "idf": idf,
        "bias": bias.astype(np.float32),
        "temperature": np.asarray([mixture.temperature], np.float32),
    }
    write_npz(path, arrays)
