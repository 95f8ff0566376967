"""How errors are said over HTTP: one body, ``{"error": sentence}``, on every path."""

from __future__ import annotations

import math
from typing import Final

from fastapi import FastAPI, Request
from fastapi.encoders import jsonable_encoder
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from inference_server import errors
from inference_server.schemas import ErrorBody

STATUS: Final[dict[type[errors.ServerError], int]] = {
    errors.InvalidInputError: 422,
    errors.UnknownModelError: 404,
    errors.NotReadyError: 503,
    errors.OverloadedError: 503,
    errors.PredictionError: 500,
    errors.ReloadRefusedError: 403,
    errors.ReloadInProgressError: 409,
    errors.ReloadError: 422,
}
_MAX_DETAILS: Final = 10


def body(message: str, *, status: int, details: list[str] | None = None) -> JSONResponse:
    """Return an error response."""
    content = ErrorBody(error=message, details=details).model_dump(exclude_none=True)
    return JSONResponse(content, status_code=status)


def install(app: FastAPI) -> None:
    """Register the handlers on ``app``."""

    @app.exception_handler(errors.ServerError)
    async def _server_error(request: Request, error: errors.ServerError) -> JSONResponse:
        status = STATUS[type(error)]
        # The Open Inference Protocol knows 400 for every request that is wrong.
        if status == 422 and request.url.path.startswith("/v2/"):
            status = 400
        response = body(str(error), status=status)
        if status == 503:
            seconds = error.retry_after if isinstance(error, errors.OverloadedError) else 1.0
            response.headers["retry-after"] = str(math.ceil(seconds))
        return response

    @app.exception_handler(RequestValidationError)
    async def _invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        problems = error.errors()
        if any(problem["type"] == "json_invalid" for problem in problems):
            reason = jsonable_encoder(problems[0].get("ctx", {})).get("error", "")
            return body(f"The body is not JSON: {reason or problems[0]['msg']}.", status=400)
        details = [_detail(problem) for problem in problems[:_MAX_DETAILS]]
        status = 400 if request.url.path.startswith("/v2/") else 422
        return body(f"The request does not fit its schema: {details[0]}", status=status, details=details)

    @app.exception_handler(HTTPException)
    async def _http(request: Request, error: HTTPException) -> JSONResponse:
        message = str(error.detail)
        if error.status_code == 404:
            message = f"There is nothing at {request.url.path}; /openapi.json lists every path."
        elif error.status_code == 400:
            message = "The body is not JSON in UTF-8."
        response = body(message, status=error.status_code)
        response.headers.update(error.headers or {})
        return response


def _detail(problem: dict[str, object]) -> str:
    """``texts.0: Input should be a string`` from one of pydantic's problems; never quotes the input."""
    location = problem.get("loc", ())
    assert isinstance(location, tuple | list)
    place = ".".join(str(part) for part in location if part != "body") or "body"
    return f"{place}: {problem['msg']}"
