"""Requests generated from the OpenAPI document: no answer may be undocumented, malformed or a 500."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import CHECKS
from tests.support.inference import load_fake, server_process, write_fake

from inference_server.api.app import create_app
from inference_server.settings import Settings

CHECKED = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "unsupported_method",
)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    with server_process(tmp_path_factory.mktemp("openapi"), INFERENCE_MAX_TEXTS="8") as server:
        yield server.url


@pytest.fixture(scope="module")
def document(url: str) -> schemathesis.BaseSchema:
    return schemathesis.openapi.from_url(f"{url}/openapi.json")


schema = schemathesis.pytest.from_fixture("document")


@schema.parametrize()
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck), database=None)
def test_generated_requests(case: schemathesis.Case) -> None:
    checks = [CHECKS.get_one(name) for name in CHECKED]
    case.call_and_validate(checks=checks)


def test_limits_of_the_environment_are_in_the_document(url: str) -> None:
    schemas = httpx.get(f"{url}/openapi.json").json()["components"]["schemas"]
    assert schemas["ManyTexts"]["properties"]["texts"]["maxItems"] == 8
    assert schemas["SingleText"]["properties"]["text"]["maxLength"] == 10_000


def test_every_operation_has_a_summary_and_a_unique_id(tmp_path: Path) -> None:
    app = create_app(Settings(artifacts=write_fake(tmp_path)), load_fake)
    operations = [op for path in app.openapi()["paths"].values() for op in path.values()]
    ids = [operation["operationId"] for operation in operations]
    assert len(ids) == len(set(ids))
    assert all(operation.get("description") for operation in operations)
    asyncio.run(app.state.service.close())
