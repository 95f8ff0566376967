"""What a validation suite is, and the ones that every server has: masking of personal data."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import resources
from typing import Any, Final

from inference_server.validation.client import Client

MAX_FAILURES: Final = 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """Outcome of a suite.

    Attributes:
        suite: its name.
        passed: whether ``score`` reaches ``threshold``.
        score, threshold: shares of cases, 0..1.
        cases: how many were tried.
        details: what a person wants to know next, such as the failures.
    """

    suite: str
    passed: bool
    score: float
    threshold: float
    cases: int
    details: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> str:
        """Return one line."""
        body = {
            "suite": self.suite,
            "passed": self.passed,
            "score": round(self.score, 4),
            "threshold": self.threshold,
            "cases": self.cases,
            **self.details,
        }
        return json.dumps(body, ensure_ascii=False)


def load_cases(name: str, *, package: str = "inference_server.validation") -> list[dict[str, Any]]:
    """Return the cases of ``data/<name>.json`` in ``package``."""
    file = resources.files(package) / "data" / f"{name}.json"
    cases = json.loads(file.read_text(encoding="utf-8"))["cases"]
    assert isinstance(cases, list)
    return cases


def pii(client: Client, *, suite: str, threshold: float) -> Result:
    """Mask every text of the data; no secret may remain; texts without any must not change."""
    failures: list[dict[str, Any]] = []
    cases = load_cases(suite)
    for case in cases:
        answer = client.mask(case["text"])
        leaked = [
            secret for secret in case["secrets"] if secret in answer["masked"] or secret in answer["logged"]
        ]
        changed = not case["secrets"] and answer["masked"] != case["text"]
        too_long = len(answer["logged"]) > 50
        if leaked or changed or too_long:
            # The cases are invented, so they may be shown.
            failures.append(
                {"text": case["text"], "seen": answer["masked"], "kind": case["kind"], "leaked": leaked}
            )
    return result(suite, threshold, len(cases), failures)


def result(
    suite: str, threshold: float, count: int, failures: list[dict[str, Any]], **details: Any
) -> Result:
    """Make the outcome of ``count`` cases; ``failures`` are shown up to :data:`MAX_FAILURES`."""
    score = (count - len(failures)) / count
    return Result(
        suite=suite,
        passed=score >= threshold,
        score=score,
        threshold=threshold,
        cases=count,
        details={**details, "failures": failures[:MAX_FAILURES]},
    )


@dataclass(frozen=True, slots=True)
class Suite:
    """A suite, its default threshold (a share, 0..1), and what it is for."""

    run: Callable[..., Result]
    threshold: float
    summary: str


SUITES: Final[dict[str, Suite]] = {
    "pii": Suite(pii, 1.0, "Personal data: every one masked, nothing else touched."),
}
