"""From an artefact directory to a predictor."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from inference_server.artifacts import ArtifactError
from inference_server.predictors.base import Predictor


@dataclass(frozen=True, kw_only=True, slots=True)
class PredictorConfig:
    """How artefacts are served; none of it changes what was trained.

    Attributes:
        tie_break_delta: anger and frustration closer than this (0..1) are decided by keywords; 0 turns it off.
        low_confidence: predictions below this probability (0..1) are counted as low-confidence.
        intra_op_threads: threads of ONNX Runtime within one inference, at least 1.
        memory_arena: whether ONNX Runtime keeps freed memory for the next request (faster, larger RSS).
        max_tokens: texts are cut to this many tokens, 8..512.
    """

    tie_break_delta: float = 0.05
    low_confidence: float = 0.4
    intra_op_threads: int = 1
    memory_arena: bool = False
    max_tokens: int = 128


def load_predictor(
    artifacts: Path, *, encoder_override: str | None = None, config: PredictorConfig | None = None
) -> Predictor:
    """Verify ``artifacts`` and load its predictor.

    Args:
        artifacts: directory with ``manifest.json``.
        encoder_override: use this encoder instead of the manifest's: ``hashing:DIM``, a directory with
            ``model.onnx`` and ``tokenizer.json``, or ``hub:OWNER/NAME``.
        config: serving options; by default read from the environment.

    Raises:
        ArtifactError: naming the file, what was expected and what was seen.
    """
    raise ArtifactError(artifacts, expected="a loader", seen=f"none is written yet ({encoder_override}, {config})")
