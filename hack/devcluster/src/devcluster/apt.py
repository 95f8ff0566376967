"""Debian packages, installed when they are missing and not before."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from devcluster.errors import CommandError, PrerequisiteError
from devcluster.locks import exclusive
from devcluster.processes import run
from devcluster.progress import step

_ENV = {"DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"}
_LOCK = Path("/run/lock/devcluster-apt.lock")


def require_root(purpose: str) -> None:
    """Raise PrerequisiteError unless this is root."""
    if os.geteuid() != 0:
        raise PrerequisiteError(
            f"{purpose} needs root and this is user id {os.geteuid()}; run the same command with sudo"
        )


def ensure_program(program: str, *packages: str) -> Path:
    """Return the path of a program, after installing what brings it if there is none.

    One package after the other, since Debian's releases split them differently.
    """
    if found := _which(program):
        return found
    for package in packages:
        install([package], f"the program {program}")
        if found := _which(program):
            return found
    raise PrerequisiteError(
        f"{' and '.join(packages)} are installed and brought no program {program}; "
        f"reinstall them by `apt-get install --reinstall {' '.join(packages)}`, or put {program} into PATH"
    )


def install(packages: Sequence[str], purpose: str) -> None:
    """apt-get install what is missing; PrerequisiteError says what to do where that cannot work."""
    cure = f"apt-get install --no-install-recommends {' '.join(packages)}"
    if shutil.which("apt-get") is None:
        raise PrerequisiteError(
            f"{purpose} is missing and this machine has no apt-get; install it so that it is in PATH"
        )
    if os.geteuid() != 0:
        raise PrerequisiteError(f"{purpose} is missing; install it by `sudo {cure}`")
    with exclusive(_LOCK), step(f"installing {' '.join(packages)}"):
        command = [
            "apt-get",
            "-o",
            "DPkg::Lock::Timeout=300",
            "-y",
            "-qq",
            "install",
            "--no-install-recommends",
            *packages,
        ]
        with _NoServiceStart():
            try:
                run(command, env=_ENV, timeout=900)
            except CommandError:
                try:
                    run(["apt-get", "-o", "DPkg::Lock::Timeout=300", "-qq", "update"], env=_ENV, timeout=600)
                    run(command, env=_ENV, timeout=900)
                except CommandError as error:
                    raise PrerequisiteError(f"{purpose} is missing and `{cure}` failed: {error}") from error


class _NoServiceStart:
    """Keep a package's service from starting: the tool runs its own instances on its own ports."""

    _policy = Path("/usr/sbin/policy-rc.d")
    _text = "#!/bin/sh\n# devcluster: only while it installs packages\nexit 101\n"

    def __enter__(self) -> None:
        # One with our text was left by a run that was killed here.
        self._ours = not self._policy.exists() or self._policy.read_text() == self._text
        if self._ours:
            self._policy.write_text(self._text)
            self._policy.chmod(0o755)

    def __exit__(self, *_: object) -> None:
        if self._ours:
            self._policy.unlink(missing_ok=True)


def _which(program: str) -> Path | None:
    found = shutil.which(program) or shutil.which(
        program, path="/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin"
    )
    return Path(found) if found else None
