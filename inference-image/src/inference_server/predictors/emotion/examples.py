"""Requests such as clients send: the sentences of the validation suites."""

from __future__ import annotations

import json

from inference_server.validation.suites import load_cases


def examples() -> tuple[str, list[bytes]]:
    """Path and bodies."""
    package = "inference_server.predictors.emotion.validation"
    cases = [case for name in ("smoke", "tiebreak") for case in load_cases(name, package=package)]
    return "/predict", [json.dumps({"text": case["text"]}).encode() for case in cases]
