"""Artefact directories: a manifest with the SHA-256 of every file, verified before any file is opened.

Arrays are stored as ``.npz`` without pickled objects and read with ``allow_pickle=False``; so nothing of an
artefact is ever executed, whatever its author put into it.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from inference_server.predictors.table import DEFAULT_KIND

MANIFEST_FILE: Final = "manifest.json"
FORMAT: Final = 1
_CHUNK = 1 << 20


class ArtifactError(Exception):
    """An artefact directory that must not be served.

    Attributes:
        file: the file that is wrong, as a path.
        expected: what should have been there.
        seen: what was there instead.
        advice: what to do about it.
    """

    def __init__(self, file: Path, *, expected: str, seen: str, advice: str = "") -> None:
        self.file = file
        self.expected = expected
        self.seen = seen
        self.advice = advice or "Train the artefacts again or copy the whole directory again."
        super().__init__(f"{file}: expected {expected}, but {seen}. {self.advice}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Manifest:
    """What ``manifest.json`` of an artefact directory says. The file's layout: docs/design/artifacts.md.

    Attributes:
        kind: the kind of predictor that they are for; see :mod:`inference_server.predictors.table`.
        name: the model's name.
        version: the artefacts' version.
        labels: labels in the order of every array of scores.
        encoder: specification of the encoder (see :func:`encoders.resolve.resolve_encoder`); empty where the
            kind has none.
        dimension: length of the embeddings that the heads were trained on; 0 where there are none.
        files: SHA-256 by path relative to the directory, with forward slashes.
        config: configuration of the training run.
        config_sha256: SHA-256 of ``config`` as canonical JSON.
        serving: settings that the artefacts ask of the predictor.
        metrics: figures measured when training ended.
        versions: versions of the libraries that trained the artefacts.
        seed: seed of every random choice.
        encoder_files: SHA-256 by name of the files of an encoder that lies outside the directory.
        sha256: SHA-256 of the manifest itself.
    """

    name: str
    version: str
    labels: tuple[str, ...]
    files: Mapping[str, str]
    config: Mapping[str, Any]
    config_sha256: str
    kind: str = DEFAULT_KIND
    encoder: str = ""
    dimension: int = 0
    serving: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    seed: int = 42
    encoder_files: Mapping[str, str] = field(default_factory=dict)
    sha256: str = ""

    def has(self, file: str) -> bool:
        """Tell whether the artefacts contain ``file``."""
        return file in self.files


def canonical_json(value: Any) -> bytes:
    """Return the one JSON form that digests are taken of: sorted keys, no spaces, UTF-8."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def sha256_of(path: Path) -> str:
    """Return hexadecimal SHA-256 of a file, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def write_npz(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write arrays as a compressed ``.npz`` whose bytes depend on nothing but the arrays."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
        for name in sorted(arrays):
            buffer = io.BytesIO()
            np.lib.format.write_array(buffer, np.ascontiguousarray(arrays[name]), allow_pickle=False)
            member = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            member.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(member, buffer.getvalue())


def read_npz(path: Path, names: Mapping[str, int]) -> dict[str, NDArray[Any]]:
    """Read the arrays ``names`` (each with its number of axes) of a verified ``.npz``.

    Raises:
        ArtifactError: the file is no archive of plain arrays, or one of ``names`` is missing or has another
            shape.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: np.asarray(archive[name]) for name in names if name in archive.files}
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise ArtifactError(path, expected="plain arrays in .npz form", seen=str(error)) from error
    for name, axes in names.items():
        if name not in arrays:
            raise ArtifactError(path, expected=f"an array {name!r}", seen="it is missing")
        if arrays[name].ndim != axes:
            shape = arrays[name].shape
            raise ArtifactError(path, expected=f"{name!r} with {axes} axes", seen=f"its shape is {shape}")
    return arrays


def write_manifest(directory: Path, manifest: Manifest) -> Path:
    """Digest every file in ``directory`` but the manifest, and write ``manifest.json``.

    Returns its path.
    """
    files = {
        path.relative_to(directory).as_posix(): sha256_of(path)
        for path in sorted(directory.rglob("*"))
        if path.is_file() and path.name != MANIFEST_FILE
    }
    body = {
        "format": FORMAT,
        "kind": manifest.kind,
        "name": manifest.name,
        "version": manifest.version,
        "labels": list(manifest.labels),
        "encoder": manifest.encoder,
        "encoder_files": dict(manifest.encoder_files),
        "dimension": manifest.dimension,
        "seed": manifest.seed,
        "serving": dict(manifest.serving),
        "config": dict(manifest.config),
        "config_sha256": hashlib.sha256(canonical_json(dict(manifest.config))).hexdigest(),
        "metrics": dict(manifest.metrics),
        "versions": dict(manifest.versions),
        "files": files,
    }
    path = directory / MANIFEST_FILE
    path.write_text(json.dumps(body, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def load_manifest(directory: Path) -> Manifest:
    """Read ``manifest.json`` and verify the SHA-256 of every file it lists, before any of them is opened.

    Raises:
        ArtifactError: naming the first file that is missing, changed, outside the directory or not
            understood.
    """
    manifest = read_manifest(directory)
    verify_files(directory, manifest.files)
    return manifest


def read_manifest(directory: Path) -> Manifest:
    """Read ``manifest.json`` alone; no file that it lists is verified.

    Raises:
        ArtifactError: it is missing or not understood.
    """
    path = directory / MANIFEST_FILE
    if not path.is_file():
        raise ArtifactError(path, expected="the manifest of the artefacts", seen="there is no such file")
    raw = path.read_bytes()
    try:
        return _parse(json.loads(raw), path, hashlib.sha256(raw).hexdigest())
    except ArtifactError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        seen = f"it is not: {type(error).__name__}: {error}"
        raise ArtifactError(
            path, expected="a JSON object with the fields of a manifest", seen=seen
        ) from error


def verify_files(directory: Path, files: Mapping[str, str]) -> None:
    """Compare the SHA-256 of files in ``directory`` with what a manifest says of them.

    Raises:
        ArtifactError: naming the first file that is missing, changed or outside ``directory``.
    """
    for name, expected in sorted(files.items()):
        _verify(directory, name, expected)


def _parse(body: Mapping[str, Any], path: Path, digest: str) -> Manifest:
    if body["format"] != FORMAT:
        seen = f"it is {body['format']!r}"
        raise ArtifactError(
            path, expected=f"format {FORMAT}", seen=seen, advice="Use a server of the same release."
        )
    config_digest = hashlib.sha256(canonical_json(body["config"])).hexdigest()
    if config_digest != body["config_sha256"]:
        raise ArtifactError(
            path,
            expected=f"a configuration with SHA-256 {body['config_sha256']}",
            seen=f"it has {config_digest}",
        )
    labels = tuple(str(label) for label in body["labels"])
    if len(labels) < 2 or len(set(labels)) != len(labels):
        raise ArtifactError(path, expected="at least two different labels", seen=f"they are {labels}")
    return Manifest(
        name=str(body["name"]),
        version=str(body["version"]),
        labels=labels,
        kind=str(body.get("kind", DEFAULT_KIND)),
        encoder=str(body.get("encoder", "")),
        dimension=int(body.get("dimension", 0)),
        files={str(name): str(value) for name, value in body["files"].items()},
        config=dict(body["config"]),
        config_sha256=config_digest,
        serving=dict(body.get("serving", {})),
        metrics=dict(body.get("metrics", {})),
        versions={str(name): str(value) for name, value in body.get("versions", {}).items()},
        seed=int(body["seed"]),
        encoder_files={str(name): str(value) for name, value in body.get("encoder_files", {}).items()},
        sha256=digest,
    )


def _verify(directory: Path, name: str, expected: str) -> None:
    relative = PurePosixPath(name)
    path = directory / relative
    if relative.is_absolute() or ".." in relative.parts:
        raise ArtifactError(
            path, expected="a file inside the artefact directory", seen="its path leads out of it"
        )
    if not path.is_file():
        raise ArtifactError(path, expected=f"a file with SHA-256 {expected}", seen="there is no such file")
    seen = sha256_of(path)
    if seen != expected:
        raise ArtifactError(path, expected=f"SHA-256 {expected}", seen=f"it has {seen}")
