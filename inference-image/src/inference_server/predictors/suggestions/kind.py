"""The suggestion system as the server sees it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from inference_server.artifacts import Manifest
from inference_server.predictors.base import FALLBACK_REASONS, Prediction, Predictor
from inference_server.predictors.kinds import Family, ItemCodec, LabelSets, PredictorKind
from inference_server.predictors.suggestions.transactions import Transaction, decode, encode

if TYPE_CHECKING:
    from fastapi import APIRouter

    from inference_server.metrics import ModelMetrics
    from inference_server.service import InferenceService
    from inference_server.settings import Settings

_HERE: Final = "inference_server.predictors.suggestions"


# What these import is heavy, and commands such as `validate` need none of it.
def _load(directory: Path, manifest: Manifest) -> Predictor:
    from inference_server.predictors.suggestions.loading import load_suggestions  # noqa: PLC0415

    return load_suggestions(directory, manifest)


def _router(service: InferenceService) -> APIRouter:
    from inference_server.predictors.suggestions.routes import router  # noqa: PLC0415

    return router(service)


def _text(item: Transaction) -> str:
    return item.text


def _observe(metrics: ModelMetrics, prediction: Prediction) -> None:
    """Rules and model are compared on every transaction of a client."""
    metrics.comparison(prediction.detail.agree)


def _compared(prediction: Prediction) -> Prediction:
    """Return the model's answer: rules that agree with the other server's rules would say nothing of it."""
    both = prediction.detail
    return replace(prediction, label=both.model_label, confidence=min(1.0, both.model_confidence))


def _limit_schemas(schemas: dict[str, Any], settings: Settings) -> None:
    schemas["SuggestRequest"]["properties"]["transactions"]["maxItems"] = settings.max_texts
    for name in ("description", "merchant"):
        schemas["TransactionIn"]["properties"][name]["maxLength"] = settings.max_text_characters


KIND: Final = PredictorKind(
    name="suggestions",
    summary="A category for each bank transaction, by rules and a calibrated model.",
    load=_load,
    router=_router,
    label_sets=LabelSets(
        routes=("model", "rule"),
        last_resort="rule",
        fallback_reasons=FALLBACK_REASONS,
        families=(
            Family(
                name="model_feedback",
                type="counter",
                text="Verdicts of people on suggestions.",
                labels={"source": ("rule", "model"), "verdict": ("accept", "reject")},
            ),
        ),
    ),
    prediction_paths=frozenset({"/suggest"}),
    items="transactions",
    warm_up=(Transaction(description="CARD PAYMENT TO TESCO STORES 3297", amount=-12.5, user="warm-up"),),
    codec=ItemCodec(encode=encode, decode=decode, text=_text),
    observe=_observe,
    compared=_compared,
    limit_schemas=_limit_schemas,
    examples=f"{_HERE}.examples:examples",
    suites=f"{_HERE}.validation.suites:SUITES",
    train=f"{_HERE}.training.command:train",
    evaluate=f"{_HERE}.training.command:evaluate",
)
