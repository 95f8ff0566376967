"""kind: pods talk through Services and DNS, images arrive, and nothing is left, also after kill -9."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from devcluster import baseimages, docker, kindcluster
from devcluster.cleanup import mounts_below
from devcluster.errors import CommandError, UnknownImageError
from devcluster.kindcluster import KindCluster
from devcluster.paths import repository_root
from devcluster.processes import marked, run

pytestmark = pytest.mark.timeout(900)

SERVE = """
import http.server, socket
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(f"from {socket.gethostname()}".encode())
http.server.ThreadingHTTPServer(("", 8000), Handler).serve_forever()
"""
ASK = "import sys, urllib.request; print(urllib.request.urlopen(sys.argv[1], timeout=5).read().decode())"


@pytest.fixture(scope="module")
def base(kind_cluster: KindCluster) -> str:
    """An image with Python, in every node."""
    reference = baseimages.python(kind_cluster.docker, "python:3.12-slim")
    kind_cluster.load_images(reference)
    return reference


@pytest.fixture(scope="module")
def answering(kind_cluster: KindCluster, base: str) -> Any:
    """The name of a namespace with two pods that answer behind the Service `answer`."""
    name = "devcluster-answer"
    kind_cluster.kubectl("create", "namespace", name)
    container = {
        "name": "c",
        "image": base,
        "imagePullPolicy": "Never",
        "command": ["python3", "-uc", SERVE],
        "readinessProbe": {"httpGet": {"path": "/", "port": 8000}, "periodSeconds": 1},
    }
    spec = {"containers": [container], "terminationGracePeriodSeconds": 0}
    kind_cluster.apply(
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "answer"},
            "spec": {
                "replicas": 2,
                "selector": {"matchLabels": {"app": "answer"}},
                "template": {"metadata": {"labels": {"app": "answer"}}, "spec": spec},
            },
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "answer"},
            "spec": {"selector": {"app": "answer"}, "ports": [{"port": 80, "targetPort": 8000}]},
        },
        namespace=name,
    )
    kind_cluster.wait("condition=Available", "deployment/answer", "-n", name, timeout=120)
    first, *_ = pod_names(kind_cluster, name)
    deadline = time.monotonic() + 30
    while True:  # kube-proxy programs what is available a moment later
        try:
            kind_cluster.exec(
                first, "python3", "-c", ASK, f"http://answer.{name}.svc.cluster.local/", namespace=name
            )
            break
        except CommandError:
            assert time.monotonic() < deadline, (
                "the Service does not answer 30 s after its pods are available"
            )
            time.sleep(0.5)
    yield name
    kind_cluster.kubectl("delete", "namespace", name, "--wait=false")


def pod_names(cluster: KindCluster, namespace: str) -> list[str]:
    return [item["metadata"]["name"] for item in cluster.get("pods", "-n", namespace)["items"]]


def test_pods_talk_through_a_service_found_by_dns(kind_cluster: KindCluster, answering: str) -> None:
    first, *_ = pods = pod_names(kind_cluster, answering)
    url = f"http://answer.{answering}.svc.cluster.local/"
    answers = {
        kind_cluster.exec(first, "python3", "-c", ASK, url, namespace=answering).strip() for _ in range(12)
    }
    assert answers <= {f"from {pod}" for pod in pods}
    assert len(answers) == 2, (
        "twelve requests through a Service reach both of its pods, but once in 2,000 runs"
    )


def test_port_forward_reaches_a_pod_from_this_machine(kind_cluster: KindCluster, answering: str) -> None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with (
        kind_cluster.port_forward("service/answer", 80, namespace=answering) as port,
        opener.open(f"http://127.0.0.1:{port}/", timeout=10) as response,
    ):
        assert response.read().decode().startswith("from answer-")


def test_exec_takes_input_and_logs_are_read(kind_cluster: KindCluster, answering: str) -> None:
    pod = pod_names(kind_cluster, answering)[0]
    assert kind_cluster.exec(pod, "cat", namespace=answering, stdin="hello") == "hello"
    assert "GET" in kind_cluster.logs(pod, namespace=answering)


def test_a_built_image_runs_in_the_cluster(kind_cluster: KindCluster, base: str) -> None:
    programs = baseimages.prometheus(kind_cluster.docker, "prom/prometheus:v2.53.0")
    assert baseimages.prometheus(kind_cluster.docker, "prom/prometheus:v2.53.0") == programs
    built = f"devcluster-test/prometheus:{programs.rpartition(':')[2]}"
    dockerfile = (
        f"FROM {programs} AS programs\nFROM {base}\nCOPY --from=programs /bin/prometheus /prometheus\n"
    )
    dockerfile += 'ENTRYPOINT ["/prometheus"]\n'
    kind_cluster.docker.run("build", "-t", built, "-", stdin=dockerfile, timeout=120)
    kind_cluster.load_images(built)
    began = time.monotonic()
    kind_cluster.load_images(built)
    assert time.monotonic() - began < 5, "an image that every node has is not copied again"
    kind_cluster.kubectl(
        "run",
        "version",
        "--quiet",
        "--restart=Never",
        "--image-pull-policy=Never",
        f"--image={built}",
        "--",
        "--version",
        timeout=120,
    )
    try:  # its log, not its output: it may be over before anybody is attached
        kind_cluster.wait("jsonpath={.status.phase}=Succeeded", "pod/version", timeout=60)
        assert "prometheus, version" in kind_cluster.kubectl("logs", "version")
    finally:
        kind_cluster.kubectl("delete", "pod", "version", "--wait=false")


def test_an_image_nobody_has_is_one_sentence(kind_cluster: KindCluster) -> None:
    with pytest.raises(UnknownImageError, match="has no image modelrollout/nothing:1; build it by"):
        kind_cluster.load_images("modelrollout/nothing:1")


def test_up_of_a_running_cluster_returns_it_at_once(kind_cluster: KindCluster) -> None:
    began = time.monotonic()
    again = KindCluster.up()
    assert again.server == kind_cluster.server
    assert time.monotonic() - began < 5


# --- nothing is left ----------------------------------------------------------------------------------------


@pytest.fixture
def secluded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind_cluster: KindCluster) -> Path:
    """State and a private daemon of the test's own, with what is built taken from the shared cache."""
    if not kind_cluster.docker.private:
        pytest.skip("the machine has a Docker daemon: there is no private one to clean up after")
    shared = docker.data_root().parent
    node = kind_cluster.node_image
    own = tmp_path / "cache"
    own.mkdir()
    for name in ("bin", "roots"):
        (own / name).symlink_to(shared / name)
    sender = kind_cluster.docker
    monkeypatch.setenv("MODELROLLOUT_CACHE", str(own))
    monkeypatch.setenv("MODELROLLOUT_STATE", str(tmp_path / "state"))
    # While it has the image only, the daemon is started to receive it and then ended again.
    receiver = docker.start_private()
    copy = f"docker save {node} | DOCKER_HOST={receiver.host} docker load"
    run(["sh", "-c", copy], env=sender.env, timeout=300)
    docker.stop_private()
    return tmp_path


def traces() -> dict[str, object]:
    """What containers leave on a machine."""
    return {
        "processes": [record.name for record in marked(docker.run_dir())],
        "directory": docker.run_dir().exists(),
        "mounts": mounts_below(docker.run_dir(), docker.data_root()),
        "interfaces": sorted(p.name for p in Path("/sys/class/net").iterdir()),
        "rules": re.sub(r"\[\d+:\d+\]|^#.*$", "", run(["iptables-save"], timeout=30), flags=re.MULTILINE),
        "namespaces": sorted(p.name for p in Path("/run/netns").glob("*")),
        "groups": sorted(Path("/sys/fs/cgroup").glob(f"*{docker.cgroup_parent()}")),
        "forwarding": Path("/proc/sys/net/ipv4/ip_forward").read_text(),
        "states": sorted(kindcluster.parent_dir().glob("*")),
    }


def tool(*arguments: str) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": str(repository_root() / "hack" / "devcluster" / "src")}
    return subprocess.Popen(
        [sys.executable, "-m", "devcluster", *arguments], env=environment, start_new_session=True
    )


def finished(process: subprocess.Popen[bytes]) -> int:
    return process.wait(timeout=400)


def wait_for_node(name: str) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        running = docker.private_if_running()
        if running and running.containers(label=f"io.x-k8s.kind.cluster={name}"):
            return
        time.sleep(0.2)
    raise AssertionError("kind created no node within 120 s")


def test_nothing_is_left_whatever_was_killed(secluded: Path) -> None:
    before = traces()
    killed = tool("kind-up", "--name", "crash")
    wait_for_node("crash")
    time.sleep(3)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    assert docker.private_if_running(), "the daemon outlives the tool"
    assert finished(tool("kind-down")) == 0
    assert traces() == before, "after kill -9 of the tool while it created the cluster"

    assert finished(tool("kind-up", "--name", "crash")) == 0
    daemon = next(r for r in marked(docker.run_dir()) if r.name == "dockerd")
    os.kill(daemon.pid, signal.SIGKILL)
    assert finished(tool("kind-up", "--name", "crash")) == 0, "up after the daemon was killed"
    cluster = KindCluster.attach("crash")
    assert cluster is not None
    assert cluster.get("nodes")["items"][0]["metadata"]["name"] == "crash-control-plane"

    began = time.monotonic()
    assert finished(tool("kind-down")) == 0
    assert time.monotonic() - began < 30
    assert traces() == before, "after an ordinary life"
