"""A cluster by `kind` on the Docker daemon of this machine: no root, and the same on Linux and macOS."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from shutil import rmtree
from typing import Final

from demo import cures
from demo.cluster import Cluster
from demo.docker import Docker
from demo.errors import CommandError, MachineError
from demo.images import PUBLIC_BASES, ROOT
from demo.process import run

CREATE_SECONDS: Final = 900
"""Longest creation of a cluster; kind pulls its node image (about 400 MB) the first time."""
LOAD_SECONDS: Final = 600
NODE_KUBECONFIG: Final = "/etc/kubernetes/admin.conf"


def state_directory() -> Path:
    """Return where the kubeconfigs of the demo's clusters are."""
    base = os.environ.get("XDG_STATE_HOME")
    return (Path(base) if base else Path.home() / ".local" / "state") / "modelrollout" / "demo"


@dataclass(frozen=True)
class KindCluster:
    """A cluster that `kind` made. Its kubectl is the one in its node, which has the right version."""

    name: str
    kubeconfig: Path
    docker: Docker = field(default_factory=Docker)

    @property
    def kubectl_command(self) -> list[str]:
        """kubectl in the control plane's node."""
        node = f"{self.name}-control-plane"
        return [str(self.docker.command), "exec", "-i", node, "kubectl", "--kubeconfig", NODE_KUBECONFIG]

    def kubectl(self, *arguments: str, stdin: str | None = None, timeout: float = 120) -> str:
        """Run kubectl and return its standard output; CommandError if it fails."""
        return run([*self.kubectl_command, *arguments], timeout=timeout, stdin=stdin)

    def load_images(self, *references: str) -> None:
        """Copy images of the Docker daemon into every node that lacks them."""
        missing = [reference for reference in references if not self._holds(reference)]
        if not missing:
            return
        try:
            kind("load", "docker-image", "--name", self.name, *missing, timeout=LOAD_SECONDS)
        except CommandError as error:
            raise MachineError(
                cures.sentence("The images could not be copied into the cluster", str(error))
            ) from error

    def _holds(self, reference: str) -> bool:
        # A tag names its content, so a node that has the name has the image.
        for node in kind("get", "nodes", "--name", self.name, timeout=60).split():
            listed = self.docker.run("exec", node, "crictl", "images", "-o", "json")
            tags = {tag for image in json.loads(listed)["images"] for tag in image.get("repoTags") or []}
            if not tags & {reference, f"docker.io/{reference}"}:
                return False
        return True


@dataclass(frozen=True)
class KindBackend:
    """Docker, kind and helm, as they are in PATH.

    Attributes:
        config: kind's configuration.
        build_options: More options for `docker build`.
    """

    config: Path = ROOT / "kind-config.yaml"
    build_options: tuple[str, ...] = ()

    @contextmanager
    def docker(self) -> Iterator[Docker]:
        """Yield the daemon that the docker command finds."""
        # An image without attestations has one platform: `kind load` takes no other from some image stores.
        yield Docker(env={"BUILDX_NO_DEFAULT_ATTESTATIONS": "1"}, build_options=self.build_options)

    def bases(self, docker: Docker) -> dict[str, str]:
        """Return the public images, pulled unless the daemon has them."""
        for reference in PUBLIC_BASES.values():
            docker.pull(reference)
        return dict(PUBLIC_BASES)

    def create(self, name: str) -> Cluster:
        """Return the cluster of that name, created unless it runs.

        Nothing is left of one that could not be.
        """
        if (running := self.attach(name)) is not None:
            return running
        cluster = KindCluster(name, state_directory() / name / "kubeconfig")
        if name in clusters():
            if not cluster.kubeconfig.parent.exists():
                raise MachineError(
                    f"There is a kind cluster {name} that the demo did not make. Remove it by "
                    f"`kind delete cluster --name {name}`, or use another name: "
                    "make demo ARGS='--cluster NAME'."
                )
            self.delete(name)
        cluster.kubeconfig.parent.mkdir(parents=True, exist_ok=True)
        flags: list[str | Path] = ["--name", name, "--config", self.config, "--wait", "180s"]
        flags += ["--kubeconfig", cluster.kubeconfig]
        try:
            kind("create", "cluster", *flags, timeout=CREATE_SECONDS)
        except BaseException as error:
            with suppress(CommandError):
                self.delete(name)
            if isinstance(error, CommandError):
                what = f"kind could not create the cluster {name}"
                raise MachineError(cures.sentence(what, str(error))) from error
            raise
        return cluster

    def attach(self, name: str) -> Cluster | None:
        """Return the cluster of that name, if the demo made it and its API server answers."""
        cluster = KindCluster(name, state_directory() / name / "kubeconfig")
        made = cluster.kubeconfig.parent.exists() and name in clusters()
        return cluster if made and _answers(cluster) else None

    def delete(self, name: str) -> bool:
        """Remove the cluster of that name, if the demo made it; whether there was one."""
        directory = state_directory() / name
        found = directory.exists() and name in clusters()
        if found:
            kubeconfig = directory / "kubeconfig"
            kind("delete", "cluster", "--name", name, "--kubeconfig", kubeconfig, timeout=180)
        rmtree(directory, ignore_errors=True)
        return found

    def helm(self) -> Path:
        """helm from PATH."""
        return Path("helm")


def kind(*arguments: str | Path, timeout: float) -> str:
    """Run kind on Docker and return its standard output; CommandError if it fails."""
    return run(["kind", *arguments], timeout=timeout, env={"KIND_EXPERIMENTAL_PROVIDER": "docker"})


def clusters() -> list[str]:
    """Return the names of the kind clusters on this daemon, whoever made them."""
    return kind("get", "clusters", timeout=60).split()


def _answers(cluster: KindCluster) -> bool:
    """Tell whether the API server answers.

    The kubeconfig is written anew, since it may be another's cluster.
    """
    try:
        cluster.kubectl("get", "--raw", "/readyz", timeout=30)
        kind("export", "kubeconfig", "--name", cluster.name, "--kubeconfig", cluster.kubeconfig, timeout=60)
    except CommandError:
        return False
    return True
