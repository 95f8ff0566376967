"""Where the tool keeps things: a cache that survives `down`, and state that does not."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from devcluster.errors import ResourceError

GIB = 1024**3


def cache_dir() -> Path:
    """Built binaries and images. `MODELROLLOUT_CACHE`, else the XDG cache directory."""
    if given := os.environ.get("MODELROLLOUT_CACHE"):
        return Path(given).expanduser().absolute()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "modelrollout"


def state_dir() -> Path:
    """Return the directory of running clusters: `MODELROLLOUT_STATE`, else the XDG state directory.

    It has process records, certificates and etcd's data.
    """
    if given := os.environ.get("MODELROLLOUT_STATE"):
        return Path(given).expanduser().absolute()
    base = os.environ.get("XDG_STATE_HOME")
    return (Path(base) if base else Path.home() / ".local" / "state") / "modelrollout"


def repository_root() -> Path:
    """Return the checkout this package lives in: the first directory upwards that holds kind-config.yaml.

    Raises ResourceError when the package was installed away from its repository.
    """
    for parent in Path(__file__).resolve().parents:
        if (parent / "kind-config.yaml").is_file():
            return parent
    raise ResourceError(
        f"expected kind-config.yaml in a directory above {Path(__file__).parent}, found none; "
        "run this from a checkout of the repository"
    )


def require_free(path: Path, needed: int, purpose: str) -> None:
    """Raise ResourceError unless the file system of `path` has `needed` bytes free (path need not exist)."""
    existing = path
    while not existing.exists():
        existing = existing.parent
    free = shutil.disk_usage(existing).free
    if free < needed:
        raise ResourceError(
            f"{purpose} needs {needed / GIB:.1f} GiB free below {existing}, {free / GIB:.1f} GiB are; "
            "free some space, or point MODELROLLOUT_CACHE and MODELROLLOUT_STATE to another disk"
        )
