"""Start, find and end processes so that none is lost and no stranger is ever signalled.

A process is known by its pid together with its start time and the boot it started in: a pid alone may have
been given to somebody else meanwhile. Each process also carries its cluster's state directory in its
environment, so that one that was started in the instant before the tool was killed, unrecorded, is found all
the same.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from devcluster.errors import CommandError, NotReadyError, PrerequisiteError

MARKER = "DEVCLUSTER_STATE"
_PROC = Path("/proc")


def boot_id() -> str:
    """Return the kernel's identifier of this boot."""
    return (_PROC / "sys/kernel/random/boot_id").read_text().strip()


@dataclass(frozen=True)
class ProcessRecord:
    """One process: `start_ticks` is its start in clock ticks since boot, as /proc/PID/stat tells it."""

    name: str
    pid: int
    start_ticks: int
    boot: str

    @classmethod
    def of(cls, pid: int, name: str) -> ProcessRecord | None:
        """Return the record of a running process, or None if there is no such process."""
        ticks = _start_ticks(pid)
        return None if ticks is None else cls(name=name, pid=pid, start_ticks=ticks, boot=boot_id())

    def alive(self) -> bool:
        """Tell whether this very process still runs (a zombie does not)."""
        return self.boot == boot_id() and _start_ticks(self.pid) == self.start_ticks


def _start_ticks(pid: int) -> int | None:
    try:
        stat = (_PROC / str(pid) / "stat").read_text()
    except OSError:
        return None
    state, *fields = stat.rpartition(")")[2].split()
    return None if state in {"Z", "X"} else int(fields[18])


def spawn(
    name: str, argv: Sequence[str | Path], *, owner: Path, log: Path, env: Mapping[str, str] = {}
) -> ProcessRecord:
    """Start a process in its own session, output to `log`, marked as belonging to the state dir `owner`."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as out:
        try:
            popen = subprocess.Popen(
                [str(arg) for arg in argv],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                close_fds=True,
                cwd="/",
                env={**os.environ, **env, MARKER: str(owner)},
            )
        except FileNotFoundError as error:
            raise PrerequisiteError(f"{name} cannot be started: there is no program {argv[0]}") from error
        except OSError as error:
            raise PrerequisiteError(
                f"{name} cannot be started: {argv[0]} is no program for this machine ({error.strerror}); "
                "build or install it for this one"
            ) from error
    record = ProcessRecord.of(popen.pid, name)
    _children[popen.pid] = popen
    if record is None:
        popen.wait()
        raise NotReadyError(f"{name} ended at once; the end of its log:\n{tail(log)}")
    return record


# Children of this very process must be reaped, or they stay as zombies until it ends.
_children: dict[int, subprocess.Popen[bytes]] = {}


def _reap() -> None:
    for pid, popen in list(_children.items()):
        if popen.poll() is not None:
            del _children[pid]


def stop(records: Iterable[ProcessRecord], *, grace_seconds: float = 5.0) -> list[str]:
    """End processes: SIGTERM to all, SIGKILL to those alive after the grace.

    Returns the names that were alive.
    """
    with contextlib.ExitStack() as stack:
        handles: list[tuple[int, ProcessRecord]] = []
        for record in records:
            try:
                handle = os.pidfd_open(record.pid)
            except ProcessLookupError:
                continue
            stack.callback(os.close, handle)
            # The handle names one process for good; only now does comparing the start time settle who it is.
            if record.alive():
                handles.append((handle, record))
        for handle, _ in handles:
            _signal(handle, signal.SIGTERM)
        left = _wait_for([handle for handle, _ in handles], grace_seconds)
        for handle in left:
            _signal(handle, signal.SIGKILL)
        _wait_for(left, 10.0)
        _reap()
        return [record.name for _, record in handles]


def _signal(handle: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(handle, number)


def _wait_for(handles: list[int], seconds: float) -> list[int]:
    """Wait until the processes have ended; return the handles of those that have not."""
    pending = set(handles)
    poller = select.poll()
    for handle in pending:
        poller.register(handle, select.POLLIN)
    deadline = time.monotonic() + seconds
    while pending and (left := deadline - time.monotonic()) > 0:
        for handle, _ in poller.poll(left * 1000):
            pending.discard(handle)
            poller.unregister(handle)
    return list(pending)


def marked(owner: Path) -> list[ProcessRecord]:
    """Return every process whose environment names the state directory `owner` (not this one)."""
    wanted = f"{MARKER}={owner}".encode()
    return [
        record
        for pid in _pids()
        if pid != os.getpid() and wanted in _environment(pid)
        if (record := ProcessRecord.of(pid, _name(pid))) is not None
    ]


def _pids() -> Iterator[int]:
    return (int(entry.name) for entry in _PROC.iterdir() if entry.name.isdigit())


def _environment(pid: int) -> list[bytes]:
    try:
        return (_PROC / str(pid) / "environ").read_bytes().split(b"\0")
    except OSError:
        return []


def _name(pid: int) -> str:
    try:
        return (_PROC / str(pid) / "comm").read_text().strip()
    except OSError:
        return "?"


def tail(path: Path, lines: int = 15) -> str:
    """Return the last lines of a log file, or a remark that there is none."""
    try:
        return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])
    except OSError:
        return "(no log was written)"


def run(
    argv: Sequence[str | Path],
    *,
    timeout: float | None = None,
    stdin: str | bytes | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> str:
    """Run a program to its end and return its standard output; CommandError with what it said if it fails."""
    command = [str(arg) for arg in argv]
    try:
        done = subprocess.run(
            command,
            input=stdin.encode() if isinstance(stdin, str) else stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            timeout=timeout,
            check=False,
            cwd=cwd,
            env=None if env is None else {**os.environ, **env},
        )
    except FileNotFoundError as error:
        raise PrerequisiteError(f"the program {command[0]} is needed and was not found") from error
    except subprocess.TimeoutExpired as error:
        said = (error.stderr or b"").decode(errors="replace").strip()
        raise CommandError(
            f"`{_short(command)}` did not end within {timeout:.0f} s: {said[-800:] or 'it printed nothing'}",
            returncode=-1,
        ) from error
    out, err = done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")
    if done.returncode:
        said = (err.strip() or out.strip() or "it printed nothing")[-2000:]
        raise CommandError(
            f"`{_short(command)}` ended with code {done.returncode}: {said}",
            returncode=done.returncode,
            stdout=out,
            stderr=err,
        )
    return out


def _short(command: list[str]) -> str:
    text = " ".join(command)
    return text if len(text) <= 160 else text[:157] + "..."
