"""The suite that asks a suggestion system about common purchases."""

from __future__ import annotations

from typing import Any, Final

from inference_server.validation.client import Client
from inference_server.validation.suites import Result, Suite, load_cases, result

_BATCH: Final = 20


def smoke(client: Client, *, suite: str, threshold: float) -> Result:
    """Ask about every case; the share of expected categories has to reach ``threshold``."""
    cases = load_cases(suite, package=__package__)
    failures: list[dict[str, Any]] = []
    sources = {"rule": 0, "model": 0}
    versions: set[str] = set()
    for start in range(0, len(cases), _BATCH):
        part = cases[start : start + _BATCH]
        body = {"user_id": f"smoke-{start}", "transactions": [case["transaction"] for case in part]}
        answer = client.post("/suggest", body)
        versions.add(answer["version"])
        for case, seen in zip(part, answer["suggestions"], strict=True):
            sources[seen["source"]] += 1
            if seen["label"] != case["category"]:
                failures.append(
                    {
                        "description": case["transaction"]["description"],
                        "expected": case["category"],
                        "seen": seen["label"],
                        "source": seen["source"],
                    }
                )
    return result(suite, threshold, len(cases), failures, sources=sources, versions=sorted(versions))


SUITES: Final[dict[str, Suite]] = {
    "smoke": Suite(
        smoke, 0.80, "Common purchases in France, Britain and the United States: at least 80 % right."
    ),
}
