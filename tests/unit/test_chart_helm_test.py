"""The program of `helm test`, against a Service of two replicas."""

from __future__ import annotations

import itertools
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.support.charts import OPERATOR, ROOT


@contextmanager
def service(leader: Sequence[str]) -> Iterator[str]:
    """A server whose replicas answer in turn; `leader` has what each says of itself."""
    replicas = itertools.cycle(leader)

    class Replica(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            page = f"# TYPE modelrollout_leader gauge\nmodelrollout_leader {next(replicas)}\n"
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"ok" if self.path == "/readyz" else page.encode())

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Replica) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def helm_test(tmp_path: Path, leader: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Runs it as its pod does, but for a second instead of a minute, and with no Prometheus to ask."""
    settings = tmp_path / "prometheus.yaml"
    settings.write_text("{}")
    program = (OPERATOR / "files" / "helm_test.py").read_text()
    for there, here in (
        ("PATIENCE = 60.0", "PATIENCE = 1.0"),
        ("/etc/modelrollout/prometheus/prometheus.yaml", str(settings)),
    ):
        assert there in program
        program = program.replace(there, here)
    with service(leader) as url:
        return subprocess.run(
            [sys.executable, "-c", program],
            env={"OPERATOR": url, "PYTHONPATH": str(ROOT / "operator" / "src")},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )


def test_it_passes_once_the_replica_that_leads_has_answered(tmp_path: Path) -> None:
    done = helm_test(tmp_path, ["0.0", "0.0", "1.0"])
    assert done.returncode == 0, done.stderr
    assert "passed  one of its replicas leads" in done.stdout


def test_it_fails_if_nobody_leads(tmp_path: Path) -> None:
    done = helm_test(tmp_path, ["0.0"])
    assert done.returncode == 1, done.stdout
    assert "no replica holds the Lease" in done.stderr
