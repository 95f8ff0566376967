"""A real Prometheus for a test: Debian's binary (or the one in PATH), its own directory and port, ended with
the test."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.support.cluster_tool import ensure_program
from tests.support.exporter import Exporter


def free_port() -> int:
    """A port on loopback that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def program(name: str = "prometheus") -> str:
    """Path of `prometheus` or `promtool`, installed from Debian where it is missing."""
    return str(ensure_program(name, "prometheus"))


def scrape_config(
    exporter: Exporter, *, scrape_interval: float, per_pod_targets: bool, extra: str = ""
) -> str:
    """Prometheus configuration that scrapes the exporter.

    `per_pod_targets`: every pod is a target of its own with its own scrape phase, found within about 10 s;
    else one page has them all and a new pod shows at the next scrape.
    """
    address = f"127.0.0.1:{exporter.port}"
    if per_pod_targets:
        source = f'http_sd_configs: [{{url: "http://{address}/sd", refresh_interval: 1s}}]'
    else:
        source = f'static_configs: [{{targets: ["{address}"]}}]'
    milliseconds = round(scrape_interval * 1000)
    return (
        f"global: {{scrape_interval: {milliseconds}ms, scrape_timeout: {milliseconds}ms}}\n"
        f"scrape_configs:\n- job_name: models\n  honor_labels: true\n  {source}\n{extra}"
    )


@dataclass
class Prometheus:
    """A running server; a context manager that ends it and removes its data."""

    directory: Path
    port: int
    arguments: tuple[str, ...] = ()
    process: subprocess.Popen[bytes] | None = None

    @classmethod
    def start(
        cls,
        *,
        exporter: Exporter | None = None,
        scrape_interval: float = 1.0,
        per_pod_targets: bool = False,
        config: str | None = None,
        arguments: tuple[str, ...] = (),
    ) -> Self:
        """Start and wait until ready. `config` replaces the one made for `exporter`."""
        directory = Path(tempfile.mkdtemp(prefix="prometheus-"))
        if config is None and exporter is not None:
            config = scrape_config(exporter, scrape_interval=scrape_interval, per_pod_targets=per_pod_targets)
        (directory / "prometheus.yml").write_text(config or "global: {scrape_interval: 15s}\n")
        self = cls(directory=directory, port=free_port(), arguments=arguments)
        self.run()
        return self

    @property
    def url(self) -> str:
        """Base address on loopback."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def data(self) -> Path:
        """Directory of the time series database."""
        return self.directory / "data"

    def run(self) -> None:
        """Start the process (again) on the same port and data, and wait until it is ready."""
        log = (self.directory / "log").open("ab")
        command = [
            program(),
            f"--config.file={self.directory / 'prometheus.yml'}",
            f"--storage.tsdb.path={self.data}",
            "--storage.tsdb.retention.time=10y",
            f"--web.listen-address=127.0.0.1:{self.port}",
            "--web.enable-lifecycle",
            "--web.enable-admin-api",
            "--log.level=warn",
            *self.arguments,
        ]
        with log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        self._wait_ready()

    def _wait_ready(self, timeout: float = 30.0) -> None:
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            assert self.process is not None
            assert self.process.poll() is None, f"prometheus ended: {(self.directory / 'log').read_text()}"
            try:
                with urllib.request.urlopen(f"{self.url}/-/ready", timeout=1):
                    return
            except OSError:
                time.sleep(0.05)
        raise AssertionError(
            f"prometheus was not ready after {timeout} s: {(self.directory / 'log').read_text()}"
        )

    def stop(self) -> None:
        """End the process and keep its data; `run` starts it again."""
        if self.process is not None:
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
            self.process = None

    def pause(self) -> None:
        """Freeze the process: connections are accepted by the kernel, nothing is answered."""
        assert self.process is not None
        os.kill(self.process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Go on after `pause`."""
        assert self.process is not None
        os.kill(self.process.pid, signal.SIGCONT)

    def reload(self, config: str) -> None:
        """Take another configuration."""
        (self.directory / "prometheus.yml").write_text(config)
        request = urllib.request.Request(f"{self.url}/-/reload", method="POST")
        with urllib.request.urlopen(request, timeout=10):
            pass

    def query(self, promql: str, *, at: float | None = None) -> list[dict[str, Any]]:
        """The result list of an instant query, asked without any of the project's code."""
        form = {"query": promql} | ({} if at is None else {"time": repr(at)})
        body = urllib.parse.urlencode(form).encode()
        try:
            with urllib.request.urlopen(f"{self.url}/api/v1/query", data=body, timeout=30) as answer:
                result: list[dict[str, Any]] = json.load(answer)["data"]["result"]
                return result
        except urllib.error.HTTPError as error:
            with error:
                raise AssertionError(f"{promql}: {error.read().decode()}") from None

    def wait_for(self, promql: str, *, timeout: float = 20.0) -> list[dict[str, Any]]:
        """Wait until a query has any result, and return it."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            if result := self.query(promql):
                return result
            time.sleep(0.05)
        raise AssertionError(f"nothing came of {promql} within {timeout} s")

    def cpu_seconds(self) -> float:
        """CPU time the process has used so far."""
        assert self.process is not None
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def close(self) -> None:
        """End the process and remove its data."""
        self.stop()
        shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
