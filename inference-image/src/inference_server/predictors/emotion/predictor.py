"""The emotion classifier: linear head, then prototypes, then regex, every route guarded."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from inference_server.encoders.base import Encoder
from inference_server.predictors.base import (
    FALLBACK_DIMENSION_MISMATCH,
    FALLBACK_ERROR,
    FALLBACK_LOW_CONFIDENCE,
    FALLBACK_UNAVAILABLE,
    ModelInfo,
    Prediction,
)
from inference_server.predictors.emotion.heads import DimensionMismatchError, LinearHead, Prototypes
from inference_server.predictors.emotion.label_sets import ROUTE_LINEAR, ROUTE_PROTOTYPES, ROUTE_REGEX
from inference_server.predictors.emotion.labels import NEUTRAL
from inference_server.predictors.emotion.patterns import pattern_scores
from inference_server.predictors.emotion.tiebreak import break_tie
from inference_server.text import encoder_input, normalise

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Thresholds:
    """Where predictions are called tied, uncertain, or not good enough for their route.

    Attributes:
        tie_break_delta: anger and frustration closer than this are decided by keywords.
        low_confidence: below this a prediction is counted as low-confidence.
        linear_minimum: below this the linear head's answer is given to the prototypes (0: never).
        prototypes_minimum: below this the prototypes' answer is given to the regex route (0: never).
    """

    tie_break_delta: float = 0.05
    low_confidence: float = 0.4
    linear_minimum: float = 0.0
    prototypes_minimum: float = 0.0


@dataclass(slots=True)
class _Attempts:
    """What happened to one text on its way through the routes."""

    fallbacks: list[str] = field(default_factory=list)
    mismatches: list[str] = field(default_factory=list)

    def leave(self, reason: str) -> None:
        self.fallbacks.append(reason)


class EmotionPredictor:
    """Implements :class:`inference_server.predictors.base.Predictor`. Keeps no state between calls.

    Args:
        name: the model's name.
        version: the artefacts' version.
        info: what identifies the artefacts.
        encoder: gives the embeddings; its dimension is read here, once.
        linear: the linear head, or ``None`` if the artefacts have none.
        prototypes: the class centres, or ``None``.
        thresholds: see :class:`Thresholds`.
    """

    def __init__(  # noqa: PLR0913 - the parts of a model, keyword-only
        self,
        *,
        name: str,
        version: str,
        info: ModelInfo,
        encoder: Encoder,
        linear: LinearHead | None,
        prototypes: Prototypes | None,
        thresholds: Thresholds,
    ) -> None:
        self._name = name
        self._version = version
        self._info = info
        self._encoder = encoder
        self._dimension = encoder.dimension
        self._linear = linear
        self._prototypes = prototypes
        self._thresholds = thresholds

    @property
    def name(self) -> str:
        """The model's name."""
        return self._name

    @property
    def version(self) -> str:
        """The artefacts' version."""
        return self._version

    @property
    def info(self) -> ModelInfo:
        """What identifies the loaded artefacts."""
        return self._info

    def predict(self, texts: Sequence[str]) -> list[Prediction]:
        """Return one prediction per text, in order. No text and no broken route makes it raise."""
        normalised = [self._safely_normalised(text) for text in texts]
        embeddings = self._embed(normalised)
        return [self._predict_one(text, row) for text, row in zip(normalised, embeddings, strict=True)]

    def close(self) -> None:
        """Free the encoder. Idempotent."""
        self._encoder.close()

    @staticmethod
    def _safely_normalised(text: str) -> str:
        try:
            return normalise(text)
        except Exception:  # noqa: BLE001 - a guard: one text must not fail its batch
            _log.exception("A text could not be normalised; it is treated as empty.")
            return ""

    def _needs_embedding(self) -> bool:
        """Tell whether any route can use an embedding; a mismatch is known without computing one."""
        heads = (self._linear, self._prototypes)
        return any(head is not None and head.dimension == self._dimension for head in heads)

    def _embed(self, texts: Sequence[str]) -> list[NDArray[np.float32] | None]:
        """Return one embedding per text; ``None`` where the encoder failed or no route can use it."""
        if not texts or not self._needs_embedding():
            return [None] * len(texts)
        try:
            return list(self._encoder.encode([encoder_input(text) for text in texts]))
        except Exception as error:  # noqa: BLE001 - a guard: the next route answers
            if len(texts) == 1:
                _log.error("The encoder failed on a text of %d characters: %s", len(texts[0]), error)
                return [None]
        # One text may have spoilt the batch; the others deserve their embeddings.
        return [row for text in texts for row in self._embed([text])]

    def _predict_one(self, text: str, embedding: NDArray[np.float32] | None) -> Prediction:
        attempts = _Attempts()
        scores = self._try_linear(text, embedding, attempts)
        route = ROUTE_LINEAR
        if scores is None:
            scores = self._try_prototypes(embedding, attempts)
            route = ROUTE_PROTOTYPES
        if scores is None:
            scores = self._try_patterns(text)
            route = ROUTE_REGEX
        return self._finish(text, scores, route, attempts)

    def _try_linear(
        self, text: str, embedding: NDArray[np.float32] | None, attempts: _Attempts
    ) -> NDArray[np.float32] | None:
        head = self._linear
        if not self._usable(head, ROUTE_LINEAR, embedding, attempts):
            return None
        assert head is not None and embedding is not None
        try:
            scores = head.scores(embedding, text)
        except Exception as error:  # noqa: BLE001 - a guard: the next route answers
            return self._leave_on_error(error, ROUTE_LINEAR, attempts)
        return self._confident(scores, self._thresholds.linear_minimum, ROUTE_LINEAR, attempts)

    def _try_prototypes(
        self, embedding: NDArray[np.float32] | None, attempts: _Attempts
    ) -> NDArray[np.float32] | None:
        head = self._prototypes
        if not self._usable(head, ROUTE_PROTOTYPES, embedding, attempts):
            return None
        assert head is not None and embedding is not None
        try:
            scores = head.scores(embedding)
        except Exception as error:  # noqa: BLE001 - a guard: the next route answers
            return self._leave_on_error(error, ROUTE_PROTOTYPES, attempts)
        return self._confident(scores, self._thresholds.prototypes_minimum, ROUTE_PROTOTYPES, attempts)

    def _try_patterns(self, text: str) -> NDArray[np.float32]:
        labels = self._info.labels
        try:
            return pattern_scores(text, labels)
        except Exception:  # noqa: BLE001 - the last route must answer something
            _log.exception("The regex route failed; every label gets the same score.")
            return np.full(len(labels), 1.0 / len(labels), np.float32)

    def _usable(
        self,
        head: LinearHead | Prototypes | None,
        route: str,
        embedding: NDArray[np.float32] | None,
        attempts: _Attempts,
    ) -> bool:
        if head is None:
            attempts.leave(FALLBACK_UNAVAILABLE)
        elif head.dimension != self._dimension:
            attempts.leave(FALLBACK_DIMENSION_MISMATCH)
            attempts.mismatches.append(route)
        elif embedding is None:
            attempts.leave(FALLBACK_ERROR)
        else:
            return True
        return False

    @staticmethod
    def _leave_on_error(error: Exception, route: str, attempts: _Attempts) -> None:
        if isinstance(error, DimensionMismatchError):
            attempts.leave(FALLBACK_DIMENSION_MISMATCH)
            attempts.mismatches.append(route)
            return
        _log.error("Route %s failed (%s: %s); the next one answers.", route, type(error).__name__, error)
        attempts.leave(FALLBACK_ERROR)

    @staticmethod
    def _confident(
        scores: NDArray[np.float32], minimum: float, route: str, attempts: _Attempts
    ) -> NDArray[np.float32] | None:
        if not np.isfinite(scores).all():
            _log.error("Route %s gave scores that are no numbers; the next one answers.", route)
            attempts.leave(FALLBACK_ERROR)
            return None
        if float(scores.max()) < minimum:
            attempts.leave(FALLBACK_LOW_CONFIDENCE)
            return None
        return scores

    def _finish(self, text: str, scores: NDArray[np.float32], route: str, attempts: _Attempts) -> Prediction:
        named = {label: float(score) for label, score in zip(self._info.labels, scores, strict=True)}
        # A text without any letter says nothing; whatever the encoder makes of it is noise.
        empty = not any(character.isalpha() for character in text) and NEUTRAL in named and not text
        winner = NEUTRAL if empty else max(named, key=lambda label: named[label])
        label, rule = break_tie(winner, named, text, self._thresholds.tie_break_delta)
        confidence = min(1.0, max(0.0, named[label]))
        return Prediction(
            label=label,
            confidence=confidence,
            route=route,
            scores=named,
            rule=rule,
            fallbacks=tuple(attempts.fallbacks),
            dimension_mismatches=tuple(attempts.mismatches),
            low_confidence=confidence < self._thresholds.low_confidence,
        )
