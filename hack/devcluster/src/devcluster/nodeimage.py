"""kind's node image, built from Debian packages and Go modules where the published one cannot be pulled.

What kind itself does with Dockerfiles and downloads is done here from the same files, which its Go module
carries; the last part, which installs Kubernetes into the base, is kind's own `kind build node-image`.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import tarfile
from dataclasses import dataclass
from pathlib import Path

from devcluster import golang
from devcluster.archive import write_image
from devcluster.cleanup import scratch
from devcluster.debian import Root, pack
from devcluster.docker import Docker
from devcluster.golang import GoProgram, binary
from devcluster.locks import exclusive
from devcluster.nodelayer import component_layer
from devcluster.paths import GIB, cache_dir, require_free
from devcluster.processes import run
from devcluster.progress import say, step

_RECIPE = "2"  # raise it whenever this file or nodelayer.py changes what comes out
_PACKAGES = (
    "systemd",
    "systemd-sysv",
    "dbus",
    "iptables",
    "nftables",
    "iproute2",
    "kmod",
    "conntrack",
    "ethtool",
    "mount",
    "hostname",
    "jq",
    "procps",
    "libseccomp2",
    "runc",
    "ca-certificates",
    "curl",
    "e2fsprogs",
    "busybox-static",
    "bash",
    "util-linux",
)
_RUNTIME = (golang.CONTAINERD, golang.CONTAINERD_SHIM, golang.CTR, golang.CRICTL)
_PROGRAMS = (
    golang.KUBE,
    golang.KIND,
    golang.COREDNS,
    golang.PAUSE,
    golang.LOCAL_PATH,
    *golang.CNI_PLUGINS,
    *_RUNTIME,
)


@dataclass(frozen=True)
class NodeImage:
    """The image of what go.mod and this module pin."""

    @property
    def reference(self) -> str:
        """The image's name; its tag is derived from everything that goes into it."""
        parts = [_RECIPE, _root().key, *(golang.content_key(p) for p in _PROGRAMS)]
        digest = hashlib.sha256("|".join(parts).encode()).hexdigest()[:12]
        return f"modelrollout/kind-node:{golang.kubernetes_version()}-{digest}"

    def ensure(self, docker: Docker) -> str:
        """Build the image unless the daemon has it; return its reference."""
        reference = self.reference
        with exclusive(cache_dir() / "locks" / "node-image.lock"):
            if not docker.has_image(reference):
                require_free(cache_dir(), 8 * GIB, "building kind's node image")
                say(f"building the node image {reference}; this is done once and takes some minutes")
                self._build(docker, reference)
        return reference

    def _build(self, docker: Docker, reference: str) -> None:
        archive = _root().archive()
        programs = {program.name: binary(program) for program in _PROGRAMS}
        base = f"modelrollout/kind-base:{reference.rpartition('-')[2]}"
        with scratch(cache_dir(), "node-image") as directory:
            root = directory / "root"
            root.mkdir()
            with step("assembling the node's file system"):
                run(["tar", "-C", root, "-xf", archive], timeout=300)
                _install(root, programs)
                _configure(root, programs["ctr"])
                pack(root, directory / "base.tar")
                _import(docker, directory / "base.tar", base)
            with step("assembling the images of Kubernetes"):
                release = _release(directory, root, programs)
            with step("kind build node-image"):
                run(
                    [
                        programs["kind"],
                        "build",
                        "node-image",
                        "--type",
                        "file",
                        "--base-image",
                        base,
                        "--image",
                        reference,
                        release,
                    ],
                    timeout=1200,
                    env={**docker.env, "TMPDIR": str(directory)},
                )


def _root() -> Root:
    return Root("kind-node", _PACKAGES)


def _kind_module() -> Path:
    """Return the directory of kind's Go module, which carries the files of its base image."""
    return golang.module_directory("sigs.k8s.io/kind")


def _install(root: Path, programs: dict[str, Path]) -> None:
    """Copy kind's files and the programs to where they belong in the node."""
    files = _kind_module() / "images" / "base" / "files"
    for name in ("etc", "kind"):
        run(["cp", "-r", "--no-preserve=mode", f"{files / name}/.", root / name], timeout=60)
    for script in (root / "kind" / "bin").iterdir():
        script.chmod(0o755)
    local = root / "usr/local/bin"
    for source in [*(files / "usr/local/bin").iterdir(), *(programs[p.name] for p in _RUNTIME)]:
        shutil.copy(source, local / source.name)
        (local / source.name).chmod(0o755)
    plugins = root / "opt/cni/bin"
    plugins.mkdir(parents=True)
    for program in golang.CNI_PLUGINS:
        shutil.copy(programs[program.name], plugins)
    shutil.copy(programs["kube"], root / "usr/bin/kube")
    (root / "usr/lib/kube").mkdir()
    for name in ("kubeadm", "kubelet", "kubectl"):
        (root / "usr/lib/kube" / name).symlink_to("/usr/bin/kube")
    for directory in ("etc/kubernetes/manifests", "etc/cni/net.d"):
        (root / directory).mkdir(parents=True, exist_ok=True)


def _configure(root: Path, ctr: Path) -> None:
    """Leave only the services a node needs, and configure the container runtime."""
    for pattern in (
        "lib/systemd/system/sysinit.target.wants/systemd-tmpfiles-setup.service",
        "lib/systemd/system/multi-user.target.wants/*",
        "etc/systemd/system/*.wants/*",
        "lib/systemd/system/local-fs.target.wants/*",
        "lib/systemd/system/basic.target.wants/*",
        "lib/systemd/system/sockets.target.wants/*udev*",
        "lib/systemd/system/sockets.target.wants/*initctl*",
    ):
        for unit in root.glob(pattern):
            unit.unlink()
    with (root / "etc/systemd/journald.conf").open("a") as journal:
        journal.write("ReadKMsg=no\n")
    init = root / "sbin/init"
    init.unlink(missing_ok=True)
    init.symlink_to("/usr/lib/systemd/systemd")
    services = ["kubelet.service", "containerd.service", "undo-mount-hacks.service"]
    run(["chroot", root, "systemctl", "-q", "enable", *services], timeout=60)
    run(["chroot", root, "systemctl", "-q", "mask", "systemd-binfmt.service"], timeout=60)

    spec = json.loads(run([ctr, "oci", "spec"], timeout=30))
    spec.setdefault("hooks", {}).setdefault("createContainer", []).append(
        {"path": "/kind/bin/mount-product-files.sh"}
    )
    spec["process"].pop("rlimits", None)
    (root / "etc/containerd/cri-base.json").write_text(json.dumps(spec))
    # Both are made anew by each node; a shared one would make all nodes the same machine.
    (root / "etc/machine-id").write_text("")
    (root / "var/lib/dbus/machine-id").unlink(missing_ok=True)


def _import(docker: Docker, archive: Path, reference: str) -> None:
    docker.run(
        "import",
        "--change",
        "ENV container=docker",
        "--change",
        'ENTRYPOINT ["/usr/local/bin/entrypoint", "/sbin/init"]',
        archive,
        reference,
        timeout=600,
    )


def _release(directory: Path, root: Path, programs: dict[str, Path]) -> Path:
    """Return an archive in the layout of a Kubernetes release for servers.

    It has all images that kind would pull.
    """
    version = golang.kubernetes_version()
    files = directory / "kubernetes/server/bin"
    files.mkdir(parents=True)
    layer = component_layer(directory / "layer", root, programs)
    pause = _single_file_layer(directory, programs["pause"])
    images = run(
        [programs["kube"].parent / "kubeadm", "config", "images", "list", "--kubernetes-version", version],
        timeout=60,
    ).split()
    core = [i for i in images if "coredns" not in i and "pause" not in i]
    # kind reads the tags of these four files only, so every image it wants is in one of them.
    write_image(files / "kube-apiserver.tar", layer, tags=core + _kind_images("local-path"))
    write_image(
        files / "kube-controller-manager.tar",
        layer,
        tags=[i for i in images if "coredns" in i],
        entrypoint=["/usr/local/bin/coredns"],
    )
    write_image(
        files / "kube-proxy.tar", layer, tags=_kind_images("kindnetd"), entrypoint=["/usr/local/bin/kindnetd"]
    )
    write_image(files / "kube-scheduler.tar", pause, tags=[_sandbox_image(root)], entrypoint=["/pause"])
    for name in ("kubeadm", "kubelet", "kubectl"):
        (files / name).write_text(f'#!/bin/sh\nexec /usr/lib/kube/{name} "$@"\n')
    (directory / "kubernetes/version").write_text(version)
    release = directory / "release.tar.gz"
    with tarfile.open(release, "w:gz", compresslevel=0) as out:  # read once, by the next step
        out.add(directory / "kubernetes", "kubernetes")
    return release


def _single_file_layer(directory: Path, program: Path) -> Path:
    layer = directory / f"{program.name}.tar"
    with tarfile.open(layer, "w") as out:
        out.add(program, program.name)
    return layer


def _kind_images(name: str) -> list[str]:
    """Return the images that this kind's manifests name, `docker.io/kindest/NAME...:TAG`."""
    directory = _kind_module() / "pkg/build/nodeimage"
    text = "\n".join(file.read_text() for file in sorted(directory.glob("const_*.go")))
    return sorted(set(re.findall(rf"docker\.io/kindest/{name}[a-z-]*:[A-Za-z0-9._-]+", text)))


def _sandbox_image(root: Path) -> str:
    found = re.search(r'sandbox_image = "(.+?)"', (root / "etc/containerd/config.toml").read_text())
    assert found is not None, "kind's config.toml names no sandbox image"
    return found.group(1)


def published_reference() -> str:
    """Return the node image that this version of kind uses by itself."""
    text = (_kind_module() / "pkg/apis/config/defaults/image.go").read_text()
    found = re.search(r'const Image = "(.+?)"', text)
    assert found is not None, "kind's defaults name no image"
    return found.group(1)


def programs() -> tuple[GoProgram, ...]:
    """Return every program that goes into the image or builds it."""
    return _PROGRAMS
