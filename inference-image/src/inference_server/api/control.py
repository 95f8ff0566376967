"""What only those who have the token may do, on a port of its own: load a model, read what clients sent.

Clients never reach it: a model exchanged behind a rollout's back would serve what nothing has validated, and
masked texts of all users are for the people who review them.
"""

from __future__ import annotations

import hmac
from typing import Annotated, Any, Final

from fastapi import Depends, FastAPI, Header, Query, Request

from inference_server import __version__
from inference_server.api import errors
from inference_server.api.admin import model_status
from inference_server.api.middleware import FrameMiddleware
from inference_server.errors import ReloadRefusedError
from inference_server.schemas import DisagreementsResponse, ErrorBody, ModelStatus, ReloadRequest
from inference_server.service import InferenceService

_RELOAD_PATH: Final = "/model/reload"
_RELOAD_ERRORS: Final[dict[int | str, dict[str, Any]]] = {
    400: {"model": ErrorBody, "description": "The body is not JSON in UTF-8."},
    403: {"model": ErrorBody, "description": "A wrong token, or a directory outside of the models' root."},
    409: {"model": ErrorBody, "description": "Another reload runs."},
    422: {"model": ErrorBody, "description": "The artefacts cannot be loaded; the old ones go on serving."},
    503: {"model": ErrorBody, "description": "No model is loaded yet."},
}


def create_control_app(service: InferenceService) -> FastAPI:
    """Return the application of the admin port."""
    app = FastAPI(
        title="inference-server admin",
        version=__version__,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,  # every path of this port asks for the token
        dependencies=[Depends(_token_check(service))],
    )

    @app.post(_RELOAD_PATH, tags=["model"], responses=_RELOAD_ERRORS)
    async def reload(body: ReloadRequest | None = None) -> ModelStatus:
        """Load artefacts and swap them in; when they are bad, the old ones go on serving."""
        await service.reload(body.artifacts if body else None)
        return model_status(service)

    @app.get("/shadow/disagreements", tags=["shadow"])
    def disagreements(limit: Annotated[int, Query(ge=0, le=100_000)] = 100) -> DisagreementsResponse:
        """Return the last texts (masked) on which both servers disagreed."""
        return DisagreementsResponse(
            total=service.disagreements.total, items=service.disagreements.newest(limit)
        )

    for router in service.admin_routers:
        app.include_router(router)
    errors.install(app)
    app.add_middleware(FrameMiddleware, service=service)
    return app


def _token_check(service: InferenceService) -> Any:
    def check(request: Request, authorization: Annotated[str | None, Header()] = None) -> None:
        # Read each time: a mounted Secret changes under a running process.
        file = service.settings.admin_token_file
        token = file.read_text(encoding="utf-8").strip() if file is not None else ""
        given = (authorization or "").encode()
        if not token or not hmac.compare_digest(given, f"Bearer {token}".encode()):
            if service.registry.loaded and request.url.path == _RELOAD_PATH:
                service.registry.current.metrics.reload("refused")
            raise ReloadRefusedError(
                "The admin port needs the header 'Authorization: Bearer TOKEN' with the right token."
            )

    return check
