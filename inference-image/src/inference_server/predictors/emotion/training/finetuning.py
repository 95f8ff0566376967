"""The step between rows and :mod:`finetune`: tokens in, an exported encoder out."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from inference_server.encoders.onnx import CARD_FILE, MODEL_FILE, TOKENIZER_FILE
from inference_server.predictors.emotion.labels import LABELS
from inference_server.predictors.emotion.training.datasets import GOEMOTIONS_LABELS, Row
from inference_server.predictors.emotion.training.options import TrainOptions
from inference_server.text import encoder_input
from inference_server.training.checkpoint import load_checkpoint
from inference_server.training.finetune import FinetuneConfig, Finetuned, finetune
from inference_server.training.onnx_export import write_onnx
from inference_server.training.token_batches import Tokens


def settings_for(options: TrainOptions, dimensions: dict[str, Any] | None = None) -> FinetuneConfig:
    """Return the settings of a run; those of the options replace the defaults."""
    values: dict[str, Any] = {"seed": options.seed} | (dimensions or {})
    if options.epochs is not None:
        values["epochs"] = options.epochs
    return FinetuneConfig(**values)


def run(
    texts: Sequence[str],
    dev_texts: Sequence[str],
    rows: tuple[Sequence[Row], Sequence[Row]],
    options: TrainOptions,
    progress: Callable[[str], None],
) -> Finetuned:
    """Fine-tune the encoder in ``options.encoder`` on normalised ``texts`` labelled as ``rows``."""
    checkpoint = load_checkpoint(Path(options.encoder))
    settings = settings_for(options)
    tokenizer = Tokenizer.from_file(str(checkpoint.tokenizer))
    tokenizer.no_padding()
    tokenizer.enable_truncation(settings.max_tokens)
    data = (_tokens(tokenizer, texts, rows[0]), _tokens(tokenizer, dev_texts, rows[1]))
    mean = float(np.mean([len(ids) for ids in data[0].ids]))
    progress(f"Fine-tuning all layers for {settings.epochs} epochs; a text has {mean:.1f} tokens on average.")
    return finetune(checkpoint.params, checkpoint.config, data, len(LABELS), settings, progress)


def _tokens(tokenizer: Any, texts: Sequence[str], rows: Sequence[Row]) -> Tokens:
    encoded = tokenizer.encode_batch([encoder_input(text) for text in texts])
    fine: NDArray[np.float32] | None = None
    if any(row.fine for row in rows):
        fine = np.zeros((len(rows), len(GOEMOTIONS_LABELS)), np.float32)
        for place, row in enumerate(rows):
            fine[place, list(row.fine)] = 1.0 / max(1, len(row.fine))
    return Tokens(
        ids=[np.asarray(item.ids, np.int32) for item in encoded],
        labels=np.asarray([row.label for row in rows], np.int32),
        fine=fine,
    )


def export(result: Finetuned, source: Path, directory: Path, *, int8: bool) -> None:
    """Write the fine-tuned encoder as a servable directory; tokenizer and name come from ``source``."""
    directory.mkdir()
    config = load_checkpoint(source).config
    write_onnx(result.params, config, directory / MODEL_FILE, int8=int8)
    shutil.copyfile(source / TOKENIZER_FILE, directory / TOKENIZER_FILE)
    name = source.name
    if (source / CARD_FILE).is_file():
        name = json.loads((source / CARD_FILE).read_text(encoding="utf-8"))["name"]
    card = {
        "name": f"{name}-finetuned",
        "dimension": config.hidden,
        "max_tokens": config.positions,
        "precision": "int8" if int8 else "float32",
    }
    (directory / CARD_FILE).write_text(json.dumps(card, indent=2, sort_keys=True) + "\n", encoding="utf-8")
