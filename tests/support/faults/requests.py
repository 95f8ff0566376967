"""What a request to an API server is about, and how to refuse it."""

from __future__ import annotations

from aiohttp import web


def plural_of(request: web.Request) -> str:
    """The kind that is listed or watched."""
    return request.path.rstrip("/").rpartition("/")[2]


def _parts(request: web.Request) -> list[str]:
    """Plural, and name and subresource if there are any; empty for discovery."""
    parts = request.path.strip("/").split("/")
    parts = parts[2:] if parts[0] == "api" else parts[3:]
    return parts[2:] if len(parts) > 2 and parts[0] == "namespaces" else parts


def kind_of(request: web.Request) -> str:
    """The plural with the subresource."""
    parts = _parts(request)
    return "/".join((*parts[:1], *parts[2:3])) or "discovery"


def is_named(request: web.Request) -> bool:
    """Whether it is about one object (or discovery), not a list."""
    return len(_parts(request)) != 1


def break_off(request: web.Request) -> None:
    """Abort the connection that it came by."""
    if request.transport is not None:
        request.transport.abort()


def refusal(status: int) -> web.Response:
    """A failure as an API server puts it."""
    reason = {403: "Forbidden", 409: "Conflict", 410: "Expired", 500: "InternalError"}[status]
    body = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "code": status}
    return web.json_response(body | {"message": "made up by the test"}, status=status)
