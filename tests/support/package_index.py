"""A package index on loopback with wheels made here: newer, withdrawn or damaged versions of real names."""

from __future__ import annotations

import base64
import hashlib
import html
import io
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(frozen=True)
class Wheel:
    """One version of a package: empty, with the extras and requirements that are given."""

    name: str
    version: str
    extras: tuple[str, ...] = ()
    requires: tuple[str, ...] = ()
    yanked: bool = False

    @property
    def file_name(self) -> str:
        """As an index lists it."""
        return f"{self.name.replace('-', '_')}-{self.version}-py3-none-any.whl"

    @property
    def content(self) -> bytes:
        """The archive; the same bytes each time."""
        directory = f"{self.name.replace('-', '_')}-{self.version}.dist-info"
        metadata = [f"Metadata-Version: 2.1\nName: {self.name}\nVersion: {self.version}"]
        metadata += [f"Provides-Extra: {extra}" for extra in self.extras]
        metadata += [f"Requires-Dist: {requirement}" for requirement in self.requires]
        files = {
            f"{directory}/METADATA": "\n".join(metadata) + "\n",
            f"{directory}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        }
        record = "".join(f"{path},{_digest(text.encode())},{len(text)}\n" for path, text in files.items())
        files[f"{directory}/RECORD"] = f"{record}{directory}/RECORD,,\n"
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            for path, text in files.items():
                archive.writestr(zipfile.ZipInfo(path, (2020, 1, 1, 0, 0, 0)), text)
        return buffer.getvalue()

    @property
    def pin(self) -> str:
        """Its line in a lock."""
        return f"{self.name}=={self.version} --hash=sha256:{hashlib.sha256(self.content).hexdigest()}\n"


def _digest(content: bytes) -> str:
    return "sha256=" + base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()


@dataclass
class PackageIndex:
    """What is offered now, and which projects were asked for."""

    url: str
    wheels: list[Wheel] = field(default_factory=list)
    asked: set[str] = field(default_factory=set)

    def page(self, project: str) -> str:
        """The page of one project in the simple layout; empty where there is none."""
        lines = []
        for wheel in self.wheels:
            if wheel.name == project:
                yanked = ' data-yanked="broken"' if wheel.yanked else ""
                lines.append(f'<a href="/files/{html.escape(wheel.file_name)}"{yanked}>{wheel.file_name}</a>')
        return "<!DOCTYPE html><html><body>" + "\n".join(lines) + "</body></html>" if lines else ""

    def file(self, name: str) -> bytes | None:
        """The wheel of that name."""
        return next((wheel.content for wheel in self.wheels if wheel.file_name == name), None)


@contextmanager
def package_index(*wheels: Wheel) -> Iterator[PackageIndex]:
    """Serve these wheels on a free port until the end of the block."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = self.path.strip("/").split("/")
            body: bytes | None = None
            if parts[0] == "simple":
                index.asked.add(parts[-1])
                body = index.page(parts[-1]).encode() or None
            elif parts[0] == "files":
                body = index.file(parts[-1])
            self.send_response(404 if body is None else 200)
            self.send_header("Content-Type", "text/html" if parts[0] == "simple" else "application/zip")
            self.send_header("Content-Length", str(len(body or b"")))
            self.end_headers()
            self.wfile.write(body or b"")

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    index = PackageIndex(f"http://127.0.0.1:{server.server_port}/simple/", list(wheels))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield index
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
