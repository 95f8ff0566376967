"""Debian root file systems by debootstrap, kept as tar archives named by what they contain."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from devcluster.apt import ensure_program, require_root
from devcluster.cleanup import scratch
from devcluster.errors import CommandError, PrerequisiteError
from devcluster.locks import exclusive
from devcluster.paths import GIB, cache_dir, require_free
from devcluster.processes import run
from devcluster.progress import say, step

SUITE = "bookworm"
# Not needed to run programs; they are two thirds of a minimal system's files.
_DROPPED = (
    "var/lib/apt/lists",
    "var/cache/apt",
    "var/cache/debconf",
    "usr/share/doc",
    "usr/share/man",
    "usr/share/info",
    "usr/share/locale",
    "var/log",
)


@dataclass(frozen=True)
class Root:
    """One root file system: `include` are packages beyond a minimal one.

    `finish` changes the unpacked directory before it is archived; `recipe` must change whenever `finish`
    does, because it and the packages name the archive in the cache.
    """

    name: str
    include: tuple[str, ...]
    recipe: str = ""
    finish: Callable[[Path], None] | None = None

    @property
    def key(self) -> str:
        """Names the content."""
        text = f"{SUITE}|{sorted(self.include)}|{self.recipe}|{_DROPPED}"
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def archive(self) -> Path:
        """Return the tar archive, built (in about a minute) if the cache does not have it whole."""
        path = cache_dir() / "roots" / f"{self.name}-{self.key}.tar"
        with exclusive(cache_dir() / "locks" / f"root-{self.name}.lock"):
            if not _whole(path):
                if path.exists():
                    say(f"the cache entry {path} is broken; building it again")
                self._build(path)
        return path

    def _build(self, path: Path) -> None:
        require_root(f"building the root file system {self.name}")
        ensure_program("debootstrap", "debootstrap")
        path.parent.mkdir(parents=True, exist_ok=True)
        require_free(path.parent, 2 * GIB, f"the root file system {self.name}")
        with scratch(path.parent, self.name) as directory:
            root, archive = directory / "root", directory / "root.tar"
            with step(f"bootstrapping Debian {SUITE} for {self.name}"):
                _debootstrap(root, self.include)
            for dropped in _DROPPED:
                _empty(root / dropped)
            if self.finish:
                self.finish(root)
            pack(root, archive)
            _size_file(path).write_text(str(archive.stat().st_size))
            archive.rename(path)


def pack(root: Path, archive: Path) -> None:
    """Write a tar archive of a directory, with numeric owners and in a fixed order."""
    run(["tar", "--numeric-owner", "--sort=name", "-C", root, "-cf", archive, "."], timeout=600)


def _size_file(path: Path) -> Path:
    return path.with_suffix(".size")


def _whole(path: Path) -> bool:
    try:
        return path.stat().st_size == int(_size_file(path).read_text())
    except (OSError, ValueError):
        return False


def _empty(directory: Path) -> None:
    if directory.is_dir():
        for entry in directory.iterdir():
            shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()


def _debootstrap(root: Path, include: tuple[str, ...]) -> None:
    command: list[str | Path] = [
        "debootstrap",
        "--variant=minbase",
        f"--include={','.join(include)}",
        SUITE,
        root,
    ]
    if mirror := _mirror():
        command.append(mirror)
    try:
        run(command, timeout=1800, env={"DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C", **_proxy()})
    except CommandError as error:
        log = root / "debootstrap" / "debootstrap.log"
        end = "\n".join(log.read_text(errors="replace").splitlines()[-10:]) if log.is_file() else ""
        raise PrerequisiteError(
            f"debootstrap could not fetch Debian {SUITE}; check that `apt-get update` works: {error}\n{end}"
        ) from error


def _mirror() -> str | None:
    """Return the Debian archive this machine's apt uses, so that a local mirror serves here too.

    None for the default.
    """
    sources = [Path("/etc/apt/sources.list"), *sorted(Path("/etc/apt/sources.list.d").glob("*"))]
    for file in sources:
        if file.is_file() and file.suffix in {".list", ".sources"}:
            text = re.sub(r"#.*", "", file.read_text())
            for address in re.findall(r"https?://[^\s\]]+", text):
                if address.rstrip("/").endswith("/debian"):
                    return str(address)
    return None


def _proxy() -> dict[str, str]:
    """Return the proxy that apt is told to use, for debootstrap's own downloads."""
    if "http_proxy" in os.environ:
        return {}
    found = re.search(r'"(.+)"', run(["apt-config", "dump", "Acquire::http::Proxy"], timeout=30))
    return {"http_proxy": found.group(1)} if found and found.group(1) != "DIRECT" else {}
