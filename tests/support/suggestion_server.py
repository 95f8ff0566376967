"""The suggestion system in process: the shipped rules and a model that knows one answer."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import httpx
import numpy as np

from inference_server.api.app import create_app
from inference_server.api.control import create_control_app
from inference_server.predictors.base import ModelInfo
from inference_server.predictors.suggestions.kind import KIND
from inference_server.predictors.suggestions.model import Model
from inference_server.predictors.suggestions.predictor import Serving, SuggestionPredictor
from inference_server.predictors.suggestions.rulefile import RuleFile
from inference_server.predictors.suggestions.transactions import Transaction
from inference_server.predictors.suggestions.trees import Floats
from inference_server.service import InferenceService
from inference_server.settings import Settings

TOKEN = "only for those who may"


@dataclass
class DiningModel:
    """Answers Dining, whatever it is asked."""

    labels: tuple[str, ...] = ("Dining", "Groceries")
    confidence: float = 0.9

    def probabilities(self, items: Sequence[Transaction]) -> Floats:
        """One row an item."""
        return np.asarray([[self.confidence, 1 - self.confidence]] * len(items))


def predictor(
    *, canary: float = 0.0, thresholds: dict[str, float] | None = None, model: DiningModel | None = None
) -> SuggestionPredictor:
    """The shipped rules with a model that is asked for everybody."""
    rules = RuleFile(None)
    return SuggestionPredictor(
        name="suggestions",
        version="1",
        info=ModelInfo(
            artifact_sha256="0" * 64,
            config_sha256="0" * 64,
            encoder="none",
            dimension=1,
            labels=tuple(sorted({*rules.known, "Dining", "Groceries"})),
        ),
        rules=rules,
        model=cast(Model, model or DiningModel()),
        serving=Serving(canary=canary, shadow=True, thresholds=thresholds or {"default": 0.5}),
    )


@dataclass
class SuggestionServer:
    """Clients of both ports."""

    client: httpx.AsyncClient
    admin: httpx.AsyncClient
    service: InferenceService

    async def comparisons(self) -> dict[str, float]:
        """model_shadow_comparisons_total by agreement."""
        name = "model_shadow_comparisons_total{"
        lines = (await self.client.get("/metrics")).text.splitlines()
        return {
            line.split('agree="')[1].split('"')[0]: float(line.split()[-1])
            for line in lines
            if line.startswith(name)
        }


@asynccontextmanager
async def suggestion_server(directory: Path, **options: Any) -> AsyncIterator[SuggestionServer]:
    """A server with its model loaded; ``options`` are those of :func:`predictor`."""
    token = directory / "token"
    token.write_text(TOKEN)
    settings = Settings(artifacts=directory, admin_token_file=token)
    app = create_app(settings, KIND, lambda _: predictor(**options))
    service: InferenceService = app.state.service
    await service.start()
    async with (
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://server") as client,
        httpx.AsyncClient(
            transport=httpx.ASGITransport(create_control_app(service)),
            base_url="http://admin",
            headers={"authorization": f"Bearer {TOKEN}"},
        ) as admin,
    ):
        yield SuggestionServer(client, admin, service)
    await service.close()
