"""The application: service, paths, limits, errors."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from fastapi import FastAPI

from inference_server import __version__
from inference_server.api import admin, errors, v2
from inference_server.api.middleware import FrameMiddleware
from inference_server.predictors.kinds import PredictorKind
from inference_server.registry import Loader
from inference_server.service import InferenceService
from inference_server.settings import Settings

DESCRIPTION = "Serves a model: plain JSON, and the Open Inference Protocol v2 over REST."


def create_app(settings: Settings, kind: PredictorKind, loader: Loader | None = None) -> FastAPI:
    """Return an application that loads its model in the background once it runs; see ``app.state.service``.

    Args:
        settings: of the process.
        kind: what is served; its paths are mounted beside those of every server.
        loader: see :class:`InferenceService`.
    """
    service = InferenceService(settings, kind, loader)

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:  # noqa: ARG001 - the framework's signature
        loading = asyncio.create_task(service.start(), name="load-model")
        yield
        await loading
        await service.close()

    app = FastAPI(
        title="inference-server",
        version=__version__,
        description=DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,  # its page loads scripts from elsewhere
        redoc_url=None,
    )
    app.state.service = service
    app.include_router(kind.router(service))
    app.include_router(v2.router(service))
    app.include_router(admin.router(service))
    errors.install(app)
    app.add_middleware(FrameMiddleware, service=service)
    _limit_schema(app, settings, kind)
    return app


def _limit_schema(app: FastAPI, settings: Settings, kind: PredictorKind) -> None:
    """Put the limits of this process into its OpenAPI document."""
    original = app.openapi

    def limited() -> dict[str, Any]:
        if app.openapi_schema is None:
            schemas = original()["components"]["schemas"]
            schemas["MaskRequest"]["properties"]["text"]["maxLength"] = settings.max_text_characters
            texts = schemas["CompareRequest"]["properties"]["texts"]
            texts["maxItems"] = settings.max_texts
            texts["items"]["maxLength"] = settings.max_text_characters
            kind.limit_schemas(schemas, settings)
        assert app.openapi_schema is not None
        return app.openapi_schema

    app.openapi = limited  # type: ignore[method-assign]
