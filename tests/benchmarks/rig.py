"""What every benchmark of the operator stands on: a real control plane with fake nodes, a real Prometheus,
a real page of metrics, and the operator as a process that can be killed."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.support.cluster_tool import ControlPlane
from tests.support.crd import install
from tests.support.prometheus import Prometheus

ROOT = Path(__file__).resolve().parents[2]
NAMESPACE = "bench"
API = f"/apis/modelrollout.dev/v1alpha1/namespaces/{NAMESPACE}/modelrollouts"
TICK = os.sysconf("SC_CLK_TCK")


class MetricsPage:
    """A page in the Prometheus text format: for each pod a gauge and two counters that grow with time.

    `bad` is by Deployment, of which it shows one pod; `pod_of` gives that pod's name.
    """

    def __init__(self, pod_of: Callable[[str], str]) -> None:
        self.bad: dict[str, float] = {}
        self._pod_of = pod_of
        self._born = time.time()
        page = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = page.text().encode()
                self.send_response(200)
                self.send_header("Content-Type", "text/plain; version=0.0.4")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def text(self) -> str:
        """The page now."""
        age = time.time() - self._born
        lines = []
        for deployment, bad in list(self.bad.items()):
            labels = f'namespace="{NAMESPACE}",pod="{self._pod_of(deployment)}"'
            lines.append(f"bench_bad{{{labels}}} {bad}")
            lines.append(f'bench_requests_total{{{labels},code="200"}} {age * 50:.0f}')
            lines.append(f'bench_requests_total{{{labels},code="500"}} {age * 0.05:.0f}')
        return "\n".join(lines) + "\n"

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()


@dataclass
class OperatorProcess:
    """The operator as a process of its own."""

    rig: Rig
    identity: str = "operator-0"
    leader_election: bool = False
    port: int = 0
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> Self:
        """Start it and return at once."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        environment = os.environ | {
            "KUBECONFIG": str(self.rig.control_plane.kubeconfig),
            "POD_NAME": self.identity,
            "POD_NAMESPACE": "default",
            "MODELROLLOUT_PROMETHEUS_URL": self.rig.prometheus.url,
            "MODELROLLOUT_LEADER_ELECTION": str(self.leader_election).lower(),
            "MODELROLLOUT_HOST": "127.0.0.1",
            "MODELROLLOUT_PORT": str(self.port),
            "PYTHONPATH": str(ROOT / "operator/src"),
        }
        log = (self.rig.directory / f"{self.identity}.log").open("ab")
        with log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "modelrollout.operator"], env=environment, stdout=log, stderr=log
            )
        return self

    def kill(self) -> None:
        """SIGKILL: no chance to tidy up."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def wait_ready(self, timeout: float = 60) -> None:
        """Wait until /readyz answers 200."""
        wait_until(lambda: self._get("/readyz") is not None, timeout, "the operator to be ready")

    def metrics(self) -> dict[str, float]:
        """Every sample of its /metrics: name with labels -> value."""
        samples = {}
        for line in (self._get("/metrics") or "").splitlines():
            if line and not line.startswith("#"):
                name, _, value = line.rpartition(" ")
                samples[name] = float(value)
        return samples

    def _get(self, path: str) -> str | None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
                return str(answer.read().decode())
        except OSError:
            return None

    def cpu_seconds(self) -> float:
        """CPU time used since its start."""
        assert self.process is not None
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICK

    def rss_mib(self) -> float:
        """Resident memory now, MiB."""
        assert self.process is not None
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS"):
                return int(line.split()[1]) / 1024
        raise AssertionError("no VmRSS: the operator is gone")


@dataclass
class Rig:
    """Everything a benchmark needs; a context manager that removes it."""

    scrape_interval: float = 1.0
    directory: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="bench-")))
    stack: ExitStack = field(default_factory=ExitStack)
    operators: list[OperatorProcess] = field(default_factory=list)
    _sets: dict[str, str] = field(default_factory=dict)

    def __enter__(self) -> Self:
        self.control_plane = self.stack.enter_context(ControlPlane.start(scheduler=True, kwok_nodes=40))
        self.page = MetricsPage(self._pod_of)
        self.stack.callback(self.page.close)
        self.prometheus = self.stack.enter_context(Prometheus.start(config=self._scrape()))
        install(self.control_plane)
        self.create("/api/v1/namespaces", {"kind": "Namespace", "metadata": {"name": NAMESPACE}})
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for operator in self.operators:
            if operator.process is not None and operator.process.poll() is None:
                operator.kill()
        if error is not None:
            for log in self.directory.glob("*.log"):
                print(
                    f"--- end of {log.name}\n" + "\n".join(log.read_text().splitlines()[-15:]),
                    file=sys.stderr,
                )
        self.stack.close()

    def _scrape(self) -> str:
        every = f"{self.scrape_interval:g}s"
        return (
            f"global: {{scrape_interval: {every}, scrape_timeout: {every}}}\n"
            "scrape_configs:\n- job_name: bench\n  honor_labels: true\n"
            f'  static_configs: [{{targets: ["127.0.0.1:{self.page.port}"]}}]\n'
        )

    def operator(self, identity: str = "operator-0", *, leader_election: bool = False) -> OperatorProcess:
        """Start an operator and wait until it is ready."""
        operator = OperatorProcess(rig=self, identity=identity, leader_election=leader_election).start()
        self.operators.append(operator)
        operator.wait_ready()
        return operator

    # -- the cluster ---------------------------------------------------------------------------------------

    def create(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """POST an object; fails with what the API server said."""
        return self._call("POST", path, body)

    def get(self, path: str) -> dict[str, Any]:
        """GET an object or a list."""
        return self._call("GET", path)

    def patch(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Merge-patch an object."""
        return self._call("PATCH", path, body, content_type="application/merge-patch+json")

    def delete(self, path: str) -> None:
        """DELETE an object."""
        self._call("DELETE", path)

    def _call(
        self, method: str, path: str, body: dict[str, Any] | None = None, **more: Any
    ) -> dict[str, Any]:
        code, text = self.control_plane.request(method, path, body, timeout=30, **more)
        assert code < 400, f"{method} {path}: {code} {text[:400]}"
        answer: dict[str, Any] = json.loads(text)
        return answer

    def rollout(self, name: str, *, replicas: int, steps: Sequence[dict[str, Any]], **spec: Any) -> None:
        """A Service, two Deployments (stable full, candidate at zero) and a ModelRollout between them."""
        labels = {"app": name}
        self.create(
            f"/api/v1/namespaces/{NAMESPACE}/services",
            {
                "kind": "Service",
                "metadata": {"name": name},
                "spec": {"selector": labels, "ports": [{"port": 80}]},
            },
        )
        for version, count in (("a", replicas), ("b", 0)):
            self.create(
                f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments",
                deployment(f"{name}-{version}", labels, version, count),
            )
        self.page.bad[f"{name}-b"] = self.page.bad[f"{name}-a"] = 0.0
        self.create(
            API,
            {
                "apiVersion": "modelrollout.dev/v1alpha1",
                "kind": "ModelRollout",
                "metadata": {"name": name},
                "spec": {
                    "replicas": replicas,
                    "service": name,
                    "stable": {"deployment": f"{name}-a"},
                    "candidate": {"deployment": f"{name}-b"},
                    "steps": list(steps),
                    **spec,
                },
            },
        )

    def _pod_of(self, deployment: str) -> str:
        """A name that a pod of the Deployment could have: its ReplicaSet's and five characters."""
        if deployment not in self._sets:
            for item in self.get(f"/apis/apps/v1/namespaces/{NAMESPACE}/replicasets")["items"]:
                self._sets[item["metadata"]["ownerReferences"][0]["name"]] = item["metadata"]["name"]
        return f"{self._sets.get(deployment, deployment)}-bench"

    def set_bad(self, name: str, value: float) -> None:
        """What the candidate of a rollout reports from now on."""
        self.page.bad[f"{name}-b"] = value

    def status(self, name: str) -> dict[str, Any]:
        """Its status."""
        status: dict[str, Any] = self.get(f"{API}/{name}").get("status") or {}
        return status

    def statuses(self) -> dict[str, dict[str, Any]]:
        """Status of every rollout by name."""
        return {item["metadata"]["name"]: item.get("status") or {} for item in self.get(API)["items"]}

    def candidate_endpoints(self, name: str) -> int:
        """Ready candidate addresses in the Service's EndpointSlices."""
        path = f"/apis/discovery.k8s.io/v1/namespaces/{NAMESPACE}/endpointslices"
        slices = self.get(f"{path}?labelSelector=kubernetes.io/service-name%3D{name}")["items"]
        return sum(
            1
            for item in slices
            for endpoint in item.get("endpoints") or []
            if endpoint.get("conditions", {}).get("ready")
            and endpoint["targetRef"]["name"].startswith(f"{name}-b-")
        )

    def bad_is_visible(self, name: str) -> bool:
        """Whether Prometheus already answers with the bad value."""
        result = self.prometheus.query(f'bench_bad{{pod="{self._pod_of(f"{name}-b")}"}} > 0')
        return bool(result)

    def wait_at_weight(self, name: str, timeout: float = 60) -> None:
        """Wait until the first step's weight is observed."""
        wait_until(
            lambda: bool((self.status(name).get("step") or {}).get("reachedAt")), timeout, f"{name} at weight"
        )

    def prometheus_requests(self) -> float:
        """Query requests Prometheus has answered, by its own page (not by a query, which would add one)."""
        with urllib.request.urlopen(f"{self.prometheus.url}/metrics", timeout=10) as answer:
            page = answer.read().decode()
        return sum(
            float(line.rsplit(" ", 1)[1])
            for line in page.splitlines()
            if line.startswith("prometheus_http_requests_total") and 'handler="/api/v1/query' in line
        )

    def api_requests(self) -> Counter[tuple[str, str]]:
        """Requests the API server has answered by (verb, resource), of what the operator reads and writes."""
        code, text = self.control_plane.request("GET", "/metrics", timeout=30)
        assert code == 200, text[:200]
        found: Counter[tuple[str, str]] = Counter()
        for line in text.splitlines():
            if line.startswith("apiserver_request_total{"):
                labels = dict(
                    part.split("=", 1)
                    for part in line[len("apiserver_request_total{") :].split("}")[0].split(",")
                )
                resource, verb = labels.get("resource", "").strip('"'), labels.get("verb", "").strip('"')
                if resource in RESOURCES and verb != "WATCH":
                    found[(verb, resource)] += int(float(line.rsplit(" ", 1)[1]))
        return found


RESOURCES = frozenset(
    {
        "modelrollouts",
        "deployments",
        "endpointslices",
        "services",
        "jobs",
        "events",
        "horizontalpodautoscalers",
        "pods",
    }
)


def deployment(name: str, labels: dict[str, str], version: str, replicas: int) -> dict[str, Any]:
    """A Deployment whose pods only need to look ready."""
    labels = labels | {"version": version}
    return {
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    "terminationGracePeriodSeconds": 0,
                    "containers": [{"name": "model", "image": "model:bench"}],
                    "tolerations": [{"operator": "Exists"}],
                },
            },
        },
    }


def criterion(**more: Any) -> dict[str, Any]:
    """The criterion that the benchmarks turn bad."""
    return {"name": "bad", "query": 'max(bench_bad{pod=~"${candidatePods}"})', "max": 0} | more


def three_criteria() -> list[dict[str, Any]]:
    """Three criteria as a rollout of a service usually has them."""
    ratio = (
        'sum(rate(bench_requests_total{pod=~"${candidatePods}",code=~"5.."}[1m])) / '
        'sum(rate(bench_requests_total{pod=~"${candidatePods}"}[1m]))'
    )
    traffic = 'sum(rate(bench_requests_total{pod=~"${candidatePods}"}[1m]))'
    return [
        criterion(),
        {"name": "errors", "query": ratio, "max": 0.05},
        {"name": "traffic", "query": traffic, "min": 1},
    ]


def wait_until(reached: Callable[[], bool], timeout: float, what: str, *, every: float = 0.02) -> float:
    """Wait for something; AssertionError with what was waited for if it does not come."""
    started = time.monotonic()
    while time.monotonic() - started < timeout:
        with suppress(OSError):
            if reached():
                return time.monotonic() - started
        time.sleep(every)
    raise AssertionError(f"waited {timeout:.0f} s in vain for {what}")


def pause_within(period: float, number: int, of: int) -> None:
    """Sleep so that `of` runs spread over a whole period of ticks: each falls at random into its own share.

    Eight delays drawn from the whole period have a median that says more of the draw than of the operator;
    stratified ones have the same mean and nearly all of the period.
    """
    time.sleep(0.2 + period * (number + random.random()) / of)


@contextmanager
def progress(what: str) -> Iterator[None]:
    """Say what is being measured and how long it took."""
    started = time.monotonic()
    print(f"▸ {what} …", flush=True)
    yield
    print(f"✓ {what} ({time.monotonic() - started:.0f} s)", flush=True)
