"""The body of an answer: read within a time and a size, refused where it says that it may be incomplete."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Final

import requests
import urllib3

from modelrollout.prometheus.errors import FailureKind, PrometheusError

MOST_BYTES: Final = 4 * 1024 * 1024
"""Largest answer that is read. 150 questions with two series each take less than a tenth of it, the longest
range that a backtest asks for about half."""
_CHUNK: Final = 64 * 1024
_MARKS: Final = (b'"warnings"', b'"infos"')
_HARMLESS: Final = re.compile(r"^PromQL info: (?!.*\bignored\b)")
"""Hints about how a query is written (such as "metric might not be a counter"), which Prometheus 3 calls
infos and some versions before it sent as warnings. Not one that says that something was left out."""
_SHOWN: Final = 300


def read_body(response: requests.Response, deadline: float) -> None:
    """Read the answer and keep it in `response`.

    Args:
        response: As it is once its headers have come.
        deadline: When all of it must be there, by the monotonic clock.

    Raises:
        PrometheusError: It is larger than MOST_BYTES.
        requests.ReadTimeout: It is not there in time, however steadily it comes.
    """
    parts: list[bytes] = []
    size = 0
    try:
        for part in _parts(response, deadline):
            parts.append(part)
            size += len(part)
            if size > MOST_BYTES:
                raise PrometheusError(
                    FailureKind.BAD_QUERY,
                    f"the answer is larger than {MOST_BYTES // 1024**2} MiB, expected one number: "
                    "put sum(...), max(...) or another aggregation around the query",
                )
    except BaseException:
        response.close()
        raise
    response._content = b"".join(parts)  # what requests itself does once it has read the body
    response._content_consumed = True  # type: ignore[attr-defined]


def _parts(response: requests.Response, deadline: float) -> Iterator[bytes]:
    while True:
        left = deadline - time.monotonic()
        if left <= 0:
            raise requests.ReadTimeout("the answer took too long to arrive")
        _limit_wait(response, left)
        try:
            part = response.raw.read1(_CHUNK, decode_content=True)
        except urllib3.exceptions.TimeoutError as error:
            raise requests.ReadTimeout(str(error)) from error
        if not part:
            return
        yield part


def _limit_wait(response: requests.Response, seconds: float) -> None:
    """Let one read wait no longer than until the deadline."""
    with suppress(AttributeError, OSError):  # the connection is given back once everything has arrived
        response.raw.connection.sock.settimeout(seconds)  # type: ignore[union-attr]


def refuse_partial(body: bytes) -> None:
    """Refuse an answer that came with a warning: its number does not show what is missing.

    Raises:
        PrometheusError: PARTIAL, with the warnings.
    """
    if not any(mark in body for mark in _MARKS):
        return
    try:
        answer = json.loads(body)
    except ValueError:
        return  # whoever reads the result says so
    warnings = [text for text in _notes(answer) if not _HARMLESS.match(text)]
    if warnings:
        detail = "; ".join(warnings)[:_SHOWN]
        raise PrometheusError(
            FailureKind.PARTIAL,
            f"Prometheus answered with a warning, so the value may rest on a part of the data: {detail!r}; "
            "see whether all stores that it reads from are reachable, or correct the query.",
            detail=detail,
        )


def _notes(answer: Any) -> Iterator[str]:
    if not isinstance(answer, dict):
        return
    for text in answer.get("warnings") or ():
        yield str(text)
    for text in answer.get("infos") or ():  # a hint unless it says that something was left out
        yield str(text) if "ignored" in str(text) else "PromQL info: "
