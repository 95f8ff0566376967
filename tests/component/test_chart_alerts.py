"""The alerts, by Prometheus' own rule checker and rule tests: each fires when it should, and not before."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.charts import CHARTS, OPERATOR, ROOT, only, render
from tests.support.cluster_tool import tools
from tests.support.pages import DOCS, blocks

Json = dict[str, Any]
MODEL = 'namespace="ml",model="emotion",version="2"'
POD = "emotion-2-5d4f8c7b9-x2x9z"
SHADOW = "emotion-shadow-5d4f8c7b9-x2x9z"
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


def count(groups: Sequence[Json]) -> int:
    return sum(len(group["rules"]) for group in groups)


def test_promtool_accepts_the_rules(groups: list[Json], rules: Path) -> None:
    assert f" {count(groups)} rules found" in promtool("check", "rules", rules)


def test_the_guide_makes_a_rules_file_without_the_operator_of_prometheus(
    groups: list[Json], tmp_path: Path
) -> None:
    mark = "test_the_guide_makes_a_rules_file_without_the_operator_of_prometheus"
    (block,) = (b for b in blocks(DOCS / "howto" / "monitoring.md") if b.mark("by") == mark)
    (tmp_path / "helm").symlink_to(tools.helm())
    (tmp_path / "charts").symlink_to(CHARTS)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    command = ["bash", "-euo", "pipefail", "-c", block.text]
    subprocess.run(command, cwd=tmp_path, env={**os.environ, "PATH": path}, check=True, timeout=60)
    file = tmp_path / "modelrollout-rules.yaml"
    assert f" {count(groups)} rules found" in promtool("check", "rules", file)
    assert yaml.safe_load(file.read_text()) == {"groups": groups}


def test_every_alert_has_its_place_in_the_runbook(groups: list[Json]) -> None:
    runbook = (ROOT / "docs" / "runbook.md").read_text()
    headings = {
        re.sub(r"[^a-z0-9-]", "", line[4:].lower())
        for line in runbook.splitlines()
        if line.startswith("### ")
    }
    for rule in (rule for group in groups for rule in group["rules"]):
        anchor = rule["alert"].lower()
        assert rule["annotations"]["runbook_url"] == f"docs/runbook.md#{anchor}"
        assert anchor in headings, rule["alert"]
        assert rule["labels"]["severity"] in {"critical", "warning", "info"}
        assert rule["annotations"]["summary"] and rule["annotations"]["description"]
        assert "@" not in rule["expr"], "a threshold that has no value"


def test_alerts_lead_to_the_runbook_wherever_it_is() -> None:
    address = "https://git.example.com/ml/modelrollout/-/blob/main/docs/runbook.md"
    objects = render(OPERATOR, {"metrics": {"prometheusRule": {"enabled": True, "runbookURL": address}}})
    for rule in (
        rule for group in only(objects, "PrometheusRule")["spec"]["groups"] for rule in group["rules"]
    ):
        assert rule["annotations"]["runbook_url"] == f"{address}#{rule['alert'].lower()}"


def series(metric: str, labels: str, values: str) -> Json:
    return {"series": f"{metric}{{{labels}}}", "values": values}


def counters(
    metric: str, matcher: str, per_minute: int, *, other: str = 'route="linear_head"', pod: str = POD
) -> list[Json]:
    """`per_minute` of 100 a minute with the matcher, the rest with another label."""
    labels = f'{MODEL},pod="{pod}"'
    return [
        series(metric, f"{labels},{matcher}", f"0+{per_minute}x2200"),
        series(metric, f"{labels},{other}", f"0+{100 - per_minute}x2200"),
    ]


def requests(failing: int, pod: str = POD) -> list[Json]:
    """Requests to a pod, so many of 100 of which fail."""
    return counters("model_requests_total", 'code="503"', failing, other='code="200"', pod=pod)


PREDICTIONS = [series("model_predictions_total", f'{MODEL},route="linear_head"', "0+100x2200")]
# Alert, input, minute at which it must not fire yet (None: no such), minute at which it must.
FIRES: list[tuple[str, Sequence[Json], int | None, int]] = [
    ("ModelRolloutOperatorAbsent", [series("up", 'job="other"', "1x60")], 1, 5),
    (
        "ModelRolloutNoLeader",
        [
            series("modelrollout_leader", 'namespace="one",pod="a"', "1x5 0x60"),
            series("modelrollout_leader", 'namespace="two",pod="a"', "1x60"),
        ],
        6,
        9,
    ),
    (
        "ModelRolloutCacheStale",
        [series("modelrollout_cache_stale", 'kind="endpointslices"', "0x5 1x60")],
        5,
        8,
    ),
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
        [
            series("modelrollout_criterion_state", f'{ROLLOUT},criterion="errors",state="NoData"', "1x60"),
            series("modelrollout_criterion_holds", f'{ROLLOUT},criterion="errors"', "1x60"),
        ],
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
    ("ModelErrorSpike", requests(6), None, 5),
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
    ("ModelUnavailable", requests(6), 3, 10),
]
# Alert, why it must stay quiet, input.
QUIET: list[tuple[str, str, Sequence[Json]]] = [
    ("ModelRegexFallback", "within its limit", counters("model_predictions_total", 'route="regex"', 1)),
    ("ModelErrorSpike", "within its limit", requests(4)),
    ("ModelErrorSpike", "only the shadow fails", [*requests(0), *requests(90, SHADOW)]),
    ("ModelErrorSpike", "only the shadow is asked", requests(90, SHADOW)),
    ("ModelUnavailable", "only the shadow fails", [*requests(0), *requests(90, SHADOW)]),
    (
        "ModelRuleSpike",
        "within its limit",
        [
            *PREDICTIONS,
            series("model_rule_applications_total", f'{MODEL},rule="anger_frustration"', "0+5x60"),
        ],
    ),
    (
        "ModelLowConfidence",
        "within its limit",
        [*PREDICTIONS, series("model_low_confidence_total", MODEL, "0+24x60")],
    ),
    (
        "ModelShadowDisagrees",
        "within its limit",
        counters("model_shadow_comparisons_total", 'agree="false"', 20, other='agree="true"'),
    ),
    (
        "ModelRolloutNoLeader",
        "one of two leads",
        [
            series("modelrollout_leader", 'namespace="one",pod="a"', "1x60"),
            series("modelrollout_leader", 'namespace="one",pod="b"', "0x60"),
        ],
    ),
    ("ModelRolloutOperatorAbsent", "one leads", [series("modelrollout_leader", 'pod="a"', "1x60")]),
    (
        "ModelRolloutWeightNotReached",
        "so few pods allow no less",
        [
            series("modelrollout_weight_desired_percent", ROLLOUT, "10x60"),
            series("modelrollout_weight_achievable_percent", ROLLOUT, "50x60"),
            series("modelrollout_weight_observed_percent", ROLLOUT, "50x60"),
        ],
    ),
    (
        "ModelRolloutNoData",
        "noData is Ignore",
        [
            series("modelrollout_criterion_state", f'{ROLLOUT},criterion="errors",state="NoData"', "1x60"),
            series("modelrollout_criterion_holds", f'{ROLLOUT},criterion="errors"', "0x60"),
        ],
    ),
]
# Alert, minute at which one replica is replaced by another, minute at which it would not fire yet had its
# `for` begun anew then, and what the leading replica tells.
HANDED_OVER: list[tuple[str, int, int, Sequence[tuple[str, str, int]]]] = [
    ("ModelRolloutRolledBack", 5, 5, [("phase", 'phase="RolledBack"', 1)]),
    ("ModelRolloutInvalid", 3, 7, [("phase", 'phase="Invalid"', 1)]),
    ("ModelRolloutPaused", 1000, 1450, [("phase", 'phase="Paused"', 1)]),
    (
        "ModelRolloutNoData",
        10,
        18,
        [
            ("criterion_state", 'criterion="errors",state="NoData"', 1),
            ("criterion_holds", 'criterion="errors"', 1),
        ],
    ),
    ("ModelRolloutCriterionFails", 3, 7, [("criterion_state", 'criterion="errors",state="Fail"', 1)]),
    (
        "ModelRolloutWeightNotReached",
        10,
        18,
        [("weight_achievable_percent", "", 50), ("weight_observed_percent", "", 10)],
    ),
]


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
    on_rollouts = next(group["rules"] for group in groups if group["name"] == "modelrollout-rollouts")
    assert {rule["alert"] for rule in on_rollouts} == {alert for alert, *_ in HANDED_OVER}


@pytest.mark.parametrize(("alert", "why", "given"), QUIET, ids=[f"{q[0]}-{q[1]}" for q in QUIET])
def test_the_alert_is_quiet(rules: Path, alert: str, why: str, given: Sequence[Json]) -> None:
    run(rules, alert, given, [(10, False), (30, False), (55, False)])


@pytest.mark.parametrize(
    ("alert", "change", "after", "told"), HANDED_OVER, ids=[case[0] for case in HANDED_OVER]
)
def test_a_change_of_leader_starts_no_alert_anew(
    rules: Path, alert: str, change: int, after: int, told: Sequence[tuple[str, str, int]]
) -> None:
    """For a minute nobody tells anything: the one before is gone, the next one was not scraped yet."""
    given = []
    for metric, labels, value in told:
        first, second = (f'{ROLLOUT},{labels},pod="{pod}"'.replace(",,", ",") for pod in "ab")
        given.append(series(f"modelrollout_{metric}", first, f"{value}x{change - 1} stale"))
        given.append(series(f"modelrollout_{metric}", second, f"_x{change + 1} {value}x500"))
    run(rules, alert, given, [(after, True)])


def test_what_the_next_leader_says_otherwise_ends_an_alert(rules: Path) -> None:
    given = [
        series("modelrollout_phase", f'{ROLLOUT},phase="RolledBack",pod="a"', "1x9 stale"),
        series("modelrollout_phase", f'{ROLLOUT},phase="Progressing",pod="b"', "_x11 1x60"),
    ]
    run(rules, "ModelRolloutRolledBack", given, [(10, True), (11, False)])
