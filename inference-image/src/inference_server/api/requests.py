"""What every path that asks for predictions shares: the request's identifier and its documented errors."""

from __future__ import annotations

import re
import uuid
from typing import Any, Final

from fastapi import Request

from inference_server.schemas import ErrorBody

_REQUEST_ID = re.compile(r"[\w.:-]{1,64}", re.ASCII)
ERROR_RESPONSES: Final[dict[int | str, dict[str, Any]]] = {
    400: {"model": ErrorBody, "description": "The body is not JSON in UTF-8."},
    408: {"model": ErrorBody, "description": "The body came too slowly."},
    413: {"model": ErrorBody, "description": "The body is too large."},
    422: {"model": ErrorBody, "description": "The body does not fit the schema or its limits."},
    500: {"model": ErrorBody, "description": "The model failed."},
    503: {"model": ErrorBody, "description": "Overloaded or not ready; see Retry-After."},
}


def request_id(request: Request) -> str:
    """Return the client's own ``x-request-id`` if it is a plain one, else a new one."""
    given = request.headers.get("x-request-id", "")
    return given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
