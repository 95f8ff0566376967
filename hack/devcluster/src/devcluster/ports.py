"""Free ports on loopback, given out so that clusters started at the same moment do not meet."""

from __future__ import annotations

import contextlib
import random
import socket
import time
from pathlib import Path

from devcluster.errors import ResourceError
from devcluster.locks import exclusive
from devcluster.paths import state_dir

LOOPBACK = "127.0.0.1"
# Below the range from which the kernel gives out ports for outgoing connections (32768 and up), and below
# Kubernetes' node ports (30000 to 32767).
_LOW, _HIGH = 20000, 29999
# A port handed out is not handed out again for this long: the program that asked needs time to bind it.
_RESERVED_SECONDS = 60.0


def is_free(port: int, host: str = LOOPBACK) -> bool:
    """Tell whether a listener could be opened on the port now."""
    with contextlib.closing(socket.socket(socket.AF_INET, socket.SOCK_STREAM)) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def require_free(port: int, purpose: str) -> int:
    """Return the port itself, or ResourceError naming what it is for."""
    if not 1 <= port <= 65535:
        raise ResourceError(f"{purpose} needs a port from 1 to 65535, got {port}")
    if not is_free(port):
        raise ResourceError(
            f"{purpose} needs port {port} on {LOOPBACK}, which is taken "
            f"(`ss -ltnp 'sport = :{port}'` tells by whom); "
            "stop that program or choose another port"
        )
    return port


def free_ports(count: int) -> list[int]:
    """`count` different free ports; ResourceError when fewer are left."""
    directory = state_dir() / "ports"
    with exclusive(state_dir() / "ports.lock"):
        directory.mkdir(parents=True, exist_ok=True)
        _forget_old(directory)
        candidates = list(range(_LOW, _HIGH + 1))
        random.shuffle(candidates)
        found: list[int] = []
        for port in candidates:
            if len(found) == count:
                break
            if not (directory / str(port)).exists() and is_free(port):
                (directory / str(port)).touch()
                found.append(port)
    if len(found) < count:
        raise ResourceError(
            f"expected {count} free ports from {_LOW} to {_HIGH} on {LOOPBACK}, found {len(found)}"
        )
    return found


def _forget_old(directory: Path) -> None:
    now = time.time()
    for entry in directory.iterdir():
        if abs(now - entry.stat().st_mtime) > _RESERVED_SECONDS:
            entry.unlink(missing_ok=True)
