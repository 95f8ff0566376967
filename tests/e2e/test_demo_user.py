"""`make demo` as a visitor has it: an ordinary user, Docker, kind and helm in PATH; no root, no Go, no apt.

The Docker daemon is the one of the shared kind cluster. Where it cannot pull, images of its own get the names
of the public ones. A kind configuration names the node image and what restricted containers need.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import yaml

from demo import images
from tests.support.cluster_tool import (
    CommandError,
    KindCluster,
    base_images,
    docker,
    kind_cluster,
    kind_settings,
    project_images,
    tools,
)
from tests.support.ordinary_user import ROOT, OrdinaryUser, Ran, ordinary_user

__all__ = ["kind_cluster", "project_images"]

pytestmark = pytest.mark.timeout(420)
CLUSTER = "demo-user"
NODES = "label=io.x-k8s.kind.cluster=demo-user"
PYTHON = "/usr/bin/python3"


@dataclass(frozen=True)
class Visitor:
    """The user, what `make demo` is run with, and how its Docker daemon is reached."""

    user: OrdinaryUser
    arguments: str
    env: dict[str, str]
    socket: Path

    def make(self, target: str, *, seconds: float) -> Ran:
        """Run a target of the Makefile."""
        command = ("make", target, f"PYTHON={PYTHON}", f"ARGS=--cluster {CLUSTER} {self.arguments}")
        return self.user.run(*command, env=self.env, seconds=seconds)

    def permitted(self) -> Visitor:
        """The same user in the group of the socket."""
        return replace(self, user=replace(self.user, groups=(self.socket.stat().st_gid,)))


@pytest.fixture(scope="module")
def visitor(kind_cluster: KindCluster) -> Iterator[Visitor]:
    """A user who may not use the Docker daemon yet."""
    subprocess.run([ROOT / "hack/ensure-python", PYTHON], check=True, cwd=ROOT, timeout=300)
    daemon = kind_cluster.docker
    socket = Path(
        (daemon.host or os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock").split("://")[1]
    )
    programs = {"docker": docker.client(), "kind": tools.kind(), "helm": tools.helm()}
    with ordinary_user("modelrollout-visitor", programs) as user:
        config = user.home / "kind.yaml"
        config.write_text(yaml.safe_dump(kind_settings(kind_cluster)))
        user.give(config)
        arguments = f"--kind-config {config} --replicas 4"  # test_demo.py plays with all pods
        if daemon.private:
            arguments += " --build-option=--network=host"
            socket.parent.chmod(0o711)
            os.chown(socket, 0, user.account.pw_gid)
            socket.chmod(0o600)
        try:
            yield Visitor(user, arguments, {"DOCKER_HOST": f"unix://{socket}"}, socket)
        finally:
            if daemon.private:
                socket.parent.chmod(0o700)
                os.chown(socket, 0, 0)
            if left := daemon.run("ps", "-aq", "--filter", NODES).split():
                daemon.run("rm", "-f", "-v", *left)


@pytest.fixture(scope="module")
def pulled(kind_cluster: KindCluster, project_images: dict[str, str]) -> Iterator[None]:
    """The daemon has the public images, and not the project's under their own names: the demo builds them."""
    daemon = kind_cluster.docker
    bases = base_images(daemon)
    named = [images.PUBLIC_BASES[name] for name, made in bases.items() if made != images.PUBLIC_BASES[name]]
    for name, made in bases.items():
        if images.PUBLIC_BASES[name] in named:
            daemon.run("tag", made, images.PUBLIC_BASES[name])
    kept = [f"kept-for-the-next-build/{name}:1" for name in project_images]
    for reference, other in zip(project_images.values(), kept, strict=True):
        daemon.run("tag", reference, other)
        daemon.run("rmi", reference)
    yield
    for reference in [*kept, *named]:
        with suppress(CommandError):
            daemon.run("rmi", reference)


def test_demo_says_that_docker_is_not_permitted(visitor: Visitor, kind_cluster: KindCluster) -> None:
    ran = visitor.make("demo", seconds=180)
    assert ran.code != 0
    assert "this user may not use Docker's socket; add the user to the group `docker`" in " ".join(
        ran.said.split()
    )
    assert not (visitor.user.home / ".local").exists()
    assert kind_cluster.docker.run("ps", "-aq", "--filter", NODES) == ""


@pytest.fixture(scope="module")
def played(visitor: Visitor, pulled: None) -> Ran:
    """The whole demo."""
    visitor.socket.chmod(0o660)
    return visitor.permitted().make("demo", seconds=400)


def test_demo_needs_docker_kind_and_helm_only(
    visitor: Visitor, played: Ran, kind_cluster: KindCluster, project_images: dict[str, str]
) -> None:
    print(played.said, f"`make demo` took {played.seconds:.1f} s")
    assert played.code == 0, played.said
    assert "The better model serves everything" in played.said
    assert "✗" not in played.said
    for reference in project_images.values():
        assert kind_cluster.docker.has_image(reference), "the demo built what it played with"
    assert (visitor.user.home / f".local/state/modelrollout/demo/{CLUSTER}/kubeconfig").exists()
    assert not (visitor.user.home / ".cache" / "modelrollout").exists(), "no Kubernetes was built"
    assert not (visitor.user.home / "go").exists()


def test_demo_down_removes_what_the_demo_made(
    visitor: Visitor, played: Ran, kind_cluster: KindCluster
) -> None:
    assert visitor.permitted().make("demo-down", seconds=120).code == 0
    assert kind_cluster.docker.run("ps", "-aq", "--filter", NODES) == ""
    again = visitor.permitted().make("demo-down", seconds=60)
    assert again.code == 0
    assert "nothing to remove" in again.said
