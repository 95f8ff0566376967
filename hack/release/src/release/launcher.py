"""Start of the kubectl plugin in one file: installs its packages at the first run, then runs it.

Runs from inside the zip file, with the standard library alone, on any Python 3.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

OLDEST = (3, 11)


def main() -> None:
    """Become the plugin; leave with code 1 and a sentence where it cannot be installed."""
    if sys.version_info < OLDEST:
        found = ".".join(map(str, sys.version_info[:2]))
        _leave(f"needs Python 3.11 or newer, and `python3` is {found}: put a newer one first in PATH")
    archive = Path(__file__).parent
    key = hashlib.sha256(archive.read_bytes() + sys.version.encode() + sys.executable.encode()).hexdigest()[
        :16
    ]
    home = _cache() / key
    if not (home / "complete").exists():
        _install(archive, home)
    python = home / "bin" / "python"
    code = "from modelrollout.cli.main import main; main()"
    os.execv(python, [str(python), "-I", "-c", code, *sys.argv[1:]])


def _cache() -> Path:
    if given := os.environ.get("MODELROLLOUT_PLUGIN_HOME"):
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "modelrollout" / "plugin"


def _install(archive: Path, home: Path) -> None:
    """Make the environment beside its place and move it there, so that half of one is never used."""
    print(f"kubectl-modelrollout: first run, installing its Python packages into {home} ...", file=sys.stderr)
    try:
        home.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=home.parent) as made:
            _fill(archive, Path(made) / "venv")
            try:
                (Path(made) / "venv").rename(home)
            except OSError:
                if not (home / "complete").exists():  # else another first run was faster
                    raise
    except OSError as error:
        _leave(
            f"cannot write to {home.parent} ({error}): set MODELROLLOUT_PLUGIN_HOME to a directory of yours"
        )


def _fill(archive: Path, place: Path) -> None:
    with tempfile.TemporaryDirectory() as unpacked:
        with zipfile.ZipFile(archive) as content:
            content.extractall(unpacked)
        (wheel,) = Path(unpacked).glob("*.whl")
        tools = Path(unpacked) / "tools"  # pip stays outside of the environment that is kept
        hint = "python3 -m venv failed; on Debian: apt-get install python3-venv"
        _step(hint, sys.executable, "-m", "venv", tools)
        _step(hint, sys.executable, "-m", "venv", "--without-pip", place)
        pip: tuple[str | Path, ...] = (
            tools / "bin" / "python",
            "-m",
            "pip",
            "--python",
            place / "bin" / "python",
        )
        pip += ("install", "--quiet", "--no-input", "--no-deps", "--disable-pip-version-check")
        hint = "pip failed; it needs a package index in reach (or a mirror in pip's configuration)"
        _step(
            hint,
            *pip,
            "--only-binary",
            ":all:",
            "--require-hashes",
            "-r",
            Path(unpacked) / "requirements.txt",
        )
        _step(hint, *pip, "--no-index", wheel)
    (place / "complete").touch()


def _step(hint: str, *command: str | Path) -> None:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    if done.returncode:
        words = (done.stderr.strip() or done.stdout.strip()).splitlines()[-3:]
        _leave(f"{hint}: {' '.join(words)}")


def _leave(why: str) -> None:
    sys.exit(f"kubectl-modelrollout: {why}")


if __name__ == "__main__":
    main()
