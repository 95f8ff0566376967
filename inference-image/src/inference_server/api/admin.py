"""Status, metrics, masking, comparisons: what operators and other servers ask.

Nothing here changes what serves; that is in ``api.control``.
"""

from __future__ import annotations

import asyncio
import time

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST

from inference_server.api.requests import ERROR_RESPONSES
from inference_server.errors import InvalidInputError
from inference_server.masking import logged_text, mask
from inference_server.predictors.base import Prediction
from inference_server.schemas import (
    CompareRequest,
    CompareResponse,
    ErrorBody,
    MaskRequest,
    MaskResponse,
    ModelStatus,
    Ready,
)
from inference_server.service import InferenceService, State
from inference_server.shadow import COMPARE_PATH, ShadowJob


def router(service: InferenceService) -> APIRouter:
    """Return the paths of this module."""
    routes = APIRouter()
    _add_model(routes, service)
    _add_operations(routes, service)
    _add_shadow(routes, service)
    return routes


def _add_model(routes: APIRouter, service: InferenceService) -> None:
    @routes.get(
        "/model/status",
        tags=["model"],
        responses={503: {"model": ErrorBody, "description": "No model is loaded yet."}},
    )
    async def status() -> ModelStatus:
        """Return the model that serves, and how the server is set up."""
        return model_status(service)


def model_status(service: InferenceService) -> ModelStatus:
    """Return what serves, and how the server is set up."""
    current = service.registry.current
    info, settings = current.predictor.info, service.settings
    return ModelStatus(
        state=service.state.value,
        kind=service.kind.name,
        model=current.identity.model,
        version=current.identity.version,
        artifacts=str(current.artifacts),
        artifact_sha256=info.artifact_sha256,
        config_sha256=info.config_sha256,
        encoder=info.encoder,
        dimension=info.dimension,
        labels=list(info.labels),
        routes=list(service.kind.label_sets.routes),
        pod=settings.pod_name,
        ready_after_seconds=service.ready_after,
        uptime_seconds=time.monotonic() - service.started_at,
        waiting_texts=service.waiting,
        pii_masking=True,
        prediction_log=sorted(settings.log_outputs),
        shadow_url=settings.shadow_url,
        added_latency_ms=settings.added_latency * 1000,
        details=dict(info.details),
    )


def _add_operations(routes: APIRouter, service: InferenceService) -> None:
    @routes.get(
        "/health/startup",
        tags=["operations"],
        responses={503: {"model": Ready, "description": "A model is being loaded."}},
    )
    async def startup(response: Response) -> Ready:
        """Tell whether the first model has been loaded; stays so while the server drains."""
        if service.registry.loaded:
            return Ready(ready=True, state=service.state.value)
        response.status_code = 503
        reason = service.failure or "a model is being loaded"
        return Ready(ready=False, state=State.STARTING.value, reason=reason)

    @routes.get("/metrics", tags=["operations"], response_class=Response)
    async def metrics() -> Response:
        """Return the metrics contract, for Prometheus."""
        return Response(service.metrics.page(), media_type=CONTENT_TYPE_LATEST)

    @routes.post(
        "/pii/mask", tags=["operations"], responses={400: {"model": ErrorBody}, 422: {"model": ErrorBody}}
    )
    async def pii_mask(body: MaskRequest) -> MaskResponse:
        """Mask a text as the prediction log does, and show what the log would hold. Nothing is stored."""
        if len(body.text) > service.settings.max_text_characters:
            raise InvalidInputError(
                f"The text has {len(body.text)} characters, over {service.settings.max_text_characters}."
            )
        masked = await asyncio.to_thread(mask, body.text)
        return MaskResponse(masked=masked, logged=logged_text(body.text))


def _add_shadow(routes: APIRouter, service: InferenceService) -> None:
    @routes.post(COMPARE_PATH, tags=["shadow"], responses=ERROR_RESPONSES)
    async def compare(body: CompareRequest) -> CompareResponse:
        """Answer a copy of a request and count whether both servers agree."""
        if len(body.answers) != len(body.texts):
            raise InvalidInputError(f"There are {len(body.texts)} texts, but {len(body.answers)} answers.")
        job = ShadowJob(
            request_id=body.request_id,
            texts=body.texts,
            predictions=[
                Prediction(label=answer.label, confidence=answer.confidence, route="", scores={})
                for answer in body.answers
            ],
            version=body.version,
        )
        return CompareResponse.model_construct(agree=await service.compare(job))
