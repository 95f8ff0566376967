"""Reads the files of pinned requirements and says what an installation from them would lack."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[2]
LOCKS = {
    "hack/requirements/dev.txt": "hack/requirements/dev.in",
    "operator/requirements.txt": "operator/requirements.in",
    "operator/requirements-plugin.txt": "operator/requirements-plugin.in",
    "inference-image/requirements.txt": "inference-image/requirements.in",
    "inference-image/requirements-train.txt": "inference-image/requirements-train.in",
}
"""Every lock, with what it was resolved from; paths from the root of the repository."""
_PIN = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)==(?P<version>[^ ;\\]+)")


def pins(lock: str) -> dict[str, Version]:
    """The versions that a lock pins, by canonical name."""
    found = {}
    for line in (ROOT / lock).read_text().splitlines():
        if match := _PIN.match(line):
            found[canonicalize_name(match["name"])] = Version(match["version"])
    return found


def asked_for(source: str) -> Iterator[Requirement]:
    """The requirements of a `.in` file and of those that it includes."""
    path = ROOT / source
    for line in path.read_text().splitlines():
        text = line.split("#")[0].strip()
        if text.startswith("-r "):
            yield from asked_for(str((path.parent / text.removeprefix("-r ")).resolve().relative_to(ROOT)))
        elif text:
            yield Requirement(text)


def unmet(lock: str, environment: Mapping[str, str]) -> list[str]:
    """What the packages of a lock need in an environment and the lock does not pin, a sentence each.

    `environment` overrides markers (`python_version`, `sys_platform`, ...). What a package needs is read from
    the one that is installed here, which must be of the pinned version.
    """
    locked, problems, seen = pins(lock), [], set()
    waiting = [
        ("the .in file", requirement)
        for requirement in asked_for(LOCKS[lock])
        if requirement.marker is None or requirement.marker.evaluate({**environment, "extra": ""})
    ]
    while waiting:
        wanted_by, requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        if name not in locked:
            problems.append(f"{wanted_by} needs {requirement}, which {lock} does not pin")
            continue
        if not requirement.specifier.contains(locked[name], prereleases=True):
            problems.append(f"{wanted_by} needs {requirement}; {lock} pins {locked[name]}")
        for extra in ["", *sorted(requirement.extras)]:
            if (name, extra) in seen:
                continue
            seen.add((name, extra))
            waiting += [(name, needed) for needed in _needs(name, locked[name], extra, environment)]
    return problems


def _needs(name: str, version: Version, extra: str, environment: Mapping[str, str]) -> Iterator[Requirement]:
    """What a package, or one extra of it, needs in an environment."""
    installed = metadata.distribution(name)
    if Version(installed.version) != version:
        raise AssertionError(f"{name} {installed.version} is installed and {version} is pinned: make venv")
    for text in installed.requires or ():
        requirement = Requirement(text)
        without = requirement.marker is None or requirement.marker.evaluate({**environment, "extra": ""})
        with_extra = requirement.marker is None or requirement.marker.evaluate(
            {**environment, "extra": extra}
        )
        if with_extra and (extra == "" or not without):
            yield requirement
