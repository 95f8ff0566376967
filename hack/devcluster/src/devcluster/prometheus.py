"""A Debian Prometheus server on a free port of loopback, for real queries over real scrapes."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlencode

import yaml

from devcluster import processes, tools
from devcluster.errors import NotReadyError
from devcluster.paths import state_dir
from devcluster.ports import LOOPBACK, free_ports
from devcluster.processes import ProcessRecord, tail
from devcluster.progress import step
from devcluster.statefile import ClusterState, all_states

Config = Mapping[str, Any]


def parent_dir() -> Path:
    """Return the directory that holds one directory for each server."""
    return state_dir() / "prometheus"


def scrape_config(
    targets: Mapping[str, Sequence[str]], *, interval: str = "1s", labels: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Return a configuration that scrapes `targets` (job name to `host:port` list) every `interval`.

    Each target gets the extra labels.
    """
    return {
        "global": {"scrape_interval": interval, "scrape_timeout": interval, "evaluation_interval": interval},
        "scrape_configs": [
            {"job_name": job, "static_configs": [{"targets": list(addresses), "labels": dict(labels or {})}]}
            for job, addresses in targets.items()
        ],
    }


@dataclass(frozen=True, kw_only=True)
class Prometheus:
    """A running server; leaving its `with` block removes it and its data."""

    url: str
    directory: Path

    @classmethod
    def start(cls, config: Config | str, *, port: int | None = None, timeout: float = 30) -> Self:
        """Start one with the given configuration (an object or YAML text) and wait until it is ready."""
        collect_orphans()
        program = tools.prometheus()
        directory = parent_dir() / f"prom-{os.getpid()}-{secrets.token_hex(3)}"
        directory.mkdir(parents=True, mode=0o700)
        state = ClusterState(directory, owner=ProcessRecord.of(os.getpid(), "owner"))
        state.save()
        server = cls(url=f"http://{LOOPBACK}:{port or free_ports(1)[0]}", directory=directory)
        try:
            server._write(config)
            with step("starting Prometheus"):
                server._spawn(program)
                server._wait_ready(timeout)
        except BaseException:
            state.destroy(grace_seconds=0.3)
            raise
        return server

    @property
    def config_file(self) -> Path:
        """The configuration file; files it names can be put beside it."""
        return self.directory / "prometheus.yml"

    def reload(self, config: Config | str) -> None:
        """Replace the configuration; NotReadyError with the server's reason if it refuses."""
        self._write(config)
        status, answer = self._http("POST", "/-/reload")
        if status != 200:
            raise NotReadyError(
                f"Prometheus refused the configuration {self.config_file} with {status}: {answer}"
            )

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Return the result of an instant query; NotReadyError with the server's reason if it errs."""
        status, answer = self._http("GET", "/api/v1/query?" + urlencode({"query": expression}))
        parsed = json.loads(answer)
        if status != 200:
            raise NotReadyError(
                f"Prometheus refused the query {expression!r} with {status}: {parsed.get('error', answer)}"
            )
        result: list[dict[str, Any]] = parsed["data"]["result"]
        return result

    def wait_for(self, expression: str, *, timeout: float = 30) -> list[dict[str, Any]]:
        """Return the result of a query as soon as it is not empty.

        The first scrape comes 5 to 10 s after the start.
        """
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            if result := self.query(expression):
                return result
            time.sleep(0.1)
        raise NotReadyError(f"the query {expression!r} at {self.url} was still empty after {timeout:.0f} s")

    def pause(self, *, kill: bool = False) -> None:
        """End the process but keep the data: Prometheus is gone until `resume`.

        `kill` spares it the goodbye.
        """
        state = ClusterState.load(self.directory)
        processes.stop(state.running(), grace_seconds=0 if kill else 10)

    def resume(self, *, timeout: float = 30) -> None:
        """Start it again on the same port and data."""
        self._spawn(tools.prometheus())
        self._wait_ready(timeout)

    def stop(self) -> list[str]:
        """End it and remove its data. Harmless when repeated."""
        return ClusterState.load(self.directory).destroy(grace_seconds=0.3)

    def __enter__(self) -> Self:
        """Nothing more to do: it was started."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop it."""
        self.stop()

    def _write(self, config: Config | str) -> None:
        self.config_file.write_text(config if isinstance(config, str) else yaml.safe_dump(dict(config)))

    def _spawn(self, program: Path) -> None:
        ClusterState.load(self.directory).spawn(
            "prometheus",
            [
                program,
                f"--config.file={self.config_file}",
                f"--storage.tsdb.path={self.directory}/data",
                f"--web.listen-address={self.url.removeprefix('http://')}",
                "--web.enable-lifecycle",
                "--web.enable-admin-api",
                "--storage.tsdb.retention.time=400d",
                "--log.level=warn",
            ],
        )

    def _wait_ready(self, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        log = ClusterState(self.directory).log("prometheus")
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                if self._http("GET", "/-/ready")[0] == 200:
                    return
            if not ClusterState.load(self.directory).running():
                break
            time.sleep(0.05)
        raise NotReadyError(
            f"Prometheus at {self.url} was not ready within {timeout:.0f} s; the end of its log:\n{tail(log)}"
        )

    def _http(self, method: str, path: str) -> tuple[int, str]:
        request = urllib.request.Request(self.url + path, method=method)
        # A proxy of the environment is not for loopback.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=10) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()


def collect_orphans() -> list[str]:
    """Remove the servers whose owner died without removing them; return their names."""
    removed = []
    for state in all_states(parent_dir()):
        if state.orphaned():
            state.destroy(grace_seconds=0.3)
            removed.append(state.name)
    return removed
