"""Images to build on: the public ones where they can be pulled, else made from Debian packages."""

from __future__ import annotations

import hashlib
import tarfile
from pathlib import Path

from devcluster import tools
from devcluster.cleanup import scratch
from devcluster.debian import Root
from devcluster.docker import Docker
from devcluster.locks import exclusive
from devcluster.paths import cache_dir
from devcluster.progress import step


def python(daemon: Docker, public: str) -> str:
    """Return an image with Python: `public` where the daemon has it or can pull it, else Debian's Python."""
    root = Root(
        "python-base", ("python3", "python3-venv", "ca-certificates"), recipe="3", finish=_finish_python
    )
    own = f"modelrollout/python-base:{root.key}"
    if found := _had(daemon, public, own):
        return found
    with step(f"importing {own}"):
        flags = ["--change", 'CMD ["python3"]', "--change", "ENV LANG=C.UTF-8"]
        daemon.run("import", *flags, root.archive(), own, timeout=300)
    return own


def prometheus(daemon: Docker, public: str) -> str:
    """Return an image with /bin/prometheus and /bin/promtool: `public` as above, else Debian's programs.

    The programs alone: they need the C library of the Debian image that they are copied to.
    """
    programs = {f"bin/{path.name}": path.resolve() for path in (tools.prometheus(), tools.promtool())}
    own = f"modelrollout/prometheus-programs:{_digest(programs)}"
    if found := _had(daemon, public, own):
        return found
    lock = exclusive(cache_dir() / "locks" / "prometheus-programs.lock")
    with lock, scratch(cache_dir(), "prometheus-programs") as directory:
        archive = directory / "programs.tar"
        with tarfile.open(archive, "w") as out:
            for name, path in programs.items():
                out.add(path, name)
        daemon.run("import", archive, own, timeout=300)
    return own


def _had(daemon: Docker, public: str, own: str) -> str | None:
    """Return the image that the daemon has, or can pull."""
    for reference in (public, own):
        if daemon.has_image(reference):
            return reference
    return public if daemon.try_pull(public) else None


def _digest(files: dict[str, Path]) -> str:
    digest = hashlib.sha256()
    for name, path in sorted(files.items()):
        digest.update(name.encode() + b"\0")
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def _finish_python(root: Path) -> None:
    (root / "usr/local/bin/python").symlink_to("/usr/bin/python3")
    # Names and the mirror it was made from are this machine's business; no Dockerfile asks for a package.
    for name in ("apt/sources.list", "hostname", "resolv.conf"):
        (root / "etc" / name).unlink(missing_ok=True)
