"""The project's images: built from its Dockerfiles, tagged by what goes into them.

The context of a build is made for it: exactly the files that the Dockerfile copies. So a tag changes when,
and only when, one of those files or an image below it changes. Nothing here needs BuildKit or names an
architecture.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from demo import cures, pipsettings
from demo.docker import Docker
from demo.errors import CommandError, MachineError

ROOT: Final = Path(__file__).resolve().parents[4]
PUBLIC_BASES: Final = {"BASE_IMAGE": "python:3.12-slim", "PROMETHEUS_IMAGE": "prom/prometheus:v2.53.0"}
"""Public images that the Dockerfiles build on, by the build argument that names another one."""
PIP_DIRECTORY: Final = ".build-pip"
_BUILD_SECONDS: Final = 3600


@dataclass(frozen=True)
class ProjectImage:
    """One image and its Dockerfile, relative to the directory with its source."""

    name: str
    dockerfile: str
    root: Path = ROOT

    def bases(self) -> list[str]:
        """Return the build arguments of its Dockerfile that name an image to build on."""
        text = (self.root / self.dockerfile).read_text()
        return [name for name in PUBLIC_BASES if re.search(rf"^ARG {name}=", text, re.MULTILINE)]


OPERATOR: Final = ProjectImage("operator", "operator/Dockerfile")
INFERENCE: Final = ProjectImage("inference-server", "inference-image/Dockerfile")
PROMETHEUS: Final = ProjectImage("prometheus", "hack/images/prometheus/Dockerfile")
ALL: Final = (OPERATOR, INFERENCE, PROMETHEUS)


def build(docker: Docker, images: Iterable[ProjectImage], bases: Mapping[str, str]) -> dict[str, str]:
    """Build the images that the daemon lacks; references (`modelrollout/NAME:TAG`) by name.

    Args:
        docker: The daemon that builds them.
        images: Which ones.
        bases: The image for each argument of PUBLIC_BASES; the daemon has them.

    Raises:
        MachineError: A build failed.
    """
    return {image.name: _build_one(docker, image, bases) for image in images}


def _build_one(docker: Docker, image: ProjectImage, bases: Mapping[str, str]) -> str:
    arguments = {name: bases[name] for name in image.bases()}
    files = context(image)
    below = "|".join(docker.image_id(reference) or reference for reference in arguments.values())
    reference = f"modelrollout/{image.name}:{content_tag(files, below)}"
    if docker.image_id(reference) is None:
        _run_build(docker, image, reference, files, arguments)
    return reference


def context(image: ProjectImage) -> dict[str, Path]:
    """Return what goes to the daemon: path in the context to file.

    The Dockerfile and every file that it copies.
    """
    files = {image.dockerfile: image.root / image.dockerfile}
    for pattern in copied(files[image.dockerfile].read_text()):
        for found in sorted(image.root.glob(pattern)):
            files |= {str(path.relative_to(image.root)): path for path in _files(found)}
    return dict(sorted(files.items()))


def copied(dockerfile: str) -> list[str]:
    """Return the sources of the COPY lines that take files from the context."""
    sources = []
    for line in dockerfile.replace("\\\n", " ").splitlines():
        words = line.split()
        if words[:1] == ["COPY"] and not any(word.startswith("--from") for word in words):
            sources += [
                word for word in words[1:-1] if not word.startswith("--") and not word.startswith(".build-")
            ]
    return sources


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    return [p for p in sorted(path.rglob("*")) if p.is_file() and "__pycache__" not in p.parts]


def content_tag(files: Mapping[str, Path], below: str) -> str:
    """Return the tag of an image made from these files (by their path in the context) on what is below it."""
    digest = hashlib.sha256(below.encode())
    for name, path in files.items():
        digest.update(f"\0{name}\0{os.access(path, os.X_OK)}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def _run_build(
    docker: Docker,
    image: ProjectImage,
    reference: str,
    files: Mapping[str, Path],
    arguments: Mapping[str, str],
) -> None:
    command = ["build", *docker.build_options, "-f", image.dockerfile, "-t", reference]
    for name, value in arguments.items():
        command += ["--build-arg", f"{name}={value}"]
    for name in pipsettings.proxy_variables():
        command += ["--build-arg", name]  # the value is taken from the environment, and not kept in the image
    try:
        docker.run(*command, "-", stdin=_archive(files), timeout=_BUILD_SECONDS)
    except CommandError as error:
        raise MachineError(cures.sentence(f"{image.dockerfile} could not be built", str(error))) from error


def _archive(files: Mapping[str, Path]) -> bytes:
    made = io.BytesIO()
    # Docker looks at the first 512 bytes only to see that this is an archive: no extended headers.
    with tarfile.open(fileobj=made, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name, path in files.items():
            archive.add(path, name, filter=_plain)
        for name, content in pipsettings.files().items():
            entry = tarfile.TarInfo(f"{PIP_DIRECTORY}/{name}")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return made.getvalue()


def _plain(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    entry.mtime = 0
    entry.mode = 0o755 if entry.mode & 0o100 else 0o644
    return entry
