"""What changes the server, on a port of its own and for those who have the token: another model.

Clients never reach it: a model exchanged behind a rollout's back would serve what nothing has validated.
"""

from __future__ import annotations

import hmac
from typing import Annotated, Any, Final

from fastapi import Depends, FastAPI, Header

from inference_server import __version__
from inference_server.api import errors
from inference_server.api.admin import model_status
from inference_server.api.middleware import FrameMiddleware
from inference_server.errors import ReloadRefusedError
from inference_server.schemas import ErrorBody, ModelStatus, ReloadRequest
from inference_server.service import InferenceService

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

    @app.post("/model/reload", tags=["model"], responses=_RELOAD_ERRORS)
    async def reload(body: ReloadRequest | None = None) -> ModelStatus:
        """Load artefacts and swap them in; when they are bad, the old ones go on serving."""
        await service.reload(body.artifacts if body else None)
        return model_status(service)

    errors.install(app)
    app.add_middleware(FrameMiddleware, service=service)
    return app


def _token_check(service: InferenceService) -> Any:
    def check(authorization: Annotated[str | None, Header()] = None) -> None:
        # Read each time: a mounted Secret changes under a running process.
        file = service.settings.admin_token_file
        token = file.read_text(encoding="utf-8").strip() if file is not None else ""
        given = (authorization or "").encode()
        if not token or not hmac.compare_digest(given, f"Bearer {token}".encode()):
            if service.registry.loaded:
                service.registry.current.metrics.reload("refused")
            raise ReloadRefusedError(
                "The admin port needs the header 'Authorization: Bearer TOKEN' with the right token."
            )

    return check
