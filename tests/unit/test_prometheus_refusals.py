"""What Prometheus refuses for good, and what only today's data made it refuse."""

from __future__ import annotations

import json

import pytest
import requests

from modelrollout.prometheus import FailureKind, PrometheusTarget
from modelrollout.prometheus.session import refusal


@pytest.mark.parametrize(
    ("code", "error_type", "permanent"),
    [(400, "bad_data", True), (422, "execution", False), (422, "too_many_samples", False)],
)
def test_only_what_cannot_be_parsed_is_refused_for_good(code: int, error_type: str, permanent: bool) -> None:
    response = requests.Response()
    response.status_code = code
    response._content = json.dumps({"status": "error", "errorType": error_type, "error": "no"}).encode()
    error = refusal(PrometheusTarget(name="default", url="http://127.0.0.1:9"), response)
    assert (error.kind, error.permanent) == (FailureKind.BAD_QUERY, permanent)
