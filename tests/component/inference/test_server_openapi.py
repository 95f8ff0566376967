"""Requests generated from the OpenAPI document: no answer may be undocumented, malformed or a 500."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import pytest
import schemathesis
from schemathesis import GenerationMode
from schemathesis.schemas import APIOperation

from inference_server.api.app import create_app
from inference_server.predictors.emotion.kind import KIND
from inference_server.settings import Settings
from tests.support.generated import check_generated
from tests.support.inference import load_fake, server_process, write_fake


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    with server_process(tmp_path_factory.mktemp("openapi"), INFERENCE_MAX_TEXTS="8") as server:
        yield server.url


def operations() -> list[APIOperation]:
    """Every operation of the document, as an application without a model gives it."""
    app = create_app(Settings(artifacts=Path("/nowhere"), max_texts=8), KIND, load_fake)
    schema = schemathesis.openapi.from_dict(app.openapi())
    asyncio.run(app.state.service.close())
    return [result.ok() for result in schema.get_all_operations()]


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
@pytest.mark.parametrize("operation", operations(), ids=lambda operation: operation.label)
def test_generated_requests(operation: APIOperation, mode: GenerationMode, url: str) -> None:
    """Valid and invalid requests alike get an answer that the document describes."""
    check_generated(operation, mode, url)


def test_limits_of_the_environment_are_in_the_document(url: str) -> None:
    schemas = httpx.get(f"{url}/openapi.json").json()["components"]["schemas"]
    assert schemas["ManyTexts"]["properties"]["texts"]["maxItems"] == 8
    assert schemas["SingleText"]["properties"]["text"]["maxLength"] == 10_000


def test_every_operation_has_a_summary_and_a_unique_id(tmp_path: Path) -> None:
    app = create_app(Settings(artifacts=write_fake(tmp_path)), KIND, load_fake)
    operations = [op for path in app.openapi()["paths"].values() for op in path.values()]
    ids = [operation["operationId"] for operation in operations]
    assert len(ids) == len(set(ids))
    assert all(operation.get("description") for operation in operations)
    asyncio.run(app.state.service.close())
