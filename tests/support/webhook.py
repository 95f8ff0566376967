"""A webhook on loopback that can refuse, or never answer."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self


@dataclass(frozen=True)
class Call:
    """One request: when it came (seconds, monotonic), its headers, its body, and what was answered."""

    at: float
    headers: dict[str, str]
    body: dict[str, Any]
    answered: int


@dataclass
class Webhook:
    """Answers each POST with `answer(number)` (number from 1); 0 means that no answer comes while it runs."""

    answer: Callable[[int], int] = lambda _: 204
    calls: list[Call] = field(default_factory=list)

    def __post_init__(self) -> None:
        hook = self
        self._lock = threading.Lock()
        self._over = threading.Event()

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with hook._lock:
                    code = hook.answer(len(hook.calls) + 1)
                    hook.calls.append(Call(time.monotonic(), dict(self.headers), body, code))
                if code == 0:
                    hook._over.wait(120)
                    return
                self.send_response(code)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/rollouts"

    def accepted(self) -> list[dict[str, Any]]:
        """Bodies that were answered with success, in order of `time`."""
        with self._lock:
            bodies = [call.body for call in self.calls if 200 <= call.answered < 300]
        return sorted(bodies, key=lambda body: str(body["time"]))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)
