"""How statuses look in a terminal, odd ones among them; colours; sentences with times in them."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console, RenderableType

from modelrollout.api.conditions import Phase
from modelrollout.cli.live import Live, parse
from modelrollout.cli.text import elapsed, percent, readable
from modelrollout.cli.view import detail, explanation, line, overview
from modelrollout.cli.watching import Ending
from tests.support.terminal import drain

NOW = datetime(2026, 3, 1, 12, 0, 30, tzinfo=UTC)
ROOT = Path(__file__).parents[2]


def ago(seconds: float) -> str:
    return (NOW - timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")


def text_of(renderable: RenderableType, width: int = 120) -> str:
    console = Console(file=StringIO(), width=width, highlight=False)
    with console.capture() as captured:
        console.print(renderable)
    return captured.get()


def item(**status: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "emotion", "namespace": "models", "creationTimestamp": ago(90), "generation": 1},
        "spec": {
            "service": "emotion",
            "candidate": {"deployment": "emotion-2"},
            "steps": [{"weight": 25, "duration": "40s"}, {"weight": 50, "duration": "1m"}, {"weight": 100}],
            "criteria": [
                {"name": "latency", "preset": "latencyP95", "max": "200ms"},
                {"name": "errors", "preset": "errorRate", "max": "5%", "dryRun": True},
            ],
        },
        "status": status,
    }


def progressing(**more: Any) -> dict[str, Any]:
    status: dict[str, Any] = {
        "phase": "Progressing",
        "reason": "WaitingForDuration",
        "message": f"Step 1 of 3 (25%) waits for its end at {ago(-30)}.",
        "observedGeneration": 1,
        "stable": "emotion-1",
        "candidate": "emotion-2",
        "run": {"id": "abc", "startedAt": ago(12), "candidate": "emotion-2"},
        "step": {"index": 0, "weight": 25, "progress": "1/3", "startedAt": ago(12), "reachedAt": ago(10)},
        "weight": {"desired": 25, "achievable": 25, "observed": 25},
        "pods": {"stable": {"desired": 6, "ready": 6}, "candidate": {"desired": 2, "ready": 2}},
        "criteria": [
            {"name": "latency", "state": "Pass", "value": 0.0487, "limit": "at most 200ms", "since": ago(9)},
            {"name": "errors", "state": "Fail", "value": 0.0613, "limit": "at most 5%", "since": ago(3)},
        ],
    }
    return item(**{**status, **more})


def test_a_rollout_under_way_shows_traffic_criteria_and_time_left() -> None:
    text = text_of(detail(progressing(), NOW))
    rows = [row.split() for row in text.splitlines()]
    assert rows[0] == ["models/emotion", "Progressing", "step", "1/3", "for", "12s"]
    assert "waits for its end at 12:01:00 UTC (in 30s)." in text
    assert "█" * 10 + "░" * 30 + "  25 % observed, 25 % desired" in text
    assert ["candidate", "emotion-2", "2", "of", "2", "pods", "ready"] in rows
    assert ["latency", "Pass", "49ms", "at", "most", "200ms", "9s"] in rows
    assert ["errors", "Fail", "(dry", "run)", "6.13%", "at", "most", "5%", "3s"] in rows
    assert "25 % → 50 % → 100 %   30s left" in text


def test_live_values_and_states_are_fresher_than_the_status() -> None:
    live = Live(values={"latency": 0.31}, states={"latency": "Fail"})
    rows = [row.split() for row in text_of(detail(progressing(), NOW, live)).splitlines()]
    assert ["latency", "Fail", "310ms", "at", "most", "200ms", "0s"] in rows
    assert ["errors", "Fail", "(dry", "run)", "6.13%", "at", "most", "5%", "3s"] in rows


def test_no_data_says_why_below_the_table() -> None:
    told = "The query found no data. Does Prometheus scrape the pods?"
    criteria = [{"name": "latency", "state": "NoData", "limit": "at most 200ms", "message": told}]
    text = text_of(detail(progressing(criteria=criteria), NOW))
    assert f"latency: {told}" in text
    rows = [row.split() for row in text.splitlines()]
    assert ["latency", "NoData", "-", "at", "most", "200ms", "-"] in rows


HELD = {
    "since": ago(90),
    "countsFrom": ago(60),
    "reason": "QueryFailed",
    "message": "criterion errors: 2 series.",
}


@pytest.mark.parametrize(
    ("held", "spec", "status", "said"),
    [
        ({}, {}, {}, "It ends when the query is answered, or by promote or abort: no holdDeadline is set."),
        (
            {},
            {"holdDeadline": "10m"},
            {},
            "It ends when the query is answered; otherwise the run is paused at 12:09:30 UTC (in 9m), "
            "by holdDeadline 10m.",
        ),
        (
            {"reason": "NoData"},
            {"holdDeadline": "10m", "onHoldDeadline": "Rollback"},
            {},
            "It ends when there is data; otherwise the run is rolled back at 12:09:30 UTC (in 9m), "
            "by holdDeadline 10m.",
        ),
        (
            {"reason": "PrometheusUnavailable"},
            {"holdDeadline": "10m"},
            {"pause": {"at": ago(5)}},
            "It ends when Prometheus answers; the run is paused as well.",
        ),
        ({"reason": "New"}, {"holdDeadline": "10 fortnights"}, {}, "or by promote or abort"),
    ],
)
def test_a_hold_has_a_line_with_what_it_waits_for_since_when_and_what_ends_it(
    held: dict[str, Any], spec: dict[str, Any], status: dict[str, Any], said: str
) -> None:
    found = progressing(hold={**HELD, **held}, **status)
    found["spec"] |= spec
    (line,) = [row for row in text_of(detail(found, NOW), width=400).splitlines() if "Held since" in row]
    reason = held.get("reason", "QueryFailed")
    begun = f"Held since 11:59:00 UTC (1m30s ago), {reason}: criterion errors: 2 series. "
    assert line.strip().startswith(begun)
    assert said in line


def test_a_run_that_is_not_held_has_no_such_line() -> None:
    assert "Held" not in text_of(detail(progressing(), NOW))


def test_past_runs_say_how_they_ended() -> None:
    entry = {"from": "emotion-1", "to": "emotion-2", "startedAt": ago(500), "finishedAt": ago(300)}
    history = [
        {**entry, "result": "RolledBack", "message": "Criterion errors breached."},
        *[{**entry, "result": "Succeeded", "message": "Promoted."}] * 6,
    ]
    text = text_of(detail(progressing(history=history), NOW))
    assert "emotion-1 → emotion-2  RolledBack  5m ago after 3m20s" in text
    assert "    Criterion errors breached." in text
    assert "and 2 more" in text


def test_one_version_in_charge_has_one_row() -> None:
    text = text_of(detail(progressing(phase="Succeeded", stable="emotion-2"), NOW))
    assert "candidate" not in text
    assert "stable  emotion-2" in text


@pytest.mark.parametrize("phase", list(Phase))
def test_every_phase_fits_80_columns(phase: Phase) -> None:
    for text in (
        text_of(detail(progressing(phase=phase.value), NOW), 80),
        line(progressing(phase=phase.value), NOW),
    ):
        assert phase.value in text
        assert "…" not in text


ODD: dict[str, dict[str, Any]] = {
    "fresh": {},
    "without a message": {"phase": "Idle"},
    "weight not read back yet": {"phase": "Progressing", "weight": {"desired": 10, "achievable": 10}},
    "step beyond the plan, which became shorter": {
        "phase": "Progressing",
        "step": {"index": 7, "weight": 90, "progress": "8/9", "startedAt": ago(5)},
    },
    "criterion that left the spec": {
        "phase": "Progressing",
        "criteria": [
            {"name": "gone", "state": "Pending"},
            {"name": "new-state", "state": "Sulking", "value": 1e308},
        ],
    },
    "times in the future": {"phase": "Progressing", "run": {"id": "a", "startedAt": ago(-400)}},
    "weight beyond 100": {"phase": "Progressing", "weight": {"desired": 100, "observed": 120.0}},
    "validation without times": {
        "phase": "Validating",
        "run": {"id": "a", "startedAt": ago(3)},
        "validations": [{"name": "smoke", "run": "a", "step": 0, "job": "j", "state": "Pending"}],
    },
    "unknown phase": {"phase": "Levitating", "message": "[bold]no markup[/bold] {x} %s"},
}


@pytest.mark.parametrize("status", ODD.values(), ids=ODD)
def test_odd_statuses_are_shown(status: dict[str, Any]) -> None:
    for width in (40, 80, 200):
        text = text_of(detail(item(**status), NOW), width)
        assert text.startswith("models/emotion")
    assert text_of(overview([item(**status)], NOW, everywhere=True)).count("\n") == 2
    assert "\n" not in line(item(**status), NOW)


def test_markup_in_messages_is_text() -> None:
    assert "[bold]no markup[/bold]" in text_of(detail(item(**ODD["unknown phase"]), NOW))


def test_a_validation_shows_how_long_it_runs() -> None:
    job = {"name": "smoke", "run": "abc", "step": 1, "job": "j", "state": "Running", "startedAt": ago(42)}
    old = {**job, "run": "older", "name": "old"}
    text = text_of(detail(progressing(validations=[job, old]), NOW))
    assert ["smoke", "2", "Running", "42s"] in [row.split() for row in text.splitlines()]
    assert "old" not in text


def test_explanations() -> None:
    assert "has not seen it yet" in explanation(item(), NOW)
    stale = progressing(observedGeneration=0)
    assert "has not seen the last change of the spec" in explanation(stale, NOW)
    leaving = progressing()
    leaving["metadata"]["deletionTimestamp"] = ago(1)
    assert "being deleted" in explanation(leaving, NOW)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (-38, "at 12:01:08 UTC (in 38s)"),
        (38, "at 11:59:52 UTC (38s ago)"),
        (0, "at 12:00:30 UTC (0s ago)"),
        (-5400, "at 13:30:30 UTC (in 1h30m)"),
        (-200_000, "at 2026-03-03 19:33 UTC (in 2d7h33m20s)"),
    ],
)
def test_times_in_sentences_are_readable(seconds: float, said: str) -> None:
    assert readable(f"ends at {ago(seconds)}.", NOW) == f"ends {said}."


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(-5, "0s"), (0, "0s"), (119, "119s"), (120, "2m"), (7199, "119m"), (7200, "2h"), (172800, "2d")],
)
def test_lengths_of_time_are_short(seconds: float, said: str) -> None:
    assert elapsed(seconds) == said


def test_percents() -> None:
    assert [percent(value) for value in (None, 0, 25, 33.333, 100.0)] == [
        "-",
        "0 %",
        "25 %",
        "33.3 %",
        "100 %",
    ]


PAGE = """\
# HELP modelrollout_criterion_value Last value, in base units.
modelrollout_leader 1.0
modelrollout_criterion_value{criterion="errors",name="emotion",namespace="models"} 0.0613
modelrollout_criterion_value{name="emotion",namespace="models",criterion="latency"} 4e-05
modelrollout_criterion_value{criterion="errors",name="emotion",namespace="others"} 1.0
modelrollout_criterion_value{criterion="errors",name="emotion-b",namespace="models"} 1.0
modelrollout_criterion_state{criterion="errors",name="emotion",namespace="models",state="Fail"} 1.0
modelrollout_criterion_state{criterion="errors",name="emotion",namespace="models",state="Pass"} 0.0
"""


def test_live_values_are_those_of_the_rollout_in_any_order_of_labels() -> None:
    live = parse(PAGE, "models", "emotion")
    assert live.values == {"errors": 0.0613, "latency": 4e-05}
    assert live.states == {"errors": "Fail"}
    assert not parse(PAGE, "models", "nobody")


@given(st.text())
def test_any_page_can_be_read(page: str) -> None:
    assert not parse(page, "models", "emotion")


def test_watching_ends_with_the_run_and_tells_how_it_ended() -> None:
    ending = Ending()
    assert ending.of(item(phase="RolledBack", observedGeneration=1)) is None, "over before: wait for a run"
    assert ending.of(progressing()) is None
    assert ending.of(progressing(phase="RollingBack")) is None
    assert ending.of(progressing(phase="RolledBack")) == 1
    ending = Ending()
    assert ending.of(progressing(phase="Paused")) is None
    assert ending.of(progressing(phase="Succeeded", observedGeneration=0)) is None, "of the spec before"
    assert ending.of(progressing(phase="Succeeded")) == 0


def _output(environment: dict[str, str], *, terminal: bool) -> bytes:
    """What a program prints that shows a status, on a pseudo-terminal or into a pipe."""
    code = (
        "from tests.unit.test_cli_view import *; from modelrollout.cli.session import show; "
        "show(detail(progressing(), NOW))"
    )
    keep = {key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "FORCE_COLOR", "TERM")}
    path = os.pathsep.join([str(ROOT), str(ROOT / "operator" / "src")])
    env = {**keep, "PYTHONPATH": path, "TERM": "xterm-256color", "COLUMNS": "80", **environment}
    ours, theirs = pty.openpty()
    out = theirs if terminal else subprocess.PIPE
    process = subprocess.Popen([sys.executable, "-c", code], stdout=out, cwd=ROOT, env=env)
    os.close(theirs)
    printed = bytearray()
    if terminal:
        drain(ours, printed)
        process.wait(30)
    else:
        os.close(ours)
        printed += process.communicate(timeout=30)[0]
    assert process.returncode == 0
    return bytes(printed)


@pytest.mark.parametrize(
    ("environment", "terminal", "coloured"),
    [({}, True, True), ({"NO_COLOR": "1"}, True, False), ({}, False, False), ({"TERM": "dumb"}, True, False)],
)
def test_colours_only_on_a_terminal_that_wants_them(
    environment: dict[str, str], terminal: bool, coloured: bool
) -> None:
    output = _output(environment, terminal=terminal)
    assert b"models/emotion" in output
    colours = any(f"\x1b[{start}3{colour}".encode() in output for colour in range(8) for start in ("", "1;"))
    assert colours is coloured, output
