"""Control planes: several at once, TLS verified, nothing left, also after the tool was killed."""

from __future__ import annotations

import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from devcluster import processes
from devcluster.cluster import Cluster
from devcluster.controlplane import ControlPlane, collect_orphans
from devcluster.errors import CommandError, ResourceError, UsageError
from devcluster.kwok import CRASH, EXIT_CODE, IMAGE_ERROR, NEVER_READY, READY_AFTER, RUN_FOR
from devcluster.paths import repository_root
from devcluster.statefile import ClusterState


def cli(state: Path, *args: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "devcluster", *args],
        env=environment(state) | more,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def environment(state: Path) -> dict[str, str]:
    source = str(repository_root() / "hack" / "cluster" / "src")
    return {**os.environ, "MODELROLLOUT_STATE": str(state), "PYTHONPATH": source, "PYTHONWARNINGS": "ignore"}


@pytest.fixture
def state(own_state: Path) -> Iterator[Path]:
    """Whatever a test leaves running is ended."""
    yield own_state
    cli(own_state, "down")


def of_state(state: Path) -> list[str]:
    """Names of every process of any cluster below a state directory."""
    marker = f"{processes.MARKER}={state}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if marker in (entry / "environ").read_bytes():
                    found.append((entry / "comm").read_text().strip())
            except OSError:
                continue
    return found


def test_two_at_once_do_not_know_each_other(state: Path) -> None:
    with ControlPlane.start(name="one") as one, ControlPlane.start(name="two") as two:
        assert one.server != two.server
        one.kubectl("create", "namespace", "only-in-one")
        assert one.get("namespace", "only-in-one")["metadata"]["name"] == "only-in-one"
        with pytest.raises(CommandError, match="not found"):
            two.kubectl("get", "namespace", "only-in-one")
        assert one.ca_file.read_text() != two.ca_file.read_text()
        stranger = json.loads(one.kubeconfig.read_text())
        stranger["clusters"][0]["cluster"]["server"] = two.server
        crossed = state / "crossed"
        crossed.write_text(json.dumps(stranger))
        with pytest.raises(CommandError, match="certificate signed by unknown authority"):
            Cluster(name="crossed", kubeconfig=crossed).kubectl("get", "namespaces")
    assert of_state(state) == []
    assert list((state / "control-planes").iterdir()) == []


def test_the_server_asks_for_a_client_and_shows_a_certificate_of_its_own_authority(
    control_plane: Cluster,
) -> None:
    if not isinstance(control_plane, ControlPlane):
        pytest.skip("an existing cluster has its own rules")
    trusting = ssl.create_default_context(cafile=str(control_plane.ca_file))
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=trusting)
    )
    with pytest.raises(urllib.error.HTTPError) as refused:
        opener.open(f"{control_plane.server}/api/v1/secrets", timeout=10)
    with refused.value:
        assert refused.value.code in {401, 403}
    with pytest.raises(urllib.error.URLError, match="CERTIFICATE_VERIFY_FAILED"):
        urllib.request.build_opener(urllib.request.ProxyHandler({})).open(control_plane.server, timeout=10)


def test_up_status_and_down_from_the_command_line(state: Path) -> None:
    up = cli(state, "up", "--kwok-nodes", "1")
    assert up.returncode == 0, up.stderr
    kubeconfig = up.stdout.strip().removeprefix("export KUBECONFIG=")
    assert (
        Cluster(name="dev", kubeconfig=Path(kubeconfig)).get("nodes")["items"][0]["metadata"]["name"]
        == "fake-0"
    )
    again = cli(state, "up")
    assert again.returncode == 0
    assert "already serving" in again.stderr
    assert again.stdout == up.stdout
    assert "kube-apiserver" in cli(state, "status").stdout
    assert cli(state, "down").returncode == 0
    assert of_state(state) == []
    assert "control plane" not in cli(state, "status").stdout


@pytest.mark.parametrize("moment", ["kube-apiserver", "kube-controller-manager"])
def test_kill_9_of_the_tool_while_it_starts_and_up_again(state: Path, moment: str) -> None:
    """Whenever it is killed, what it had started is found: by the next `up` and by `down`."""
    tool = subprocess.Popen(
        [sys.executable, "-m", "devcluster", "up"],
        env=environment(state),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    record = state / "control-planes" / "dev" / "state.json"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not (record.exists() and moment in record.read_text()):
        time.sleep(0.01)
    tool.send_signal(signal.SIGKILL)
    tool.wait()
    left = of_state(state / "control-planes" / "dev")
    assert "etcd" in left
    up = cli(state, "up")
    assert up.returncode == 0, up.stderr
    assert cli(state, "down").returncode == 0
    assert of_state(state / "control-planes" / "dev") == []


def test_up_again_after_every_component_was_killed(state: Path) -> None:
    """As after a reboot: the record is there, the processes are not."""
    assert cli(state, "up", "--kwok-nodes", "0").returncode == 0
    recorded = ClusterState.load(state / "control-planes" / "dev")
    assert len(recorded.running()) == 4
    for process in recorded.running():
        os.kill(process.pid, signal.SIGKILL)
    up = cli(state, "up", "--kwok-nodes", "0")
    assert up.returncode == 0, up.stderr
    assert len(ClusterState.load(state / "control-planes" / "dev").running()) == 4


def test_one_whose_owner_was_killed_goes_with_the_next_start(state: Path) -> None:
    start = "import time; from devcluster import ControlPlane; ControlPlane.start()"
    script = f"{start}; print('up', flush=True); time.sleep(60)"
    owner = subprocess.Popen(
        [sys.executable, "-c", script], env=environment(state), stdout=subprocess.PIPE, text=True
    )
    assert owner.stdout is not None
    with owner:
        assert owner.stdout.readline() == "up\n"
        owner.kill()
    (directory,) = (state / "control-planes").iterdir()
    assert len(of_state(directory)) == 3
    assert collect_orphans() == [directory.name]
    assert of_state(directory) == []
    assert not directory.exists()


def test_a_taken_port_starts_nothing(state: Path) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = str(listener.getsockname()[1])
        refused = cli(state, "up", "--port", port)
    assert refused.returncode == ResourceError.exit_code
    assert refused.stderr.startswith("error: the API server needs port ")
    assert refused.stderr.count("\n") == 1
    assert of_state(state) == []
    assert not (state / "control-planes").exists()


def test_a_component_that_dies_is_named_and_nothing_is_left(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assets = state / "assets"
    assets.mkdir(parents=True)
    (assets / "kube-apiserver").write_text("#!/bin/sh\necho no such flag; exit 7\n")
    (assets / "kube-apiserver").chmod(0o755)
    broken = cli(state, "up", KUBEBUILDER_ASSETS=str(assets))
    assert broken.returncode == 6
    assert "kube-apiserver ended" in broken.stderr
    assert "no such flag" in broken.stderr
    assert of_state(state) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["up", "--kwok-nodes", "-1"], "from 0 to 252, got -1"),
        (["up", "--name", "No_Name"], "a cluster's name is"),
        (["up", "--port", "70000"], "a port from 1 to 65535, got 70000"),
        (["load-image", "--name", "nothere", "x:1"], "no running kind cluster nothere"),
        (["kind-up", "--config", "/nonexistent.yaml"], "expected kind's configuration"),
    ],
)
def test_a_bad_argument_is_one_sentence_and_an_exit_code(
    state: Path, arguments: list[str], said: str
) -> None:
    refused = cli(state, *arguments)
    assert refused.returncode in {2, 4, 5}
    assert said in refused.stderr
    assert refused.stderr.count("\n") == 1
    assert "Traceback" not in refused.stderr
    assert of_state(state) == []


def test_a_name_in_use_is_refused(state: Path) -> None:
    with (
        ControlPlane.start(name="mine") as running,
        pytest.raises(UsageError, match="mine is already running"),
    ):
        ControlPlane.start(name=running.name)


def test_two_that_start_at_once_under_one_name_do_not_end_each_other(state: Path) -> None:
    commands = [
        subprocess.Popen(
            [sys.executable, "-m", "devcluster", "up", "--name", "same", "--kwok-nodes", "0"],
            env=environment(state),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    ends = [(command.communicate(timeout=240)[1], command.returncode) for command in commands]
    refused = [said for said, code in ends if code]
    assert all("same is already running; use it" in said for said in refused)
    assert len(refused) < 2
    running = ControlPlane.attach("same")
    assert running is not None
    running.wait_for_api(timeout=30)


def test_down_leaves_what_a_living_process_made_for_itself(state: Path) -> None:
    with ControlPlane.start(name="mine") as running:
        assert cli(state, "down").returncode == 0
        running.wait_for_api(timeout=10)
        assert "removed mine" in cli(state, "down", "--name", "mine").stderr
    assert of_state(state) == []


def deployment(name: str, annotations: dict[str, str]) -> dict[str, object]:
    template = {
        "metadata": {"labels": {"app": name}, "annotations": annotations},
        "spec": {"containers": [{"name": "c", "image": "none"}]},
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {"replicas": 2, "selector": {"matchLabels": {"app": name}}, "template": template},
    }


def job(name: str, annotations: dict[str, str]) -> dict[str, object]:
    spec = {"restartPolicy": "Never", "containers": [{"name": "c", "image": "none"}]}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name},
        "spec": {"backoffLimit": 0, "template": {"metadata": {"annotations": annotations}, "spec": spec}},
    }


def test_fake_pods_do_what_their_annotations_say(control_plane: Cluster, namespace: str) -> None:
    control_plane.apply(
        deployment("good", {}),
        deployment("slow", {READY_AFTER: "2s"}),
        deployment("never", {NEVER_READY: "true"}),
        deployment("crash", {CRASH: "true"}),
        deployment("image", {IMAGE_ERROR: "true"}),
        job("passes", {RUN_FOR: "1s"}),
        job("fails", {EXIT_CODE: "3"}),
        namespace=namespace,
    )
    control_plane.wait(
        "condition=Available", "deployment/good", "deployment/slow", "-n", namespace, timeout=60
    )
    control_plane.wait("condition=Complete", "job/passes", "-n", namespace, timeout=60)
    control_plane.wait("condition=Failed", "job/fails", "-n", namespace, timeout=60)

    def pods(selector: str) -> list[dict[str, object]]:
        return [
            item["status"] for item in control_plane.get("pods", "-n", namespace, "-l", selector)["items"]
        ]

    states = {name: pods(f"app={name}")[0]["containerStatuses"][0] for name in ("never", "crash", "image")}  # type: ignore[index]
    assert "running" in states["never"]["state"]
    assert states["never"]["ready"] is False
    assert states["crash"]["state"]["waiting"]["reason"] == "CrashLoopBackOff"
    assert states["image"]["state"]["waiting"]["reason"] == "ImagePullBackOff"
    assert pods("job-name=fails")[0]["containerStatuses"][0]["state"]["terminated"]["exitCode"] == 3  # type: ignore[index]
    addresses = [p["podIP"] for name in ("good", "slow", "never") for p in pods(f"app={name}")]
    assert len(set(addresses)) == 6

    control_plane.kubectl("annotate", "pod", "-l", "app=good", f"{NEVER_READY}=true", "-n", namespace)
    control_plane.wait("condition=Available=false", "deployment/good", "-n", namespace, timeout=30)
    control_plane.kubectl("annotate", "pod", "-l", "app=good", f"{NEVER_READY}-", "-n", namespace)
    control_plane.wait("condition=Available", "deployment/good", "-n", namespace, timeout=30)
    control_plane.kubectl("scale", "deployment/good", "--replicas=0", "-n", namespace)
    control_plane.wait("delete", "pod", "-l", "app=good", "-n", namespace, timeout=30)


def test_an_existing_cluster_is_used_where_asked(
    control_plane: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    from devcluster.cluster import existing

    monkeypatch.setenv("KUBECONFIG", str(control_plane.kubeconfig))
    assert existing().server == control_plane.server
    monkeypatch.setenv("KUBECONFIG", "/nonexistent")
    with pytest.raises(UsageError, match="KUBECONFIG names no file"):
        existing()


def test_given_programs_are_used_before_built_ones(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from devcluster import tools

    (tmp_path / "kubectl").touch(mode=0o755)
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(tmp_path))
    assert tools.kubectl() == tmp_path / "kubectl"
    assert tools.component("kube-scheduler").parent != tmp_path
