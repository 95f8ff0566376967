"""The least HTTP/1.1 client that says exactly how a request was lost.

A new connection per request by default: a Kubernetes Service balances connections, not requests, and a client
that keeps one alive would never see another pod. There are no retries: a lost request has to show.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from dataclasses import dataclass, field
from urllib.parse import urlsplit


class LostRequestError(Exception):
    """A request without a whole answer; the text is a short, countable reason."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Status, headers in lower case, body."""

    status: int
    headers: dict[str, str]
    body: bytes


@dataclass(slots=True)
class HttpClient:
    """Posts to one address (http only).

    Attributes:
        url: with the path to post to.
        timeout: seconds for connecting and answering together.
        keep_alive: use connections again; one that turns out to be closed loses its request too.
    """

    url: str
    timeout: float
    keep_alive: bool
    _idle: deque[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = field(default_factory=deque)

    async def post(self, body: bytes) -> Answer:
        """Post JSON once.

        Raises:
            LostRequestError: timeout, refused, reset, closed (too early), unreachable, dns or protocol.
        """
        reader, writer = None, None
        try:
            async with asyncio.timeout(self.timeout):
                reader, writer = await self._connect()
                writer.write(self._head(len(body)) + body)
                await writer.drain()
                answer = await _read(reader)
        except TimeoutError:
            reason = "timeout"
        except ConnectionRefusedError:
            reason = "refused"
        except (ConnectionError, BrokenPipeError):
            reason = "reset"
        except asyncio.IncompleteReadError:
            reason = "closed"
        except (ValueError, asyncio.LimitOverrunError):
            reason = "protocol"
        except OSError as error:
            reason = "dns" if error.errno is None or error.errno < 0 else "unreachable"
        else:
            self._release(reader, writer, answer)
            return answer
        if writer is not None:
            writer.transport.abort()
        raise LostRequestError(reason)

    async def close(self) -> None:
        """Close idle connections."""
        while self._idle:
            self._idle.pop()[1].close()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        while self.keep_alive and self._idle:
            reader, writer = self._idle.pop()
            if not reader.at_eof() and not writer.is_closing():
                return reader, writer
            writer.close()
        parts = urlsplit(self.url)
        return await asyncio.open_connection(parts.hostname, parts.port or 80)

    def _head(self, length: int) -> bytes:
        parts = urlsplit(self.url)
        connection = "keep-alive" if self.keep_alive else "close"
        return (
            f"POST {parts.path or '/'} HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {length}\r\nConnection: {connection}\r\n\r\n"
        ).encode()

    def _release(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answer: Answer) -> None:
        if self.keep_alive and answer.headers.get("connection", "").lower() != "close":
            self._idle.append((reader, writer))
        else:
            with contextlib.suppress(OSError):
                writer.close()


async def _read(reader: asyncio.StreamReader) -> Answer:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    status_line, *lines = head.rstrip("\r\n").split("\r\n")
    protocol, _, rest = status_line.partition(" ")
    if not protocol.startswith("HTTP/"):
        raise ValueError("expected an answer in HTTP")
    status = int(rest[:3])
    pairs = (line.split(":", 1) for line in lines)
    headers = {name.strip().lower(): value.strip() for name, value in pairs}
    if "content-length" not in headers:
        raise ValueError("expected an answer with a Content-Length")
    return Answer(status, headers, await reader.readexactly(int(headers["content-length"])))
