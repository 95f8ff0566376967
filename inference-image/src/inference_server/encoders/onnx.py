"""Sentence encoders run by ONNX Runtime from a directory with ``model.onnx`` and ``tokenizer.json``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from tokenizers import Tokenizer

from inference_server.artifacts import ArtifactError
from inference_server.encoders.base import unit_rows

MODEL_FILE = "model.onnx"
TOKENIZER_FILE = "tokenizer.json"
CARD_FILE = "encoder.json"
_BATCH = 16
_MOST_TOKENS = 512
"""What a graph can read unless its card says otherwise; so it is for BERT, E5 and their kin."""


@dataclass(frozen=True, kw_only=True, slots=True)
class OnnxOptions:
    """How ONNX Runtime runs an encoder.

    Attributes:
        intra_op_threads: threads within one inference, at least 1.
        memory_arena: keep freed memory for the next request: faster, but the largest request ever stays
            resident.
        max_tokens: texts are cut to this many tokens.
        pad_to_tokens: pad every text to this many tokens (0: to the longest of its batch). Only slower.
    """

    intra_op_threads: int = 1
    memory_arena: bool = False
    max_tokens: int = 128
    pad_to_tokens: int = 0


class OnnxEncoder:
    """A sentence encoder of any dimension (MiniLM 384, E5 base 768, multilingual E5 large 1024).

    Graphs that answer with one vector per text are used as they are; graphs that answer with one vector per
    token (``last_hidden_state``) are mean-pooled here. Either way rows are scaled to length 1.

    Args:
        directory: holds ``model.onnx``, ``tokenizer.json`` and optionally ``encoder.json`` with a ``name``.
        options: how ONNX Runtime runs it.

    Raises:
        ArtifactError: naming the file that is missing or cannot be used.
    """

    def __init__(self, directory: Path, options: OnnxOptions | None = None) -> None:
        card = _read_card(directory)
        self._name = f"onnx:{card.get('name', directory.name)}"
        limit = int(card.get("max_tokens", _MOST_TOKENS))
        self._tokenizer = _load_tokenizer(directory / TOKENIZER_FILE, options or OnnxOptions(), limit)
        self._session: Any = _load_session(directory / MODEL_FILE, options or OnnxOptions())
        self._inputs = frozenset(value.name for value in self._session.get_inputs())
        unknown = self._inputs - {"input_ids", "attention_mask", "token_type_ids", "position_ids"}
        if unknown or "input_ids" not in self._inputs:
            raise ArtifactError(
                directory / MODEL_FILE,
                expected="a graph with the inputs input_ids and attention_mask",
                seen=f"its inputs are {', '.join(sorted(self._inputs))}",
            )
        # Asked once and kept: a dimension that changed under a running server would be a different model.
        self._dimension = int(self.encode(["dimension"]).shape[1])

    @property
    def name(self) -> str:
        """``onnx:`` and the name in ``encoder.json``, or the directory's name."""
        return self._name

    @property
    def dimension(self) -> int:
        """Length of one embedding, measured when the encoder was loaded."""
        return self._dimension

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return unit vectors ``(len(texts), dimension)``; similar lengths run together."""
        order = sorted(range(len(texts)), key=lambda index: len(texts[index]))
        rows: list[NDArray[np.float32] | None] = [None] * len(texts)
        for start in range(0, len(order), _BATCH):
            chosen = order[start : start + _BATCH]
            for index, row in zip(chosen, self._run([texts[index] for index in chosen]), strict=True):
                rows[index] = row
        if not rows:
            return np.zeros((0, self._dimension), np.float32)
        return np.stack([row for row in rows if row is not None])

    def close(self) -> None:
        """Drop the session; memory returns when the last inference in flight has ended."""
        self._session = None

    def _run(self, texts: list[str]) -> NDArray[np.float32]:
        session = self._session
        if session is None:
            message = "The encoder is closed; load it again before encoding."
            raise RuntimeError(message)
        encoded = self._tokenizer.encode_batch(texts)
        ids = np.asarray([item.ids for item in encoded], np.int64)
        mask = np.asarray([item.attention_mask for item in encoded], np.int64)
        feed = {"input_ids": ids, "attention_mask": mask}
        feed["token_type_ids"] = np.zeros_like(ids)
        feed["position_ids"] = np.broadcast_to(np.arange(ids.shape[1], dtype=np.int64), ids.shape)
        output = np.asarray(session.run(None, {name: feed[name] for name in self._inputs})[0], np.float32)
        if output.ndim == 3:
            weights = mask[:, :, None].astype(np.float32)
            output = (output * weights).sum(axis=1) / np.maximum(weights.sum(axis=1), 1.0)
        return unit_rows(output)


def _load_tokenizer(path: Path, options: OnnxOptions, limit: int) -> Any:
    if not path.is_file():
        raise ArtifactError(path, expected="a tokenizer of the tokenizers library", seen="no such file")
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the binding raises bare Exception
        raise ArtifactError(path, expected="a tokenizer", seen=f"it cannot be read: {error}") from error
    tokenizer.enable_truncation(min(options.max_tokens, limit))
    pad = json.loads(path.read_text(encoding="utf-8")).get("padding") or {}
    # Files of some models ask for padding to a fixed length, which only costs time.
    tokenizer.enable_padding(
        length=min(options.pad_to_tokens, limit) or None,
        pad_id=pad.get("pad_id", 0),
        pad_token=pad.get("pad_token", "[PAD]"),
    )
    return tokenizer


def _load_session(path: Path, options: OnnxOptions) -> Any:
    if not path.is_file():
        raise ArtifactError(path, expected="an encoder in ONNX form", seen="no such file")
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = options.intra_op_threads
    settings.inter_op_num_threads = 1
    settings.enable_cpu_mem_arena = options.memory_arena
    settings.log_severity_level = 3
    # Spinning workers would take the core away from the event loop.
    settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(str(path), settings, providers=["CPUExecutionProvider"])
    except Exception as error:  # the binding has a class per status code, all deriving from Exception
        raise ArtifactError(
            path, expected="an ONNX graph", seen=f"ONNX Runtime refused it: {error}"
        ) from error


def _read_card(directory: Path) -> dict[str, Any]:
    """Read ``name`` and, where a graph reads fewer tokens than usual, ``max_tokens``; if there."""
    path = directory / CARD_FILE
    if not path.is_file():
        return {}
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
        return {"name": str(card["name"]), "max_tokens": int(card.get("max_tokens", _MOST_TOKENS))}
    except (ValueError, KeyError, TypeError) as error:
        raise ArtifactError(path, expected='an object with "name"', seen=f"it is not: {error}") from error
