"""Rules always answer; the model does where it is there, asked for this user, and sure enough."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from inference_server.canary import on_candidate
from inference_server.predictors.base import (
    FALLBACK_ERROR,
    FALLBACK_LOW_CONFIDENCE,
    FALLBACK_NOT_IN_CANARY,
    FALLBACK_UNAVAILABLE,
    FALLBACK_UNKNOWN,
    ModelInfo,
    Prediction,
)
from inference_server.predictors.suggestions.model import Model
from inference_server.predictors.suggestions.normalise import fold
from inference_server.predictors.suggestions.rulefile import RuleFile
from inference_server.predictors.suggestions.rules import Match
from inference_server.predictors.suggestions.thresholds import threshold
from inference_server.predictors.suggestions.transactions import Transaction
from inference_server.predictors.suggestions.trees import Floats

logger = logging.getLogger(__name__)

ROUTE_MODEL: Final = "model"
ROUTE_RULE: Final = "rule"
ROUTES: Final = (ROUTE_MODEL, ROUTE_RULE)
_CANDIDATES: Final = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Serving:
    """How the model may answer.

    Attributes:
        canary: share of users who may get its answers, in per cent.
        shadow: whether it is asked for everybody, to be compared with the rules.
        thresholds: confidence from which its answer is used, by label, with ``default``.
    """

    canary: float
    shadow: bool
    thresholds: Mapping[str, float]


@dataclass(frozen=True, kw_only=True, slots=True)
class Both:
    """What rules and model said of one transaction.

    Attributes:
        rule: the rules' answer.
        model_label, model_confidence: the model's; empty and 0 where it was not asked or could not answer.
        candidates: the best labels of the model with their probabilities.
        reason: why the model was not used, or ``None``.
    """

    rule: Match
    model_label: str
    model_confidence: float
    candidates: tuple[tuple[str, float], ...]
    reason: str | None

    @property
    def agree(self) -> str:
        """Whether both say the same; "none" when one of them said nothing."""
        if not self.model_label or self.rule.rule is None:
            return "none"
        return "true" if self.model_label == self.rule.category else "false"


def _in_canary(user: str, canary: float) -> bool:
    """Tell whether a user is in the canary; without an id only at 100 %, for all these share one bucket."""
    return canary >= 100 or (bool(user) and on_candidate(user, canary))


class SuggestionPredictor:
    """Implements :class:`inference_server.predictors.base.Predictor` for transactions.

    Args:
        name, version, info: what identifies the artefacts.
        rules: answer always.
        model: ``None`` where the artefacts have rules only.
        serving: how the model may answer.
    """

    def __init__(
        self,
        *,
        name: str,
        version: str,
        info: ModelInfo,
        rules: RuleFile,
        model: Model | None,
        serving: Serving,
    ) -> None:
        self.name = name
        self.version = version
        self.info = info
        self.serving = serving
        self._rules = rules
        self._model = model

    def predict(self, items: Sequence[Transaction]) -> list[Prediction]:
        """Return one prediction per transaction, in order; no transaction makes it raise."""
        rules = self._rules.current()
        serving = self.serving
        inside = [_in_canary(item.user, serving.canary) for item in items]
        asked = [at for at, user_is_in in enumerate(inside) if user_is_in or serving.shadow]
        probabilities = self._probabilities([items[at] for at in asked])
        by_place = dict(zip(asked, probabilities, strict=True))
        return [
            self._one(item, rules.match(item), by_place.get(at), inside[at]) for at, item in enumerate(items)
        ]

    def close(self) -> None:
        """Nothing to free."""

    def _probabilities(self, items: Sequence[Transaction]) -> Sequence[Floats | None]:
        if self._model is None or not items:
            return [None] * len(items)
        try:
            return list(self._model.probabilities(items))
        except Exception as error:  # noqa: BLE001 - a guard: the rules answer
            if len(items) == 1:
                logger.error(
                    "The model failed on a transaction (%s); the rules answer.", type(error).__name__
                )
                return [None]
        # One transaction may have spoilt the batch.
        return [row for item in items for row in self._probabilities([item])]

    def _one(self, item: Transaction, rule: Match, probabilities: Floats | None, inside: bool) -> Prediction:
        label, confidence, candidates = "", 0.0, []
        scores: dict[str, float] = {}
        if probabilities is not None and np.isfinite(probabilities).all():
            assert self._model is not None
            labels = self._model.labels
            order = np.argsort(-probabilities, kind="stable")
            candidates = [(labels[at], float(probabilities[at])) for at in order[:_CANDIDATES]]
            label, confidence = candidates[0]
            scores = {name: float(value) for name, value in zip(labels, probabilities, strict=True)}
        reason = self._reason(item, label, confidence, inside)
        both = Both(
            rule=rule,
            model_label=label,
            model_confidence=confidence,
            candidates=tuple(candidates),
            reason=reason,
        )
        if reason is None:
            return Prediction(
                label=label, confidence=min(1.0, confidence), route=ROUTE_MODEL, scores=scores, detail=both
            )
        return Prediction(
            label=rule.category,
            confidence=rule.confidence,
            route=ROUTE_RULE,
            scores={rule.category: rule.confidence},
            fallbacks=(reason,),
            low_confidence=reason == FALLBACK_LOW_CONFIDENCE,
            detail=both,
        )

    def _reason(self, item: Transaction, label: str, confidence: float, inside: bool) -> str | None:
        """Return why the model's answer is not used."""
        if self._model is None:
            return FALLBACK_UNAVAILABLE
        if not inside:
            return FALLBACK_NOT_IN_CANARY
        if not label:
            return FALLBACK_ERROR
        if not fold(item.text):
            return FALLBACK_UNKNOWN  # without a letter or digit there is nothing to know it by
        limit = threshold(self.serving.thresholds, label)
        if limit >= 1 or confidence < limit:  # rounding gives a confidence of 1, and 1 means never
            return FALLBACK_LOW_CONFIDENCE
        return None
