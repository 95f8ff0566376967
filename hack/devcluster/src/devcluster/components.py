"""The programs of a control plane: with which flags, in which order, and when they are ready."""

from __future__ import annotations

import json
import time
from pathlib import Path

from devcluster import kwok, tools
from devcluster.cluster import Cluster
from devcluster.errors import NotReadyError
from devcluster.pki import Authority, KeyPair, Request, token_key, write_kubeconfig
from devcluster.ports import LOOPBACK, free_ports
from devcluster.processes import tail
from devcluster.statefile import ClusterState

SERVICE_RANGE = "10.201.0.0/16"
_SERVICE_IP = "10.201.0.1"
_CLIENTS = (
    Request("admin", "admin", ("system:masters",)),
    Request("controller-manager", "system:kube-controller-manager"),
    Request("scheduler", "system:kube-scheduler"),
    Request("kwok", "kwok", ("system:masters",)),
)
_SERVER_NAMES = (
    f"IP:{LOOPBACK}",
    f"IP:{_SERVICE_IP}",
    "DNS:localhost",
    "DNS:kubernetes",
    "DNS:kubernetes.default",
    "DNS:kubernetes.default.svc",
    "DNS:kubernetes.default.svc.cluster.local",
)


class Starter:
    """Starts the components of one control plane in the order in which they need each other."""

    def __init__(self, state: ClusterState, port: int | None) -> None:
        """`port` is the API server's, or None for any free one."""
        self.state = state
        self.directory = state.directory
        self.api_port, self.etcd_port, self.peer_port, self.manager_port, self.scheduler_port = free_ports(5)
        self.api_port = port or self.api_port
        self.server = f"https://{LOOPBACK}:{self.api_port}"
        self.pairs: dict[str, KeyPair] = {}

    def run(self, *, scheduler: bool, kwok_nodes: int) -> None:
        """Start everything and wait until it works; NotReadyError names what did not."""
        self._etcd()
        self._certificates()
        cluster = Cluster(name=self.state.name, kubeconfig=self.directory / "kubeconfig")
        self._apiserver()
        self._wait(cluster)
        self._controller_manager()
        if scheduler:
            self._scheduler()
        if kwok_nodes:
            stage_file = kwok.write_stages(self.directory / "stages.yaml")
            self.state.spawn("kwok", [tools.kwok(), *kwok.arguments(self._kubeconfig("kwok"), stage_file)])
            kwok.create_nodes(cluster, kwok_nodes)
        self._wait_for_components(cluster, kwok_nodes)
        self.state.facts = {
            "ready": True,
            "server": self.server,
            "components": [r.name for r in self.state.processes],
        }
        self.state.save()

    def _etcd(self) -> None:
        peer = f"http://{LOOPBACK}:{self.peer_port}"
        self.state.spawn(
            "etcd",
            [
                tools.component("etcd"),
                "--name=default",
                f"--data-dir={self.directory}/etcd",
                f"--listen-client-urls={self._etcd_url}",
                f"--advertise-client-urls={self._etcd_url}",
                f"--listen-peer-urls={peer}",
                f"--initial-advertise-peer-urls={peer}",
                f"--initial-cluster=default={peer}",
                "--unsafe-no-fsync",  # its data need not outlive a power cut
                "--log-level=warn",
                "--quota-backend-bytes=2147483648",
                "--auto-compaction-retention=10m",
            ],
        )

    @property
    def _etcd_url(self) -> str:
        return f"http://{LOOPBACK}:{self.etcd_port}"

    def _certificates(self) -> None:
        authority = Authority(self.directory / "pki")
        self.pairs = authority.sign_all(
            [
                Request("apiserver", "kube-apiserver", alternative_names=_SERVER_NAMES),
                *_CLIENTS,
            ]
        )
        self.pairs["ca"] = authority.pair
        self.pairs["sa"] = token_key(authority.directory)
        self._kubeconfig("admin", self.directory / "kubeconfig")

    def _kubeconfig(self, client: str, path: Path | None = None) -> Path:
        return write_kubeconfig(
            path or self.directory / "pki" / f"{client}.kubeconfig",
            server=self.server,
            ca=self.pairs["ca"].certificate,
            client=self.pairs[client],
            context=self.state.name,
        )

    def _apiserver(self) -> None:
        serving, authority, token = self.pairs["apiserver"], self.pairs["ca"], self.pairs["sa"]
        self.state.spawn(
            "kube-apiserver",
            [
                tools.component("kube-apiserver"),
                f"--etcd-servers={self._etcd_url}",
                f"--bind-address={LOOPBACK}",
                f"--secure-port={self.api_port}",
                f"--advertise-address={LOOPBACK}",
                # Nothing runs in pods here, and a loopback address is not allowed as the endpoint of a
                # Service.
                "--endpoint-reconciler-type=none",
                f"--tls-cert-file={serving.certificate}",
                f"--tls-private-key-file={serving.key}",
                f"--client-ca-file={authority.certificate}",
                "--authorization-mode=Node,RBAC",
                f"--service-account-key-file={token.certificate}",
                f"--service-account-signing-key-file={token.key}",
                "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
                f"--service-cluster-ip-range={SERVICE_RANGE}",
                "--allow-privileged=true",
                "--profiling=false",
                f"--cert-dir={self.directory}/pki",
            ],
        )

    def _controller_manager(self) -> None:
        authority = self.pairs["ca"]
        self.state.spawn(
            "kube-controller-manager",
            [
                tools.component("kube-controller-manager"),
                *self._manager_flags("controller-manager", self.manager_port),
                f"--service-account-private-key-file={self.pairs['sa'].key}",
                f"--root-ca-file={authority.certificate}",
                f"--cluster-signing-cert-file={authority.certificate}",
                f"--cluster-signing-key-file={authority.key}",
                "--use-service-account-credentials=true",
                # Tests scale hundreds of Deployments at once; the default of 20 requests a second would be
                # measured.
                "--kube-api-qps=1000",
                "--kube-api-burst=2000",
            ],
        )

    def _scheduler(self) -> None:
        config = self.directory / "scheduler.json"
        config.write_text(
            json.dumps(
                {
                    "apiVersion": "kubescheduler.config.k8s.io/v1",
                    "kind": "KubeSchedulerConfiguration",
                    "clientConnection": {
                        "kubeconfig": str(self._kubeconfig("scheduler")),
                        "qps": 1000,
                        "burst": 2000,
                    },
                    "leaderElection": {"leaderElect": False},
                }
            )
        )
        flags = [
            f
            for f in self._manager_flags("scheduler", self.scheduler_port)
            if not f.startswith("--kubeconfig")
        ]
        self.state.spawn(
            "kube-scheduler",
            [
                tools.component("kube-scheduler"),
                f"--config={config}",
                *(f for f in flags if not f.startswith("--leader-elect")),
            ],
        )

    def _manager_flags(self, client: str, port: int) -> list[str]:
        kubeconfig, serving = self._kubeconfig(client), self.pairs["apiserver"]
        return [
            f"--kubeconfig={kubeconfig}",
            f"--authentication-kubeconfig={kubeconfig}",
            f"--authorization-kubeconfig={kubeconfig}",
            f"--bind-address={LOOPBACK}",
            f"--secure-port={port}",
            f"--tls-cert-file={serving.certificate}",
            f"--tls-private-key-file={serving.key}",
            "--leader-elect=false",
            "--profiling=false",
        ]

    def _wait(self, cluster: Cluster) -> None:
        deadline = time.monotonic() + 60
        while True:
            try:
                cluster.wait_for_api(timeout=1)
                return
            except NotReadyError as error:
                # One that has ended will not become ready: no need to wait out the minute.
                if time.monotonic() < deadline and all(r.alive() for r in self.state.processes):
                    continue
                raise NotReadyError(f"{error}\n{self._dead_or('kube-apiserver')}") from error

    def _dead_or(self, default: str) -> str:
        dead = [record.name for record in self.state.processes if not record.alive()]
        name = (dead or [default])[0]
        how = "ended by itself" if dead else "is running"
        return f"{name} {how}; the end of its log:\n{tail(self.state.log(name))}"

    def _wait_for_components(self, cluster: Cluster, kwok_nodes: int) -> None:
        """Wait until the controller manager made a service account and the fake nodes are Ready."""
        deadline = time.monotonic() + 60
        missing = "the service account default/default"
        while time.monotonic() < deadline:
            if cluster.request("GET", "/api/v1/namespaces/default/serviceaccounts/default")[0] == 200:
                ready = _ready_nodes(cluster) if kwok_nodes else 0
                if ready == kwok_nodes and all(record.alive() for record in self.state.processes):
                    return
                missing = f"{kwok_nodes} ready fake nodes ({ready} are)"
            time.sleep(0.05)
        raise NotReadyError(
            f"the control plane did not bring {missing} within 60 s; "
            f"{self._dead_or('kube-controller-manager')}"
        )


def _ready_nodes(cluster: Cluster) -> int:
    status, body = cluster.request("GET", "/api/v1/nodes")
    if status != 200:
        return 0
    conditions = [item.get("status", {}).get("conditions", []) for item in json.loads(body)["items"]]
    return sum(any(c["type"] == "Ready" and c["status"] == "True" for c in found) for found in conditions)
