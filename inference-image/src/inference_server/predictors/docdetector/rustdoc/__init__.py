"""The counting mode ``rustdoc``: what ``rustdoc --show-coverage`` counts, without a Rust toolchain.

``tokens`` reads source into token trees, ``cfg`` evaluates conditions and attributes, ``macros`` expands
``macro_rules``, ``syntax`` finds items, ``crate`` loads the modules of a crate, ``names`` resolves ``use``
declarations and ``coverage`` walks what is public. ``cargo`` reads the manifest.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from inference_server.predictors.docdetector.items import Count, Item
from inference_server.predictors.docdetector.rustdoc.cargo import ManifestError, Package, package
from inference_server.predictors.docdetector.rustdoc.cfg import Conditions
from inference_server.predictors.docdetector.rustdoc.coverage import Coverage
from inference_server.predictors.docdetector.rustdoc.crate import load


def count(
    paths: Sequence[Path], features: frozenset[str] = frozenset({"default"}), conditions: tuple[str, ...] = ()
) -> dict[str, Count]:
    """Count crates; one entry for each file that rustdoc would name, and for each that could not be read.

    Args:
        paths: Directories with a ``Cargo.toml`` in or below them, or the first file of a crate.
        features: Features that are on; ``*`` is all of them.
        conditions: More of what ``cfg`` holds: ``name`` or ``name=value``.
    """
    files: dict[str, Count] = {}
    for path in paths:
        try:
            for one in _packages(path, features):
                crate = load(one.root, Conditions.for_linux(one.features, conditions))
                items: dict[str, list[Item]] = {}
                for file, item in Coverage(crate, one.missing_docs).counted():
                    items.setdefault(file, []).append(item)
                files |= {file: Count.of(found) for file, found in items.items()}
                files |= {file: Count(error=error) for file, error in crate.errors.items()}
        except ManifestError as error:
            files[str(path)] = Count(error=str(error))
    return files


def _packages(path: Path, features: frozenset[str]) -> Iterator[Package]:
    """Yield the packages at or below a path; one inside another is not looked for."""
    if path.is_file():
        yield Package(path, frozenset(features - {"default"}))
        return
    is_any = False
    for directory, names, files in os.walk(path):
        names[:] = sorted(name for name in names if not name.startswith(".") and name != "target")
        if "Cargo.toml" in files:
            found = package(Path(directory) / "Cargo.toml", features)
            if found is not None:
                is_any = True
                names.clear()
                yield found
    root = next((one for one in (path / "lib.rs", path / "src" / "lib.rs") if one.is_file()), None)
    if not is_any and root is not None:
        yield Package(root, frozenset(features - {"default"}))
