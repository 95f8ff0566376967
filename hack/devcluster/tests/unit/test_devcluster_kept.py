"""Reads share a connection as long as it lasts, and a server that ended it is asked again."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from devcluster import kept


class Server:
    """Counts its connections; `ended` closes each after its answer without saying so."""

    def __init__(self) -> None:
        self.connections = 0
        self.ended = False
        counting = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                counting.connections += 1
                super().setup()

            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"ok")
                self.close_connection = counting.ended

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True

    def read(self) -> tuple[int, str]:
        connect: Any = lambda: HTTPConnection("127.0.0.1", self.http.server_port, timeout=5)  # noqa: E731
        return kept.read(("here", "file", self.http.server_port), connect, "/", {}, 5)


@pytest.fixture
def server() -> Iterator[Server]:
    """A server that answers every GET."""
    one = Server()
    thread = threading.Thread(target=one.http.serve_forever, daemon=True)
    thread.start()
    yield one
    kept.close_all()
    one.http.shutdown()
    one.http.server_close()
    thread.join()


def test_reads_share_a_connection(server: Server) -> None:
    assert [server.read() for _ in range(3)] == [(200, "ok")] * 3
    assert server.connections == 1


def test_a_connection_that_the_server_ended_is_replaced(server: Server) -> None:
    server.ended = True
    assert [server.read() for _ in range(3)] == [(200, "ok")] * 3
    assert server.connections == 3


def test_a_server_that_is_gone_is_an_error_and_nothing_is_kept(server: Server) -> None:
    server.read()
    server.http.shutdown()
    server.http.server_close()
    kept.close_all()
    with pytest.raises(OSError, match="refused"):
        server.read()


def test_another_thread_keeps_nothing(server: Server) -> None:
    answers: list[tuple[int, str]] = []
    threads = [threading.Thread(target=lambda: answers.append(server.read())) for _ in range(2)]
    for thread in threads:
        thread.start()
        thread.join()
    assert answers == [(200, "ok")] * 2
    assert server.connections == 2
