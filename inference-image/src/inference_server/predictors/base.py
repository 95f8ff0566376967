"""What every predictor shares: a batch of items in, predictions out, and what identifies the model.

The server knows this module and :mod:`inference_server.predictors.kinds`. It counts what a
:class:`Prediction` reports (route, fallbacks, mismatches, rule, low confidence) and never looks inside a
predictor.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, runtime_checkable

FALLBACK_UNAVAILABLE: Final = "unavailable"
FALLBACK_NOT_IN_CANARY: Final = "not_in_canary"
FALLBACK_LOW_CONFIDENCE: Final = "low_confidence"
FALLBACK_DIMENSION_MISMATCH: Final = "dimension_mismatch"
FALLBACK_ERROR: Final = "error"
FALLBACK_UNKNOWN: Final = "unknown"
FALLBACK_REASONS: Final[tuple[str, ...]] = (
    FALLBACK_UNAVAILABLE,
    FALLBACK_NOT_IN_CANARY,
    FALLBACK_LOW_CONFIDENCE,
    FALLBACK_DIMENSION_MISMATCH,
    FALLBACK_ERROR,
    FALLBACK_UNKNOWN,
)
"""Every reason for leaving a route that the metrics contract knows; each kind declares those it can give."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Prediction:
    """One item's answer, with everything that the metrics count about it.

    Attributes:
        label: the winning label, one of :attr:`ModelInfo.labels`.
        confidence: probability of ``label`` after calibration, 0..1.
        route: the route that answered, one of the kind's.
        scores: probability of every label; sums to 1 to within rounding. Empty where a kind has none.
        rule: name of the rule that decided, one of the kind's, or ``None``.
        fallbacks: why each earlier route was left, in order; reasons that the kind declares.
        dimension_mismatches: routes whose artefact did not fit the encoder's dimension for this item.
        low_confidence: whether ``confidence`` is below the configured threshold.
        detail: what only the kind's own routes understand; the server passes it on unread.
    """

    label: str
    confidence: float
    route: str
    scores: Mapping[str, float]
    rule: str | None = None
    fallbacks: tuple[str, ...] = ()
    dimension_mismatches: tuple[str, ...] = ()
    low_confidence: bool = False
    detail: Any = None


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelInfo:
    """What identifies a loaded model.

    Attributes:
        artifact_sha256: hexadecimal SHA-256 of the artefact's ``manifest.json``, which itself lists the
            digest of every other file; so it identifies all of them.
        config_sha256: hexadecimal SHA-256 of the canonical JSON of the training configuration.
        encoder: name of what turns an item into numbers, for example ``onnx:all-MiniLM-L6-v2``.
        dimension: how many numbers that gives for one item.
        labels: every label the model may answer, in the order of its scores.
        details: what else people want to know of it, for ``/model/status``.
    """

    artifact_sha256: str
    config_sha256: str
    encoder: str
    dimension: int
    labels: tuple[str, ...]
    details: Mapping[str, Any] = field(default_factory=dict)


@runtime_checkable
class Predictor(Protocol):
    """A loaded model. Implementations are safe to call from several threads."""

    @property
    def name(self) -> str:
        """Name of the model, which is the ``model`` label of every series."""
        ...

    @property
    def version(self) -> str:
        """Version of the artefacts, for example ``1.1``."""
        ...

    @property
    def info(self) -> ModelInfo:
        """What identifies the loaded artefacts."""
        ...

    def predict(self, items: Sequence[Any]) -> list[Prediction]:
        """Return one prediction per item, in order; CPU-bound; no item makes it raise."""
        ...

    def close(self) -> None:
        """Free what the model holds; calling ``predict`` afterwards is an error. Idempotent."""
        ...
