"""The emotion classifier as the server sees it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from inference_server.artifacts import Manifest
from inference_server.predictors.base import Predictor
from inference_server.predictors.emotion.label_sets import LABEL_SETS
from inference_server.predictors.kinds import PredictorKind

if TYPE_CHECKING:
    from fastapi import APIRouter

    from inference_server.service import InferenceService
    from inference_server.settings import Settings

_HERE: Final = "inference_server.predictors.emotion"


# What these import is heavy, and commands such as `validate` need none of it.
def _load(directory: Path, manifest: Manifest) -> Predictor:
    from inference_server.predictors.emotion.loading import load_emotion  # noqa: PLC0415

    return load_emotion(directory, manifest)


def _router(service: InferenceService) -> APIRouter:
    from inference_server.predictors.emotion.routes import router  # noqa: PLC0415

    return router(service)


def _limit_schemas(schemas: dict[str, Any], settings: Settings) -> None:
    schemas["SingleText"]["properties"]["text"]["maxLength"] = settings.max_text_characters
    texts = schemas["ManyTexts"]["properties"]["texts"]
    texts["maxItems"] = settings.max_texts
    texts["items"]["maxLength"] = settings.max_text_characters


KIND: Final = PredictorKind(
    name="emotion",
    summary="Eight feelings in French and English messages.",
    load=_load,
    router=_router,
    label_sets=LABEL_SETS,
    prediction_paths=frozenset({"/predict"}),
    warm_up=("Warm up.", "Une phrase un peu plus longue, pour que la première requête n'attende pas."),
    limit_schemas=_limit_schemas,
    examples=f"{_HERE}.examples:examples",
    suites=f"{_HERE}.validation.suites:SUITES",
    validate={"logs": f"{_HERE}.validation.command:logs"},
    train=f"{_HERE}.training.cli:train_emotion",
    evaluate=f"{_HERE}.training.cli:evaluate_emotion",
)
