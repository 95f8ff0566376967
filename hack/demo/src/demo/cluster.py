"""What the demo needs of a cluster and of whatever makes one."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

from demo.docker import Docker

Json = dict[str, Any]


class Cluster(Protocol):
    """A running kind cluster."""

    @property
    def kubeconfig(self) -> Path:
        """The file that reaches it from this machine, with the certificates embedded."""
        ...

    @property
    def kubectl_command(self) -> list[str]:
        """kubectl for this cluster, as a command to which arguments are appended."""
        ...

    def kubectl(self, *arguments: str, stdin: str | None = None, timeout: float = 120) -> str:
        """Run kubectl and return its standard output; CommandError if it fails."""
        ...

    def load_images(self, *references: str) -> None:
        """Copy images of the Docker daemon into every node that lacks them."""
        ...


class Backend(Protocol):
    """Where Docker, the images to build on, and the cluster come from."""

    def docker(self) -> AbstractContextManager[Docker]:
        """Return a daemon, for as long as images are built and the cluster is created."""
        ...

    def bases(self, docker: Docker) -> dict[str, str]:
        """Return an image for each argument of `images.PUBLIC_BASES`, all of them in the daemon."""
        ...

    def create(self, name: str) -> Cluster:
        """Return the cluster of that name, created unless it runs.

        Nothing is left of one that could not be.
        """
        ...

    def attach(self, name: str) -> Cluster | None:
        """Return the cluster of that name, if it runs."""
        ...

    def delete(self, name: str) -> bool:
        """Remove the cluster of that name; whether there was one."""
        ...

    def helm(self) -> Path:
        """Return the helm program."""
        ...
