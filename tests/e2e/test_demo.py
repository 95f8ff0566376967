"""`make demo` where there is no Docker, in a cluster of its own; nothing is left of it afterwards."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any
from urllib.parse import urlencode

import pytest

from demo import manifests, scenario
from tests.support.cluster_tool import KindCluster, docker, kind_cluster_names, tools

ROOT = Path(__file__).resolve().parents[2]
CLUSTER = "demo-test"
FIRST_RUN_SECONDS = 1500
Json = dict[str, Any]

pytestmark = pytest.mark.timeout(FIRST_RUN_SECONDS + 300)


@dataclass(frozen=True)
class Ran:
    """A demo that has ended."""

    code: int
    said: str


def demo(*arguments: str, seconds: float) -> Ran:
    """Runs `python -m demo` without a terminal."""
    parts = ("operator/src", "hack/devcluster/src", "hack/demo/src")
    path = os.pathsep.join(str(ROOT / part) for part in parts)
    done = subprocess.run(
        [sys.executable, "-m", "demo", "--build-cluster", "--cluster", CLUSTER, *arguments],
        env={**os.environ, "PYTHONPATH": path},
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=seconds,
        check=False,
    )
    return Ran(done.returncode, done.stdout)


@pytest.fixture(scope="module")
def played() -> Iterator[Ran]:
    """The whole demo; the cluster stays until the module's tests are over."""
    yield demo(seconds=FIRST_RUN_SECONDS)
    demo("--down", seconds=120)


@pytest.fixture
def cluster(played: Ran) -> KindCluster:
    """The demo's cluster."""
    found = KindCluster.attach(CLUSTER)
    assert found is not None, played.said
    return found


def test_demo_proves_everything(played: Ran) -> None:
    assert played.code == 0, played.said
    proved = played.said[played.said.index("What was proved") :]
    assert proved.count("✓") == 7, proved
    assert "✗" not in proved
    assert "Succeeded: emotion-v1-1 serves everything" in played.said
    assert "Criterion dimension-mismatch breached" in played.said
    assert "Criterion regex-fallback breached (for 5s)" in played.said


def test_demo_commands_to_play_on_work(played: Ran, cluster: KindCluster) -> None:
    """What the last lines invite to: back to the version before, at once and without steps."""
    namespace = ("-n", manifests.DEMO_NAMESPACE)
    back = '{"spec":{"candidate":{"deployment":"emotion-v1-0"}}}'
    assert f"-p '{back}'" in played.said
    cluster.kubectl(*namespace, "patch", "mro", scenario.ROLLOUT, "--type=merge", "-p", back)
    stable = "jsonpath={.status.stable}=emotion-v1-0"
    cluster.kubectl(*namespace, "wait", f"--for={stable}", f"mro/{scenario.ROLLOUT}", "--timeout=120s")
    cluster.kubectl(*namespace, "describe", "mro", scenario.ROLLOUT)


@pytest.mark.parametrize(
    ("release", "namespace"),
    [("modelrollout", manifests.OPERATOR_NAMESPACE), ("emotion", manifests.DEMO_NAMESPACE)],
)
def test_demo_helm_tests_pass(cluster: KindCluster, release: str, namespace: str) -> None:
    done = subprocess.run(
        [tools.helm(), "test", release, "-n", namespace, "--logs", "--kubeconfig", cluster.kubeconfig],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Phase:          Succeeded" in done.stdout


def test_demo_runbook_commands_work(cluster: KindCluster) -> None:
    """The commands about the operator itself, as the runbook has them: they need real pods."""
    runbook = (ROOT / "docs" / "runbook.md").read_text()
    block = runbook.split("by=test_demo_runbook_commands_work\n")[1].split("```")[0]
    commands = [shlex.split(line)[1:] for line in block.splitlines()]
    logs, leases = (cluster.kubectl(*command) for command in commands)
    assert "This replica acts from now on" in logs
    assert "modelrollout" in leases


# Without a shadow phase nothing is compared. Everything else is there from the first scrape, if only as 0.
NOT_IN_THE_DEMO = {"Agreement in the shadow"}


def same_names(legend: str, found: list[Json]) -> bool:
    """Whether Grafana would call two series the same; a legend without labels stands for one series."""
    labels = re.findall(r"{{(\w+)}}", legend)
    return len({tuple(one["metric"].get(label) for label in labels) for one in found}) < len(found)


@pytest.mark.parametrize("dashboard", ["rollouts", "model-quality"])
def test_demo_fills_the_dashboards(cluster: KindCluster, dashboard: str) -> None:
    """Every query of every panel and variable, asked of the demo's Prometheus as Grafana would ask it."""
    page = json.loads((ROOT / f"charts/modelrollout/dashboards/{dashboard}.json").read_text())
    chosen = {"namespace": manifests.DEMO_NAMESPACE, "name": scenario.ROLLOUT, "version": ".*"}
    chosen |= {"model": "emotion", "criterion": "regex-fallback"}
    chosen |= {"__rate_interval": "20s", "__range": "1h"}
    asked = [
        (panel["title"], target["expr"], target["legendFormat"] if target["format"] != "table" else None)
        for panel in page["panels"]
        for target in panel.get("targets", ())
    ]
    for variable in page["templating"]["list"]:
        if variable["type"] == "query":
            series = variable["definition"].removeprefix("label_values(").rpartition(",")[0]
            asked.append((f"variable {variable['name']}", series, None))
    assert len(asked) > 20
    service = (
        f"/api/v1/namespaces/{manifests.MONITORING_NAMESPACE}/services/prometheus:{manifests.PROMETHEUS_PORT}"
    )
    end, empty, doubled = time.time(), [], []
    for title, expression, legend in asked:
        promql = Template(expression).substitute(chosen)
        question = {"query": promql, "start": f"{end - 3000:.0f}", "end": f"{end:.0f}", "step": "5"}
        path = f"{service}/proxy/api/v1/query_range?{urlencode(question)}"
        code, answer = cluster.request("GET", path)
        assert code == 200, f"{title}: {promql}: {answer}"
        found = json.loads(answer)["data"]["result"]
        if not found and title not in NOT_IN_THE_DEMO:
            empty.append(f"{title}: {promql}")
        if legend is not None and same_names(legend, found):
            doubled.append(f"{title}: {promql}")
    assert not empty, "panels without data:\n" + "\n".join(empty)
    assert not doubled, "panels with two series of the same name:\n" + "\n".join(doubled)


def test_demo_down_leaves_nothing(played: Ran) -> None:
    ended = demo("--down", seconds=120)
    assert ended.code == 0, ended.said
    assert CLUSTER not in kind_cluster_names()
    daemon = docker.current()
    assert daemon is None or not [name for name in daemon.containers() if name.startswith(CLUSTER)]
    again = demo("--down", seconds=60)
    assert again.code == 0
    assert "nothing to remove" in again.said
