"""Real servers between the client and Prometheus: one that delays, one that asks who is there."""

from __future__ import annotations

import base64
import contextlib
import http.client
import socket
import ssl
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from tests.support.prometheus import free_port


class SlowProxy:
    """A TCP proxy on loopback that holds every answer back for `delay` seconds, or for ever."""

    def __init__(self, target: str) -> None:
        parts = urlsplit(target)
        assert parts.hostname and parts.port
        self._target = (parts.hostname, parts.port)
        self.delay = 0.0
        self.connections = 0
        self._closed = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._sockets: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            server = socket.create_connection(self._target)
            self._sockets += [client, server]
            for source, sink, slow in ((client, server, False), (server, client, True)):
                thread = threading.Thread(target=self._pump, args=(source, sink, slow), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _pump(self, source: socket.socket, sink: socket.socket, slow: bool) -> None:
        try:
            while data := source.recv(65536):
                if slow and self.delay:
                    self._closed.wait(self.delay)
                sink.sendall(data)
        except OSError:
            pass
        finally:
            for each in (source, sink):
                with contextlib.suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """End all connections."""
        self._closed.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for each in self._sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)
        for each in self._sockets:
            each.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@dataclass
class Rules:
    """What the guard demands and what it has seen; may be changed while it runs."""

    token: str | None = None
    basic: tuple[str, str] | None = None
    answer: tuple[int, dict[str, str], bytes] | None = None
    """Instead of forwarding: code, headers, body."""
    fail_next: int = 0
    """So many requests are answered 503 first."""
    seen: list[dict[str, str]] = field(default_factory=list)

    def admits(self, authorization: str | None) -> bool:
        """Whether that header is the right one."""
        if self.token is not None:
            return authorization == f"Bearer {self.token}"
        if self.basic is not None:
            secret = base64.b64encode(":".join(self.basic).encode()).decode()
            return authorization == f"Basic {secret}"
        return True


class Guard:
    """An HTTP(S) reverse proxy on loopback that checks credentials and client certificates before it
    forwards."""

    def __init__(
        self, target: str, rules: Rules, *, context: ssl.SSLContext | None = None, port: int | None = None
    ) -> None:
        parts = urlsplit(target)

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                peer = self.connection.getpeercert() if isinstance(self.connection, ssl.SSLSocket) else None
                rules.seen.append({"path": self.path, "peer": str(peer), **dict(self.headers.items())})
                if not rules.admits(self.headers.get("Authorization")):
                    self._send(401, {"WWW-Authenticate": "Bearer"}, b"who is there?")
                elif rules.fail_next > 0:
                    rules.fail_next -= 1
                    self._send(503, {}, b"not now")
                elif rules.answer is not None:
                    self._send(*rules.answer)
                else:
                    self._forward(body)

            def do_GET(self) -> None:
                self.do_POST()

            def _forward(self, body: bytes) -> None:
                connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=30)
                headers = {"Content-Type": self.headers.get("Content-Type", "")}
                connection.request(self.command, self.path, body=body, headers=headers)
                answer = connection.getresponse()
                self._send(answer.status, {"Content-Type": "application/json"}, answer.read())
                connection.close()

            def _send(self, code: int, headers: dict[str, str], body: bytes) -> None:
                self.send_response(code)
                for name, value in {**headers, "Content-Length": str(len(body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request: Any, client_address: Any) -> None:
                """A handshake that failed is what some tests are about."""

        self._server = Server(("127.0.0.1", port or free_port()), Handler)
        self._server.socket = _wrapped(self._server.socket, context)
        scheme = "https" if context else "http"
        self.url = f"{scheme}://localhost:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _wrapped(plain: socket.socket, context: ssl.SSLContext | None) -> socket.socket:
    if context is None:
        return plain
    # The handshake is made by the first read, in the thread of the connection: a bad one holds up nobody.
    return context.wrap_socket(plain, server_side=True, do_handshake_on_connect=False)


@dataclass(frozen=True, kw_only=True)
class Certificates:
    """Files of an authority, a server certificate for localhost and a client certificate."""

    ca: Path
    server_cert: Path
    server_key: Path
    client_cert: Path
    client_key: Path

    def server_context(self, *, demand_client: bool = False) -> ssl.SSLContext:
        """For a Guard."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.server_cert, self.server_key)
        if demand_client:
            context.load_verify_locations(self.ca)
            context.verify_mode = ssl.CERT_REQUIRED
        return context
