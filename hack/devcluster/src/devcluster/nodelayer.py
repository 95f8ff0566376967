"""The one file system layer that all images of Kubernetes' components share inside a built node image."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from devcluster.debian import pack
from devcluster.processes import run

_SYSTEM_PROGRAMS = ("usr/sbin/xtables-nft-multi", "usr/sbin/nft", "usr/sbin/conntrack", "usr/bin/ip")
_IPTABLES = tuple(f"{family}tables{tool}" for family in ("ip", "ip6") for tool in ("", "-save", "-restore"))
_COMPONENTS = (
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kube-proxy",
    "kubectl",
    "kindnetd",
)
# What the helper pods of the storage provisioner call.
_SHELL = ("sh", "mkdir", "rm", "cat", "ls", "sleep", "mv")


def component_layer(directory: Path, root: Path, programs: dict[str, Path]) -> Path:
    """Assemble the layer in `directory` from the node's file system `root`; return the tar archive."""
    for name in ("usr/bin", "usr/sbin", "usr/lib", "usr/lib64", "usr/local/bin", "etc", "tmp"):
        (directory / name).mkdir(parents=True)
    (directory / "tmp").chmod(0o1777)
    for name in ("bin", "sbin", "lib", "lib64"):
        (directory / name).symlink_to(f"usr/{name}")
    for file in _with_libraries(root):
        target = directory / file
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.exists():
            shutil.copy(root / file, target)  # follows links: the library under the name that is asked for
    for name in _IPTABLES:
        (directory / "usr/sbin" / name).symlink_to("xtables-nft-multi")
    shutil.copy(root / "usr/bin/busybox", directory / "usr/bin/busybox")
    for name in _SHELL:
        (directory / "usr/bin" / name).symlink_to("busybox")
    local = directory / "usr/local/bin"
    for name in ("kube", "coredns", "local-path-provisioner"):
        shutil.copy(programs[name], local / name)
    for name in _COMPONENTS:
        (local / name).symlink_to("kube")
    archive = directory.with_suffix(".tar")
    pack(directory, archive)
    return archive


def _with_libraries(root: Path) -> list[Path]:
    """Return the system's programs, the modules that iptables loads, and the libraries that they link.

    The modules have libraries of their own (libm among them) that the programs do not link: without those,
    iptables refuses each rule that uses such a module, and only kube-proxy's log says so.
    """
    modules = sorted(path.relative_to(root) for path in root.glob("usr/lib/*/xtables/*.so"))
    wanted = [*(Path(name) for name in _SYSTEM_PROGRAMS), *modules]
    listed = run(["chroot", root, "ldd", *(f"/{path}" for path in wanted)], timeout=60)
    libraries = {Path(found) for found in re.findall(r"(?<=[\s])/([^\s:()]+)(?= \()", listed)}
    return [*wanted, *sorted(_merged(path) for path in libraries)]


def _merged(path: Path) -> Path:
    """/lib and /lib64 are links into /usr."""
    return path if path.parts[0] == "usr" else Path("usr") / path
