"""From an artefact directory to an emotion classifier."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from inference_server.artifacts import MANIFEST_FILE, ArtifactError, Manifest, load_manifest, verify_files
from inference_server.encoders.onnx import OnnxOptions
from inference_server.encoders.resolve import resolve_encoder
from inference_server.predictors.base import ModelInfo
from inference_server.predictors.emotion.heads import LINEAR_FILE, PROTOTYPES_FILE, LinearHead, Prototypes
from inference_server.predictors.emotion.predictor import EmotionPredictor, Thresholds

ENCODER_VARIABLE: Final = "INFERENCE_ENCODER"
TIE_BREAK_DELTA_VARIABLE: Final = "INFERENCE_TIE_BREAK_DELTA"
LOW_CONFIDENCE_VARIABLE: Final = "INFERENCE_LOW_CONFIDENCE"
INTRA_OP_THREADS_VARIABLE: Final = "INFERENCE_INTRA_OP_THREADS"
MEMORY_ARENA_VARIABLE: Final = "INFERENCE_MEMORY_ARENA"
MAX_TOKENS_VARIABLE: Final = "INFERENCE_MAX_TOKENS"


@dataclass(frozen=True, kw_only=True, slots=True)
class PredictorConfig:
    """How artefacts are served; none of it changes what was trained.

    Attributes:
        tie_break_delta: anger and frustration closer than this (0..1) are decided by keywords; 0 turns it
            off.
        low_confidence: predictions below this probability (0..1) are counted as low-confidence.
        intra_op_threads: threads of ONNX Runtime within one inference, at least 1.
        memory_arena: whether ONNX Runtime keeps freed memory for the next request (faster, larger RSS).
        max_tokens: texts are cut to this many tokens, 8..512.
        encoder: replaces the encoder that the artefacts name: ``hashing:DIM``, a directory with
            ``model.onnx`` and ``tokenizer.json``, or ``hub:OWNER/NAME``.
    """

    tie_break_delta: float = 0.05
    low_confidence: float = 0.4
    intra_op_threads: int = 1
    memory_arena: bool = False
    max_tokens: int = 128
    encoder: str | None = None

    def __post_init__(self) -> None:
        for name, low, high in (
            ("tie_break_delta", 0, 1),
            ("low_confidence", 0, 1),
            ("intra_op_threads", 1, 256),
            ("max_tokens", 8, 512),
        ):
            value = getattr(self, name)
            if not low <= value <= high:
                message = f"{name} must be {low}..{high}, but it is {value}."
                raise ValueError(message)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> PredictorConfig:
        """Read ``INFERENCE_TIE_BREAK_DELTA`` and its siblings; what is not set keeps its default.

        Raises:
            ValueError: naming the variable, what was expected and what was seen.
        """
        values = os.environ if environment is None else environment
        return cls(
            tie_break_delta=_number(values, TIE_BREAK_DELTA_VARIABLE, 0.05),
            low_confidence=_number(values, LOW_CONFIDENCE_VARIABLE, 0.4),
            intra_op_threads=int(_number(values, INTRA_OP_THREADS_VARIABLE, 1)),
            memory_arena=values.get(MEMORY_ARENA_VARIABLE, "0").strip().lower() in {"1", "true", "yes", "on"},
            max_tokens=int(_number(values, MAX_TOKENS_VARIABLE, 128)),
            encoder=values.get(ENCODER_VARIABLE, "").strip() or None,
        )


def _number(values: Mapping[str, str], name: str, default: float) -> float:
    raw = values.get(name, "").strip()
    if not raw:
        return default
    try:
        return float(raw)
    except ValueError as error:
        message = f"{name} must be a number, but it is {raw!r}. Set it to a number or unset it."
        raise ValueError(message) from error


def load_predictor(
    artifacts: Path, *, encoder_override: str | None = None, config: PredictorConfig | None = None
) -> EmotionPredictor:
    """Verify ``artifacts`` and load them as :func:`load_emotion` does.

    Args:
        artifacts: directory with ``manifest.json``.
        encoder_override: use this encoder instead of the manifest's and the environment's.
        config: serving options; by default read from the environment.
    """
    settings = config or PredictorConfig.from_environment()
    if encoder_override is not None:
        settings = replace(settings, encoder=encoder_override)
    return load_emotion(artifacts, load_manifest(artifacts), settings)


def load_emotion(
    artifacts: Path, manifest: Manifest, config: PredictorConfig | None = None
) -> EmotionPredictor:
    """Load verified artefacts.

    A head whose dimension is not the encoder's is loaded all the same: its route is left on every text and
    counted as a mismatch, which is what a rollout has to see.

    Args:
        artifacts: directory of the artefacts.
        manifest: theirs.
        config: serving options; by default read from the environment.

    Raises:
        ArtifactError: naming the file, what was expected and what was seen.
        ValueError: an environment variable is out of range.
    """
    settings = config or PredictorConfig.from_environment()
    options = OnnxOptions(
        intra_op_threads=settings.intra_op_threads,
        memory_arena=settings.memory_arena,
        max_tokens=max(settings.max_tokens, int(_serving(artifacts, manifest, "pad_to_tokens"))),
        pad_to_tokens=int(_serving(artifacts, manifest, "pad_to_tokens")),
    )
    count = len(manifest.labels)
    # Heads first: they are small, so a bad one is reported before an encoder is loaded for nothing.
    linear = LinearHead.read(artifacts / LINEAR_FILE, count) if manifest.has(LINEAR_FILE) else None
    prototypes = (
        Prototypes.read(artifacts / PROTOTYPES_FILE, count) if manifest.has(PROTOTYPES_FILE) else None
    )
    if settings.encoder is None and manifest.encoder_files:
        verify_files(artifacts / manifest.encoder, manifest.encoder_files)
    encoder = resolve_encoder(settings.encoder or manifest.encoder, base=artifacts, options=options)
    info = ModelInfo(
        artifact_sha256=manifest.sha256,
        config_sha256=manifest.config_sha256,
        encoder=encoder.name,
        dimension=encoder.dimension,
        labels=manifest.labels,
    )
    thresholds = Thresholds(
        tie_break_delta=settings.tie_break_delta,
        low_confidence=settings.low_confidence,
        linear_minimum=_serving(artifacts, manifest, "linear_minimum"),
        prototypes_minimum=_serving(artifacts, manifest, "prototypes_minimum"),
    )
    return EmotionPredictor(
        name=manifest.name,
        version=manifest.version,
        info=info,
        encoder=encoder,
        linear=linear,
        prototypes=prototypes,
        thresholds=thresholds,
    )


def _serving(artifacts: Path, manifest: Manifest, name: str) -> float:
    value: Any = manifest.serving.get(name, 0)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ArtifactError(
            artifacts / MANIFEST_FILE, expected=f"serving.{name} as a number", seen=f"it is {value!r}"
        )
    return float(value)
