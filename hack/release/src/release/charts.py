"""The charts as archives, with the images that were named written into their values."""

from __future__ import annotations

import re
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Final

from release.plan import ROOT, Plan, ReleaseError, tar_gz

CHARTS: Final = {"modelrollout": "operator", "inference-server": "inference-server"}
"""Name of the chart -> name of its image."""


def write(plan: Plan) -> list[Path]:
    """Pack both charts."""
    return [_pack(plan, chart, image) for chart, image in CHARTS.items()]


def _pack(plan: Plan, chart: str, image: str) -> Path:
    directory = ROOT / "charts" / chart
    files = [
        (f"{chart}/{path.relative_to(directory)}", _content(plan, path, image), 0o644)
        for path in _files(directory)
    ]
    target = plan.out / f"{chart}-{plan.version}.tgz"
    tar_gz(target, files, plan.epoch)
    return target


def _files(directory: Path) -> Iterator[Path]:
    ignored = [line for line in (directory / ".helmignore").read_text().splitlines() if line]
    for path in sorted(directory.rglob("*")):
        if path.is_file() and not any(fnmatch(path.name, pattern) for pattern in ignored):
            yield path


def _content(plan: Plan, path: Path, image: str) -> bytes:
    if path.name != "values.yaml" or plan.repository is None:
        return path.read_bytes()
    text = _set(path.read_text(), "repository", plan.image(image))
    if digest := plan.digests.get(image):
        text = _set(text, "digest", digest)
    return text.encode()


def _set(text: str, name: str, value: str) -> str:
    """Return the values with `image.<name>`, which is empty in them, set."""
    changed, times = re.subn(
        rf'^  {name}: ""( *#.*)?$', f"  {name}: {value}", text, count=1, flags=re.MULTILINE
    )
    if times != 1:
        raise ReleaseError(
            f'expected a line `  {name}: ""` below `image:` in the values of the chart: add it'
        )
    return changed
