"""How the demo gets its cluster on this machine, or one sentence for each thing that it lacks."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from demo import cures
from demo.cluster import Backend
from demo.errors import CommandError, MachineError
from demo.kind import KindBackend, state_directory
from demo.process import run

GIB: Final = 1024**3
NEEDED_BYTES: Final = 4 * GIB
"""Room for the node image, the base images and the project's three images."""
OLDEST_KIND: Final = (0, 22)
"""The first whose cluster is Kubernetes 1.29, which the charts need."""
OLDEST_HELM: Final = 3
WITHOUT_DOCKER: Final = "Without Docker the demo runs on Debian as root, with Go 1.26 or later."


def backend(
    config: Path | None = None, build_options: tuple[str, ...] = (), *, build_cluster: bool = False
) -> Backend:
    """Docker and kind where kind is installed, else the builder of clusters where that one can work.

    Args:
        config: kind's configuration instead of the repository's; for Docker and kind only.
        build_options: More options for `docker build`; for Docker and kind only.
        build_cluster: The builder, even where kind is installed.

    Raises:
        MachineError: Neither way is open. Nothing was started.
    """
    if build_cluster or (not _found("kind") and can_build()):
        return _builder()
    if problems := [sentence for check in (docker, kind, helm, room) if (sentence := check())]:
        raise MachineError(*problems, *([] if _found("kind") else [WITHOUT_DOCKER]))
    chosen = KindBackend(build_options=build_options)
    return chosen if config is None else KindBackend(config=config, build_options=build_options)


def backend_of(cluster: str) -> Backend | None:
    """Who made a cluster and can remove it; None if there is none of that name.

    Raises:
        MachineError: Docker does not answer, so it cannot be known.
    """
    if can_build():
        from demo import builder  # noqa: PLC0415 - not where Docker and kind do

        if builder.knows(cluster):
            return builder.BuilderBackend()
    if not (state_directory() / cluster).exists():
        return None
    if problems := [sentence for check in (docker, kind) if (sentence := check())]:
        raise MachineError(*problems)
    return KindBackend()


def can_build() -> bool:
    """Tell whether this is a machine on which a cluster can be built: Linux with apt, and root."""
    return sys.platform == "linux" and os.geteuid() == 0 and _found("apt-get")


def docker() -> str | None:
    """Return what is wrong with Docker."""
    if not _found("docker"):
        also = " (Podman cannot stand in for it)" if _found("podman") else ""
        return f"Docker is missing: install Docker Engine or Docker Desktop{also}."
    try:
        version = _ask("docker", "--version")
        server = _ask("docker", "version", "--format", "{{json .Server}}")
    except CommandError as error:
        return cures.sentence("Docker does not work here", str(error))
    if "podman" in (version + server).lower():
        return (
            f"`docker` is Podman here ({' '.join(version.split())}), and the demo needs Docker itself: "
            "install Docker Engine or Docker Desktop, put its `docker` before Podman's in PATH, "
            "and unset DOCKER_HOST if it names Podman's socket."
        )
    return None


def kind() -> str | None:
    """Return what is wrong with kind."""
    wanted = ".".join(map(str, OLDEST_KIND))
    if not _found("kind"):
        return f"kind is missing: install kind {wanted} or later, so that `kind` is in PATH."
    seen, numbers = _version("kind", "version")
    if numbers is None or numbers < OLDEST_KIND:
        return f"kind is too old: expected {wanted} or later, this one says {seen!r}; install a newer one."
    return None


def helm() -> str | None:
    """Return what is wrong with helm."""
    if not _found("helm"):
        return f"Helm is missing: install Helm {OLDEST_HELM} or later, so that `helm` is in PATH."
    seen, numbers = _version("helm", "version", "--short")
    if numbers is None or numbers[0] < OLDEST_HELM:
        return (
            f"Helm is too old: expected {OLDEST_HELM} or later, this one says {seen!r}; install a newer one."
        )
    return None


def room(usage: Callable[[str], int] | None = None) -> str | None:
    """Tell whether Docker's disk is too full.

    Nothing where it cannot be seen, as in Docker Desktop's own disk.
    """
    try:
        directory = _ask("docker", "info", "--format", "{{.DockerRootDir}}").strip()
        free = (usage or (lambda path: shutil.disk_usage(path).free))(directory)
    except (CommandError, OSError):
        return None
    if free >= NEEDED_BYTES:
        return None
    return (
        f"Docker's disk is too full: the demo needs {NEEDED_BYTES / GIB:.0f} GiB below {directory}, "
        f"{free / GIB:.1f} GiB are free; `docker system prune` removes what Docker no longer uses."
    )


def _builder() -> Backend:
    from demo.builder import BuilderBackend  # noqa: PLC0415 - not where Docker and kind do

    return BuilderBackend()


def _version(*command: str) -> tuple[str, tuple[int, int] | None]:
    """Return what a program says of its version, and the first two numbers of it."""
    try:
        said = " ".join(_ask(*command).split())
    except CommandError as error:
        return str(error), None
    numbers = re.search(r"v?(\d+)\.(\d+)", said)
    return said[:100], (int(numbers[1]), int(numbers[2])) if numbers else None


def _ask(*command: str) -> str:
    return run(command, timeout=30)


def _found(program: str) -> bool:
    return shutil.which(program) is not None
