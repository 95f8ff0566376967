"""Requests generated from the OpenAPI document of the suggestion system's own paths."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
import schemathesis
from schemathesis import GenerationMode
from schemathesis.schemas import APIOperation

from inference_server.api.app import create_app
from inference_server.predictors.suggestions.kind import KIND
from inference_server.settings import Settings
from tests.support.generated import check_generated
from tests.support.inference import server_process

OWN = ("/suggest", "/thresholds", "/feedback")


@pytest.fixture(scope="module")
def url(trained_registry: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with server_process(
        tmp_path_factory.mktemp("openapi"),
        module="inference_server",
        INFERENCE_ARTIFACTS=str(trained_registry / "latest"),
        SUGGEST_CANARY="100",
    ) as server:
        yield server.url


def operations() -> list[APIOperation]:
    """The kind's own operations."""
    app = create_app(Settings(artifacts=Path("/nowhere")), KIND)
    schema = schemathesis.openapi.from_dict(app.openapi())
    asyncio.run(app.state.service.close())
    return [found for result in schema.get_all_operations() if (found := result.ok()).path.startswith(OWN)]


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
@pytest.mark.parametrize("operation", operations(), ids=lambda operation: operation.label)
def test_generated_requests(operation: APIOperation, mode: GenerationMode, url: str) -> None:
    """Valid and invalid requests alike get an answer that the document describes."""
    check_generated(operation, mode, url)
