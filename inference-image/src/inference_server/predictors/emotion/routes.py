"""The plain protocol: one text or several in, JSON out."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, BackgroundTasks, Body, Request, Response

from inference_server.api.requests import ERROR_RESPONSES, request_id
from inference_server.predictors.base import Prediction
from inference_server.predictors.emotion.schemas import (
    ManyAnswers,
    PredictionOut,
    PredictRequest,
    SingleAnswer,
    SingleText,
)
from inference_server.service import InferenceService, Outcome, request_source


def router(service: InferenceService) -> APIRouter:
    """Return the paths of this module."""
    routes = APIRouter(tags=["predict"])

    @routes.post("/predict", responses=ERROR_RESPONSES)
    async def predict(
        request: Request,
        response: Response,
        background: BackgroundTasks,
        body: Annotated[PredictRequest, Body()],
    ) -> SingleAnswer | ManyAnswers:
        """Classify one text (`text`) or several (`texts`)."""
        texts = [body.text] if isinstance(body, SingleText) else body.texts
        outcome = await service.predict(
            texts, request_id=request_id(request), source=request_source(request.headers)
        )
        background.add_task(service.mirror, outcome)
        response.headers["x-model-version"] = outcome.identity.version
        response.headers["x-request-id"] = outcome.request_id
        answers = [
            _out(p, accepted) for p, accepted in zip(outcome.predictions, outcome.accepted, strict=True)
        ]
        if isinstance(body, SingleText):
            return SingleAnswer.model_construct(**_who(outcome), **dict(answers[0]))
        return ManyAnswers.model_construct(**_who(outcome), predictions=answers)

    return routes


def _who(outcome: Outcome) -> dict[str, Any]:
    return {
        "model": outcome.identity.model,
        "version": outcome.identity.version,
        "request_id": outcome.request_id,
        "latency_ms": round(outcome.seconds * 1000, 3),
    }


def _out(prediction: Prediction, accepted: bool) -> PredictionOut:
    # Made from our own typed values: validating them again would cost more than predicting a short text.
    return PredictionOut.model_construct(
        label=prediction.label,
        confidence=prediction.confidence,
        route=prediction.route,
        scores=dict(prediction.scores),
        rule=prediction.rule,
        low_confidence=prediction.low_confidence,
        accepted=accepted,
        fallbacks=list(prediction.fallbacks),
    )
