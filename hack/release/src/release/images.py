"""Both images as OCI archives for the architecture of this machine's Docker daemon."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Final

from demo import images, preflight
from demo.cluster import Backend
from demo.docker import Docker
from demo.errors import MachineError
from demo.kind import KindBackend
from release import oci
from release.plan import Plan

IMAGES: Final = (images.OPERATOR, images.INFERENCE)
SAVE_SECONDS: Final = 600


def write(plan: Plan) -> list[Path]:
    """Build what the daemon lacks and write the archives; MachineError where there is no daemon."""
    backend = _backend()
    with backend.docker() as daemon:
        built = images.build(daemon, IMAGES, backend.bases(daemon))
        return [export(plan, daemon, name, reference) for name, reference in sorted(built.items())]


def export(plan: Plan, daemon: Docker, name: str, reference: str) -> Path:
    """Write the OCI archive of an image that the daemon has."""
    platform = daemon.run("image", "inspect", "--format", "{{.Os}}-{{.Architecture}}", reference).strip()
    target = plan.out / f"{name}-{plan.version}-{platform}.oci.tar"
    with tempfile.TemporaryDirectory(dir=plan.out) as directory:
        saved = Path(directory) / "saved.tar"
        daemon.run("save", "--output", saved, reference, timeout=SAVE_SECONDS)
        oci.convert(saved, target, plan.image(name), plan.version)
    return target


def _backend() -> Backend:
    """Return where the images are built: kind and Helm are not needed for that."""
    if preflight.can_build():
        from demo.builder import BuilderBackend  # noqa: PLC0415 - only where it can work

        return BuilderBackend()
    if problem := preflight.docker():
        raise MachineError(problem)
    return KindBackend()
