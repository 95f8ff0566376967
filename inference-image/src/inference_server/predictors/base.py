"""The interface between the server and a model: predictions in, nothing else out.

The server knows only this module. It counts what a :class:`Prediction` reports (route, fallbacks, mismatches,
rule, low confidence) and never looks inside a predictor.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, runtime_checkable

ROUTE_LINEAR: Final = "linear_head"
ROUTE_PROTOTYPES: Final = "prototypes"
ROUTE_REGEX: Final = "regex"
ROUTES: Final[tuple[str, ...]] = (ROUTE_LINEAR, ROUTE_PROTOTYPES, ROUTE_REGEX)
"""Every route of the emotion predictor, in the order in which they are tried."""

FALLBACK_UNAVAILABLE: Final = "unavailable"
FALLBACK_LOW_CONFIDENCE: Final = "low_confidence"
FALLBACK_DIMENSION_MISMATCH: Final = "dimension_mismatch"
FALLBACK_ERROR: Final = "error"
FALLBACK_UNKNOWN: Final = "unknown"
FALLBACK_REASONS: Final[tuple[str, ...]] = (
    FALLBACK_UNAVAILABLE,
    FALLBACK_LOW_CONFIDENCE,
    FALLBACK_DIMENSION_MISMATCH,
    FALLBACK_ERROR,
    FALLBACK_UNKNOWN,
)
"""Closed set of reasons for leaving a route; each is a label value of the metrics contract."""

RULE_ANGER_FRUSTRATION: Final = "anger_frustration"
RULES: Final[tuple[str, ...]] = (RULE_ANGER_FRUSTRATION,)
"""Names of the tie-break rules that :attr:`Prediction.rule` may carry."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Prediction:
    """One text's answer, with everything that the metrics count about it.

    Attributes:
        label: the winning label, one of :attr:`ModelInfo.labels`.
        confidence: probability of ``label`` after calibration, 0..1.
        route: the route that answered, one of :data:`ROUTES`.
        scores: probability of every label; sums to 1 to within rounding.
        rule: name of the tie-break rule that decided between two close labels, or ``None``.
        fallbacks: why each earlier route was left, in order; values of :data:`FALLBACK_REASONS`.
        dimension_mismatches: routes whose artefact did not fit the encoder's dimension for this text.
        low_confidence: whether ``confidence`` is below the configured threshold (0.4 by default).
    """

    label: str
    confidence: float
    route: str
    scores: Mapping[str, float]
    rule: str | None = None
    fallbacks: tuple[str, ...] = ()
    dimension_mismatches: tuple[str, ...] = ()
    low_confidence: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelInfo:
    """What identifies a loaded model.

    Attributes:
        artifact_sha256: hexadecimal SHA-256 of the artefact's ``manifest.json``, which itself lists the
            digest of every other file; so it identifies all of them.
        config_sha256: hexadecimal SHA-256 of the canonical JSON of the training configuration.
        encoder: name of the encoder in use, for example ``onnx:all-MiniLM-L6-v2`` or ``hashing``.
        dimension: length of one embedding, read once from the encoder.
        labels: every label the model may answer, in the order of its scores.
        routes: every route the model may answer by.
    """

    artifact_sha256: str
    config_sha256: str
    encoder: str
    dimension: int
    labels: tuple[str, ...]
    routes: tuple[str, ...] = ROUTES


@runtime_checkable
class Predictor(Protocol):
    """A loaded model. Implementations are safe to call from several threads."""

    @property
    def name(self) -> str:
        """Name of the model, for example ``emotion``."""
        ...

    @property
    def version(self) -> str:
        """Version of the artefacts, for example ``1.1``."""
        ...

    @property
    def info(self) -> ModelInfo:
        """What identifies the loaded artefacts."""
        ...

    def predict(self, texts: Sequence[str]) -> list[Prediction]:
        """Return one prediction per text, in order; CPU-bound; no text makes it raise."""
        ...

    def close(self) -> None:
        """Free what the model holds; calling ``predict`` afterwards is an error. Idempotent."""
        ...
