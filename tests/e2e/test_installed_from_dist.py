"""Scenario 60: installed from the files of `make dist` alone, by the commands of docs/install.md; upgraded
from the release before and rolled back to it in mid-run, by those of docs/howto/upgrade.md.

The cluster is the one of the other tests without what they installed: no operator, no CRD, no image of it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from demo import manifests
from demo.api import Api
from demo.endpoints import EndpointRecorder
from release import __main__ as release
from tests.support import released
from tests.support.cluster_tool import (  # noqa: F401 - fixtures
    KindCluster,
    build_images,
    kind_cluster,
    project_images,
)
from tests.support.pages import DOCS, blocks
from tests.support.previous_release import PreviousRelease
from tests.support.released import NAMESPACES, REPOSITORY, VERSION, archived, running, shell
from tests.support.run_record import RunRecord

pytestmark = pytest.mark.timeout(900)

# Limits for a machine of two cores that starts pods meanwhile.
VALUES = """
rollout:
  candidate: v1-1
  spec:
    evaluation: {interval: 1s}
    steps:
    - {weight: 50, duration: 5s}
    - {weight: 100}
    criteria:
    - {name: dimension-mismatch, preset: dimensionMismatch, max: 0}
    - {name: errors, preset: errorRate, max: 1%, for: 3s, window: 15s, minSamples: 5}
    - {name: latency-p95, preset: latencyP95, max: 2s, for: 20s, window: 15s, minSamples: 5}
"""
STEP_SECONDS, LAST = 20, 3
IN_MID_RUN = f"""
env: {{INFERENCE_WORKERS: "1", INFERENCE_LOG_OUTPUTS: none, INFERENCE_QUEUE_TIMEOUT_SECONDS: "20"}}
resources: {{requests: {{cpu: 20m, memory: 128Mi}}, limits: {{memory: 768Mi}}}}
rollout:
  spec:
    evaluation: {{interval: 1s}}
    steps:
    - {{weight: 25, duration: {STEP_SECONDS}s}}
    - {{weight: 50, duration: {STEP_SECONDS}s}}
    - {{weight: 75, duration: {STEP_SECONDS}s}}
    - {{weight: 100}}
    criteria:
    - {{name: dimension-mismatch, preset: dimensionMismatch, max: 0}}
    - {{name: latency-p95, preset: latencyP95, max: 2s, for: 20s, window: 15s, minSamples: 5}}
"""
ROLL_OUT = f"""
image=$(kubectl -n models get deployment emotion-v1-0 -o jsonpath='{{..containers[0].image}}')
kubectl -n models create deployment load --image="$image" -- \\
  inference-server loadgen --url=http://emotion --rate=20
helm upgrade emotion inference-server-{VERSION}.tgz --namespace models \\
  --reset-then-reuse-values --values rollout.yaml
PATH=$PWD/plugin/bin:$PATH
kubectl modelrollout -n models status emotion --watch --timeout 240s
kubectl modelrollout -n models status emotion
"""
UPGRADED = "test_scenario_60_upgraded_and_rolled_back_in_mid_run"
REPLICAS = 4
INSTALLED_BEFORE = """
helm install modelrollout {chart} --namespace modelrollout-system --create-namespace \\
  --set image.repository={repository} --set image.tag={tag} --set log.format=text \\
  --set prometheus.default.url=http://prometheus-operated.monitoring.svc:9090
kubectl -n modelrollout-system rollout status deployment/modelrollout --timeout=120s
helm install emotion inference-server-$VERSION.tgz --namespace models --create-namespace \\
  --set image.repository=$REGISTRY/inference-server --set image.digest=$(digest inference-server) \\
  --set replicas={replicas} --set-string 'podAnnotations.prometheus\\.io/scrape=true' --values in-mid-run.yaml
kubectl -n models rollout status deployment/emotion-v1-0 --timeout=240s
kubectl -n models create deployment load --image=$REGISTRY/inference-server@$(digest inference-server) -- \\
  inference-server loadgen --url=http://emotion --rate=20 --timeout=30 --port=8081
kubectl -n models rollout status deployment/load --timeout=60s
kubectl -n models patch mro emotion --type=merge \\
  --patch='{{"spec": {{"candidate": {{"deployment": "emotion-v1-1"}}}}}}'
"""


@pytest.fixture(scope="module")
def dist(project_images: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:  # noqa: F811
    """What `make dist` writes, outside of the checkout; the images were built before."""
    out = tmp_path_factory.mktemp("release") / "dist"
    assert release.main(["--out", str(out)]) == 0
    return out


@pytest.fixture(scope="module")
def cluster(kind_cluster: KindCluster, project_images: dict[str, str]) -> Iterator[KindCluster]:  # noqa: F811
    """A cluster with Prometheus where the page expects it, and with nothing of the product."""
    released.remove(kind_cluster, wait=True)
    released.remove_images(kind_cluster, *(project_images[name] for name in NAMESPACES))
    kind_cluster.apply(
        manifests.namespace(manifests.MONITORING_NAMESPACE),
        *manifests.prometheus(project_images["prometheus"]),
    )
    service = kind_cluster.get("service", "prometheus", "-n", manifests.MONITORING_NAMESPACE)
    kind_cluster.apply(
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "prometheus-operated", "namespace": manifests.MONITORING_NAMESPACE},
            "spec": {key: service["spec"][key] for key in ("selector", "ports")},
        }
    )
    yield kind_cluster
    released.remove(kind_cluster, wait=False)


@pytest.fixture
def environment(cluster: KindCluster, tmp_path: Path) -> dict[str, str]:
    """A reader's shell."""
    return released.environment(cluster, tmp_path)


def test_scenario_60_installed_from_dist_alone_a_rollout_succeeds(
    cluster: KindCluster, dist: Path, environment: dict[str, str]
) -> None:
    page = [block for block in blocks(DOCS / "install.md") if block.mark("run") is not None]
    said = shell("\n".join(block.text for block in page), dist, environment)
    assert f"modelrollout-{VERSION}.tgz: OK" in said
    assert f"version {VERSION}" in said
    (dist / "rollout.yaml").write_text(VALUES)
    said = shell(ROLL_OUT, dist, environment).rpartition("+ kubectl modelrollout")[2]
    assert "models/emotion  Succeeded" in said, said
    rollout = cluster.get("mro", "emotion", "-n", "models")["status"]
    assert (rollout["phase"], rollout["stable"]) == ("Succeeded", "emotion-v1-1")
    for image, namespace in NAMESPACES.items():
        manifest, config = archived(dist, image)
        assert running(cluster, namespace) == {(f"{REPOSITORY}/{image}@{manifest}", config)}


@dataclass(frozen=True)
class UpgradeStage:
    """A run under load that goes on while the operator is exchanged."""

    cluster: KindCluster
    api: Api
    record: RunRecord

    def lost(self) -> dict[str, int]:
        """Requests that got no good answer, or were not sent, so far."""
        (pod,) = self.api.items("/api/v1/namespaces/models/pods", labelSelector="app=load")
        assert pod["status"]["containerStatuses"][0]["restartCount"] == 0, "it began to count anew"
        counts = json.loads(self.api.pod("models", pod["metadata"]["name"], 8081, "/"))
        assert counts["ok"] > 0
        return {name: counts[name] for name in ("failed", "skipped")}

    def only(self, image: str) -> None:
        """Wait until no operator of another image is left."""
        deadline = time.monotonic() + 60
        while (there := self._operators()) != {image}:
            assert time.monotonic() < deadline, there
            time.sleep(0.5)

    def _operators(self) -> set[str]:
        pods = self.api.items(f"/api/v1/namespaces/{manifests.OPERATOR_NAMESPACE}/pods")
        return {container["image"] for pod in pods for container in pod["spec"]["containers"]}

    def next_step(self) -> None:
        """Wait until the step under way, which must not be the last, has ended."""
        now = self.record.last.get("step", {}).get("index", LAST)
        assert now < LAST, "the run is over too soon: nothing is left for this operator to decide"
        self.record.until(
            lambda status: status.get("step", {}).get("index", LAST) > now,
            seconds=60,
            what=f"a step after {now}",
        )


@pytest.fixture
def before(tmp_path: Path) -> PreviousRelease:
    """The source of the release before this one."""
    return PreviousRelease.unpack(tmp_path / "before")


def commands(page: str, mark: str, value: str) -> list[str]:
    """The blocks of a page that carry a mark."""
    return [block.text for block in blocks(DOCS / page) if block.mark(mark) == value]


def test_scenario_60_upgraded_and_rolled_back_in_mid_run(
    cluster: KindCluster, dist: Path, environment: dict[str, str], before: PreviousRelease
) -> None:
    old = build_images(cluster.docker, before.operator)["operator"]
    cluster.load_images(old)
    released.remove(cluster, wait=True)
    (dist / "in-mid-run.yaml").write_text(IN_MID_RUN)
    files = "\n".join(commands("install.md", "run", "")[:3])
    set_before = [line for line in files.splitlines() if line.startswith(("export ", "digest()"))]
    upgrade, rollback = commands("howto/upgrade.md", "by", UPGRADED)
    repository, _, tag = old.rpartition(":")
    with ExitStack() as stack:
        api = Api(cluster.kubeconfig)
        stack.callback(api.close)
        install = INSTALLED_BEFORE.format(
            chart=before.chart, repository=repository, tag=tag, replicas=REPLICAS
        )
        shell(files + install, dist, environment)
        record = stack.enter_context(RunRecord(api, namespace="models", name="emotion"))
        endpoints = stack.enter_context(EndpointRecorder(api, namespace="models", service="emotion"))
        stage = UpgradeStage(cluster, api, record)
        record.until(lambda status: "reachedAt" in status.get("step", {}), seconds=90, what="the first step")
        assert stage.lost() == {"failed": 0, "skipped": 0}
        shell("\n".join([*set_before, upgrade]), dist, environment)
        manifest, _ = archived(dist, "operator")
        stage.only(f"{REPOSITORY}/operator@{manifest}")
        stage.next_step()
        shell(rollback, dist, environment)
        stage.only(old)
        stage.next_step()
        record.until(lambda status: status["phase"] == "Succeeded", seconds=90, what="the end")
        time.sleep(5)  # the last pods of the old version drain
        assert stage.lost() == {"failed": 0, "skipped": 0}
    print(record.lasted(), record.phases())
    assert record.phases() <= {"Idle", "Validating", "Progressing", "Succeeded"}
    assert len(record.runs()) == 1
    assert record.order() == [*range(LAST + 1)]
    assert all(len({step.started for step in steps}) == 1 for steps in record.steps().values())
    assert all(seconds >= STEP_SECONDS for seconds in record.lasted().values()), record.lasted()
    assert min(reading.total for reading in endpoints.readings) >= REPLICAS
