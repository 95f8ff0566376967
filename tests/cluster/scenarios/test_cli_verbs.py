"""Every verb of the plugin, as a process, against a real API server and a real operator."""

from __future__ import annotations

import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support import manifests as m
from tests.support.cluster_tool import tools
from tests.support.operator_process import OperatorProcess
from tests.support.prometheus import scrape_config
from tests.support.scene import VALUE, Scene
from tests.support.terminal import drain

ROOT = Path(__file__).resolve().parents[3]
LONG = m.steps(25, 50, duration="1h")
Done = subprocess.CompletedProcess[str]


class Plugin:
    """`modelrollout` in the namespace of a scene."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.environment = {
            **{key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "FORCE_COLOR")},
            "PYTHONPATH": str(ROOT / "operator" / "src"),
            "KUBECONFIG": str(scene.plane.kubeconfig),
            "TERM": "xterm-256color",
            "COLUMNS": "100",
        }
        self.command = [sys.executable, "-c", "from modelrollout.cli.main import main; main()"]

    def run(self, *words: str, code: int = 0, **environment: str) -> Done:
        """Runs it and checks the exit code."""
        done = subprocess.run(
            [*self.command, "-n", self.scene.world.namespace, *words],
            env={**self.environment, **environment},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        assert "Traceback" not in done.stderr, done.stderr
        return done

    def start(self, *words: str, out: int) -> subprocess.Popen[bytes]:
        """Starts it with its output going to a file descriptor.

        Ctrl-C counts, although whoever runs the tests in the background has it ignored by all below.
        """
        heeding = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
        command = [*self.command[:-1], heeding + self.command[-1]]
        return subprocess.Popen(
            [*command, "-n", self.scene.world.namespace, *words],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
        )


@pytest.fixture
def plugin(scene: Scene) -> Plugin:
    """The plugin on the scene."""
    return Plugin(scene)


def started(scene: Scene, **spec: Any) -> None:
    """A rollout at its first step."""
    scene.stage()
    scene.apply(**{"plan": LONG, **spec})
    scene.at_weight(25)


@pytest.mark.usefixtures("operator")
def test_list_shows_rollouts_of_one_namespace_or_of_all(scene: Scene, plugin: Plugin) -> None:
    assert plugin.run("list").stderr == f"No ModelRollouts in namespace {scene.world.namespace}.\n"
    started(scene)
    head, row = plugin.run("list").stdout.splitlines()
    assert head.split() == ["NAME", "PHASE", "STEP", "WEIGHT", "OBSERVED", "CANDIDATE", "REASON", "AGE"]
    assert row.split()[:8] == ["emotion", "Progressing", "1/3", "25", "%", "25", "%", "emotion-2"]
    every = [line.split()[:2] for line in plugin.run("list", "-A").stdout.splitlines()]
    assert [scene.world.namespace, "emotion"] in every
    listed = json.loads(plugin.run("list", "-o", "json").stdout)
    assert [entry["metadata"]["name"] for entry in listed["items"]] == ["emotion"]
    assert listed["kind"] == "List"


def test_status_shows_the_rollout_with_live_values(
    scene: Scene, plugin: Plugin, operator: OperatorProcess
) -> None:
    started(scene)
    text = plugin.run("status", "emotion").stdout
    assert f"{scene.world.namespace}/emotion  Progressing  step 1/3" in text
    assert "25 % observed, 25 % desired" in text
    assert "\x1b" not in text, "no colours in a pipe"
    assert not any(line.endswith(" ") for line in text.splitlines())
    scene.say(0.75)
    url = f"http://127.0.0.1:{operator.port}/metrics"
    scene.world.until(
        lambda: operator.metric("modelrollout_criterion_value", namespace=scene.world.namespace) == 0.75,
        what="the operator measures 0.75",
    )
    live = plugin.run("--operator-metrics", url, "status", "emotion").stdout
    assert re.search(r"value +Pass +0\.75 +at most 1 ", live), live
    assert scene.status()["criteria"][0]["value"] == 0.5, "a quiet tick writes nothing"
    for form, read in (("json", json.loads), ("yaml", yaml.safe_load)):
        printed = read(plugin.run("status", "emotion", "-o", form).stdout)
        assert printed["status"]["phase"] == "Progressing"
        assert "managedFields" not in printed["metadata"]


@pytest.mark.usefixtures("operator")
def test_status_w_on_a_terminal_shows_a_change_within_a_second_and_ends_with_the_run(
    scene: Scene, plugin: Plugin
) -> None:
    started(scene)
    ours, theirs = pty.openpty()
    process = plugin.start("status", "-w", "emotion", out=theirs)
    os.close(theirs)
    seen = bytearray()
    threading.Thread(target=drain, args=(ours, seen), daemon=True).start()
    try:
        scene.world.until(lambda: b"Progressing" in seen, what="the first view")
        delays = []
        for verb, phase in (("pause", "Paused"), ("resume", "Progressing"), ("pause", "Paused")):
            scene.command_without_waiting(verb)
            shown = len(seen)
            scene.until(lambda s, phase=phase: s["phase"] == phase, what=phase)
            written = time.monotonic()
            scene.world.until(
                lambda phase=phase, shown=shown: phase.encode() in seen[shown:],
                what="it is shown",
                every=0.01,
            )
            delays.append(time.monotonic() - written)
        assert min(delays) < 1.0, delays
        assert b"\x1b[" in seen
        scene.command("abort")
        assert process.wait(30) == 1, "traffic went back to stable"
        assert b"Aborted" in seen
    finally:
        process.kill()
        process.wait(10)


@pytest.mark.usefixtures("operator")
def test_status_w_in_a_pipe_prints_a_line_for_each_change(
    scene: Scene, plugin: Plugin, tmp_path: Path
) -> None:
    started(scene)
    log = tmp_path / "watch.log"
    with log.open("wb") as out:
        process = plugin.start("status", "-w", "emotion", "--timeout", "4m", out=out.fileno())
        try:
            scene.world.until(lambda: "step 1/3" in log.read_text(), what="the first line", seconds=60)
            scene.command("promote")
            scene.at_weight(50)
            scene.command("promote-full")
            assert process.wait(120) == 0
        finally:
            process.kill()
            process.wait(10)
    lines = log.read_text().splitlines()
    assert all(re.match(r"\d\d:\d\d:\d\d (Progressing|Succeeded)  ", line) for line in lines), lines
    assert [line for line in lines if "step 2/3  desired 50 %" in line]
    assert "Succeeded" in lines[-1]
    assert len(lines) == len({line.split(" ", 1)[1] for line in lines}), "a line is a change"


@pytest.mark.usefixtures("operator")
def test_status_w_gives_up_after_its_timeout_and_is_interrupted_by_ctrl_c(
    scene: Scene, plugin: Plugin, tmp_path: Path
) -> None:
    started(scene)
    assert (
        "has not ended within 1 s" in plugin.run("status", "-w", "emotion", "--timeout", "1s", code=1).stderr
    )
    log = tmp_path / "watch.log"
    with log.open("wb") as out:
        process = plugin.start("status", "-w", "emotion", out=out.fileno())
        try:
            scene.world.until(lambda: "Progressing" in log.read_text(), what="the first line")
            process.send_signal(signal.SIGINT)
            assert process.wait(20) == 130
        finally:
            process.kill()
            process.wait(10)
    assert "Traceback" not in log.read_text()


@pytest.mark.usefixtures("operator")
def test_explain_says_in_one_sentence_what_it_waits_for(scene: Scene, plugin: Plugin) -> None:
    started(scene)
    said = plugin.run("explain", "emotion").stdout
    assert re.fullmatch(
        r"Step 1 of 3 \(25%\) waits for its end at [\d:]{8} UTC \(in (1h|5\dm(\d+s)?)\)\.\n", said
    ), said
    scene.say(7.5)
    scene.world.until_phase("RolledBack")
    assert "Criterion value breached" in plugin.run("explain", "emotion").stdout


@pytest.mark.takes(seconds=25)
@pytest.mark.usefixtures("operator")
def test_scenario_18_approval_required_waits_for_ever_and_promote_moves_exactly_one_step(
    scene: Scene, plugin: Plugin
) -> None:
    scene.stage()
    plan = [
        {"weight": 25, "duration": "1s", "approval": "Required"},
        {"weight": 50, "duration": "1s", "approval": "Required"},
        {"weight": 75, "duration": "1h"},
        {"weight": 100},
    ]
    # A deadline that the wait outlasts: waiting for a person is no failure.
    scene.apply(plan=plan, progressDeadline="10s")
    scene.until(lambda s: s.get("reason") == "WaitingForApproval", what="the first approval")
    time.sleep(12)
    status = scene.status()
    assert (status["step"]["index"], status["reason"]) == (0, "WaitingForApproval")
    assert scene.ready() == {"emotion-1": 3, "emotion-2": 1}
    assert "promote" in plugin.run("explain", "emotion").stdout
    refused = plugin.run("resume", "emotion", code=1)
    assert "it waits for an approval; use promote" in refused.stderr
    assert plugin.run("promote", "emotion").stdout.startswith("emotion: ")
    scene.at_weight(50)
    scene.until(lambda s: s.get("reason") == "WaitingForApproval", what="the second approval")
    time.sleep(4)
    assert scene.status()["step"]["index"] == 1, "one promote moves one step"
    plugin.run("promote", "emotion")
    assert scene.at_weight(75)["step"]["index"] == 2


@pytest.mark.usefixtures("operator")
def test_scenario_19_promote_full_skips_the_remaining_steps(scene: Scene, plugin: Plugin) -> None:
    started(scene, plan=m.steps(25, 50, 75, duration="1h"))
    plugin.run("promote", "--full", "emotion")
    weights = set()
    deadline = time.monotonic() + 60
    while (status := scene.status())["phase"] != "Succeeded" and time.monotonic() < deadline:
        weights.add((status.get("step") or {}).get("weight"))
        time.sleep(0.02)
    assert status["phase"] == "Succeeded", status
    assert weights <= {25, 100, None}, "no other step was entered"
    assert status["stable"] == "emotion-2"
    assert scene.ready() == {"emotion-1": 0, "emotion-2": 4}


@pytest.mark.usefixtures("operator")
def test_promote_ends_the_present_step_now(scene: Scene, plugin: Plugin) -> None:
    started(scene)
    plugin.run("promote", "emotion")
    assert scene.at_weight(50)["step"]["index"] == 1


@pytest.mark.takes(seconds=45)
@pytest.mark.usefixtures("operator")
def test_pause_holds_and_resume_goes_on(scene: Scene, plugin: Plugin) -> None:
    scene.stage()
    first, second, last = m.steps(25, 50, duration="20s")
    scene.apply(plan=[first, {**second, "duration": "1h"}, last])  # seen however late somebody looks
    reached = _seconds(scene.at_weight(25)["step"]["reachedAt"])
    assert plugin.run("pause", "emotion").stdout.startswith("emotion: Paused. Paused by ")
    time.sleep(max(0.0, reached + 22 - time.time()))
    assert (scene.status()["phase"], scene.status()["step"]["weight"]) == ("Paused", 25)
    again = plugin.run("pause", "emotion", code=1)
    assert again.stderr == "Error: pause was not carried out: it is paused already (PausedByCommand).\n"
    assert plugin.run("resume", "emotion").stdout.startswith("emotion: Progressing.")
    assert "it is not paused" in plugin.run("resume", "emotion", code=1).stderr
    scene.at_weight(50, seconds=60)


@pytest.mark.usefixtures("operator")
def test_abort_brings_all_traffic_back_and_retry_starts_again(scene: Scene, plugin: Plugin) -> None:
    started(scene)
    first = scene.status()["run"]["id"]
    plugin.run("abort", "emotion")
    scene.world.until_phase("RolledBack")
    scene.on_stable()
    assert scene.status()["history"][0]["result"] == "Aborted"
    assert "no run is under way" in plugin.run("abort", "emotion", code=1).stderr
    plugin.run("retry", "emotion")
    status = scene.at_weight(25)
    assert status["run"]["id"] != first
    assert status["run"]["attempt"] == 2
    assert "there is no candidate that was rolled back" in plugin.run("retry", "emotion", code=1).stderr


@pytest.mark.usefixtures("operator")
def test_rollback_goes_back_to_the_previous_version_after_success(scene: Scene, plugin: Plugin) -> None:
    scene.stage()
    scene.apply(plan=m.steps(50, duration="1s"))
    scene.world.until_phase("Succeeded")
    plugin.run("rollback", "emotion")
    scene.until(lambda s: s.get("stable") == "emotion-1" and s["phase"] == "RolledBack", what="back")
    scene.on_stable()
    assert "there is no previous version" in plugin.run("rollback", "emotion", code=1).stderr


def test_without_an_operator_a_command_says_so(scene: Scene, plugin: Plugin) -> None:
    scene.stage()
    scene.apply()
    refused = plugin.run("pause", "emotion", code=1)
    assert "has not taken note of it within 10 s" in refused.stderr
    assert "has not seen it yet" in plugin.run("status", "emotion").stdout
    assert "has not seen it yet" in plugin.run("explain", "emotion").stdout


def test_what_is_not_there_is_said_in_a_sentence(scene: Scene, plugin: Plugin, tmp_path: Path) -> None:
    for words in (
        ["status"],
        ["status", "-w"],
        ["explain"],
        ["pause"],
        ["report", "-o", str(tmp_path / "x")],
    ):
        said = plugin.run(*words, "nobody", code=1).stderr
        assert f"there is no ModelRollout 'nobody' in namespace {scene.world.namespace}" in said
    missing = plugin.run("list", code=1, KUBECONFIG=str(tmp_path / "nothing"), HOME=str(tmp_path))
    assert "expected a kubeconfig" in missing.stderr
    assert "No such command" in plugin.run("frobnicate", code=2).stderr
    assert "exclude each other" in plugin.run("status", "x", "-w", "-o", "json", code=2).stderr


def test_lint_reads_what_kubectl_prints(scene: Scene, plugin: Plugin, tmp_path: Path) -> None:
    scene.apply(plan=LONG)
    file = tmp_path / "emotion.yaml"
    file.write_text(plugin.run("status", "emotion", "-o", "yaml").stdout)
    assert plugin.run("lint", str(file)).stdout == "1 ModelRollout, nothing to complain about.\n"


def test_kubectl_runs_it_as_a_plugin_and_completes_names(
    scene: Scene, plugin: Plugin, tmp_path: Path
) -> None:
    scene.apply(plan=LONG)
    for name, entry in (
        ("kubectl-modelrollout", "modelrollout.cli.main import main as run"),
        ("kubectl_complete-modelrollout", "modelrollout.cli.completion import kubectl as run"),
    ):
        script = tmp_path / name
        script.write_text(f"#!{sys.executable}\nfrom {entry}\nrun()\n")
        script.chmod(0o755)
    kubectl = shutil.which("kubectl") or str(tools.kubectl())
    path = f"{tmp_path}{os.pathsep}{plugin.environment['PATH']}"

    def ask(*words: str) -> str:
        environment = {**plugin.environment, "PATH": path}
        done = subprocess.run(
            [kubectl, *words], env=environment, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    namespace = scene.world.namespace
    assert "emotion" in ask("modelrollout", "-n", namespace, "list")
    assert "Usage: kubectl modelrollout" in ask("modelrollout", "--help")
    verbs = [line.split("\t")[0] for line in ask("__complete", "modelrollout", "p").splitlines()]
    assert verbs[:2] == ["pause", "promote"]
    named = ask("__complete", "modelrollout", "-n", namespace, "status", "").splitlines()
    assert named[0] == "emotion"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script_that_completes(scene: Scene, plugin: Plugin, shell: str) -> None:
    script = plugin.run("completion", shell).stdout
    assert "_MODELROLLOUT_COMPLETE" in script
    if shell == "bash":
        subprocess.run(["bash", "-n"], input=script, text=True, check=True, timeout=20)
        said = plugin.run(
            _MODELROLLOUT_COMPLETE="bash_complete", COMP_WORDS="modelrollout sta", COMP_CWORD="1"
        )
        assert said.stdout == "plain,status\n"


def test_report_draws_a_run_from_real_data(scene: Scene, plugin: Plugin, operator: OperatorProcess) -> None:
    """With the operator scraped, without it (the queries of the criteria), and without Prometheus."""
    page = scene.directory / "report.html"
    scene.prometheus.reload(
        scrape_config(
            scene.exporter,
            scrape_interval=1.0,
            per_pod_targets=False,
            extra="- job_name: operator\n  honor_labels: true\n"
            f"  static_configs: [{{targets: ['127.0.0.1:{operator.port}']}}]\n",
        )
    )
    scene.prometheus.wait_for("modelrollout_leader == 1", timeout=30)
    spike = VALUE | {"for": "3s"}
    started(scene, criteria=[spike, {"name": "lost", "query": "absent_series", "max": 1, "noData": "Ignore"}])
    time.sleep(3)
    scene.say(7.5)
    scene.world.until_phase("RolledBack")
    time.sleep(2)
    plugin.run("report", "emotion", "-o", str(page), "--prometheus", scene.prometheus.url)
    html = page.read_text()
    assert '<span class="word" id="verdict">Rolled back</span>' in html
    assert "emotion-1 → emotion-2" in html
    assert "Criterion value breached" in html
    assert html.count('<svg viewBox="0 0 1000 200"') == 2, "weights and one criterion"
    assert 'class="breach"' in html
    assert "Outside its limit" in html
    assert "Prometheus has no data for its query" in html
    assert "CriterionBreached" in html
    assert not re.search(r"(src|href)=|https?://|<script", html), "it is self-contained"
    bare = plugin.run("report", "emotion", "-o", "-").stdout
    assert "give its address with --prometheus" in bare
    assert "Rolled back" in bare
    assert "no run 'zzz'" in plugin.run("report", "emotion", "-o", "-", "--run", "zzz", code=1).stderr


@pytest.mark.usefixtures("operator")
def test_backtest_fires_where_the_live_run_was_rolled_back(
    scene: Scene, plugin: Plugin, tmp_path: Path
) -> None:
    spec = {"plan": m.steps(25, duration="1h"), "criteria": [VALUE | {"for": "3s"}]}
    started(scene, **spec)
    begin = scene.status()["run"]["startedAt"]
    time.sleep(3)
    scene.say(7.5)
    status = scene.world.until_phase("RolledBack")
    file = tmp_path / "emotion.yaml"
    file.write_text(yaml.safe_dump(m.rollout(namespace=scene.world.namespace, **spec)))
    words = ["backtest", str(file), "--prometheus", scene.prometheus.url, "--from", begin]
    found = json.loads(plugin.run(*words, "-o", "json").stdout)
    assert found["outcome"]["phase"] == "RolledBack"
    assert found["outcome"]["criterion"] == "value"
    (criterion,) = found["criteria"]
    assert criterion["falseAlarmsPerWeek"] == 0
    fired = _seconds(criterion["firings"][0]["at"])
    shown = f'test_value{{namespace="{scene.world.namespace}",pod="{scene.pods["emotion-2"].name}"}}'
    (series,) = scene.prometheus.query(f"{shown}[5m]")
    bad_since = min(at for at, value in series["values"] if value == "7.5")
    assert 3.0 <= fired - bad_since < 6.0, "it fires once `for` is over"
    live = _seconds(status["rollback"]["startedAt"])
    assert -1.0 <= live - fired <= 8.0  # the operator may have been late
    table = plugin.run(*words).stdout
    assert "Outcome: RolledBack" in table
    assert re.search(r"value +Rollback|25 % +Rollback", table), table
    nobody = plugin.run(*words[:3], "http://127.0.0.1:9", *words[4:], code=1)
    assert "cannot be reached" in nobody.stderr
    assert "is no time" in plugin.run(*words[:-1], "tea-time", code=2).stderr


def _seconds(at: str) -> float:
    from datetime import datetime

    return datetime.fromisoformat(at).timestamp()
