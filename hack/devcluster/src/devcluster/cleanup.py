"""Undo what containers do to the machine: processes, mounts, interfaces, control groups, kernel settings."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from devcluster.errors import CommandError
from devcluster.processes import run

# Written by Docker, kubelet and kube-proxy for the whole machine, not only for their namespaces.
_SYSCTLS = (
    "net/ipv4/ip_forward",
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
    "net/ipv4/conf/all/route_localnet",
    "net/netfilter/nf_conntrack_max",
    "net/bridge/bridge-nf-call-iptables",
    "net/bridge/bridge-nf-call-ip6tables",
)
_SYS = Path("/proc/sys")
_CGROUP = Path("/sys/fs/cgroup")
_RULE = ["-m", "comment", "--comment", "devcluster", "-j", "ACCEPT"]


def remember_machine() -> dict[str, Any]:
    """Facts to be given to restore_machine later: kernel settings that a cluster changes."""
    settings = {}
    for name in _SYSCTLS:
        with contextlib.suppress(OSError):
            settings[name] = (_SYS / name).read_text().strip()
    return {"sysctls": settings}


def restore_machine(facts: dict[str, Any]) -> None:
    """Put kernel settings back, and remove the forwarding rules of allow_forwarding."""
    for name, value in facts.get("sysctls", {}).items():
        with contextlib.suppress(OSError):
            if (_SYS / name).read_text().strip() != value:
                (_SYS / name).write_text(value)
    for subnet in facts.get("forwarded", []):
        for side in ("-s", "-d"):
            with contextlib.suppress(CommandError):
                run(["iptables", "-w", "-D", "FORWARD", side, subnet, *_RULE], timeout=30)


def forwarding_is_dropped() -> bool:
    """Tell whether the machine drops packets between interfaces unless a rule allows them."""
    try:
        return "-P FORWARD ACCEPT" not in run(["iptables", "-w", "-S", "FORWARD"], timeout=30)
    except CommandError:
        return False


def allow_forwarding(subnet: str) -> None:
    """Let packets of one subnet pass; undone by restore_machine with `forwarded` in its facts."""
    for side in ("-s", "-d"):
        run(["iptables", "-w", "-I", "FORWARD", side, subnet, *_RULE], timeout=30)


def _groups(parent: str) -> list[Path]:
    """Return the directories of the control group `parent` and below, deepest first, in all hierarchies."""
    name = parent.strip("/")
    hierarchies = (
        [_CGROUP, *(entry for entry in _CGROUP.iterdir() if entry.is_dir())] if _CGROUP.is_dir() else []
    )
    tops = [hierarchy / name for hierarchy in hierarchies if (hierarchy / name).is_dir()]
    # Symbolic links (cpu -> cpu,cpuacct) would only give the same group again.
    return [
        Path(directory)
        for top in tops
        if not top.parent.is_symlink()
        for directory, _, _ in os.walk(top, topdown=False)
    ]


def kill_control_group(parent: str) -> None:
    """SIGKILL every process in the control group, then remove the group. Only its own members are in it."""
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline:
        pids = {pid for group in _groups(parent) for pid in _members(group)}
        if not pids:
            break
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)
    for group in _groups(parent):
        with contextlib.suppress(OSError):
            group.rmdir()


def _members(group: Path) -> list[int]:
    try:
        return [int(pid) for pid in (group / "cgroup.procs").read_text().split() if int(pid) > 0]
    except (OSError, ValueError):
        return []


def mounts_below(*directories: Path) -> list[Path]:
    """Mount points at or below the directories, the innermost first."""
    prefixes = tuple(str(directory) for directory in directories)
    found = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        point = line.split()[4].encode().decode("unicode_escape")
        if any(point == prefix or point.startswith(prefix + "/") for prefix in prefixes):
            found.append(Path(point))
    return sorted(found, key=lambda path: len(path.parts), reverse=True)


def unmount_below(*directories: Path) -> None:
    """Unmount everything at or below the directories."""
    for point in mounts_below(*directories):
        with contextlib.suppress(CommandError):
            run(["umount", "-l", point], timeout=30)


@contextlib.contextmanager
def scratch(parent: Path, name: str) -> Iterator[Path]:
    """Yield a directory for what is being made; what a killed run left under that name goes first.

    To be used under a lock, since nothing tells a left one from one in use.
    """
    for left in parent.glob(f".{name}.*"):
        _remove(left)
    made = Path(tempfile.mkdtemp(prefix=f".{name}.", dir=parent))
    try:
        yield made
    finally:
        _remove(made)


def _remove(directory: Path) -> None:
    unmount_below(directory)  # debootstrap mounts /proc; killed in between, it leaves it
    shutil.rmtree(directory, ignore_errors=True)


def delete_interface(name: str) -> None:
    """Delete a network interface if it exists."""
    if (Path("/sys/class/net") / name).exists():
        with contextlib.suppress(CommandError):
            run(["ip", "link", "delete", name], timeout=30)
