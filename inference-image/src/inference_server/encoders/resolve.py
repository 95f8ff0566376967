"""From the specification of an encoder to the encoder."""

from __future__ import annotations

from pathlib import Path

from inference_server.artifacts import ArtifactError
from inference_server.encoders.base import Encoder
from inference_server.encoders.hashing import HashingEncoder
from inference_server.encoders.onnx import CARD_FILE, MODEL_FILE, TOKENIZER_FILE, OnnxEncoder, OnnxOptions

_HUB_PATTERNS = [MODEL_FILE, f"onnx/{MODEL_FILE}", TOKENIZER_FILE, CARD_FILE, f"onnx/{TOKENIZER_FILE}"]


def resolve_encoder(specification: str, *, base: Path, options: OnnxOptions) -> Encoder:
    """Return the encoder that ``specification`` names.

    Args:
        specification: ``hashing:DIMENSION``; ``hub:OWNER/NAME``, fetched by the hub's client unless it is in
            its cache (``HF_HUB_OFFLINE=1`` forbids fetching); else a directory, absolute or relative to
            ``base``.
        base: directory that relative paths start from, usually the artefact directory.
        options: how ONNX Runtime runs the encoder, if it does.

    Raises:
        ArtifactError: the specification cannot be understood, or its files are missing or broken.
    """
    if specification.startswith("hashing:"):
        try:
            return HashingEncoder(int(specification.removeprefix("hashing:")))
        except ValueError as error:
            raise ArtifactError(
                base, expected="an encoder like hashing:384", seen=f"{specification!r}: {error}"
            ) from error
    if specification.startswith("hub:"):
        return OnnxEncoder(_from_hub(specification.removeprefix("hub:"), base), options)
    return OnnxEncoder(base / specification, options)


def _from_hub(identifier: str, base: Path) -> Path:
    """Return the local directory of a hub's model that has an ONNX graph."""
    from huggingface_hub import snapshot_download  # noqa: PLC0415 - slow to import and rarely needed

    try:
        root = Path(snapshot_download(identifier, allow_patterns=_HUB_PATTERNS))
    except Exception as error:  # the client raises classes of several libraries
        raise ArtifactError(
            base,
            expected=f"the encoder {identifier} in the hub's cache or reachable",
            seen=f"{type(error).__name__}: {error}",
            advice="Give the encoder as a directory, or fill the cache on a machine that reaches the hub.",
        ) from error
    for directory in (root, root / "onnx"):
        if (directory / MODEL_FILE).is_file():
            if not (directory / TOKENIZER_FILE).is_file():
                # Many models keep one tokenizer beside several graphs.
                return _beside(directory, root)
            return directory
    raise ArtifactError(root, expected=f"{MODEL_FILE} in it or in onnx/", seen=f"{identifier} has none")


def _beside(graph: Path, root: Path) -> Path:
    """Return a directory that joins a graph with the tokenizer one level above it."""
    joined = root / ".joined"
    joined.mkdir(exist_ok=True)
    for source, name in ((graph / MODEL_FILE, MODEL_FILE), (root / TOKENIZER_FILE, TOKENIZER_FILE)):
        link = joined / name
        if not link.exists():
            link.symlink_to(source.resolve())
    return joined
