"""The commands of the user guide, run as they are written, against a control plane with a real operator.

Pods are those of fake nodes, so a small thread exports the metrics of each pod that looks ready.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
import yaml

from demo.background import Background
from tests.support import crd
from tests.support.charts import CHARTS, helm, render
from tests.support.cluster_tool import Cluster, CommandError, ControlPlane, tools
from tests.support.exporter import Exporter, Pod
from tests.support.operator_process import OperatorProcess
from tests.support.pages import DOCS, PAGES, ROOT, Block, all_blocks, blocks
from tests.support.prometheus import Prometheus

pytestmark = pytest.mark.timeout(900)

QUICKSTART = DOCS / "quickstart.md"
UPGRADE = DOCS / "howto" / "upgrade.md"


class Metrics(Background):
    """Exports good metrics for every pod of a namespace, as long as its `with` block lasts."""

    patience = 30

    def __init__(self, cluster: Cluster, exporter: Exporter, namespace: str) -> None:
        super().__init__("metrics", every=0.5)
        self._cluster = cluster
        self._exporter = exporter
        self._namespace = namespace
        self._pods: dict[str, Pod] = {}

    def _look(self) -> None:
        with suppress(OSError, CommandError):
            self._follow_pods()

    def _follow_pods(self) -> None:
        pods = self._cluster.get("pods", "-n", self._namespace)["items"]
        there = {pod["metadata"]["name"] for pod in pods if pod["status"].get("phase") == "Running"}
        for name in there - self._pods.keys():
            self._pods[name] = self._exporter.pod(self._namespace, name)
            self._pods[name].healthy()
        for name in self._pods.keys() - there:
            self._pods.pop(name).remove()


@pytest.fixture(scope="session")
def path(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A PATH with helm, kubectl and the plugin of this checkout."""
    programs = tmp_path_factory.mktemp("bin")
    for name, program in (("helm", tools.helm()), ("kubectl", tools.kubectl())):
        (programs / name).symlink_to(program)
    plugin = programs / "kubectl-modelrollout"
    plugin.write_text(f"#!{sys.executable}\nfrom modelrollout.cli.main import main\nmain()\n")
    plugin.chmod(0o755)
    return f"{programs}{os.pathsep}{os.environ['PATH']}"


@pytest.fixture
def plane() -> Iterator[Cluster]:
    """A fresh control plane."""
    with ControlPlane.start(scheduler=True, kwok_nodes=2) as started:
        yield started


@pytest.fixture
def operator(plane: Cluster, tmp_path: Path) -> Iterator[OperatorProcess]:
    """A Prometheus and an operator that waits for its CRD."""
    with ExitStack() as stack:
        exporter = stack.enter_context(Exporter.start())
        prometheus = stack.enter_context(Prometheus.start(exporter=exporter))
        process = OperatorProcess(
            kubeconfig=plane.kubeconfig, log=tmp_path / "operator.log", prometheus=prometheus.url
        )
        stack.callback(process.stop)
        process.start(wait_ready=False)
        stack.enter_context(Metrics(plane, exporter, "models"))
        yield process


@pytest.fixture
def cluster(plane: Cluster, operator: OperatorProcess) -> Cluster:
    """All of it."""
    return plane


def run(cluster: Cluster, path: str, block: Block) -> None:
    """Runs a block as a reader would, from the top of the repository."""
    environment = {**os.environ, **cluster.env, "PATH": path, "PYTHONPATH": str(ROOT / "operator" / "src")}
    environment["REGISTRY"] = "registry.example"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block.text],
        env=environment,
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    state = "" if done.returncode == 0 else _try(cluster, "get", "mro,deployments,pods", "-A", "-o", "wide")
    assert done.returncode == 0, f"{block}:\n{block.text}\n{done.stdout}\n{done.stderr}\n{state}"


def _try(cluster: Cluster, *arguments: str) -> str:
    try:
        return cluster.kubectl(*arguments)
    except CommandError as error:
        return str(error)


def runnable(page: Path) -> list[Block]:
    """The blocks of a page that are to be run here."""
    return [block for block in blocks(page) if block.language == "sh" and block.mark("run") is not None]


@pytest.mark.takes(seconds=32)
def test_the_quickstart_works_from_begin_to_end(cluster: Cluster, path: str) -> None:
    for block in runnable(QUICKSTART):
        run(cluster, path, block)


def test_commands_of_the_other_pages_work(cluster: Cluster, path: str) -> None:
    """On a cluster as the quickstart leaves it before its last chapter."""
    for block in runnable(QUICKSTART)[:3]:
        run(cluster, path, block)
    others = [page for page in PAGES if page != QUICKSTART and runnable(page)]
    assert len(others) >= 4
    for page in others:
        for block in runnable(page):
            run(cluster, path, block)


def proved_by(page: Path, test: str) -> Block:
    """The block of a page that names this test."""
    (found,) = (block for block in blocks(page) if block.mark("by") == test)
    return found


def deploy_and_begin(cluster: Cluster, path: str) -> None:
    """The quickstart's model, with a rollout that stays at its first step: its finalizer is on."""
    run(cluster, path, runnable(QUICKSTART)[1])
    steps = [{"weight": 50, "duration": "1h"}, {"weight": 100}]
    spec = {"candidate": {"deployment": "emotion-v1-1"}, "criteria": [], "steps": steps}
    patch = "--patch=" + json.dumps({"spec": spec})
    cluster.kubectl("-n", "models", "patch", "mro", "emotion", "--type=merge", patch)
    cluster.wait("jsonpath={.status.weight.observed}=50", "mro/emotion", "-n", "models")


def gone(cluster: Cluster) -> bool:
    """Whether CRD and namespace are gone; a namespace takes its time."""
    cluster.wait("delete", "namespace/modelrollout-system")
    return "modelrollouts" not in cluster.kubectl("get", "crd", "-o", "name")


@pytest.mark.takes(seconds=20)
def test_removal_by_helm_leaves_nothing(cluster: Cluster, path: str) -> None:
    run(cluster, path, runnable(QUICKSTART)[0])
    deploy_and_begin(cluster, path)
    run(cluster, path, proved_by(UPGRADE, "test_removal_by_helm_leaves_nothing"))
    assert gone(cluster)
    stable = cluster.get("deployment", "emotion-v1-0", "-n", "models")
    assert stable["spec"]["replicas"] == 4, "the traffic went back before the operator did"


@pytest.mark.takes(seconds=20)
def test_removal_by_kustomize_leaves_nothing(cluster: Cluster, path: str) -> None:
    cluster.kubectl("apply", "--server-side", "-k", str(CHARTS / "kustomize"))
    deploy_and_begin(cluster, path)
    run(cluster, path, proved_by(UPGRADE, "test_removal_by_kustomize_leaves_nothing"))
    assert gone(cluster)
    stable = cluster.get("deployment", "emotion-v1-0", "-n", "models")
    assert stable["spec"]["replicas"] == 4


def test_removal_that_hangs_is_ended_by_hand(cluster: Cluster, operator: OperatorProcess, path: str) -> None:
    crd.install(cluster)
    deploy_and_begin(cluster, path)
    operator.stop()
    cluster.kubectl("-n", "models", "delete", "mro", "emotion", "--wait=false")
    cluster.kubectl("-n", "models", "get", "mro", "emotion")
    run(cluster, path, proved_by(UPGRADE, "test_removal_that_hangs_is_ended_by_hand"))
    assert not cluster.get("mro", "-n", "models")["items"]


def test_a_release_for_each_tenant(plane: Cluster, path: str) -> None:
    for team in ("team-a", "team-b"):
        plane.kubectl("create", "namespace", team)
    run(plane, path, proved_by(DOCS / "security.md", "test_a_release_for_each_tenant"))
    for team in "ab":
        deployment = plane.get("deployment", f"modelrollout-{team}", "-n", f"operator-{team}")
        environment = deployment["spec"]["template"]["spec"]["containers"][0]["env"]
        assert {"name": "MODELROLLOUT_NAMESPACES", "value": f"team-{team}"} in environment


def test_manifests_are_accepted(cluster: Cluster) -> None:
    crd.install(cluster, seconds=30)
    for block in all_blocks("yaml"):
        if block.mark("apply") is not None:
            dry_run = ("apply", "--server-side", "--dry-run=server", "-f", "-")
            said = cluster.kubectl(*dry_run, stdin=block.text)
            assert said.count("serverside-applied") == len(list(yaml.safe_load_all(block.text))), block


def test_values_are_accepted_by_the_charts() -> None:
    found = [block for block in all_blocks("yaml") if block.mark("values")]
    assert len(found) >= 2
    for block in found:
        assert render(CHARTS / str(block.mark("values")), yaml.safe_load(block.text)), block


def test_configurations_of_prometheus_are_accepted(tmp_path: Path) -> None:
    """Debian's promtool knows no Kubernetes: the discovery is replaced before the rest is checked."""
    found = [block for block in all_blocks("yaml") if block.mark("prometheus") is not None]
    assert len(found) >= 2
    for block in found:
        config = yaml.safe_load(block.text)
        for job in config["scrape_configs"]:
            assert job.pop("kubernetes_sd_configs")[0]["role"] == "pod", block
            job["static_configs"] = [{"targets": ["127.0.0.1:9"]}]
        file = tmp_path / "prometheus.yml"
        file.write_text(yaml.safe_dump(config))
        subprocess.run(
            [tools.promtool(), "check", "config", file], check=True, capture_output=True, timeout=60
        )


def test_helm_renders_the_notes() -> None:
    """What helm prints after an install speaks of things that exist."""
    said = helm(
        "install",
        "modelrollout",
        str(CHARTS / "modelrollout"),
        "--dry-run=client",
        "-n",
        "sys",
        "--set=image.repository=x",
    )
    notes = said[said.index("NOTES:") :]
    assert "rollout status deployment/modelrollout" in notes
    assert "docs/howto/monitoring.md" in notes
    assert (DOCS / "howto" / "monitoring.md").exists()
