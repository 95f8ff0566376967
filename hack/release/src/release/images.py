"""Both images as OCI archives for the architecture of this machine's Docker daemon."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Final

from devcluster import docker, images
from devcluster.docker import Docker
from release import oci
from release.plan import Plan

IMAGES: Final = (images.OPERATOR, images.INFERENCE)


def write(plan: Plan) -> list[Path]:
    """Build what the daemon lacks and write the archives."""
    with docker.for_a_while() as daemon:
        built = images.build(daemon, IMAGES)
        return [export(plan, daemon, name, reference) for name, reference in sorted(built.items())]


def export(plan: Plan, daemon: Docker, name: str, reference: str) -> Path:
    """Write the OCI archive of an image that the daemon has."""
    platform = daemon.run("image", "inspect", "--format", "{{.Os}}-{{.Architecture}}", reference).strip()
    target = plan.out / f"{name}-{plan.version}-{platform}.oci.tar"
    with tempfile.TemporaryDirectory(dir=plan.out) as directory:
        saved = Path(directory) / "saved.tar"
        daemon.run("save", "--output", saved, reference, timeout=600)
        oci.convert(saved, target, plan.image(name), plan.version)
    return target
