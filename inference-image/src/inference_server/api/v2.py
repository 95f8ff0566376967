"""The Open Inference Protocol, version 2, over REST."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Final

from fastapi import APIRouter, BackgroundTasks, Request, Response

from inference_server import __version__
from inference_server.api.requests import ERROR_RESPONSES, request_id
from inference_server.errors import InvalidInputError, UnknownModelError
from inference_server.predictors.base import Prediction
from inference_server.predictors.kinds import PredictorKind
from inference_server.registry import LoadedModel
from inference_server.schemas import (
    ErrorBody,
    InferInput,
    InferOutput,
    InferRequest,
    InferResponse,
    Live,
    ModelMetadata,
    ModelReady,
    Ready,
    ServerMetadata,
    TensorMetadata,
)
from inference_server.service import InferenceService, Outcome, State, request_source
from inference_server.text import has_surrogate

_PER_TEXT: Final[dict[str, tuple[str, Callable[[Prediction], Any]]]] = {
    "label": ("BYTES", lambda p: p.label),
    "confidence": ("FP64", lambda p: p.confidence),
    "route": ("BYTES", lambda p: p.route),
    "rule": ("BYTES", lambda p: p.rule or ""),
    "low_confidence": ("BOOL", lambda p: p.low_confidence),
}
SCORES: Final = "scores"
INPUT: Final = "text"
_NOT_FOUND: Final[dict[int | str, dict[str, Any]]] = {
    404: {"model": ErrorBody, "description": "Another model is served here."},
    503: {"model": ErrorBody, "description": "No model is loaded yet."},
}
_INFER_ERRORS: Final[dict[int | str, dict[str, Any]]] = {
    **{code: dict(text) for code, text in ERROR_RESPONSES.items() if code != 422},
    404: {"model": ErrorBody, "description": "Another model is served here."},
}


def router(service: InferenceService) -> APIRouter:
    """Return the paths of this module."""
    routes = APIRouter(prefix="/v2", tags=["Open Inference Protocol v2"])
    _add_health(routes, service)
    _add_models(routes, service)
    return routes


def _add_health(routes: APIRouter, service: InferenceService) -> None:
    @routes.get("")
    async def server_metadata() -> ServerMetadata:
        """Name, version and extensions of the server."""
        return ServerMetadata(name="inference-server", version=__version__, extensions=["shadow"])

    @routes.get("/health/live")
    async def live() -> Live:
        """Tell whether the process answers; it does while it loads a model or drains."""
        return Live(live=True)

    @routes.get("/health/ready", responses={503: {"model": Ready, "description": "Send no requests here."}})
    async def ready(response: Response) -> Ready:
        """Tell whether requests should be sent here: a model is loaded and the server is not ending."""
        state = service.state
        if state is State.SERVING:
            return Ready(ready=True, state=state.value)
        response.status_code = 503
        reason = service.failure or (
            "a model is being loaded" if state is State.STARTING else "the server is ending"
        )
        return Ready(ready=False, state=state.value, reason=reason)


def _add_models(routes: APIRouter, service: InferenceService) -> None:
    def find(name: str, version: str | None) -> LoadedModel:
        current = service.registry.current
        identity = current.identity
        if name != identity.model or version not in {None, identity.version}:
            asked = name if version is None else f"{name} version {version}"
            raise UnknownModelError(asked, f"{identity.model} version {identity.version}")
        return current

    @routes.get("/models/{name}", responses=_NOT_FOUND)
    @routes.get(
        "/models/{name}/versions/{version}", responses=_NOT_FOUND, operation_id="model_version_metadata"
    )
    async def model_metadata(name: str, version: str | None = None) -> ModelMetadata:
        """Return what the model takes and gives."""
        return _describe(find(name, version), service.kind)

    @routes.get("/models/{name}/ready", responses=_NOT_FOUND)
    @routes.get("/models/{name}/versions/{version}/ready", responses=_NOT_FOUND, operation_id="version_ready")
    async def model_ready(name: str, response: Response, version: str | None = None) -> ModelReady:
        """Tell whether the model answers and the server is not ending."""
        find(name, version)
        is_ready = service.state is State.SERVING
        response.status_code = 200 if is_ready else 503
        return ModelReady(name=name, ready=is_ready)

    @routes.post("/models/{name}/infer", responses=_INFER_ERRORS, response_model_exclude_none=True)
    @routes.post(
        "/models/{name}/versions/{version}/infer",
        responses=_INFER_ERRORS,
        response_model_exclude_none=True,
        operation_id="infer_version",
    )
    async def infer(
        name: str,
        body: InferRequest,
        request: Request,
        response: Response,
        background: BackgroundTasks,
        version: str | None = None,
    ) -> InferResponse:
        """Classify the texts of one BYTES tensor."""
        model = find(name, version)
        decode = service.kind.codec.decode
        if "inference-header-content-length" in request.headers:
            raise InvalidInputError("The binary data extension is not supported; send the texts as JSON.")
        wanted = _wanted(body)
        outcome = await service.predict(
            [decode(text) for text in _texts(body.inputs[0])],
            request_id=body.id or request_id(request),
            source=request_source(request.headers),
        )
        background.add_task(service.mirror, outcome)
        response.headers["x-model-version"] = outcome.identity.version
        labels = model.predictor.info.labels
        return InferResponse.model_construct(
            model_name=outcome.identity.model,
            model_version=outcome.identity.version,
            id=outcome.request_id,
            outputs=[_tensor(output, outcome, labels) for output in wanted],
            parameters={"labels": list(labels)},
        )


def _describe(model: LoadedModel, kind: PredictorKind) -> ModelMetadata:
    info = model.predictor.info
    outputs = [
        TensorMetadata(name=name, datatype=type_, shape=[-1]) for name, (type_, _) in _PER_TEXT.items()
    ]
    outputs.append(TensorMetadata(name=SCORES, datatype="FP64", shape=[-1, len(info.labels)]))
    return ModelMetadata(
        name=model.identity.model,
        versions=[model.identity.version],
        platform="inference-server",
        inputs=[TensorMetadata(name=INPUT, datatype="BYTES", shape=[-1])],
        outputs=outputs,
        parameters={
            "labels": list(info.labels),
            "routes": list(kind.label_sets.routes),
            "encoder": info.encoder,
            "dimension": info.dimension,
            "artifact_sha256": info.artifact_sha256,
            "config_sha256": info.config_sha256,
        },
    )


def _wanted(body: InferRequest) -> list[str]:
    known = [*_PER_TEXT, SCORES]
    if not body.outputs:
        return known
    for output in body.outputs:
        if output.name not in known:
            raise InvalidInputError(f"There is no output {output.name!r}; there are {', '.join(known)}.")
    return [output.name for output in body.outputs]


def _texts(tensor: InferInput) -> Sequence[str]:
    """Return the texts of a tensor of shape [n] or [n, 1].

    Raises:
        InvalidInputError: the data are no texts, or not as many as the shape says.
    """
    if not (len(tensor.shape) == 1 or (len(tensor.shape) == 2 and tensor.shape[1] == 1)):
        raise InvalidInputError(
            f"Input {tensor.name!r} has the shape {tensor.shape}; expected [n] or [n, 1]."
        )
    texts: list[str] = []
    for item in tensor.data:
        inner = item[0] if isinstance(item, list) and len(item) == 1 else item
        if not isinstance(inner, str) or not inner:
            raise InvalidInputError(
                f"Input {tensor.name!r} holds something that is not a text, or an empty one."
            )
        if has_surrogate(inner):
            raise InvalidInputError(f"Input {tensor.name!r} holds half of a surrogate pair.")
        texts.append(inner)
    if len(texts) != math.prod(tensor.shape):
        raise InvalidInputError(
            f"Input {tensor.name!r} has {len(texts)} texts, but its shape says {math.prod(tensor.shape)}."
        )
    return texts


def _tensor(name: str, outcome: Outcome, labels: tuple[str, ...]) -> InferOutput:
    count = len(outcome.predictions)
    if name == SCORES:
        data = [p.scores.get(label, 0.0) for p in outcome.predictions for label in labels]
        return InferOutput.model_construct(
            name=name, datatype="FP64", shape=[count, len(labels)], data=data, parameters=None
        )
    datatype, value = _PER_TEXT[name]
    return InferOutput.model_construct(
        name=name,
        datatype=datatype,
        shape=[count],
        data=[value(p) for p in outcome.predictions],
        parameters=None,
    )
