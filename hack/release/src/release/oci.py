"""An image of a Docker daemon as an OCI layout in one tar file.

`docker save` writes that only from Docker 25 on; all versions write the older form that is read here: a
manifest.json that names the configuration and the uncompressed layers.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any, Final

from release.plan import ReleaseError, zipped

Json = dict[str, Any]
INDEX: Final = "application/vnd.oci.image.index.v1+json"
MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
CONFIG: Final = "application/vnd.oci.image.config.v1+json"
LAYER: Final = "application/vnd.oci.image.layer.v1.tar+gzip"


def convert(saved: Path, target: Path, name: str, tag: str) -> str:
    """Write the OCI layout of what `docker save` wrote; the digest of its manifest.

    Args:
        saved: Output of `docker save` of one image.
        target: The archive to write.
        name: Name of the image, without a tag.
        tag: Its tag.

    Raises:
        ReleaseError: A layer is not the one that the configuration names.
    """
    with tarfile.open(saved) as source, tarfile.open(target, "w", format=tarfile.PAX_FORMAT) as archive:
        (image,) = json.loads(_read(source, "manifest.json"))
        config = _read(source, image["Config"])
        expected = json.loads(config)["rootfs"]["diff_ids"]
        layers: list[Json] = []
        for member, diff in zip(image["Layers"], expected, strict=True):
            content = _read(source, member)
            if f"sha256:{hashlib.sha256(content).hexdigest()}" != diff:
                raise ReleaseError(
                    f"layer {member} of {name} is not {diff}, which its configuration names: build it again"
                )
            layers.append(_blob(archive, LAYER, zipped(content)))
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": _blob(archive, CONFIG, config),
            "layers": layers,
        }
        described = _blob(archive, MANIFEST, json.dumps(manifest).encode())
        annotations = {"io.containerd.image.name": f"{name}:{tag}", "org.opencontainers.image.ref.name": tag}
        index = {
            "schemaVersion": 2,
            "mediaType": INDEX,
            "manifests": [{**described, "annotations": annotations}],
        }
        _add(archive, "index.json", json.dumps(index).encode())
        _add(archive, "oci-layout", json.dumps({"imageLayoutVersion": "1.0.0"}).encode())
    return str(described["digest"])


def _read(source: tarfile.TarFile, name: str) -> bytes:
    file = source.extractfile(name)
    if file is None:
        raise ReleaseError(f"expected a file {name} in what `docker save` wrote, found something else")
    return file.read()


def _blob(archive: tarfile.TarFile, media_type: str, content: bytes) -> Json:
    digest = hashlib.sha256(content).hexdigest()
    name = f"blobs/sha256/{digest}"
    if name not in archive.getnames():  # two layers may be equal
        _add(archive, name, content)
    return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(content)}


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(content), 0o644
    archive.addfile(entry, io.BytesIO(content))
