"""The suites that ask an emotion classifier our own questions: tie-break and smoke."""

from __future__ import annotations

from typing import Any, Final

from inference_server.validation.client import Client
from inference_server.validation.suites import Result, Suite, load_cases, result


def labels(client: Client, *, suite: str, threshold: float) -> Result:
    """Classify every sentence of the data; the share of expected labels has to reach ``threshold``."""
    right: dict[str, list[bool]] = {}
    failures: list[dict[str, Any]] = []
    versions: set[str] = set()
    rules = 0
    cases = load_cases(suite, package=__package__)
    for case in cases:
        answer = client.post("/predict", {"text": case["text"]})
        versions.add(answer["version"])
        rules += answer.get("rule") is not None
        is_right = answer["label"] == case["label"]
        for group in (case["language"], case["label"]):
            right.setdefault(group, []).append(is_right)
        if not is_right:
            failures.append(
                {
                    "text": case["text"],
                    "expected": case["label"],
                    "seen": answer["label"],
                    "confidence": round(answer["confidence"], 3),
                    "route": answer["route"],
                }
            )
    return result(
        suite,
        threshold,
        len(cases),
        failures,
        rule_applied=rules,
        versions=sorted(versions),
        by_group={group: round(sum(values) / len(values), 3) for group, values in sorted(right.items())},
    )


SUITES: Final[dict[str, Suite]] = {
    "tiebreak": Suite(labels, 0.80, "Anger against frustration: at least 80 % right."),
    "smoke": Suite(labels, 0.60, "French and English sentences of every label: at least 60 % right."),
}
