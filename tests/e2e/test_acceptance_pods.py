"""The scenarios with a star: real pods of the inference server under open-loop load in a kind cluster.

They stand on the demo's stage (Prometheus, charts, images, load), one after another on the same cluster.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from demo import manifests, scenario
from demo.builder import BuilderBackend
from demo.console import Narrator
from demo.endpoints import EndpointRecorder
from demo.lab import Lab, Options
from demo.play import Played, Player
from demo.proof import first_breach, measure
from demo.snapshot import Observer
from tests.support.cluster_tool import KindCluster, kind_cluster, project_images  # noqa: F401 - fixtures

pytestmark = pytest.mark.timeout(1800)
REPLICAS = 10
RATE = 40.0


@pytest.fixture(scope="module")
def lab(kind_cluster: KindCluster, project_images: dict[str, str]) -> Iterator[Lab]:  # noqa: F811
    """The demo's stage with version 1.0 serving everything."""
    options = Options(
        cluster=kind_cluster.directory.name, replicas=REPLICAS, rate=RATE, images=project_images
    )
    lab = Lab.build(options, Narrator(), BuilderBackend())
    yield lab
    lab.clear()  # its load would go on under the tests that follow
    lab.api.close()


@pytest.fixture
def endpoints(lab: Lab) -> Iterator[EndpointRecorder]:
    """Who gets the traffic, ten times a second."""
    with EndpointRecorder(lab.api, namespace=manifests.DEMO_NAMESPACE, service=scenario.ROLLOUT) as recorder:
        yield recorder


def change(lab: Lab, **spec: Any) -> None:
    """Merge-patches the spec of the rollout."""
    patch = json.dumps({"spec": spec})
    namespace = manifests.DEMO_NAMESPACE
    lab.cluster.kubectl("patch", "mro", scenario.ROLLOUT, "-n", namespace, "--type=merge", f"--patch={patch}")


def until(lab: Lab, check: Callable[[dict[str, Any]], Any], *, seconds: float, what: str) -> dict[str, Any]:
    """Waits until `check(status)` is true and returns the status."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        status = lab.rollout().get("status") or {}
        if check(status):
            return status
        time.sleep(0.2)
    raise AssertionError(f"not within {seconds:.0f} s: {what}; last seen {json.dumps(status)[:2000]}")


def lost(lab: Lab) -> int:
    """Requests that got no good answer so far."""
    return int(lab.load_counts()["failed"])


def at_weight(weight: int) -> Callable[[dict[str, Any]], bool]:
    """Whether a step's weight has been reached."""
    return lambda s: (s.get("step") or {}).get("weight") == weight and "reachedAt" in s["step"]


def test_scenario_03_at_20_per_cent_the_measured_share_is_what_sampling_allows(lab: Lab) -> None:
    change(lab, steps=[{"weight": 20, "duration": "1h"}, {"weight": 100}])
    lab.patch_candidate(f"{scenario.ROLLOUT}-{scenario.BETTER}")
    until(lab, at_weight(20), seconds=180, what="20 % reached")
    before = lab.load_counts()
    while (now := lab.load_counts())["ok"] - before["ok"] < 1000:
        time.sleep(0.5)
    total = now["ok"] - before["ok"]
    candidate = now["by_version"].get("1.1", 0) - before["by_version"].get("1.1", 0)
    deviation = math.sqrt(total * 0.2 * 0.8)
    assert abs(candidate - 0.2 * total) <= 4 * deviation, f"{candidate} of {total} at 20 %"
    assert now["failed"] == before["failed"]


def test_scenario_04_a_promotion_under_load_loses_no_request(lab: Lab, endpoints: EndpointRecorder) -> None:
    before = lost(lab)
    started = time.time()
    change(lab, steps=scenario.SPEC["steps"])
    status = until(lab, lambda s: s["phase"] in ("Succeeded", "RolledBack"), seconds=400, what="the end")
    assert status["phase"] == "Succeeded", status["message"]
    time.sleep(5)  # the last pods of the old version drain
    assert lost(lab) == before
    assert min(reading.total for reading in endpoints.since(started)) >= REPLICAS
    assert status["stable"] == f"{scenario.ROLLOUT}-{scenario.BETTER}"


def test_scenario_05_a_bad_model_loses_its_traffic_within_an_interval_of_its_for(
    lab: Lab, endpoints: EndpointRecorder
) -> None:
    act = next(act for act in scenario.ACTS if act.held_seconds)
    observer = Observer(lab)
    before, started, missing = observer.take(), time.time(), lost(lab)
    lab.patch_candidate(act.deployment)
    until(lab, lambda s: s["phase"] == "RolledBack", seconds=240, what="taken back")
    time.sleep(3)
    played = Played(act=act, before=before, after=observer.take(), started=started, ended=time.time())
    reaction = measure(lab, played, endpoints)
    interval = 1.0
    bad_since = first_breach(lab, played, counted=False)
    assert bad_since is not None
    assert reaction.gone_at - bad_since >= act.held_seconds - 0.1, "reverted before `for` was over"
    assert reaction.seconds <= act.held_seconds + interval + 10.0, f"{reaction.seconds:.1f} s"
    assert lab.rollout()["status"]["rollback"]["criterion"] == act.criterion
    assert lost(lab) == missing


def test_scenario_07_a_model_that_does_not_fit_its_encoder_is_taken_back(lab: Lab) -> None:
    act = next(act for act in scenario.ACTS if act.criterion == "dimension-mismatch")
    played = Player(lab, Narrator()).play(act)
    assert played.after.status["rollback"]["criterion"] == "dimension-mismatch"


def test_scenario_14_a_validation_that_fails_stops_the_run_with_the_end_of_its_log(lab: Lab) -> None:
    """Two of the inference server's own suites as Jobs, in a namespace that takes only restricted pods."""
    image, url = lab.images["inference-server"], "--url=$(CANDIDATE_URL)"
    suites = [
        {"name": "smoke", "args": ["validate", "smoke", url, "--threshold=0.01"]},
        {"name": "logs", "args": ["validate", "logs", url, "--at-least=READY", "--min-samples=1000000"]},
    ]
    change(lab, criteria=[], validations=[{"image": image, "timeout": "3m", **suite} for suite in suites])
    lab.patch_candidate(f"{scenario.ROLLOUT}-{scenario.UNSURE}")

    def both_over(status: dict[str, Any]) -> bool:
        states = {entry["state"] for entry in status.get("validations", ())}
        return status["phase"] == "Paused" and states <= {"Succeeded", "Failed"}

    status = until(lab, both_over, seconds=240, what="stopped by the validation")
    states = {entry["name"]: entry["state"] for entry in status["validations"]}
    assert states == {"smoke": "Succeeded", "logs": "Failed"}
    assert "Exit code 1" in status["message"]
    assert '"readiness": "NOT READY"' in status["message"], status["message"]
    assert status["weight"]["observed"] == 0
    change(lab, candidate={"deployment": f"{scenario.ROLLOUT}-{scenario.BETTER}"}, validations=[])
    until(lab, lambda s: s["phase"] == "Idle", seconds=60, what="called off")


def test_scenario_26_when_all_candidate_pods_crash_only_what_was_on_its_way_to_them_is_lost(
    lab: Lab,
    endpoints: EndpointRecorder,
    kind_cluster: KindCluster,  # noqa: F811
) -> None:
    name = f"{scenario.ROLLOUT}-{scenario.UNSURE}"
    change(
        lab, criteria=[], progressDeadline="30s", steps=[{"weight": 20, "duration": "1h"}, {"weight": 100}]
    )
    lab.patch_candidate(name)
    retry(lab)
    until(lab, at_weight(20), seconds=180, what="20 % reached")
    before = lost(lab)
    crashed = time.time()
    crash(lab, kind_cluster, name)
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and not any(r.ready[name] == 0 for r in endpoints.since(crashed)):
        time.sleep(0.05)
    gone = next(r.at for r in endpoints.since(crashed) if r.ready[name] == 0)
    time.sleep(3)
    window = gone - crashed + 1.0  # kube-proxy programs what the endpoints say within a second
    allowed = RATE * 0.2 * window
    failed = lost(lab) - before
    assert failed <= 2 * allowed + 5, f"{failed} lost, {allowed:.0f} were on their way in {window:.1f} s"
    lab.patch_candidate(lab.rollout()["status"]["stable"])
    until(lab, lambda s: s["phase"] == "Idle", seconds=120, what="aborted")
    settled = lost(lab)
    time.sleep(5)
    assert lost(lab) == settled, "requests are lost although stable serves everything"


def retry(lab: Lab) -> None:
    """What `kubectl modelrollout retry` writes."""
    command = json.dumps({"id": f"retry-{time.time_ns()}"[:64], "verb": "retry"})
    lab.cluster.kubectl(
        "annotate",
        "mro",
        scenario.ROLLOUT,
        "-n",
        manifests.DEMO_NAMESPACE,
        "--overwrite",
        f"modelrollout.dev/command={command}",
    )


def crash(lab: Lab, cluster: KindCluster, deployment: str) -> None:
    """Kills the processes of all pods of a Deployment from outside, as when memory is short."""
    pods = lab.api.items(f"/api/v1/namespaces/{manifests.DEMO_NAMESPACE}/pods")
    mine = [pod for pod in pods if pod["metadata"]["name"].rsplit("-", 2)[0] == deployment]
    assert mine
    for pod in mine:
        container = pod["status"]["containerStatuses"][0]["containerID"].removeprefix("containerd://")
        pid = cluster.docker.run(
            "exec", pod["spec"]["nodeName"], "crictl", "inspect", "-o", "go-template",
            "--template", "{{.info.pid}}", container,
        ).strip()  # fmt: skip
        cluster.docker.run("exec", pod["spec"]["nodeName"], "kill", "-9", pid)
