"""What can go wrong between the operator and the API server, by what the caller can do about it."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Any


class ApiError(Exception):
    """The API server refused a request.

    Attributes:
        status: HTTP status; 0 if there was no answer at all.
        reason: The `reason` of the Status object, such as NotFound or AlreadyExists.
        message: What the API server said, or why there was no answer.
    """

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(f"{message} (HTTP {status} {reason})" if status else message)
        self.status = status
        self.reason = reason
        self.message = message


class ApiUnavailableError(ApiError):
    """No usable answer after all retries: connection refused or cut, timeout, 5xx, 429.

    It heals by waiting.
    """


class ConflictError(ApiError):
    """Somebody else changed the object first (409 Conflict): observe again and decide anew."""


class AlreadyExistsError(ApiError):
    """An object of that name is already there (409 AlreadyExists)."""


class NotFoundError(ApiError):
    """There is no such object (any more)."""


class GoneError(ApiError):
    """The resource version is too old to watch from (410): list again."""


class ForbiddenError(ApiError):
    """RBAC, a quota or an admission rule forbids it (403)."""


class NotLeaderError(Exception):
    """This replica may not write now: it does not hold the lease, or not for long enough."""


def error_for(status: int, reason: str, message: str) -> ApiError:
    """Return the exception for an answer with that HTTP status and Status reason."""
    kinds: dict[int, type[ApiError]] = {
        HTTPStatus.NOT_FOUND: NotFoundError,
        HTTPStatus.GONE: GoneError,
        HTTPStatus.FORBIDDEN: ForbiddenError,
        HTTPStatus.CONFLICT: AlreadyExistsError if reason == "AlreadyExists" else ConflictError,
        HTTPStatus.TOO_MANY_REQUESTS: ApiUnavailableError,
    }
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return ApiUnavailableError(status, reason, message)
    return kinds.get(status, ApiError)(status, reason, message)


def answer(raw: bytes, request: str) -> dict[str, Any]:
    """Return the object in the body of an answer; an empty one where there is no body.

    Raises:
        ApiUnavailableError: It is no JSON object: a proxy answered, or the API server is not ready.
    """
    try:
        found = json.loads(raw) if raw else {}
    except ValueError as error:
        text = f"{request} was answered, but by no JSON: {error}; a proxy may stand in between"
        raise ApiUnavailableError(0, "NoJson", text) from error
    if not isinstance(found, dict):
        text = f"{request} was answered by {type(found).__name__}, not by a JSON object"
        raise ApiUnavailableError(0, "NoJson", text)
    return found


def refusal(status: int, raw: bytes) -> ApiError:
    """Return the exception for an answer with that HTTP status and body."""
    try:
        answer = json.loads(raw)
    except ValueError:
        answer = {}
    if not isinstance(answer, dict):
        answer = {}
    text = answer.get("message") or raw[:300].decode("utf-8", errors="replace") or "no explanation"
    return error_for(status, str(answer.get("reason") or ""), str(text))
