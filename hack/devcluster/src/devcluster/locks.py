"""Locks between processes; the kernel frees them when a process dies, however it dies."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from devcluster.progress import step


def exclusive(path: Path) -> AbstractContextManager[None]:
    """Hold the lock file `path`; say so when another process keeps it for long."""
    return _held(path, fcntl.LOCK_EX)


def shared(path: Path) -> AbstractContextManager[None]:
    """Hold the lock file `path` together with any number of others that share it."""
    return _held(path, fcntl.LOCK_SH)


@contextmanager
def _held(path: Path, how: int) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as handle:
        with step(f"waiting for another process that holds {path.name}"):
            fcntl.flock(handle, how)
        yield


@contextmanager
def free(path: Path) -> Iterator[bool]:
    """Hold the lock file `path` if no other process does; yield whether it is held."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
