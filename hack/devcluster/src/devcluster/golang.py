"""Programs built from the Go modules that go/go.mod pins, once per content."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from devcluster.cleanup import scratch
from devcluster.errors import PrerequisiteError
from devcluster.locks import exclusive
from devcluster.paths import GIB, cache_dir, require_free
from devcluster.processes import run
from devcluster.progress import say, step

MODULE = Path(__file__).parent / "go"
_MINIMUM = (1, 26)
_NEEDED_BYTES = 6 * GIB
# No version control stamp, so that the same content gives the same binary; static, so that it runs in any
# image.
_ENV = {
    "CGO_ENABLED": "0",
    # What would be stripped is not made: 8 % less work.
    "GOFLAGS": "-buildvcs=false -mod=readonly -trimpath -gcflags=all=-dwarf=false",
    "GOWORK": "off",
}
# The compiler collects its garbage less often, which is a fifth of its work, as long as there is memory. It
# changes nothing in what comes out.
_MEMORY_FOR_TIME = {"GOGC": "400", "GOMEMLIMIT": "3GiB"}


@dataclass(frozen=True)
class GoProgram:
    """One program: `package` is an import path or a directory of the module; `links` are its other names."""

    name: str
    package: str
    links: tuple[str, ...] = ()


KUBE = GoProgram(
    "kube",
    "./kube",
    (
        "etcd",
        "kube-apiserver",
        "kube-controller-manager",
        "kube-scheduler",
        "kube-proxy",
        "kubelet",
        "kubeadm",
        "kubectl",
        "kindnetd",
    ),
)
KWOK = GoProgram("kwok", "sigs.k8s.io/kwok/cmd/kwok")
HELM = GoProgram("helm", "helm.sh/helm/v4/cmd/helm")
KIND = GoProgram("kind", "sigs.k8s.io/kind")
COREDNS = GoProgram("coredns", "./coredns")
PAUSE = GoProgram("pause", "./pause")
CRICTL = GoProgram("crictl", "sigs.k8s.io/cri-tools/cmd/crictl")
CONTAINERD = GoProgram("containerd", "github.com/containerd/containerd/v2/cmd/containerd")
CONTAINERD_SHIM = GoProgram(
    "containerd-shim-runc-v2", "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2"
)
CTR = GoProgram("ctr", "github.com/containerd/containerd/v2/cmd/ctr")
_CNI = "github.com/containernetworking/plugins/plugins"
CNI_PLUGINS = (
    GoProgram("ptp", f"{_CNI}/main/ptp"),
    GoProgram("loopback", f"{_CNI}/main/loopback"),
    GoProgram("portmap", f"{_CNI}/meta/portmap"),
    GoProgram("host-local", f"{_CNI}/ipam/host-local"),
)
LOCAL_PATH = GoProgram("local-path-provisioner", "github.com/rancher/local-path-provisioner")


def version_of(module: str) -> str:
    """Return the version of a module that go.mod requires, as in `v1.36.3`."""
    found = re.search(
        rf"^\s*(?:require )?{re.escape(module)} (v\S+)", (MODULE / "go.mod").read_text(), re.MULTILINE
    )
    if found is None:
        raise AssertionError(f"go.mod does not require {module}")
    return found.group(1)


def module_directory(module: str) -> Path:
    """Return the sources of a module that go.mod requires, downloaded if Go's cache lacks them."""
    # Not `go list -m`, which names no directory for a module that no build has downloaded yet.
    found = run([go_command()[0], "mod", "download", "-json", module], cwd=MODULE, env=_ENV, timeout=300)
    return Path(json.loads(found)["Dir"])


def kubernetes_version() -> str:
    """Return the Kubernetes version everything is built at."""
    return version_of("k8s.io/kubernetes")


@cache
def go_command() -> tuple[str, str]:
    """Return the go command and its version; PrerequisiteError if there is none that is new enough."""
    found = shutil.which("go") or shutil.which("go", path="/usr/local/go/bin:/usr/lib/go/bin")
    wanted = ".".join(map(str, _MINIMUM))
    cure = f"install Go {wanted} or later so that `go` is in PATH"
    if found is None:
        raise PrerequisiteError(
            f"Go {wanted} or later builds the cluster's programs and no go command was found; {cure}"
        )
    # With GOTOOLCHAIN=auto an older go fetches the toolchain go.mod asks for, and then reports that one.
    seen = run([found, "env", "GOVERSION"], cwd=MODULE, env=_ENV, timeout=300).strip()
    numbers = re.match(r"go(\d+)\.(\d+)", seen)
    if numbers is None or tuple(map(int, numbers.groups())) < _MINIMUM:
        raise PrerequisiteError(
            f"Go {wanted} or later builds the cluster's programs, {found} is {seen or 'unknown'}; {cure}"
        )
    return found, seen


def _ldflags() -> str:
    version = kubernetes_version()
    major, minor, _ = version.removeprefix("v").split(".", 2)
    stamps = {"gitVersion": version, "gitMajor": major, "gitMinor": minor, "gitTreeState": "clean"}
    packages = ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
    return " ".join(["-s", "-w", *(f"-X {p}.{k}={v}" for p in packages for k, v in stamps.items())])


def content_key(program: GoProgram) -> str:
    """Return a key that names the result: the sources, the pinned modules, the Go version and the flags."""
    digest = hashlib.sha256()
    files = [MODULE / "go.mod", MODULE / "go.sum"]
    if program.package.startswith("./"):
        files += sorted((MODULE / program.package).glob("*.go"))
    for file in files:
        digest.update(file.read_bytes())
    digest.update(f"{program}|{go_command()[1]}|{_ldflags()}|{sorted(_ENV.items())}".encode())
    return digest.hexdigest()[:20]


def build(program: GoProgram) -> Path:
    """Return the directory that holds the program and its links.

    Built only if the cache lacks it or holds it broken.
    """
    entry = cache_dir() / "bin" / f"{program.name}-{content_key(program)}"
    if _intact(entry):
        return entry
    with exclusive(cache_dir() / "locks" / f"{program.name}.lock"):
        if _intact(entry):
            return entry
        if entry.exists():
            say(f"the cache entry {entry} is broken; building it again")
            shutil.rmtree(entry)
        require_free(cache_dir(), _NEEDED_BYTES, f"building {program.name}")
        _build_into(entry, program)
    return entry


def binary(program: GoProgram, name: str | None = None) -> Path:
    """Return the path of the program, or of one of its links."""
    return build(program) / (name or program.name)


def _build_into(entry: Path, program: GoProgram) -> None:
    entry.parent.mkdir(parents=True, exist_ok=True)
    with scratch(entry.parent, program.name) as directory:
        with step(f"building {program.name} from the Go modules"):
            run(
                [
                    go_command()[0],
                    "build",
                    "-ldflags",
                    _ldflags(),
                    "-o",
                    directory / program.name,
                    program.package,
                ],
                cwd=MODULE,
                env={**_ENV, **_MEMORY_FOR_TIME},
                timeout=3600,
            )
        for link in program.links:
            (directory / link).symlink_to(program.name)
        (directory / "entry.json").write_text(json.dumps(_fingerprint(directory / program.name)))
        directory.chmod(0o755)
        directory.rename(entry)


def _fingerprint(file: Path) -> dict[str, str | int]:
    with file.open("rb") as handle:
        digest = hashlib.file_digest(handle, "sha256").hexdigest()
    stat = file.stat()
    return {"file": file.name, "sha256": digest, "size": stat.st_size, "mtime_ns": stat.st_mtime_ns}


def _intact(entry: Path) -> bool:
    """Tell whether the entry is what was built.

    By size and time, and by its digest when only the time differs.
    """
    try:
        recorded = json.loads((entry / "entry.json").read_text())
        file = entry / str(recorded["file"])
        stat = file.stat()
        if stat.st_size != recorded["size"] or not os.access(file, os.X_OK):
            return False
        if stat.st_mtime_ns != recorded["mtime_ns"]:
            if _fingerprint(file)["sha256"] != recorded["sha256"]:
                return False
            with contextlib.suppress(OSError):
                (entry / "entry.json").write_text(json.dumps(_fingerprint(file)))
    except (OSError, ValueError, KeyError):
        return False
    return True
