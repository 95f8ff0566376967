"""Locks install with the oldest pip that Debian 12 brings, while an index in reach has moved on."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name

from tests.support.locks import LOCKS, ROOT, pins
from tests.support.package_index import PackageIndex, Wheel, package_index

OLDEST_PIP = "pip==23.0.1 --hash=sha256:236bcb61156d76c4b8a05821b988c7b8c35bf0da28a4b614e8d6ab5212c25c6f\n"
"""What python3-venv and python3-pip of Debian 12 bring."""
NEWER = (
    Wheel("coverage", "999.0", extras=("toml",), requires=("tomli; extra == 'toml'",)),
    Wheel("uvicorn", "999.0", extras=("standard",), requires=("click>=999",)),
    Wheel("click", "999.0"),
    Wheel("attrs", "999.0", requires=("something-that-does-not-exist",)),
    Wheel("numpy", "999.0"),
    Wheel("pydantic", "999.0", extras=("email",), requires=("pydantic-core==999.0",)),
)


@pytest.fixture(scope="module")
def index() -> Iterator[PackageIndex]:
    """Offers newer versions of several pinned packages, with extras and without."""
    with package_index(*NEWER) as served:
        yield served


@pytest.fixture
def python(tmp_path: Path) -> Path:
    """A new environment with the oldest pip."""
    return environment(tmp_path)


@pytest.fixture(scope="module")
def shared_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One for the tests that leave the pinned packages out of it."""
    return environment(tmp_path_factory.mktemp("shared"))


def environment(directory: Path) -> Path:
    """Make a virtual environment with the oldest pip; its interpreter."""
    pip = directory / "pip.txt"
    pip.write_text(OLDEST_PIP)
    subprocess.run([sys.executable, "-m", "venv", directory / "venv"], check=True)
    made = directory / "venv" / "bin" / "python"
    said = install(made, pip)
    assert said.returncode == 0, said.stdout
    return made


def install(python: Path, *locks: Path, options: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """hack/install-locked, as `make venv` calls it."""
    command = [python, ROOT / "hack" / "install-locked", *locks, "--", *options]
    return subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=280, check=False
    )


@pytest.mark.takes(seconds=180)
@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_installs_with_the_oldest_pip_while_the_index_moves_on(
    lock: str, python: Path, index: PackageIndex
) -> None:
    options = ("--extra-index-url", index.url, "--no-compile", "--only-binary", ":all:")
    said = install(python, ROOT / lock, options=options)
    assert said.returncode == 0, said.stdout[-3000:]
    listed = subprocess.run(
        [python, "-m", "pip", "list", "--format", "freeze", "--disable-pip-version-check"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    versions = dict(line.split("==") for line in listed.splitlines())
    installed = {str(canonicalize_name(name)): version for name, version in versions.items()}
    expected = {name: str(version) for name, version in pins(lock).items()}
    assert {name: installed.get(name) for name in expected} == expected
    assert "coverage" in index.asked or lock != "hack/requirements/dev.txt"


def test_an_installation_that_resolves_fails_on_the_same_index(
    shared_python: Path, tmp_path: Path, index: PackageIndex
) -> None:
    """What these tests protect from: without --no-deps the same pip takes the newer version and stops."""
    lock = (ROOT / "hack/requirements/dev.txt").read_text()
    blocks = lock.split("\n")
    wanted = (
        "coverage==",
        "pytest==",
        "pytest-cov==",
        "pluggy==",
        "iniconfig==",
        "packaging==",
        "pygments==",
    )
    kept, keep = [], False
    for line in blocks:
        if line and not line.startswith((" ", "#")):
            keep = line.startswith(wanted)
        kept += [line] if keep else []
    small = tmp_path / "small.txt"
    small.write_text("\n".join(kept) + "\n")
    command = [shared_python, "-m", "pip", "install", "--dry-run", "--require-hashes", "--no-input"]
    command += ["--extra-index-url", index.url, "-r", small]
    said = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
    assert said.returncode != 0
    assert "coverage[toml]" in said.stdout + said.stderr


def attempt(python: Path, directory: Path, pinned: Wheel, url: str, *options: str) -> tuple[int, str]:
    """Install one pinned wheel from one index alone; exit code and last line."""
    lock = directory / "lock.txt"
    lock.write_text(pinned.pin)
    said = install(python, lock, options=("--index-url", url, "--no-cache-dir", *options))
    return said.returncode, said.stdout.splitlines()[-1]


def test_a_withdrawn_version_is_installed_because_it_is_pinned(shared_python: Path, tmp_path: Path) -> None:
    with package_index(Wheel("withdrawn", "1.0", yanked=True)) as served:
        code, _ = attempt(shared_python, tmp_path, Wheel("withdrawn", "1.0"), served.url)
    assert code == 0


def test_an_index_that_lacks_a_package_is_named_with_the_cure(shared_python: Path, tmp_path: Path) -> None:
    with package_index() as served:
        code, last = attempt(shared_python, tmp_path, Wheel("missing", "1.0"), served.url)
    assert code != 0
    assert last.startswith("The package index has no missing==1.0")


def test_a_file_that_was_changed_is_refused(shared_python: Path, tmp_path: Path) -> None:
    with package_index(Wheel("changed", "1.0", requires=("click",))) as served:
        code, last = attempt(shared_python, tmp_path, Wheel("changed", "1.0"), served.url)
    assert code != 0
    assert "is not the one that was pinned" in last


def test_no_network_is_one_sentence(shared_python: Path, tmp_path: Path) -> None:
    with package_index() as served:
        closed = served.url
    code, last = attempt(shared_python, tmp_path, Wheel("unreachable", "1.0"), closed, "--retries", "1")
    assert code != 0
    assert last.startswith("The package index does not answer")


def test_a_full_disk_is_one_sentence(shared_python: Path, tmp_path: Path) -> None:
    """/dev/full refuses every write as a full disk does."""
    wheel = Wheel("too-large", "1.0")
    with package_index(wheel) as served:
        options = ("--report", "/dev/full", "--dry-run")
        code, last = attempt(shared_python, tmp_path, wheel, served.url, *options)
    assert code != 0
    assert last.startswith("The disk is full")
