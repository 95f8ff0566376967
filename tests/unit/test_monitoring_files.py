"""Dashboards and alerts as files: what they ask for exists, and they leave out what they must."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from modelrollout.decision import shadow_name
from modelrollout.operator.metrics import CacheCollector, OperatorMetrics
from tests.support.cached_cluster import empty_cache

CHART = Path(__file__).resolve().parents[2] / "charts" / "modelrollout"
ALERTS_FOR_CLIENTS = ("ModelErrorSpike", "ModelUnavailable")
PANELS_FOR_CLIENTS = ("Canary progress", "Requests")
EXCLUDED_PODS = re.compile(r'pod!~"([^"]+)"')


def panels() -> Iterator[tuple[str, str]]:
    """Title and PromQL of every panel."""
    for file in (CHART / "dashboards").glob("*.json"):
        for panel in json.loads(file.read_text())["panels"]:
            yield from ((panel["title"], target["expr"]) for target in panel.get("targets", ()))


def alerts() -> Iterator[tuple[str, str]]:
    """Name and PromQL of every alert."""
    for file in (CHART / "files").glob("*-rules.yaml"):
        for group in yaml.safe_load(file.read_text())["groups"]:
            yield from ((rule["alert"], rule["expr"]) for rule in group["rules"])


def test_every_metric_of_the_operator_that_is_asked_for_exists() -> None:
    metrics = OperatorMetrics(lambda: True)
    metrics.describe(())
    registry = metrics.registry
    registry.register(CacheCollector(empty_cache()))
    families = {(family.name, family.type) for family in registry.collect()}
    names = {name + ("_total" if kind == "counter" else "") for name, kind in families}
    names |= {f"{name}_bucket" for name, kind in families if kind == "histogram"}
    for title, promql in [*panels(), *alerts()]:
        assert set(re.findall(r"\bmodelrollout_\w+", promql)) <= names, title


@pytest.mark.parametrize("rollout", ["emotion", "a-rollout-with-a-name-that-is-much-too-long-for-a-pod"])
def test_the_pods_of_shadow_copies_are_left_out_of_what_clients_see(rollout: str) -> None:
    seen = [(title, promql) for title, promql in panels() if title in PANELS_FOR_CLIENTS]
    seen += [(alert, promql) for alert, promql in alerts() if alert in ALERTS_FOR_CLIENTS]
    assert len(seen) == len(ALERTS_FOR_CLIENTS) + len(PANELS_FOR_CLIENTS)
    for title, promql in seen:
        patterns = EXCLUDED_PODS.findall(promql)
        assert len(patterns) == promql.count("model_requests_total"), title
        for pattern in patterns:
            assert re.fullmatch(pattern, f"{shadow_name(rollout)}-5d4f8c7b9-x2x9z")
            assert not re.fullmatch(pattern, f"{rollout}-5d4f8c7b9-x2x9z")
            assert not re.fullmatch(pattern, f"{rollout}-1a2b3c4d-5d4f8c7b9-x2x9z")


def test_a_zero_is_put_in_for_plain_totals_only() -> None:
    """After `by (...)` it would be one more series, without a name."""
    for title, promql in panels():
        if "or vector(0)" in promql:
            assert re.match(r"(count|sum)\(", promql), title
