"""An account without any rights, with a checkout of its own: what a visitor has."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = "/usr/bin:/bin"
KEPT = ("PIP_", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy")
"""Variables that say how this machine reaches its package index."""


@dataclass(frozen=True)
class Ran:
    """A command that has ended, and how long it took."""

    code: int
    said: str
    seconds: float


@dataclass(frozen=True)
class OrdinaryUser:
    """The account; `groups` are those that it is in beside its own."""

    account: pwd.struct_passwd
    checkout: Path
    programs: Path
    groups: Sequence[int] = ()

    @property
    def home(self) -> Path:
        """Its home directory."""
        return Path(self.account.pw_dir)

    def give(self, path: Path) -> None:
        """Make a file or a directory with all in it the user's."""
        for one in (path, *path.rglob("*")):
            os.chown(one, self.account.pw_uid, self.account.pw_gid, follow_symlinks=False)

    def run(self, *command: str, env: Mapping[str, str], seconds: float) -> Ran:
        """Run a command in the checkout with nothing of our environment but the way to the package index."""
        kept = {name: value for name, value in os.environ.items() if name.startswith(KEPT)}
        paths = {"HOME": str(self.home), "PATH": f"{self.programs}:{PROGRAMS}", "LANG": "C.UTF-8"}
        began = time.monotonic()
        process = subprocess.Popen(
            command,
            cwd=self.checkout,
            env=kept | paths | dict(env),
            user=self.account.pw_uid,
            group=self.account.pw_gid,
            extra_groups=list(self.groups),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        try:
            said, _ = process.communicate(timeout=seconds)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            raise
        return Ran(process.returncode, said, time.monotonic() - began)


@contextmanager
def ordinary_user(name: str, programs: Mapping[str, Path]) -> Iterator[OrdinaryUser]:
    """An account with a copy of this checkout and of some programs; removed with all it has afterwards."""
    _remove(name)  # what a run that was killed left
    subprocess.run(["useradd", "--create-home", "--shell", "/bin/sh", name], check=True, timeout=60)
    try:
        account = pwd.getpwnam(name)
        user = OrdinaryUser(account, Path(account.pw_dir) / "checkout", Path(account.pw_dir) / "bin")
        listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        for file in subprocess.check_output(listed, cwd=ROOT, text=True).split("\0"):
            if file and (ROOT / file).is_file():
                (user.checkout / file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / file, user.checkout / file)
        user.programs.mkdir()
        for program, path in programs.items():
            shutil.copy(path, user.programs / program)
        user.give(user.home)
        yield user
    finally:
        _remove(name)


def _remove(name: str) -> None:
    if name in {account.pw_name for account in pwd.getpwall()}:
        subprocess.run(["userdel", "--remove", name], check=True, capture_output=True, timeout=60)
