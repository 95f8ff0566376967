"""Training of the emotion classifier from labelled rows to an artefact directory."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version as library_version
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from inference_server.artifacts import Manifest, canonical_json, sha256_of, write_manifest, write_npz
from inference_server.encoders import Encoder, resolve_encoder
from inference_server.encoders.onnx import CARD_FILE, MODEL_FILE, TOKENIZER_FILE, OnnxOptions
from inference_server.predictors.emotion.heads import LINEAR_FILE, PROTOTYPES_FILE
from inference_server.predictors.emotion.labels import LABELS
from inference_server.predictors.emotion.training import heads
from inference_server.predictors.emotion.training.datasets import GOEMOTIONS_LABELS, Row, split_stratified
from inference_server.predictors.emotion.training.options import TrainOptions
from inference_server.predictors.emotion.training.outputs import write_linear
from inference_server.text import encoder_input, normalise
from inference_server.training.checkpoint import is_trainable
from inference_server.training.directories import replace_directory
from inference_server.training.scores import f1_by_class, macro_f1

FINETUNE_ROWS: Final = 6000
"""From this many rows on, ``finetune="auto"`` fine-tunes the encoder; fewer rows are learned by heart
instead.
"""
_ENCODER_DIRECTORY: Final = "encoder"
_PROTOTYPE_ROWS: Final = 400
_DEV_SHARE: Final = 0.1

Progress = Callable[[str], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Part:
    """Rows as arrays: normalised texts and labels."""

    rows: Sequence[Row]
    texts: list[str]
    labels: NDArray[np.int32]

    @classmethod
    def of(cls, rows: Sequence[Row]) -> _Part:
        texts = [normalise(row.text) for row in rows]
        return cls(rows=rows, texts=texts, labels=np.asarray([row.label for row in rows], np.int32))


@dataclass(frozen=True, kw_only=True, slots=True)
class _Dense:
    """The embedding half of a head.

    Dev embeddings, weights on embeddings, class centres, and the encoder's place.
    """

    dev: NDArray[np.float32]
    affine: heads.Affine
    centres: NDArray[np.float32]
    encoder: str
    dimension: int
    history: list[float]


def train(
    rows: Sequence[Row], dev_rows: Sequence[Row] | None, options: TrainOptions, out: Path, progress: Progress
) -> dict[str, Any]:
    """Train on ``rows`` and write an artefact directory.

    Args:
        rows: what to learn from.
        dev_rows: what to choose and calibrate by; without it a tenth of ``rows`` is split off, label by
            label.
        options: see :class:`TrainOptions`.
        out: directory to write; it is replaced as a whole when everything has worked, never half-written.
        progress: called with sentences about what is going on.

    Returns:
        the metrics that the manifest holds.
    """
    if dev_rows is None:
        rows, dev_rows = split_stratified(rows, _DEV_SHARE, options.seed)
    part, dev = _Part.of(rows), _Part.of(dev_rows)
    progress(f"Learning from {len(part.texts)} rows, choosing by {len(dev.texts)}.")
    out.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    try:
        metrics = _train_into(work, part, dev, options, progress)
        replace_directory(work, out)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return metrics


def _train_into(
    work: Path, part: _Part, dev: _Part, options: TrainOptions, progress: Progress
) -> dict[str, Any]:
    dense = _fit_dense(work, part, dev, options, progress)
    dense_logits = dense.dev @ dense.affine.weights + dense.affine.bias
    lexical, lexical_dev = None, None
    if options.lexical:
        progress("Fitting the n-gram half of the linear head.")
        lexical = heads.fit_lexical(part.texts, part.labels, len(LABELS), balance=0.5)
        lexical_dev = heads.lexical_logits(lexical, dev.texts)
    mixture = heads.fit_mixture(dense_logits, lexical_dev, dev.labels, len(LABELS))
    write_linear(work / LINEAR_FILE, dense.affine, lexical, mixture)
    cosines = dense.dev @ dense.centres.T
    temperature = heads.fit_temperature(cosines, dev.labels)
    write_npz(
        work / PROTOTYPES_FILE,
        {"centres": dense.centres, "temperature": np.asarray([temperature], np.float32)},
    )
    mixed = mixture.dense * dense_logits + mixture.bias
    if lexical_dev is not None:
        mixed = mixed + mixture.lexical * lexical_dev
    metrics = _metrics(
        dev, {"linear_head": mixed, "embedding": dense_logits, "prototypes": cosines}, lexical_dev
    )
    metrics["finetune_dev_macro_f1_by_epoch"] = [round(value, 4) for value in dense.history]
    write_manifest(work, _manifest(part, dev, options, dense, metrics))
    progress(f"Dev macro-F1 of the linear head: {metrics['dev_macro_f1']['linear_head']:.4f}.")
    return metrics


def _metrics(
    dev: _Part, logits: dict[str, NDArray[np.float32]], lexical: NDArray[np.float32] | None
) -> dict[str, Any]:
    if lexical is not None:
        logits = logits | {"lexical": lexical}
    answers = {name: value.argmax(axis=1) for name, value in logits.items()}
    by_class = f1_by_class(dev.labels, answers["linear_head"], len(LABELS))
    return {
        "dev_rows": len(dev.labels),
        "dev_macro_f1": {
            n: round(macro_f1(dev.labels, a, len(LABELS)), 4) for n, a in sorted(answers.items())
        },
        "dev_f1": {label: round(float(value), 4) for label, value in zip(LABELS, by_class, strict=True)},
    }


def _fit_dense(work: Path, part: _Part, dev: _Part, options: TrainOptions, progress: Progress) -> _Dense:
    source = Path(options.encoder)
    wanted = options.finetune == "always" or (options.finetune == "auto" and len(part.texts) >= FINETUNE_ROWS)
    if wanted and not options.encoder.startswith(("hashing:", "hub:")) and is_trainable(source):
        return _finetuned(work, part, dev, options, progress)
    if options.finetune == "always":
        message = f"{source}: expected model.safetensors and config.json to fine-tune, but there are none."
        raise ValueError(message)
    return _frozen(work, part, dev, options, progress)


def _frozen(work: Path, part: _Part, dev: _Part, options: TrainOptions, progress: Progress) -> _Dense:
    """Logistic regression on the embeddings of an encoder that stays as it is."""
    specification = _place_encoder(work, options)
    encoder = resolve_encoder(
        options.encoder, base=Path.cwd(), options=OnnxOptions(intra_op_threads=_threads(), memory_arena=True)
    )
    try:
        progress(f"Encoding {len(part.texts) + len(dev.texts)} texts with {encoder.name}.")
        vectors, dev_vectors = encode_all(encoder, part.texts), encode_all(encoder, dev.texts)
        affine = heads.fit_logistic(vectors, part.labels, len(LABELS), strength=20.0, balance=0.5)
        return _Dense(
            dev=dev_vectors,
            affine=affine,
            centres=heads.fit_prototypes(vectors, part.labels, len(LABELS)),
            encoder=specification,
            dimension=encoder.dimension,
            history=[],
        )
    finally:
        encoder.close()


def _finetuned(work: Path, part: _Part, dev: _Part, options: TrainOptions, progress: Progress) -> _Dense:
    """Return the encoder fine-tuned on the rows, exported, and measured as it will be served."""
    from inference_server.predictors.emotion.training import finetuning  # noqa: PLC0415 - JAX is needed by nothing else

    result = finetuning.run(part.texts, dev.texts, (part.rows, dev.rows), options, progress)
    directory = work / _ENCODER_DIRECTORY
    finetuning.export(result, Path(options.encoder), directory, int8=options.precision == "int8")
    encoder = resolve_encoder(
        _ENCODER_DIRECTORY, base=work, options=OnnxOptions(intra_op_threads=_threads(), memory_arena=True)
    )
    try:
        chosen = _some_of_each(part.labels, options.seed)
        progress(f"Encoding {len(dev.texts) + len(chosen)} texts with the exported encoder.")
        dev_vectors = encode_all(encoder, dev.texts)
        vectors = encode_all(encoder, [part.texts[index] for index in chosen])
        return _Dense(
            dev=dev_vectors,
            affine=heads.Affine(weights=result.weights, bias=result.bias),
            centres=heads.fit_prototypes(vectors, part.labels[chosen], len(LABELS)),
            encoder=_ENCODER_DIRECTORY,
            dimension=encoder.dimension,
            history=result.history,
        )
    finally:
        encoder.close()


def _some_of_each(labels: NDArray[np.int32], seed: int) -> NDArray[np.int64]:
    """At most :data:`_PROTOTYPE_ROWS` rows of each label: class centres do not get better from more."""
    rng = np.random.default_rng(seed)
    parts = [np.flatnonzero(labels == label) for label in range(len(LABELS))]
    return np.sort(np.concatenate([rng.permutation(part)[:_PROTOTYPE_ROWS] for part in parts]))


def encode_all(encoder: Encoder, texts: Sequence[str]) -> NDArray[np.float32]:
    """Return embeddings ``(texts, dimension)`` of normalised texts."""
    return encoder.encode([encoder_input(text) for text in texts])


def _threads() -> int:
    return max(1, min(4, len(os.sched_getaffinity(0))))


def _place_encoder(work: Path, options: TrainOptions) -> str:
    """Copy what serves of the encoder into the artefacts, or name it; return its specification."""
    encoder = options.serve_encoder or options.encoder
    if encoder.startswith(("hashing:", "hub:")):
        return encoder
    if not options.copy_encoder:
        return str(Path(encoder).resolve())
    target = work / _ENCODER_DIRECTORY
    target.mkdir()
    for name in (MODEL_FILE, TOKENIZER_FILE, CARD_FILE):
        source = Path(encoder) / name
        if source.is_file():
            shutil.copyfile(source, target / name)
    return _ENCODER_DIRECTORY


def _manifest(
    part: _Part, dev: _Part, options: TrainOptions, dense: _Dense, metrics: dict[str, Any]
) -> Manifest:
    config = asdict(options)
    # The encoder's place on this machine says nothing about the model; its content is digested as a file.
    config["encoder"] = Path(options.encoder).name if "/" in options.encoder else options.encoder
    config["serve_encoder"] = Path(options.serve_encoder).name if options.serve_encoder else None
    config["goemotions_labels"] = list(GOEMOTIONS_LABELS)
    config["data_sha256"] = {"train": _data_digest(part), "dev": _data_digest(dev)}
    config["rows"] = {"train": len(part.labels), "dev": len(dev.labels)}
    return Manifest(
        name=options.name,
        version=options.version,
        labels=LABELS,
        encoder=dense.encoder,
        dimension=dense.dimension,
        files={},
        config=config,
        config_sha256="",
        serving=options.serving,
        encoder_files=_outside(dense.encoder),
        metrics=metrics,
        versions={
            name: library_version(name)
            for name in ("numpy", "onnxruntime", "scikit-learn", "scipy", "jax", "onnx")
        },
        seed=options.seed,
    )


def _outside(encoder: str) -> dict[str, str]:
    """Return digests of an encoder that the artefacts only name; those of one inside are among the files."""
    names = (MODEL_FILE, TOKENIZER_FILE, CARD_FILE)
    if not Path(encoder).is_absolute():
        return {}
    return {name: sha256_of(Path(encoder) / name) for name in names if (Path(encoder) / name).is_file()}


def _data_digest(part: _Part) -> str:
    return hashlib.sha256(
        canonical_json([[row.text, row.label, list(row.fine)] for row in part.rows])
    ).hexdigest()
