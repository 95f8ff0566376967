"""What is asked for, and the means that every step shares: times, commands, deterministic archives."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import re
import subprocess
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from release import version

ROOT: Final = version.ROOT
EARLIEST: Final = 315_532_800
"""1980-01-01: a zip file knows no earlier time."""
NAMED: Final = 5
"""How many changed files are named before the rest is only counted."""
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")
_REPOSITORY: Final = re.compile(r"[a-z0-9]+(?:[._:/-][a-z0-9]+)*")


class ReleaseError(Exception):
    """What was expected, what was seen, and what to do."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What one run makes.

    Attributes:
        out: Directory for the files.
        epoch: Time that every file carries, in seconds since 1970: equal input gives equal files.
        repository: Where the images will be pulled from (`registry.example/team`); None if not known.
        digests: Digest in that repository, by image name; the charts then start the images by it.
        url: Where the files will be downloaded from; None if it is not known yet.
    """

    out: Path
    epoch: int
    repository: str | None = None
    digests: Mapping[str, str]
    url: str | None = None

    def __post_init__(self) -> None:
        if self.repository is not None and not _REPOSITORY.fullmatch(self.repository):
            raise ReleaseError(
                "expected IMAGE_REPOSITORY to be a registry and a path without a tag or a slash at its end, "
                f"such as registry.example/team, got {self.repository!r}"
            )
        for image, digest in self.digests.items():
            if self.repository is None:
                raise ReleaseError(f"a digest of {image} is given without IMAGE_REPOSITORY: say where it is")
            if not _DIGEST.fullmatch(digest):
                raise ReleaseError(
                    f"expected the digest of {image} as sha256:<64 hex digits>, got {digest!r}"
                )

    @property
    def version(self) -> str:
        """The version that is released."""
        return version.current()

    def image(self, name: str) -> str:
        """Full name of an image; of no registry where none was given."""
        return f"{self.repository or 'localhost/modelrollout'}/{name}"


def epoch() -> int:
    """SOURCE_DATE_EPOCH, else the time of the commit; ReleaseError where there is neither."""
    given = os.environ.get("SOURCE_DATE_EPOCH")
    if given is None:
        done = subprocess.run(
            ["git", "log", "-1", "--format=%ct"], cwd=ROOT, capture_output=True, text=True, check=False
        )
        given = done.stdout.strip()
    if not given.isdigit():
        raise ReleaseError(
            f"expected a time for the files from SOURCE_DATE_EPOCH or from git, got {given!r}: "
            "set SOURCE_DATE_EPOCH to seconds since 1970"
        )
    return max(int(given), EARLIEST)


def difference(root: Path = ROOT) -> str | None:
    """Return a sentence that names what the working tree has other than its commit.

    None if nothing, or no git.
    """
    status = ["git", "status", "--porcelain", "--untracked-files=all"]
    done = subprocess.run(status, cwd=root, capture_output=True, text=True, check=False)
    changed = [line[3:] for line in done.stdout.splitlines()] if done.returncode == 0 else []
    if not changed:
        return None
    named = ", ".join(changed[:NAMED]) + (f" and {len(changed) - NAMED} more" if len(changed) > NAMED else "")
    return (
        f"the working tree differs from its commit in {named}: the files are not those of the commit, "
        "although they carry its time; for a release commit or stash the changes first and run it again"
    )


def run(*command: str | Path, cwd: Path = ROOT, env: Mapping[str, str] | None = None) -> str:
    """Return the standard output of a command; ReleaseError with its own words if it fails."""
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={**os.environ, **(env or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        words = (done.stderr.strip() or done.stdout.strip())[-2000:]
        raise ReleaseError(f"{Path(command[0]).name} {command[1]} ended with code {done.returncode}: {words}")
    return done.stdout


def tar_gz(path: Path, files: Iterable[tuple[str, bytes, int]], epoch: int) -> None:
    """Write an archive of (name, content, mode): equal input gives equal bytes."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, content, mode in sorted(files):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode, entry.mtime = len(content), mode, epoch
            archive.addfile(entry, io.BytesIO(content))
    path.write_bytes(zipped(raw.getvalue()))


def zipped(content: bytes) -> bytes:
    """Return the content compressed, without a time or a name."""
    # Level 9 takes four times as long for one per cent less of an image.
    return gzip.compress(content, compresslevel=6, mtime=0)


def sha256(path: Path) -> str:
    """Return hexadecimal digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
