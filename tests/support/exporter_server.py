"""A model server's metrics without the model: an HTTP process whose series a test sets while Prometheus
scrapes it.

Standard library only, so that it also runs in a bare container. Paths:

- `GET /metrics`: every pod on one page, labelled `namespace` and `pod` (scrape with honor_labels), plus
  `up{namespace,pod}` as the scrape of that pod would give.
- `GET /metrics/<namespace>/<pod>`: one pod alone, for Prometheus to label as a target of its own.
- `GET /sd`: the pods as an http_sd document.
- `POST /control`: a JSON list of operations, applied in order under one lock (see `Store.apply`).
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Labels = tuple[tuple[str, str], ...]
PodKey = tuple[str, str]


@dataclass
class Series:
    """One series: `base` at `since`, growing by `rate` a second from then on.

    Attributes:
        alone, together: Its name and labels as text, on a page of its pod and on the page of all; made once.
    """

    alone: str = ""
    together: str = ""
    base: float = 0.0
    rate: float = 0.0
    since: float = field(default_factory=time.monotonic)

    def value(self, now: float) -> float:
        """The value at a monotonic time."""
        return self.base + self.rate * (now - self.since)

    def change(self, now: float, *, base: float | None = None, rate: float | None = None) -> None:
        """Set the value or the growth from `now` on; what is not given goes on as it was."""
        self.base = self.value(now) if base is None else base
        self.rate = self.rate if rate is None else rate
        self.since = now


class Store:
    """All pods and their series."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pods: dict[PodKey, dict[tuple[str, Labels], Series]] = {}
        self._failing: set[PodKey] = set()
        self._delay: dict[PodKey, float] = {}

    def apply(self, operations: list[dict[str, Any]]) -> None:
        """Do `operations`; each names `op`, `namespace`, `pod` and what that op needs.

        set: metric, labels, value (stops growth) · inc: metric, labels, value · rate: metric, labels, value
            (per
        second) · drop: metric, labels (one series gone) · add / remove: the pod · fail: value true makes its
        own page answer 500 · delay: value in seconds before its own page answers.
        """
        with self._lock:
            now = time.monotonic()
            for operation in operations:
                self._apply_one(operation, now)

    def _apply_one(self, operation: dict[str, Any], now: float) -> None:
        key = (operation["namespace"], operation["pod"])
        op = operation["op"]
        if op == "remove":
            self._pods.pop(key, None)
        elif op == "fail":
            (self._failing.add if operation["value"] else self._failing.discard)(key)
        elif op == "delay":
            self._delay[key] = float(operation["value"])
        else:
            pod = self._pods.setdefault(key, {})
            if op != "add":
                self._change(pod, operation, now)

    @staticmethod
    def _change(pod: dict[tuple[str, Labels], Series], operation: dict[str, Any], now: float) -> None:
        op = operation["op"]
        name, labels = key = (operation["metric"], tuple(sorted(operation.get("labels", {}).items())))
        if op == "drop":
            pod.pop(key, None)
            return
        if (series := pod.get(key)) is None:
            own = (("namespace", operation["namespace"]), ("pod", operation["pod"]))
            alone, together = _selector(name, labels), _selector(name, labels + own)
            series = pod[key] = Series(alone, together, since=now)
        value = float(operation["value"])
        if op == "set":
            series.change(now, base=value, rate=0.0)
        elif op == "inc":
            series.change(now, base=series.value(now) + value)
        elif op == "rate":
            series.change(now, rate=value)
        else:
            raise ValueError(f"op must be set, inc, rate, drop, add, remove, fail or delay, not {op!r}")

    def page(self) -> str:
        """Every pod, with namespace and pod as labels."""
        with self._lock:
            now = time.monotonic()
            lines = []
            for (namespace, pod), series in sorted(self._pods.items()):
                up = _selector("up", (("namespace", namespace), ("pod", pod)))
                failing = (namespace, pod) in self._failing
                lines.append(_line(up, 0.0 if failing else 1.0))
                if not failing:
                    lines += [_line(s.together, s.value(now)) for s in series.values()]
            return "\n".join(lines) + "\n"

    def pod_page(self, key: PodKey) -> str | None:
        """One pod, or None if there is no such pod or it is failing."""
        delay = self._delay.get(key, 0.0)
        if delay:
            time.sleep(min(delay, 60.0))
        with self._lock:
            if key not in self._pods or key in self._failing:
                return None
            now = time.monotonic()
            return "\n".join(_line(s.alone, s.value(now)) for s in self._pods[key].values()) + "\n"

    def targets(self, address: str) -> list[dict[str, Any]]:
        """The pods as http_sd target groups."""
        with self._lock:
            keys = sorted(self._pods)
        return [
            {
                "targets": [address],
                "labels": {"__metrics_path__": f"/metrics/{ns}/{pod}", "namespace": ns, "pod": pod},
            }
            for ns, pod in keys
        ]


def _selector(name: str, labels: Labels) -> str:
    text = ",".join(f"{key}={json.dumps(val, ensure_ascii=False)}" for key, val in labels)
    return f"{name}{{{text}}}"


def _line(selector: str, value: float) -> str:
    return f"{selector} {_number(value)}"


def _number(value: float) -> str:
    if math.isfinite(value):
        return repr(value)
    return "NaN" if math.isnan(value) else f"{value:+}".replace("inf", "Inf")


class Handler(BaseHTTPRequestHandler):
    """See the module."""

    protocol_version = "HTTP/1.1"
    store: Store

    def do_GET(self) -> None:
        """Serve a page of metrics or the list of targets."""
        if self.path == "/metrics":
            self._answer(200, self.store.page(), "text/plain; version=0.0.4")
        elif self.path.startswith("/metrics/"):
            _, _, namespace, pod = self.path.split("/", 3)
            page = self.store.pod_page((namespace, pod))
            self._answer(500 if page is None else 200, page or "no such pod\n", "text/plain; version=0.0.4")
        elif self.path == "/sd":
            self._answer(200, json.dumps(self.store.targets(self.headers["Host"])), "application/json")
        else:
            self._answer(404, "expected /metrics, /metrics/<namespace>/<pod> or /sd\n", "text/plain")

    def do_POST(self) -> None:
        """Apply operations."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        try:
            self.store.apply(json.loads(body))
        except (ValueError, KeyError, TypeError) as error:
            self._answer(400, f"{type(error).__name__}: {error}\n", "text/plain")
        else:
            self._answer(204, "", "text/plain")

    def _answer(self, code: int, text: str, content_type: str) -> None:
        body = text.encode()
        self.send_response(code)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is the base class's
        """Say nothing: a scrape a second is no news."""


class Server(ThreadingHTTPServer):
    """Threads, so that a slow page holds up nobody else."""

    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a scrape that gave up waiting; anything else is shown."""
        if not isinstance(sys.exception() if hasattr(sys, "exception") else None, ConnectionError):
            super().handle_error(request, client_address)


def main() -> None:
    """Serve until killed; the first line on stdout is the port."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    options = parser.parse_args()
    Handler.store = Store()
    server = Server((options.host, options.port), Handler)
    print(server.server_address[1], flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
