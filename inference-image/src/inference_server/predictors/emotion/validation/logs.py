"""How ready a model is, judged by what it has answered: from prediction logs or from ``/metrics``."""

from __future__ import annotations

import enum
import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from prometheus_client.parser import text_string_to_metric_families

from inference_server.predictors.emotion.label_sets import ROUTE_LINEAR, ROUTE_REGEX
from inference_server.service import SOURCE_VALIDATION


class Readiness(enum.IntEnum):
    """The scale; higher is better."""

    NOT_READY = 0
    MOSTLY_READY = 1
    READY = 2

    @property
    def text(self) -> str:
        """As people write it: ``MOSTLY READY``."""
        return self.name.replace("_", " ")


class LogError(Exception):
    """There is nothing that can be judged; the text says why."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Tally:
    """What a model has answered.

    Attributes:
        predictions: how many texts.
        linear, regex, low_confidence, rules, mismatches: how many of them were so.
        p95: 95th percentile of the latency in seconds, NaN if unknown.
        unreadable: lines that are no record.
    """

    predictions: int
    linear: int
    regex: int
    low_confidence: int
    rules: int
    mismatches: int
    p95: float
    unreadable: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """Where a check fails; shares are 0..1, latency is in seconds."""

    linear: float = 0.90
    regex: float = 0.01
    low_confidence: float = 0.25
    rules_low: float = 0.01
    rules_high: float = 0.05
    p95: float = 0.200
    samples: int = 100


@dataclass(frozen=True, slots=True)
class Check:
    """One check; a critical one that fails means NOT READY, another one MOSTLY READY."""

    name: str
    value: float
    limit: str
    passed: bool
    critical: bool


def judge(tally: Tally, limits: Limits) -> tuple[Readiness, list[Check]]:
    """Judge a tally; too few predictions are never ready, whatever they are."""
    count = max(1, tally.predictions)

    def share(number: int) -> float:
        return number / count

    linear, regex, rules = share(tally.linear), share(tally.regex), share(tally.rules)
    low = share(tally.low_confidence)
    checks = [
        Check(
            "samples", tally.predictions, f">= {limits.samples}", tally.predictions >= limits.samples, True
        ),
        Check("linear_head_share", linear, f">= {limits.linear:g}", linear >= limits.linear, True),
        Check("regex_share", regex, f"<= {limits.regex:g}", regex <= limits.regex, True),
        Check("dimension_mismatches", tally.mismatches, "= 0", tally.mismatches == 0, True),
        Check("latency_p95_seconds", tally.p95, f"<= {limits.p95:g}", tally.p95 <= limits.p95, True),
        Check(
            "low_confidence_share", low, f"<= {limits.low_confidence:g}", low <= limits.low_confidence, False
        ),
        Check(
            "tie_break_share",
            rules,
            f"{limits.rules_low:g}..{limits.rules_high:g}",
            limits.rules_low <= rules <= limits.rules_high,
            False,
        ),
    ]
    if any(check.critical and not check.passed for check in checks):
        return Readiness.NOT_READY, checks
    return (Readiness.READY if all(check.passed for check in checks) else Readiness.MOSTLY_READY), checks


def tally_files(paths: Iterable[Path]) -> Tally:
    """Tally prediction logs; lines cut short by a crash are counted as unreadable.

    Raises:
        LogError: a file cannot be read.
    """
    counts = {"linear": 0, "regex": 0, "low_confidence": 0, "rules": 0, "mismatches": 0}
    latencies: list[float] = []
    unreadable = 0
    for path in paths:
        try:
            with path.open(encoding="utf-8", errors="replace") as lines:
                for line in lines:
                    record = _record(line)
                    if record is None:
                        unreadable += bool(line.strip())
                        continue
                    if record.get("source") == SOURCE_VALIDATION:
                        continue  # as in the metrics: a suite's questions are nobody's traffic
                    latencies.append(float(record["latency_ms"]) / 1000)
                    counts["linear"] += record["route"] == ROUTE_LINEAR
                    counts["regex"] += record["route"] == ROUTE_REGEX
                    counts["low_confidence"] += bool(record.get("low_confidence"))
                    counts["rules"] += record.get("rule") is not None
                    counts["mismatches"] += len(record.get("dimension_mismatches", ()))
        except OSError as error:
            raise LogError(f"{path} cannot be read: {error}.") from error
    latencies.sort()
    p95 = latencies[math.ceil(0.95 * len(latencies)) - 1] if latencies else math.nan
    return Tally(predictions=len(latencies), p95=p95, unreadable=unreadable, **counts)


def _record(line: str) -> dict[str, Any] | None:
    try:
        record = json.loads(line)
        float(record["latency_ms"])
        str(record["route"])
    except (ValueError, KeyError, TypeError):
        return None
    return record if isinstance(record, dict) else None


def tally_metrics(page: str) -> Tally:
    """Tally a page of the metrics contract: everything that one pod has counted since it started.

    Raises:
        LogError: the page is not of a server that keeps the contract.
    """
    counts: dict[str, float] = {
        "predictions": 0,
        "linear": 0,
        "regex": 0,
        "low": 0,
        "rules": 0,
        "mismatches": 0,
    }
    buckets: dict[float, float] = {}
    sources = {
        "model_low_confidence_total": "low",
        "model_rule_applications_total": "rules",
        "model_dimension_mismatches_total": "mismatches",
        "model_predictions_total": "predictions",
    }
    seen = set()
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            seen.add(sample.name)
            if sample.name in sources:
                counts[sources[sample.name]] += sample.value
            if sample.name == "model_predictions_total" and sample.labels["route"] == ROUTE_LINEAR:
                counts["linear"] += sample.value
            elif sample.name == "model_predictions_total" and sample.labels["route"] == ROUTE_REGEX:
                counts["regex"] += sample.value
            elif sample.name == "model_prediction_seconds_bucket":
                bound = float(sample.labels["le"])
                buckets[bound] = buckets.get(bound, 0.0) + sample.value
    missing = sorted({*sources, "model_prediction_seconds_bucket"} - seen)
    if missing:
        raise LogError(
            f"The page of metrics lacks {', '.join(missing)}; expected a server of the metrics contract."
        )
    return Tally(
        predictions=int(counts["predictions"]),
        linear=int(counts["linear"]),
        regex=int(counts["regex"]),
        low_confidence=int(counts["low"]),
        rules=int(counts["rules"]),
        mismatches=int(counts["mismatches"]),
        p95=_quantile(buckets, 0.95),
    )


def _quantile(buckets: dict[float, float], quantile: float) -> float:
    """As PromQL's histogram_quantile: linear within the bucket that holds the rank."""
    bounds = sorted(buckets)
    total = buckets[bounds[-1]] if bounds else 0.0
    if not total:
        return math.nan
    rank = quantile * total
    lower, below = 0.0, 0.0
    for bound in bounds:
        if buckets[bound] >= rank:
            if math.isinf(bound):
                return lower
            return lower + (bound - lower) * (rank - below) / max(buckets[bound] - below, 1e-9)
        lower, below = bound, buckets[bound]
    return lower


SCALE: Final = {level.text: level for level in Readiness}
