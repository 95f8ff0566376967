"""What every kind of cluster offers its user: a kubeconfig, kubectl, and a few calls built on them."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
import socket
import ssl
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from http.client import HTTPSConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from devcluster import kept, tools
from devcluster.errors import CommandError, NotReadyError, UsageError
from devcluster.ports import free_ports
from devcluster.processes import run

Manifest = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """A running cluster; `kubeconfig` verifies the server's certificate."""

    name: str
    kubeconfig: Path

    @property
    def server(self) -> str:
        """The API server's address, `https://host:port`."""
        return str(self._entry("clusters", "cluster")["server"])

    @property
    def env(self) -> dict[str, str]:
        """Environment for programs that read `KUBECONFIG`."""
        return {"KUBECONFIG": str(self.kubeconfig)}

    def kubectl(self, *args: str, stdin: str | bytes | None = None, timeout: float = 120) -> str:
        """Run kubectl against this cluster and return its standard output; CommandError if it fails."""
        return run([tools.kubectl(), "--kubeconfig", self.kubeconfig, *args], stdin=stdin, timeout=timeout)

    def get(self, *args: str) -> dict[str, Any]:
        """`kubectl get ARGS -o json`, parsed."""
        parsed: dict[str, Any] = json.loads(self.kubectl("get", *args, "-o", "json"))
        return parsed

    def apply(self, *manifests: str | Path | Manifest, namespace: str | None = None) -> str:
        """Server-side apply of YAML text, files, or objects; return what kubectl printed."""
        documents = "\n---\n".join(_text(manifest) for manifest in manifests)
        where = ["--namespace", namespace] if namespace else []
        return self.kubectl(
            "apply",
            "--server-side",
            "--force-conflicts",
            "--field-manager=devcluster",
            *where,
            "-f",
            "-",
            stdin=documents,
        )

    def wait(self, condition: str, *what: str, timeout: float = 120) -> str:
        """`kubectl wait --for=CONDITION WHAT...`, for at most `timeout` seconds."""
        return self.kubectl(
            "wait", f"--for={condition}", *what, f"--timeout={timeout:.0f}s", timeout=timeout + 15
        )

    def exec(
        self,
        pod: str,
        *command: str,
        namespace: str = "default",
        container: str | None = None,
        stdin: str | None = None,
        timeout: float = 60,
    ) -> str:
        """Run a command in a pod and return its standard output."""
        chosen = ["-c", container] if container else []
        flags = ["-i"] if stdin is not None else []
        return self.kubectl(
            "exec", *flags, "-n", namespace, pod, *chosen, "--", *command, stdin=stdin, timeout=timeout
        )

    def logs(self, pod: str, *args: str, namespace: str = "default") -> str:
        """Return a pod's log; more arguments go to `kubectl logs`."""
        return self.kubectl("logs", "-n", namespace, pod, *args)

    @contextlib.contextmanager
    def port_forward(
        self, target: str, port: int, *, namespace: str = "default", timeout: float = 30
    ) -> Iterator[int]:
        """Forward a free port of loopback to `port` of `target` (`pod/x`, `service/y`).

        Yields the local port.
        """
        local = free_ports(1)[0]
        with tempfile.TemporaryFile("w+") as said:
            process = subprocess.Popen(
                [
                    tools.kubectl(),
                    "--kubeconfig",
                    self.kubeconfig,
                    "port-forward",
                    "-n",
                    namespace,
                    target,
                    f"{local}:{port}",
                ],
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.STDOUT,
            )
            try:
                _wait_for_listener(local, process, said, timeout)
                yield local
            finally:
                process.terminate()
                process.wait(timeout=10)

    def request(
        self,
        method: str,
        path: str,
        body: Manifest | None = None,
        *,
        timeout: float = 10,
        content_type: str = "application/json",
    ) -> tuple[int, str]:
        """Send one HTTPS request with the kubeconfig's client certificate; return status code and body."""
        headers = {"Content-Type": content_type, "Accept": "application/json"}
        if method == "GET" and body is None:
            key = (self.server, str(self.kubeconfig), self.kubeconfig.stat().st_mtime_ns)
            return kept.read(key, lambda: self._connection(timeout), path, headers, timeout)
        with contextlib.closing(self._connection(timeout)) as connection:
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            response = connection.getresponse()
            return response.status, response.read().decode(errors="replace")

    def _connection(self, timeout: float) -> HTTPSConnection:
        address = urlsplit(self.server)
        return HTTPSConnection(
            address.hostname or "", address.port or 443, timeout=timeout, context=self.ssl_context()
        )

    def wait_for_api(self, *, timeout: float = 60) -> None:
        """Wait until /readyz answers `ok`; NotReadyError with the last answer otherwise."""
        deadline, last = time.monotonic() + timeout, "nothing"
        while time.monotonic() < deadline:
            try:
                status, last = self.request("GET", "/readyz")
                if status == 200 and last == "ok":
                    return
            except OSError as error:
                last = str(error)
            time.sleep(0.05)
        raise NotReadyError(
            f"the API server at {self.server} was not ready within {timeout:.0f} s; "
            f"its last answer was: {last}"
        )

    def _entry(self, section: str, kind: str) -> dict[str, Any]:
        config = _parsed(self.kubeconfig, self.kubeconfig.stat().st_mtime_ns)
        context = next(c["context"] for c in config["contexts"] if c["name"] == config["current-context"])
        entry: dict[str, Any] = next(e[kind] for e in config[section] if e["name"] == context[kind])
        return entry

    def ssl_context(self) -> ssl.SSLContext:
        """For TLS to the API server with the kubeconfig's own CA and client certificate."""
        cluster, user = self._entry("clusters", "cluster"), self._entry("users", "user")
        certificate = _embedded(user, "client-certificate", self.kubeconfig)
        if certificate is None:
            raise UsageError(
                f"{self.kubeconfig} has no client certificate; use kubectl() for this cluster, "
                "or a kubeconfig that has one"
            )
        key = _embedded(user, "client-key", self.kubeconfig) or b""
        authority = _embedded(cluster, "certificate-authority", self.kubeconfig)
        return _tls(authority, certificate + b"\n" + key)


@lru_cache(maxsize=64)
def _parsed(kubeconfig: Path, written: int) -> dict[str, Any]:  # noqa: ARG001 - a file written anew is read anew
    loaded: dict[str, Any] = yaml.safe_load(kubeconfig.read_text())
    return loaded


def _embedded(entry: Mapping[str, Any], key: str, kubeconfig: Path) -> bytes | None:
    """Return what a kubeconfig holds under `KEY-data`, or in the file that it names under `KEY`."""
    if data := entry.get(f"{key}-data"):
        return base64.b64decode(data)
    return (kubeconfig.parent / entry[key]).read_bytes() if entry.get(key) else None


@lru_cache(maxsize=64)
def _tls(authority: bytes | None, pair: bytes) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=authority.decode() if authority else None)
    # ssl loads a client certificate from files only.
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "client.pem"
        file.touch(mode=0o600)
        file.write_bytes(pair)
        context.load_cert_chain(file)
    return context


def existing(kubeconfig: Path | None = None) -> Cluster:
    """Return the cluster that `KUBECONFIG` (or the given file) names; UsageError if it does not answer."""
    given = kubeconfig or Path(os.environ.get("KUBECONFIG", "").split(os.pathsep)[0])
    if not given.is_file():
        raise UsageError(
            f"USE_EXISTING_CLUSTER is set and KUBECONFIG names no file (it is {str(given)!r}); "
            "set KUBECONFIG, or unset USE_EXISTING_CLUSTER to have a control plane started"
        )
    cluster = Cluster(name="existing", kubeconfig=given)
    try:
        cluster.kubectl("version", timeout=30)
    except CommandError as error:
        raise UsageError(f"the cluster of {given} does not answer: {error}") from error
    return cluster


def _text(manifest: str | Path | Manifest) -> str:
    if isinstance(manifest, Path):
        return manifest.read_text()
    return manifest if isinstance(manifest, str) else json.dumps(manifest)


def _wait_for_listener(port: int, process: subprocess.Popen[bytes], said: Any, timeout: float) -> None:
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.05)
    said.seek(0)
    raise NotReadyError(
        f"the port-forward did not listen on port {port} within {timeout:.0f} s: {said.read().strip()}"
    )


def checked_name(name: str) -> str:
    """Return the name itself, or UsageError.

    It becomes a directory, a context and part of container names.
    """
    if not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?", name):
        raise UsageError(
            f"a cluster's name is 1 to 40 of a-z, 0-9 and '-', starting and ending without '-'; got {name!r}"
        )
    return name


def node_names(cluster: Cluster) -> Sequence[str]:
    """Return the names of the cluster's nodes."""
    return [str(item["metadata"]["name"]) for item in cluster.get("nodes")["items"]]
