"""The operator as a real process: started, killed, restarted, its log and its metrics read."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from tests.support.faults import switch
from tests.support.preloaded import Preloaded

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 120.0
"""A bound for a machine that is busy with other tests; it takes 1 to 2 s on a quiet one."""


class OperatorFailedError(AssertionError):
    """The operator did not start, or ended; the tail of its log is in the message."""


class OperatorProcess:
    """One replica of the operator against a cluster, from this checkout.

    Args:
        kubeconfig: How it reaches the cluster.
        log: File that gets its log (appended, so that a restart keeps it).
        prometheus: Address of Prometheus; by default one where nobody listens.
        namespace: The only namespace it watches; None for all.
        pod_name: Its identity in the Lease; the same after `restart`.
        lease_namespace: Where the Lease is.
        environment: More environment variables. With a PYTHONPATH among them a new interpreter imports the
            operator (nearly a second of CPU); else a process that has imported it is forked.
    """

    def __init__(
        self,
        *,
        kubeconfig: Path,
        log: Path,
        prometheus: str = "http://127.0.0.1:9",
        namespace: str | None = None,
        pod_name: str = "operator-0",
        lease_namespace: str = "default",
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.log = log
        self._preloaded = "PYTHONPATH" not in (environment or {})
        self.port = _free_port()
        self._environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT / "operator" / "src"),
            "PYTHONUNBUFFERED": "1",
            "KUBECONFIG": str(kubeconfig),
            "POD_NAME": pod_name,
            "POD_NAMESPACE": lease_namespace,
            "MODELROLLOUT_PROMETHEUS_URL": prometheus,
            "MODELROLLOUT_NAMESPACES": namespace or "",
            "MODELROLLOUT_HOST": "127.0.0.1",
            "MODELROLLOUT_PORT": str(self.port),
            "MODELROLLOUT_LOG_FORMAT": "text",
            "MODELROLLOUT_LEASE_NAME": f"modelrollout-{namespace or 'all'}",
            **(environment or {}),
        }
        self._process: subprocess.Popen[bytes] | Preloaded | None = None
        self._lock = threading.RLock()  # a fault proxy crashes it from another thread
        self._wanted = False
        self._faults = switch.Between(kubeconfig, directory=log.parent, who=pod_name, crash=self.crash)

    def __enter__(self) -> OperatorProcess:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self._process is not None
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process is there."""
        with self._lock:
            return self._process is not None and self._process.poll() is None

    def rss_mib(self) -> float:
        """Resident memory, MiB."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) / 1024

    def start(self, *, wait_ready: bool = True) -> OperatorProcess:
        """Starts it and, unless told otherwise, waits until its caches are complete."""
        assert not self.running, "it runs already"
        self._environment["KUBECONFIG"] = str(self._faults.open())
        self._begin()
        if wait_ready:
            try:
                self.wait_ready()
            except BaseException:
                self.kill()  # nobody else would: a context that was not entered is not left
                raise
        return self

    def wait_ready(self, seconds: float = START_SECONDS) -> None:
        """Waits for /readyz."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if not self.running:
                raise OperatorFailedError(f"the operator ended at once:\n{self.tail()}")
            if self.get("/readyz")[0] == 200:
                return
            time.sleep(0.02)
        raise OperatorFailedError(f"the operator was not ready after {seconds} s:\n{self.tail()}")

    def wait_leading(self, seconds: float = START_SECONDS) -> None:
        """Waits until this replica is the one that acts."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self.leads():
                return
            time.sleep(0.05)
        raise OperatorFailedError(f"the operator did not become the leader in {seconds} s:\n{self.tail()}")

    def leads(self) -> bool:
        """Whether it acts now."""
        return self.metric("modelrollout_leader") == 1.0

    def stop(self, seconds: float = 30.0) -> int | None:
        """SIGTERM, and waits for the end. Returns the exit code (None if it did not run)."""
        return self._end(signal.SIGTERM, seconds)

    def kill(self) -> None:
        """kill -9."""
        self._end(signal.SIGKILL, 10.0)

    def crash(self) -> None:
        """kill -9, and started again at once as by the kubelet; nothing once the test has ended it."""
        with self._lock:
            if self._wanted and self._process is not None:
                self._process.kill()
                self._process.wait(10)
                self._begin()

    def suspend(self) -> None:
        """SIGSTOP: it hangs, as on a machine without CPU."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        os.kill(self.pid, signal.SIGCONT)

    def restart(self, *, kill: bool = False, wait_ready: bool = True) -> OperatorProcess:
        """Ends it (with kill -9 if asked) and starts it again with the same identity."""
        if kill:
            self.kill()
        else:
            self.stop()
        return self.start(wait_ready=wait_ready)

    def get(self, path: str) -> tuple[int, str]:
        """Status and body of an HTTP GET; status 0 while nobody listens."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def metric(self, name: str, **labels: str) -> float | None:
        """The sum of a metric's series with these labels; None if there is none."""
        found = [
            float(line.rsplit(" ", 1)[1])
            for line in self.get("/metrics")[1].splitlines()
            if re.match(rf"{re.escape(name)}(\{{|\s)", line)
            and all(f'{key}="{value}"' in line for key, value in labels.items())
        ]
        return sum(found) if found else None

    def tail(self, lines: int = 60) -> str:
        """The end of its log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def _begin(self) -> None:
        with self._lock:
            self._process = self._fork() if self._preloaded else self._run()
            self._wanted = True

    def _fork(self) -> Preloaded:
        return Preloaded("modelrollout.operator.main", self._environment, self.log)

    def _run(self) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as out:
            return subprocess.Popen(
                [sys.executable, "-m", "modelrollout.operator"],
                env=self._environment,
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
            )

    def _end(self, number: signal.Signals, seconds: float) -> int | None:
        with self._lock:
            self._wanted = False
            try:
                return self._ended(number, seconds)
            finally:
                self._faults.close()

    def _ended(self, number: signal.Signals, seconds: float) -> int | None:
        process = self._process
        if process is None or process.poll() is not None:
            return None if process is None else process.returncode
        process.send_signal(number)
        try:
            return process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)
            raise OperatorFailedError(
                f"the operator did not end within {seconds} s:\n{self.tail()}"
            ) from None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
