"""Docker image archives, written without a daemon."""

from __future__ import annotations

import hashlib
import io
import json
import platform
import tarfile
from collections.abc import Sequence
from pathlib import Path

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def write_image(
    archive: Path, layer: Path, *, tags: Sequence[str], entrypoint: Sequence[str] | None = None
) -> None:
    """Write what `docker save` would give for an image of one layer (an uncompressed tar) with these tags.

    Unlike `docker save` it keeps the registry's name in the tags, by which kind compares them.
    """
    with layer.open("rb") as handle:
        digest = hashlib.file_digest(handle, "sha256").hexdigest()
    config = json.dumps(
        {
            "architecture": _ARCHITECTURES.get(platform.machine(), platform.machine()),
            "os": "linux",
            "config": {"Entrypoint": list(entrypoint) if entrypoint else None, "Env": [_PATH]},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
            "history": [{"created_by": "devcluster"}],
        }
    )
    manifest = json.dumps([{"Config": "config.json", "RepoTags": list(tags), "Layers": ["layer.tar"]}])
    with tarfile.open(archive, "w") as out:
        for name, text in (("manifest.json", manifest), ("config.json", config)):
            entry = tarfile.TarInfo(name)
            entry.size = len(text.encode())
            out.addfile(entry, io.BytesIO(text.encode()))
        out.add(layer, "layer.tar")
