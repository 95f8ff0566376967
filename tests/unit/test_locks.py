"""Locks are complete, no installation resolves, and what fails says what to do."""

from __future__ import annotations

import importlib.util
import re
import subprocess
from importlib.machinery import SourceFileLoader
from types import ModuleType

import pytest

from tests.support.locks import LOCKS, ROOT, pins, unmet

MACHINES = [("linux", "x86_64"), ("linux", "aarch64"), ("darwin", "arm64")]
PYTHONS = ["3.11.2", "3.12.3", "3.13.1", "3.14.0"]


def environment(python: str, system: str, machine: str) -> dict[str, str]:
    """Markers of one Python on one machine."""
    return {
        "python_full_version": python,
        "python_version": python.rpartition(".")[0],
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
        "os_name": "posix",
        "sys_platform": system,
        "platform_system": system.capitalize(),
        "platform_machine": machine,
    }


@pytest.mark.parametrize(("system", "machine"), MACHINES)
@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_pins_all_that_its_packages_need(lock: str, python: str, system: str, machine: str) -> None:
    assert unmet(lock, environment(python, system, machine)) == []


def test_what_is_missing_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = pins("hack/requirements/dev.txt")
    without = {name: version for name, version in whole.items() if name != "execnet"}
    monkeypatch.setattr("tests.support.locks.pins", lambda _: without)
    problems = unmet("hack/requirements/dev.txt", environment("3.11.2", "linux", "x86_64"))
    assert problems == ["pytest-xdist needs execnet>=2.1, which hack/requirements/dev.txt does not pin"]


@pytest.mark.parametrize("lock", LOCKS)
def test_images_ship_the_versions_that_are_tested(lock: str) -> None:
    tested = pins("hack/requirements/dev.txt")
    assert {name: version for name, version in pins(lock).items() if tested.get(name) != version} == {}


@pytest.mark.parametrize("lock", LOCKS)
def test_requirements_are_pinned_by_hash_and_name_no_address(lock: str) -> None:
    text = (ROOT / lock).read_text()
    assert "://" not in text
    assert not re.search(r"^--(index|extra|find|trusted)", text, re.MULTILINE)
    for entry in text.replace("\\\n", " ").splitlines():
        if entry.strip() and not entry.startswith("#"):
            assert re.match(r"^[A-Za-z0-9._-]+==\S+\s.*--hash=sha256:", entry), entry[:80]


def test_no_installation_resolves() -> None:
    """Each `pip install` of files that are run says --no-deps, so that a new release changes nothing."""
    files = subprocess.run(
        ["git", "ls-files", "Makefile", "*Dockerfile*", "hack", ".ci", ".github"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    installs = []
    for name in files:
        path = ROOT / name
        if "/tests/" in name or name.endswith((".md", "install-locked")) or not path.is_file():
            continue
        text = path.read_text(errors="replace").replace("\\\n", " ")
        installs += [(name, line) for line in text.splitlines() if re.search(r"\bpip\b.*\binstall ", line)]
    assert len(installs) >= 4
    assert [(name, line) for name, line in installs if "--no-deps" not in line] == []


@pytest.fixture(scope="module")
def install_locked() -> ModuleType:
    """The script hack/install-locked as a module."""
    loader = SourceFileLoader("install_locked", str(ROOT / "hack" / "install-locked"))
    spec = importlib.util.spec_from_loader("install_locked", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("output", "sentence"),
    [
        ("OSError: [Errno 28] No space left on device", "The disk is full"),
        (
            "Retrying after 'NewConnectionError'\nNo matching distribution found for a==1",
            "The package index does not answer",
        ),
        ("ERROR: No matching distribution found for kopf==1.45.0", "The package index has no kopf==1.45.0"),
        ("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE.", "is not the one"),
        ("[Errno 13] Permission denied: '/opt/x'", "/opt/x may not be written"),
        ("Segmentation fault", "its last lines above say why"),
    ],
)
def test_a_failure_ends_with_the_cure(install_locked: ModuleType, output: str, sentence: str) -> None:
    assert sentence in install_locked.cure(output)
