"""What root may not do on this machine, read from the kernel."""

from __future__ import annotations

from pathlib import Path

# In the kernel's order (include/uapi/linux/capability.h): the position is the bit.
NAMES = (
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
)


def missing(status: str | None = None) -> list[str]:
    """Capabilities (`CAP_...`) that the kernel knows and no process started from here can have.

    `status` is the content of /proc/self/status, read when not given.
    """
    text = Path("/proc/self/status").read_text() if status is None else status
    bounding = int(next(line.split()[1] for line in text.splitlines() if line.startswith("CapBnd:")), 16)
    return [f"CAP_{name}" for bit, name in enumerate(NAMES) if not bounding >> bit & 1]


def cgroup_version(root: Path = Path("/sys/fs/cgroup")) -> int:
    """2 where the unified hierarchy is mounted, else 1."""
    return 2 if (root / "cgroup.controllers").exists() else 1
