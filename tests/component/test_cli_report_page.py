"""The report in a real browser: nothing sticks out at 400 or 1200 pixels, in light and dark."""

from __future__ import annotations

import contextlib
import html
import json
import os
import re
import signal
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from modelrollout.cli.report.data import CriterionPast, ReportData
from modelrollout.cli.report.page import render
from modelrollout.cli.report.run import choose_run
from modelrollout.prometheus.client import RangeQuery
from tests.support.cluster_tool import ensure_program

pytestmark = pytest.mark.takes(seconds=30)

START = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
NAME = "latency-p95-on-the-linear-route"
LONG = "sentence-classifier-with-a-rather-long-name-2-4-2"
QUIET = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
)
MEASURE = """
const page = document.querySelector("iframe").contentDocument;
const wide = page.documentElement.clientWidth;
const inside = (box) => box.right <= wide + 0.5 && box.left >= -0.5;
const everything = [...page.querySelectorAll("body *:not(svg *)")];
document.title = JSON.stringify({
  wide,
  scroll: page.documentElement.scrollWidth,
  outside: everything.filter((e) => !inside(e.getBoundingClientRect())).map((e) => e.outerHTML),
  background: getComputedStyle(page.body).backgroundColor,
  ink: getComputedStyle(page.body).color,
  charts: [...page.querySelectorAll(".plot svg")].map((e) => e.getBoundingClientRect().width),
  stroke: getComputedStyle(page.querySelector("path.value")).stroke,
  verdict: page.querySelector("#verdict").textContent,
  loaded: performance.getEntriesByType("resource").map((e) => e.name),
});
"""


def stamp(seconds: float) -> str:
    return (START + timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")


def page() -> str:
    """A report with everything in it, and long words."""
    run = {
        "id": "a1b2c3",
        "candidate": LONG,
        "stable": "emotion-1",
        "startedAt": stamp(0),
        "finishedAt": stamp(60),
    }
    entry = {"id": "a1b2c3", "from": "emotion-1", "to": LONG, "result": "RolledBack", "message": "Breached."}
    item: dict[str, Any] = {
        "metadata": {"name": "emotion", "namespace": "models"},
        "spec": {"criteria": [{"name": NAME, "query": f"max({'x' * 200})", "max": 1}]},
        "status": {
            "run": {**run, "result": "RolledBack"},
            "history": [{**entry, "startedAt": stamp(0), "finishedAt": stamp(60)}],
            "validations": [
                {"name": "smoke", "step": 0, "state": "Failed", "message": "x" * 300, "run": "a1b2c3"}
            ],
            "baseline": [{"criterion": NAME, "value": 0.5, "recordedAt": stamp(0)}],
        },
    }  # fmt: skip
    begin = START.timestamp()
    seconds = [float(second) for second in range(61)]
    values = tuple((begin + second, 0.5 if second < 40 else 3.0) for second in seconds)
    weights = tuple((begin + second, 25.0 if second < 30 else 50.0) for second in seconds)
    events = tuple(
        {"lastTimestamp": stamp(second), "reason": "StepAdvanced", "type": "Warning", "message": "word " * 40}
        for second in (0, 30)
    )
    past = CriterionPast(values=values, high=tuple((when, 1.0) for when, _ in values), source="its query")
    data = ReportData(
        item=item,
        run=choose_run(item, None),
        now=START + timedelta(seconds=70),
        window=RangeQuery(start=begin, end=begin + 60, step=1.0),
        events=events,
        desired=weights,
        observed=weights,
        criteria={NAME: past},
        missing=("Something is missing.",),
    )
    return render(data)


def measured(directory: Path, width: int, *, dark: bool) -> dict[str, Any]:
    """What the browser made of the page in a frame of that width."""
    wrapper = directory / "wrapper.html"
    scheme = '<meta name="color-scheme" content="light dark">'
    frame = f'<iframe style="width:{width}px;height:900px;border:0" srcdoc="{html.escape(page())}"></iframe>'
    script = f"<script>addEventListener('load', () => {{{MEASURE}}});</script>"
    wrapper.write_text(f"<!doctype html><html><head>{scheme}</head><body>{frame}{script}</body></html>")
    command = [
        str(ensure_program("chromium", "chromium")),
        *QUIET,
        f"--user-data-dir={directory / 'profile'}",
        f"--blink-settings=preferredColorScheme={0 if dark else 1}",
        "--window-size=1400,1000",
        "--virtual-time-budget=2000",
        "--dump-dom",
        wrapper.as_uri(),
    ]
    title = re.search(r"<title>(.*?)</title>\s*</head>", _printed(command, directory), re.DOTALL)
    assert title
    found: dict[str, Any] = json.loads(html.unescape(title[1]))
    return found


def _printed(command: list[str], directory: Path) -> str:
    """What the browser prints. All its processes are ended with it: they outlive the first one."""
    out = directory / "dom.html"
    with out.open("wb") as file:
        process = subprocess.Popen(
            command,
            stdout=file,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            env={**os.environ, "HOME": str(directory)},
        )
    try:
        process.wait(200)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)
    return out.read_text(encoding="utf-8")


def brightness(colour: str) -> float:
    red, green, blue = (int(part) for part in re.findall(r"\d+", colour)[:3])
    return (299 * red + 587 * green + 114 * blue) / 255_000


@pytest.mark.parametrize("width", [400, 1200])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_the_page_fits_and_is_readable(tmp_path: Path, width: int, dark: bool) -> None:
    found = measured(tmp_path, width, dark=dark)
    assert found["verdict"] == "Rolled back"
    assert found["scroll"] <= found["wide"], found["outside"]
    assert found["outside"] == []
    assert len(found["charts"]) == 2
    assert all(chart > 0.6 * width for chart in found["charts"] if width == 400), found["charts"]
    paper, ink = brightness(found["background"]), brightness(found["ink"])
    assert (paper < 0.2 and ink > 0.8) if dark else (paper > 0.9 and ink < 0.2)
    assert abs(brightness(found["stroke"]) - paper) > 0.3, "the line stands out"
    assert [name for name in found["loaded"] if not name.startswith("about:")] == [], "it is self-contained"
