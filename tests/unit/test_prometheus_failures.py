"""What a failed question to Prometheus is called, and what is said to do about it."""

from __future__ import annotations

import json
from typing import Any

import pytest
import requests

from modelrollout.prometheus.answers import refuse_partial
from modelrollout.prometheus.client import PrometheusClient
from modelrollout.prometheus.errors import FailureKind, PrometheusError
from modelrollout.prometheus.targets import PrometheusTarget

NAME = "Prometheus 'main' at http://p:9090"


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (
            requests.ReadTimeout("late"),
            FailureKind.TIMEOUT,
            f"{NAME} did not answer within 7 s: see whether it is overloaded",
        ),
        (
            requests.exceptions.SSLError("bad certificate"),
            FailureKind.UNAUTHORIZED,
            f"{NAME}: TLS failed (bad certificate): check caFile, certFile and keyFile in the settings",
        ),
        (
            FileNotFoundError(2, "No such file", "/ca.crt"),
            FailureKind.UNAUTHORIZED,
            f"{NAME}: [Errno 2] No such file: '/ca.crt': check the files named in the operator's settings",
        ),
        (
            requests.ConnectionError("refused"),
            FailureKind.CONNECTION,
            f"{NAME} cannot be reached (refused): is it running, is the address right?",
        ),
    ],
)
def test_a_failure_says_what_to_look_at(error: Exception, kind: FailureKind, message: str) -> None:
    client = PrometheusClient(PrometheusTarget(name="main", url="http://p:9090", timeout=7))
    failure = client._failure(error)
    assert (failure.kind, str(failure), failure.detail) == (kind, message, str(error))
    assert failure.is_outage


def test_an_answer_of_something_else_and_a_failure_that_is_known_already() -> None:
    client = PrometheusClient(PrometheusTarget(name="main", url="http://p:9090"))
    failure = client._failure(requests.JSONDecodeError("no JSON", "<html>", 0))
    assert failure.kind is FailureKind.SERVER
    assert "http://p:9090 did not answer as Prometheus does: expected JSON with data.result" in str(failure)
    known = PrometheusError(FailureKind.BAD_QUERY, "x")
    assert client._failure(known) is known and not known.is_outage


@pytest.mark.parametrize(
    ("answer", "refused"),
    [
        ({"data": {}}, ""),
        ({"warnings": ["a store did not answer"]}, "a store did not answer"),
        ({"warnings": ["one", "two"]}, "one; two"),
        ({"warnings": ["PromQL info: metric might not be a counter"]}, ""),
        ({"warnings": ["PromQL info: a bucket was ignored"]}, "PromQL info: a bucket was ignored"),
        ({"infos": ["PromQL info: metric might not be a counter"]}, ""),
        ({"infos": ["mixed histograms were ignored"]}, "mixed histograms were ignored"),
        (["warnings"], ""),
        ({"warnings": ["x" * 900]}, "x" * 300),
    ],
)
def test_an_answer_with_a_warning_is_refused_and_hints_are_not(answer: Any, refused: str) -> None:
    body = json.dumps(answer).encode()
    if not refused:
        refuse_partial(body)
        return
    with pytest.raises(PrometheusError) as raised:
        refuse_partial(body)
    assert raised.value.kind is FailureKind.PARTIAL and raised.value.detail == refused
    assert repr(refused) in str(raised.value) and not raised.value.is_outage


def test_what_is_no_json_is_left_to_whoever_reads_it() -> None:
    refuse_partial(b'<html>"warnings"</html>')
