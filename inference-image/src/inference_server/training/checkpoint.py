"""A trainable encoder on disk: weights, shape and tokenizer, beside the graph that serves it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from safetensors import SafetensorError
from safetensors.numpy import load_file

from inference_server.artifacts import ArtifactError
from inference_server.training.bert import BertConfig, Params, params_from_tensors

WEIGHTS_FILE: Final = "model.safetensors"
CONFIG_FILE: Final = "config.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class Checkpoint:
    """An encoder that can be fine-tuned."""

    params: Params
    config: BertConfig
    tokenizer: Path


def is_trainable(directory: Path) -> bool:
    """Tell whether ``directory`` holds weights that can be fine-tuned, not only a graph to run."""
    return (directory / WEIGHTS_FILE).is_file() and (directory / CONFIG_FILE).is_file()


def load_checkpoint(directory: Path) -> Checkpoint:
    """Read weights and shape of a BERT encoder.

    Raises:
        ArtifactError: a file is missing, broken, or of another family.
    """
    path = directory / CONFIG_FILE
    try:
        values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        config = BertConfig.from_huggingface(values)
    except (OSError, ValueError, KeyError) as error:
        raise ArtifactError(
            path, expected="the shape of a BERT encoder", seen=f"{type(error).__name__}: {error}"
        ) from error
    if (
        values.get("hidden_act", "gelu") != "gelu"
        or values.get("position_embedding_type", "absolute") != "absolute"
    ):
        raise ArtifactError(
            path, expected="a BERT encoder with gelu and absolute positions", seen="it is another"
        )
    weights = directory / WEIGHTS_FILE
    try:
        params = params_from_tensors(load_file(weights), config)
    except (OSError, KeyError, SafetensorError) as error:
        raise ArtifactError(
            weights, expected="the weights of a BERT encoder", seen=f"{type(error).__name__}: {error}"
        ) from error
    return Checkpoint(params=params, config=config, tokenizer=directory / "tokenizer.json")
