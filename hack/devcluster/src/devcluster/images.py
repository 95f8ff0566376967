"""The project's images: built from its Dockerfiles, tagged by what goes into them.

Builds run without BuildKit, which Debian's Docker has not, and from a context made for each: exactly the
files that the Dockerfile copies. So a tag changes when, and only when, one of those files or the base image
does.
"""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from devcluster import docker as docker_module
from devcluster import pipsettings, tools
from devcluster.debian import Root
from devcluster.docker import Docker
from devcluster.errors import CommandError, UnknownImageError
from devcluster.paths import repository_root
from devcluster.progress import say, step

PUBLIC_BASE = "python:3.12-slim"
PIP_DIRECTORY = ".build-pip"
_BUILD_SECONDS = 3600


@dataclass(frozen=True)
class ProjectImage:
    """One image: `extra` are files put into the context from elsewhere, by their path there."""

    name: str
    dockerfile: str
    extra: tuple[str, ...] = field(default=())


OPERATOR = ProjectImage("operator", "operator/Dockerfile")
INFERENCE = ProjectImage("inference-server", "inference-image/Dockerfile")
PROMETHEUS = ProjectImage(
    "prometheus", "hack/images/prometheus/Dockerfile", extra=("package/prometheus", "package/promtool")
)
ALL = (OPERATOR, INFERENCE, PROMETHEUS)


def named(names: Iterable[str]) -> list[ProjectImage]:
    """The project's images of these names, all of them for none; UnknownImageError for any other."""
    by_name = {image.name: image for image in ALL}
    wanted = list(names) or list(by_name)
    for name in wanted:
        if name not in by_name:
            raise UnknownImageError(f"the project has no image {name}; it has {', '.join(by_name)}")
    return [by_name[name] for name in wanted]


def build(daemon: Docker, images: Iterable[ProjectImage]) -> dict[str, str]:
    """Build the images that the daemon lacks; references (`modelrollout/NAME:TAG`) by name."""
    base = base_image(daemon)
    return {image.name: _build_one(daemon, image, base) for image in images}


def base_image(daemon: Docker) -> str:
    """The public Python image where the daemon has it or can pull it, else one from Debian's packages."""
    root = Root(
        "python-base", ("python3", "python3-venv", "ca-certificates"), recipe="3", finish=_finish_base
    )
    own = f"modelrollout/python-base:{root.key}"
    for reference in (PUBLIC_BASE, own):
        if daemon.has_image(reference):
            return reference
    if daemon.try_pull(PUBLIC_BASE):
        return PUBLIC_BASE
    archive = root.archive()
    with step(f"importing {own}"):
        daemon.run(
            "import",
            "--change",
            'CMD ["python3"]',
            "--change",
            "ENV LANG=C.UTF-8",
            archive,
            own,
            timeout=300,
        )
    return own


def _finish_base(root: Path) -> None:
    (root / "usr/local/bin/python").symlink_to("/usr/bin/python3")
    # Names and the mirror it was made from are this machine's business; no Dockerfile asks for a package.
    for name in ("apt/sources.list", "hostname", "resolv.conf"):
        (root / "etc" / name).unlink(missing_ok=True)


def _build_one(daemon: Docker, image: ProjectImage, base: str) -> str:
    dockerfile = repository_root() / image.dockerfile
    if not dockerfile.is_file():
        raise UnknownImageError(f"expected the Dockerfile of {image.name} at {dockerfile}, it does not exist")
    files = _context(image)
    reference = f"modelrollout/{image.name}:{content_tag(files, daemon.image_id(base))}"
    if daemon.has_image(reference):
        say(f"{reference} is built already")
        return reference
    with step(f"building {reference}"):
        _run_build(daemon, image, base, reference, files)
    return reference


def _context(image: ProjectImage) -> dict[str, Path]:
    """What goes to the daemon: path in the context to file. The Dockerfile and every file that it copies."""
    top = repository_root()
    files = {image.dockerfile: top / image.dockerfile}
    for pattern in copied(files[image.dockerfile].read_text()):
        for found in sorted(top.glob(pattern)):
            files |= {str(path.relative_to(top)): path for path in _files(found)}
    for name in image.extra:
        source = tools.prometheus() if name.endswith("/prometheus") else tools.promtool()
        files[name] = source.resolve()
    return dict(sorted(files.items()))


def copied(dockerfile: str) -> list[str]:
    """The sources of the COPY lines that take files from the context."""
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


def content_tag(files: dict[str, Path], base_id: str) -> str:
    """The tag of an image made from these files (by their path in the context) on this base."""
    digest = hashlib.sha256(base_id.encode())
    for name, path in files.items():
        digest.update(f"\0{name}\0{os.access(path, os.X_OK)}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def _run_build(
    daemon: Docker, image: ProjectImage, base: str, reference: str, files: dict[str, Path]
) -> None:
    context = io.BytesIO()
    # Docker looks at the first 512 bytes only to see that this is an archive: no extended headers.
    with tarfile.open(fileobj=context, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name, path in files.items():
            archive.add(path, name, filter=_plain)
        for name, content in pipsettings.files().items():
            entry = tarfile.TarInfo(f"{PIP_DIRECTORY}/{name}")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    command: list[str | Path] = [
        docker_module.client(),
        "build",
        "--build-arg",
        f"BASE_IMAGE={base}",
        "-f",
        image.dockerfile,
        "-t",
        reference,
    ]
    for name in pipsettings.proxy_variables():
        command += ["--build-arg", name]  # the value is taken from the environment, and not kept in the image
    environment = {**os.environ, **daemon.env}
    if daemon.private:  # its containers have no network but the machine's own
        command += ["--network=host"]
        environment["DOCKER_BUILDKIT"] = "0"
    done = subprocess.run(
        [*command, "-"],
        input=context.getvalue(),
        env=environment,
        capture_output=True,
        timeout=_BUILD_SECONDS,
        check=False,
    )
    if done.returncode:
        said = (done.stdout + done.stderr).decode(errors="replace").strip().splitlines()
        raise CommandError(
            f"building {image.dockerfile} on {base} ended with code {done.returncode}:\n"
            + "\n".join(said[-25:]),
            returncode=done.returncode,
        )


def _plain(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    entry.mtime = 0
    entry.mode = 0o755 if entry.mode & 0o100 else 0o644
    return entry
