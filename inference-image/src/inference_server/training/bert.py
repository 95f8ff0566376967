"""A BERT encoder in JAX: the same forward pass that the ONNX graph computes, differentiable.

Parameters are plain dictionaries of arrays, so that they can be saved, averaged and exported without a
framework. Dense weights are stored ``(in, out)``: activations multiply them from the left, as in the ONNX
graph.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

Params: TypeAlias = dict[str, Any]
Layer: TypeAlias = dict[str, Any]

_DENSE = {
    "query": "attention.self.query",
    "key": "attention.self.key",
    "value": "attention.self.value",
    "attention_output": "attention.output.dense",
    "intermediate": "intermediate.dense",
    "output": "output.dense",
}
_NORM = {"attention_norm": "attention.output.LayerNorm", "output_norm": "output.LayerNorm"}


@dataclass(frozen=True, kw_only=True, slots=True)
class BertConfig:
    """Shape of a BERT encoder.

    Attributes:
        vocabulary: number of word pieces.
        hidden: width of the residual stream and length of an embedding.
        layers: number of transformer layers.
        heads: attention heads; divides ``hidden``.
        intermediate: width of the feed-forward layer.
        positions: longest sequence in tokens.
        epsilon: added to variances in layer normalisation.
    """

    vocabulary: int
    hidden: int
    layers: int
    heads: int
    intermediate: int
    positions: int = 512
    epsilon: float = 1e-12

    @classmethod
    def from_huggingface(cls, values: Mapping[str, Any]) -> BertConfig:
        """Read the fields that matter from a ``config.json`` of the BERT family."""
        return cls(
            vocabulary=int(values["vocab_size"]),
            hidden=int(values["hidden_size"]),
            layers=int(values["num_hidden_layers"]),
            heads=int(values["num_attention_heads"]),
            intermediate=int(values["intermediate_size"]),
            positions=int(values["max_position_embeddings"]),
            epsilon=float(values["layer_norm_eps"]),
        )

    def as_dict(self) -> dict[str, int | float]:
        """Return the fields as plain numbers, for JSON."""
        return asdict(self)


def params_from_tensors(tensors: Mapping[str, NDArray[Any]], config: BertConfig) -> Params:
    """Arrange the tensors of a BERT checkpoint (names of the ``transformers`` convention) as parameters.

    Raises:
        KeyError: naming the tensor that the checkpoint lacks.
    """
    plain = {re.sub(r"^bert\.", "", name): np.asarray(value, np.float32) for name, value in tensors.items()}

    def dense(prefix: str) -> Layer:
        return {"w": plain[f"{prefix}.weight"].T.copy(), "b": plain[f"{prefix}.bias"]}

    def norm(prefix: str) -> Layer:
        return {"scale": plain[f"{prefix}.weight"], "shift": plain[f"{prefix}.bias"]}

    layers = []
    for index in range(config.layers):
        base = f"encoder.layer.{index}."
        layer = {name: dense(base + path) for name, path in _DENSE.items()}
        layer |= {name: norm(base + path) for name, path in _NORM.items()}
        layers.append(layer)
    return {
        "embeddings": {
            "word": plain["embeddings.word_embeddings.weight"],
            "position": plain["embeddings.position_embeddings.weight"],
            "type": plain["embeddings.token_type_embeddings.weight"],
            "norm": norm("embeddings.LayerNorm"),
        },
        "layers": layers,
    }


def random_params(config: BertConfig, seed: int) -> Params:
    """Small random parameters of the right shapes; for tests."""
    rng = np.random.default_rng(seed)

    def array(*shape: int) -> NDArray[np.float32]:
        return rng.normal(0.0, 0.2, shape).astype(np.float32)

    def norm() -> Layer:
        return {"scale": 1.0 + array(config.hidden), "shift": array(config.hidden)}

    def layer() -> Layer:
        h, i = config.hidden, config.intermediate
        shapes = dict.fromkeys(("query", "key", "value", "attention_output"), (h, h))
        shapes |= {"intermediate": (h, i), "output": (i, h)}
        dense = {name: {"w": array(*shape), "b": array(shape[1])} for name, shape in shapes.items()}
        return dense | {"attention_norm": norm(), "output_norm": norm()}

    return {
        "embeddings": {
            "word": array(config.vocabulary, config.hidden),
            "position": array(config.positions, config.hidden),
            "type": array(2, config.hidden),
            "norm": norm(),
        },
        "layers": [layer() for _ in range(config.layers)],
    }


def _dense(x: jax.Array, layer: Layer, dtype: Any) -> jax.Array:
    weights = layer["w"].astype(dtype)
    product = jnp.matmul(x.astype(dtype), weights, preferred_element_type=jnp.float32)
    return jnp.add(product, layer["b"])


def _norm(x: jax.Array, layer: Layer, epsilon: float) -> jax.Array:
    mean = jnp.mean(x, axis=-1, keepdims=True)
    centred = x - mean
    variance = jnp.mean(centred * centred, axis=-1, keepdims=True)
    scaled = centred * jax.lax.rsqrt(variance + epsilon)
    return jnp.add(scaled * layer["scale"], layer["shift"])


def _drop(x: jax.Array, rate: float, key: jax.Array | None) -> jax.Array:
    if key is None or rate <= 0.0:
        return x
    # Eight random bits per value decide, not thirty-two: random numbers are a visible part of a step on a
    # CPU.
    threshold = round(rate * 256)
    kept = jax.random.bits(key, x.shape, jnp.uint8) >= jnp.uint8(threshold)
    return jnp.where(kept, x * (256.0 / (256 - threshold)), 0.0)


def embed(embeddings: Layer, ids: jax.Array, config: BertConfig) -> jax.Array:
    """Token, position and type embeddings, normalised.

    ``(batch, length)`` ids to ``(batch, length, hidden)``.
    """
    x = embeddings["word"][ids] + embeddings["position"][: ids.shape[1]] + embeddings["type"][0]
    return _norm(x, embeddings["norm"], config.epsilon)


def _attention(x: jax.Array, mask: jax.Array, layer: Layer, config: BertConfig, dtype: Any) -> jax.Array:
    batch, length, hidden = x.shape
    size = hidden // config.heads

    def split(name: str) -> jax.Array:
        return _dense(x, layer[name], dtype).reshape(batch, length, config.heads, size)

    query, key, value = split("query"), split("key"), split("value")
    scores = jnp.einsum("bqhd,bkhd->bhqk", query, key) / np.sqrt(size).astype(np.float32)
    scores = jnp.where(mask[:, None, None, :] > 0, scores, -1e9)
    weights = jax.nn.softmax(scores, axis=-1)
    return jnp.einsum("bhqk,bkhd->bqhd", weights, value).reshape(batch, length, hidden)


def transformer(
    x: jax.Array,
    mask: jax.Array,
    layers: Sequence[Layer],
    config: BertConfig,
    *,
    dtype: Any = jnp.float32,
    dropout: tuple[float, jax.Array] | None = None,
) -> jax.Array:
    """Run ``x`` of shape ``(batch, length, hidden)`` through ``layers``; ``mask`` is 1 at real tokens.

    ``dtype`` is the type of the matrix products' inputs; sums stay in float32. ``dropout`` is a rate and a
    key.
    """
    rate, key = dropout if dropout is not None else (0.0, None)
    keys = [None] * (2 * len(layers)) if key is None else list(jax.random.split(key, 2 * len(layers)))
    for index, layer in enumerate(layers):
        context = _dense(_attention(x, mask, layer, config, dtype), layer["attention_output"], dtype)
        x = _norm(x + _drop(context, rate, keys[2 * index]), layer["attention_norm"], config.epsilon)
        inner = jax.nn.gelu(_dense(x, layer["intermediate"], dtype), approximate=False)
        out = _dense(inner, layer["output"], dtype)
        x = _norm(x + _drop(out, rate, keys[2 * index + 1]), layer["output_norm"], config.epsilon)
    return x


def pool(x: jax.Array, mask: jax.Array) -> jax.Array:
    """Mean over real tokens, scaled to unit length: ``(batch, length, hidden)`` to ``(batch, hidden)``."""
    weights = mask.astype(x.dtype)[:, :, None]
    mean = jnp.sum(x * weights, axis=1) / jnp.maximum(jnp.sum(weights, axis=1), 1.0)
    return mean * jax.lax.rsqrt(jnp.maximum(jnp.sum(mean * mean, axis=-1, keepdims=True), 1e-24))


def encode(params: Params, ids: jax.Array, mask: jax.Array, config: BertConfig) -> jax.Array:
    """Return unit-length embeddings ``(batch, hidden)`` of token ids ``(batch, length)``, in float32."""
    hidden = transformer(embed(params["embeddings"], ids, config), mask, params["layers"], config)
    return pool(hidden, mask)
