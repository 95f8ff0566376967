"""What a crate's manifest says: where its library is, and which features are on."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any


class ManifestError(ValueError):
    """A ``Cargo.toml`` cannot be read."""


@dataclass(frozen=True)
class Package:
    """One package.

    Attributes:
        root: The file that the library begins with.
        features: The features that are on.
        missing_docs: The level of the lint ``missing_docs`` in the manifest; empty where it is not set.
    """

    root: Path
    features: frozenset[str]
    missing_docs: str = ""


def package(manifest: Path, asked: frozenset[str] = frozenset({"default"})) -> Package | None:
    """Read a manifest; None where it describes no library.

    Args:
        manifest: The ``Cargo.toml``.
        asked: Features to switch on; ``*`` is all of them.

    Raises:
        ManifestError: if it cannot be read.
    """
    try:
        content = tomllib.loads(manifest.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ManifestError(f"{manifest}: {error}") from error
    if "package" not in content:
        return None
    root = manifest.parent / content.get("lib", {}).get("path", "src/lib.rs")
    if not root.is_file():
        return None
    level = content.get("lints", {}).get("rust", {}).get("missing_docs", "")
    level = level.get("level", "") if isinstance(level, dict) else level
    return Package(root, _closure(content, asked), level)


def _closure(content: dict[str, Any], asked: frozenset[str]) -> frozenset[str]:
    table: dict[str, list[str]] = content.get("features", {})
    optional = {
        name
        for group in ("dependencies", "build-dependencies")
        for name, value in content.get(group, {}).items()
        if isinstance(value, dict) and value.get("optional")
    }
    named = {
        entry.removeprefix("dep:")
        for entries in table.values()
        for entry in entries
        if entry.startswith("dep:")
    }
    known = set(table) | (optional - named)
    pending = list(known if "*" in asked else asked & (known | {"default"}))
    on: set[str] = set()
    while pending:
        feature = pending.pop()
        if feature in on:
            continue
        on.add(feature)
        for entry in table.get(feature, []):
            name = entry.partition("/")[0]
            if not entry.startswith("dep:") and not name.endswith("?") and name in known:
                pending.append(name)
    return frozenset(on & known)
