"""The alerts, by Prometheus' own rule checker and rule tests: each fires when it should, and not before."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from devcluster import tools
from tests.support.charts import OPERATOR, ROOT, only, render

pytestmark = pytest.mark.cluster  # helm is built by the Go toolchain, promtool comes from Debian

Json = dict[str, Any]
MODEL = 'namespace="ml",model="emotion",version="2"'
ROLLOUT = 'namespace="ml",name="emotion"'


@pytest.fixture(scope="module")
def groups() -> list[Json]:
    """The groups that the chart renders."""
    objects = render(OPERATOR, {"metrics": {"prometheusRule": {"enabled": True}}})
    return list(only(objects, "PrometheusRule")["spec"]["groups"])


@pytest.fixture
def rules(groups: list[Json], tmp_path: Path) -> Path:
    """The same as a file for promtool."""
    file = tmp_path / "rules.yaml"
    file.write_text(yaml.safe_dump({"groups": groups}))
    return file


def promtool(*arguments: str | Path) -> str:
    done = subprocess.run(
        [tools.promtool(), *arguments], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_promtool_accepts_the_rules(rules: Path) -> None:
    assert "25 rules found" in promtool("check", "rules", rules) or "rules found" in promtool(
        "check", "rules", rules
    )


def test_every_alert_has_its_place_in_the_runbook(groups: list[Json]) -> None:
    runbook = (ROOT / "docs" / "runbook.md").read_text()
    headings = {
        re.sub(r"[^a-z0-9-]", "", line[4:].lower())
        for line in runbook.splitlines()
        if line.startswith("### ")
    }
    alerts = [rule for group in groups for rule in group["rules"]]
    assert len(alerts) == 22
    for rule in alerts:
        anchor = rule["annotations"]["runbook"].partition("#")[2]
        assert anchor == rule["alert"].lower()
        assert anchor in headings, rule["alert"]
        assert rule["labels"]["severity"] in {"critical", "warning", "info"}
        assert rule["annotations"]["summary"] and rule["annotations"]["description"]
        assert "@" not in rule["expr"], "a threshold that has no value"


def series(metric: str, labels: str, values: str) -> Json:
    return {"series": f"{metric}{{{labels}}}", "values": values}


def counters(
    metric: str, matcher: str, per_minute: int, *, total: int = 100, other: str = 'route="linear_head"'
) -> list[Json]:
    """`per_minute` of `total` a minute with the matcher, the rest with another label."""
    return [
        series(metric, f"{MODEL},{matcher}", f"0+{per_minute}x2200"),
        series(metric, f"{MODEL},{other}", f"0+{total - per_minute}x2200"),
    ]


PREDICTIONS = [series("model_predictions_total", f'{MODEL},route="linear_head"', "0+100x2200")]
# Alert, input, minute at which it must not fire yet (None: no such), minute at which it must.
FIRES: list[tuple[str, Sequence[Json], int | None, int]] = [
    ("ModelRolloutOperatorAbsent", [series("up", 'job="other"', "1x60")], 1, 5),
    ("ModelRolloutNoLeader", [series("modelrollout_leader", 'pod="a"', "1x5 0x60")], 6, 9),
    ("ModelRolloutTicksFail", [series("modelrollout_ticks_total", 'outcome="error"', "0x5 1+1x60")], 8, 15),
    (
        "ModelRolloutTicksLate",
        [
            series("modelrollout_tick_lag_seconds_bucket", 'le="2.5"', "0+1x60"),
            series("modelrollout_tick_lag_seconds_bucket", 'le="5"', "0+100x60"),
            series("modelrollout_tick_lag_seconds_bucket", 'le="+Inf"', "0+100x60"),
        ],
        5,
        20,
    ),
    (
        "ModelRolloutPrometheusFails",
        [
            series("modelrollout_prometheus_requests_total", 'target="default",error="timeout"', "0+20x60"),
            series("modelrollout_prometheus_requests_total", 'target="default",error=""', "0+80x60"),
        ],
        3,
        10,
    ),
    (
        "ModelRolloutRolledBack",
        [series("modelrollout_phase", f'{ROLLOUT},phase="RolledBack"', "_x5 1x60")],
        4,
        6,
    ),
    ("ModelRolloutInvalid", [series("modelrollout_phase", f'{ROLLOUT},phase="Invalid"', "1x60")], 3, 7),
    ("ModelRolloutPaused", [series("modelrollout_phase", f'{ROLLOUT},phase="Paused"', "1x1500")], 1430, 1450),
    (
        "ModelRolloutNoData",
        [series("modelrollout_criterion_state", f'{ROLLOUT},criterion="errors",state="NoData"', "1x60")],
        10,
        20,
    ),
    (
        "ModelRolloutCriterionFails",
        [series("modelrollout_criterion_state", f'{ROLLOUT},criterion="errors",state="Fail"', "1x60")],
        3,
        7,
    ),
    (
        "ModelRolloutWeightNotReached",
        [
            series("modelrollout_weight_desired_percent", ROLLOUT, "50x60"),
            series("modelrollout_weight_observed_percent", ROLLOUT, "10x60"),
        ],
        10,
        20,
    ),
    ("ModelRegexFallback", counters("model_predictions_total", 'route="regex"', 3), 10, 25),
    (
        "ModelDimensionMismatch",
        [series("model_dimension_mismatches_total", f'{MODEL},route="linear_head"', "0x10 1x60")],
        9,
        12,
    ),
    (
        "ModelLatencyP95",
        [
            series("model_prediction_seconds_bucket", f'{MODEL},le="0.2"', "0+90x60"),
            series("model_prediction_seconds_bucket", f'{MODEL},le="0.4"', "0+100x60"),
            series("model_prediction_seconds_bucket", f'{MODEL},le="+Inf"', "0+100x60"),
        ],
        3,
        10,
    ),
    ("ModelErrorSpike", counters("model_requests_total", 'code="503"', 6, other='code="200"'), None, 5),
    (
        "ModelErrorsIncreased",
        [
            series("model_requests_total", f'{MODEL},code="500"', "0+1x1500 1503+3x60"),
            series("model_requests_total", f'{MODEL},code="200"', "0+100x1560"),
        ],
        1495,
        1530,
    ),
    (
        "ModelRuleSpike",
        [
            *PREDICTIONS,
            series("model_rule_applications_total", f'{MODEL},rule="anger_frustration"', "0+11x60"),
        ],
        3,
        30,
    ),
    (
        "ModelRuleRare",
        [*PREDICTIONS, series("model_rule_applications_total", f'{MODEL},rule="anger_frustration"', "0x600")],
        20,
        400,
    ),
    ("ModelLowConfidence", [*PREDICTIONS, series("model_low_confidence_total", MODEL, "0+26x60")], 10, 30),
    (
        "ModelLatencyRegression",
        [
            series("model_prediction_seconds_bucket", f'{MODEL},le="0.1"', "0+100x1500 150000x60"),
            series("model_prediction_seconds_bucket", f'{MODEL},le="0.2"', "0+100x1500 150100+100x60"),
            series("model_prediction_seconds_bucket", f'{MODEL},le="+Inf"', "0+100x1500 150100+100x60"),
        ],
        1500,
        1550,
    ),
    (
        "ModelShadowDisagrees",
        counters("model_shadow_comparisons_total", 'agree="false"', 30, other='agree="true"'),
        20,
        50,
    ),
    ("ModelUnavailable", counters("model_requests_total", 'code="500"', 6, other='code="200"'), 3, 10),
]
QUIET: dict[str, Sequence[Json]] = {
    "ModelRegexFallback": counters("model_predictions_total", 'route="regex"', 1),
    "ModelErrorSpike": counters("model_requests_total", 'code="503"', 4, other='code="200"'),
    "ModelRuleSpike": [
        *PREDICTIONS,
        series("model_rule_applications_total", f'{MODEL},rule="anger_frustration"', "0+5x60"),
    ],
    "ModelLowConfidence": [*PREDICTIONS, series("model_low_confidence_total", MODEL, "0+24x60")],
    "ModelShadowDisagrees": counters(
        "model_shadow_comparisons_total", 'agree="false"', 20, other='agree="true"'
    ),
    "ModelRolloutNoLeader": [
        series("modelrollout_leader", 'pod="a"', "1x60"),
        series("modelrollout_leader", 'pod="b"', "0x60"),
    ],
    "ModelRolloutOperatorAbsent": [series("modelrollout_leader", 'pod="a"', "1x60")],
}


def run(rules: Path, alert: str, given: Sequence[Json], minutes: Sequence[tuple[int, bool]]) -> None:
    """Tries one alert alone: at each of the minutes it must fire, or must not."""
    every = yaml.safe_load(rules.read_text())["groups"]
    (rule,) = [rule for group in every for rule in group["rules"] if rule["alert"] == alert]
    alone = rules.with_name("one.yaml")
    alone.write_text(yaml.safe_dump({"groups": [{"name": "one", "rules": [rule]}]}))
    # Alerts about days are looked at every five minutes: promtool evaluates each instant.
    step = "1m" if max(minute for minute, _ in minutes) < 100 else "5m"
    firing = f'count(ALERTS{{alertname="{alert}",alertstate="firing"}}) or vector(0)'
    expected = [
        {"expr": firing, "eval_time": f"{minute}m", "exp_samples": [{"labels": "{}", "value": int(fires)}]}
        for minute, fires in minutes
    ]
    test = {"interval": "1m", "input_series": list(given), "promql_expr_test": expected}
    file = rules.with_name("test.yaml")
    file.write_text(
        yaml.safe_dump({"rule_files": [str(alone)], "evaluation_interval": step, "tests": [test]})
    )
    promtool("test", "rules", file)


@pytest.mark.parametrize(("alert", "given", "before", "after"), FIRES, ids=[f[0] for f in FIRES])
def test_the_alert_fires_when_it_should_and_not_before(
    rules: Path, alert: str, given: Sequence[Json], before: int | None, after: int
) -> None:
    early = [(before, False)] if before is not None else []
    run(rules, alert, given, [*early, (after, True)])


def test_all_alerts_are_tried(groups: list[Json]) -> None:
    assert {rule["alert"] for group in groups for rule in group["rules"]} == {alert for alert, *_ in FIRES}


@pytest.mark.parametrize("alert", sorted(QUIET))
def test_the_alert_is_quiet_within_its_limit(rules: Path, alert: str) -> None:
    run(rules, alert, QUIET[alert], [(55, False)])
