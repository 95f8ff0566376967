"""The demo's one door to `hack/devcluster`, which builds a cluster where nothing can be pulled.

Nothing else of the demo imports the tool, and this module only where Docker and kind are not both there.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from demo.cluster import Cluster
from demo.docker import Docker
from demo.errors import CommandError, MachineError
from demo.images import PUBLIC_BASES
from devcluster import baseimages, kindcluster, tools
from devcluster import docker as daemons
from devcluster.docker import Docker as Daemon
from devcluster.errors import CommandError as ToolCommandError
from devcluster.errors import DevClusterError


@dataclass(frozen=True)
class BuiltCluster:
    """A cluster of the tool's."""

    made: kindcluster.KindCluster

    @property
    def kubeconfig(self) -> Path:
        """The file that reaches it from this machine."""
        return self.made.kubeconfig

    @property
    def kubectl_command(self) -> list[str]:
        """The tool's kubectl."""
        return [str(tools.kubectl()), "--kubeconfig", str(self.made.kubeconfig)]

    def kubectl(self, *arguments: str, stdin: str | None = None, timeout: float = 120) -> str:
        """Run kubectl and return its standard output; CommandError if it fails."""
        try:
            return self.made.kubectl(*arguments, stdin=stdin, timeout=timeout)
        except ToolCommandError as error:
            raise CommandError(str(error)) from error

    def load_images(self, *references: str) -> None:
        """Copy images of the Docker daemon into every node that lacks them."""
        with _errors():
            self.made.load_images(*references)


class BuilderBackend:
    """A Docker daemon of the tool's own where there is none; images are built where none can be pulled."""

    @contextmanager
    def docker(self) -> Iterator[Docker]:
        """Yield a daemon.

        One that was started for this ends with the block unless it has containers by then.
        """
        with _errors(), daemons.for_a_while() as daemon:
            yield as_docker(daemon)

    def bases(self, docker: Docker) -> dict[str, str]:  # noqa: ARG002 - the tool knows its daemon
        """Return the public images where they can be pulled, else the tool's own."""
        with _errors():
            return bases(daemons.obtain())

    def create(self, name: str) -> Cluster:
        """Return the cluster of that name, created unless it runs."""
        with _errors():
            return BuiltCluster(kindcluster.KindCluster.up(name=name))

    def attach(self, name: str) -> Cluster | None:
        """Return the cluster of that name, if it runs."""
        with _errors():
            found = kindcluster.KindCluster.attach(name)
        return BuiltCluster(found) if found else None

    def delete(self, name: str) -> bool:
        """Remove the cluster of that name; whether there was one."""
        with _errors():
            return kindcluster.kind_down(name)

    def helm(self) -> Path:
        """helm, built from its Go module."""
        with _errors():
            return tools.helm()


def as_docker(daemon: Daemon) -> Docker:
    """Return the docker command for a daemon of the tool's."""
    if not daemon.private:
        return Docker(daemons.client(), daemon.env)
    # Its containers have no network but the machine's own, and Debian's Docker has no BuildKit.
    return Docker(daemons.client(), {**daemon.env, "DOCKER_BUILDKIT": "0"}, ("--network=host",))


def bases(daemon: Daemon) -> dict[str, str]:
    """Return an image for each argument of PUBLIC_BASES."""
    return {
        "BASE_IMAGE": baseimages.python(daemon, PUBLIC_BASES["BASE_IMAGE"]),
        "PROMETHEUS_IMAGE": baseimages.prometheus(daemon, PUBLIC_BASES["PROMETHEUS_IMAGE"]),
    }


def knows(name: str) -> bool:
    """Tell whether the tool has made a cluster of that name."""
    return name in kindcluster.names()


@contextmanager
def _errors() -> Iterator[None]:
    """Yield the tool's errors as the demo's own; each is a sentence with the cure."""
    try:
        yield
    except DevClusterError as error:
        failure = MachineError(str(error))
        failure.exit_code = error.exit_code
        raise failure from error
