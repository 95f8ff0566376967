"""The ONNX graph of a BERT encoder with mean pooling and unit length, built from parameters without PyTorch.

Inputs ``input_ids`` and ``attention_mask``, both int64 of shape ``(batch, tokens)``; output
``sentence_embedding``, float32 of shape ``(batch, hidden)``.
"""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from inference_server.training.bert import BertConfig, Layer, Params

_OPSET = 20
_IR_VERSION = 9


class _Graph:
    """Collects nodes and initialisers; every method returns the name of the value it made."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.initialisers: list[Any] = []

    def constant(self, name: str, value: NDArray[Any]) -> str:
        self.initialisers.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def op(self, kind: str, inputs: list[str], name: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(kind, inputs, [name], name=f"{name}/{kind}", **attributes))
        return name

    def dense(self, x: str, layer: Layer, name: str) -> str:
        weight = self.constant(f"{name}.weight", np.asarray(layer["w"], np.float32))
        bias = self.constant(f"{name}.bias", np.asarray(layer["b"], np.float32))
        return self.op("Add", [self.op("MatMul", [x, weight], f"{name}.product"), bias], name)

    def norm(self, x: str, layer: Layer, name: str, epsilon: float) -> str:
        scale = self.constant(f"{name}.scale", np.asarray(layer["scale"], np.float32))
        shift = self.constant(f"{name}.shift", np.asarray(layer["shift"], np.float32))
        return self.op("LayerNormalization", [x, scale, shift], name, axis=-1, epsilon=epsilon)


def _embeddings(graph: _Graph, embeddings: Layer, config: BertConfig) -> str:
    word = graph.constant("embeddings.word", np.asarray(embeddings["word"], np.float32))
    # Token types are always zero here; their embedding is folded into the positions'.
    positions = np.asarray(embeddings["position"], np.float32) + np.asarray(embeddings["type"], np.float32)[0]
    position = graph.constant("embeddings.position", positions)
    zero = graph.constant("index.zero", np.asarray([0], np.int64))
    one = graph.constant("index.one", np.asarray([1], np.int64))
    shape = graph.op("Shape", ["input_ids"], "ids.shape")
    length = graph.op("Gather", [shape, one], "ids.length", axis=0)
    used = graph.op("Slice", [position, zero, length, zero], "embeddings.position.used")
    tokens = graph.op("Gather", [word, "input_ids"], "embeddings.tokens", axis=0)
    summed = graph.op("Add", [tokens, used], "embeddings.sum")
    return graph.norm(summed, embeddings["norm"], "embeddings.norm", config.epsilon)


def _mask(graph: _Graph) -> tuple[str, str]:
    """Return the mask as float, and as what is added to attention scores.

    0 at tokens, very low at padding.
    """
    mask = graph.op("Cast", ["attention_mask"], "mask.float", to=TensorProto.FLOAT)
    one = graph.constant("mask.one", np.asarray(1.0, np.float32))
    low = graph.constant("mask.low", np.asarray(-1e9, np.float32))
    axes = graph.constant("mask.axes", np.asarray([1, 2], np.int64))
    inverse = graph.op("Sub", [one, mask], "mask.inverse")
    scaled = graph.op("Mul", [inverse, low], "mask.scaled")
    return mask, graph.op("Unsqueeze", [scaled, axes], "mask.bias")


def _attention(graph: _Graph, x: str, layer: Layer, bias: str, config: BertConfig, name: str) -> str:
    size = config.hidden // config.heads
    split = graph.constant(f"{name}.split", np.asarray([0, 0, config.heads, size], np.int64))
    join = graph.constant(f"{name}.join", np.asarray([0, 0, config.hidden], np.int64))
    scale = graph.constant(f"{name}.scale", np.asarray(1.0 / np.sqrt(size), np.float32))

    def heads(part: str, order: list[int]) -> str:
        dense = graph.dense(x, layer[part], f"{name}.{part}")
        shaped = graph.op("Reshape", [dense, split], f"{name}.{part}.split")
        return graph.op("Transpose", [shaped], f"{name}.{part}.heads", perm=order)

    query, key, value = heads("query", [0, 2, 1, 3]), heads("key", [0, 2, 3, 1]), heads("value", [0, 2, 1, 3])
    raw = graph.op("MatMul", [query, key], f"{name}.raw")
    scores = graph.op("Add", [graph.op("Mul", [raw, scale], f"{name}.scaled"), bias], f"{name}.scores")
    weights = graph.op("Softmax", [scores], f"{name}.weights", axis=-1)
    context = graph.op("MatMul", [weights, value], f"{name}.context")
    turned = graph.op("Transpose", [context], f"{name}.turned", perm=[0, 2, 1, 3])
    return graph.dense(
        graph.op("Reshape", [turned, join], f"{name}.joined"), layer["attention_output"], f"{name}.out"
    )


def _pool(graph: _Graph, x: str, mask: str) -> None:
    last = graph.constant("pool.last", np.asarray([2], np.int64))
    tokens = graph.constant("pool.tokens", np.asarray([1], np.int64))
    smallest = graph.constant("pool.smallest", np.asarray(1.0, np.float32))
    tiny = graph.constant("pool.tiny", np.asarray(1e-12, np.float32))
    weights = graph.op("Unsqueeze", [mask, last], "pool.weights")
    total = graph.op(
        "ReduceSum", [graph.op("Mul", [x, weights], "pool.masked"), tokens], "pool.total", keepdims=0
    )
    count = graph.op("ReduceSum", [weights, tokens], "pool.count", keepdims=0)
    mean = graph.op("Div", [total, graph.op("Max", [count, smallest], "pool.counted")], "pool.mean")
    length = graph.op("ReduceL2", [mean, tokens], "pool.length", keepdims=1)
    graph.op("Div", [mean, graph.op("Max", [length, tiny], "pool.divisor")], "sentence_embedding")


def build_model(params: Params, config: BertConfig) -> Any:
    """Return the ONNX model (a ``ModelProto``) that computes what :func:`bert.encode` computes."""
    graph = _Graph()
    mask, bias = _mask(graph)
    x = _embeddings(graph, params["embeddings"], config)
    for index, layer in enumerate(params["layers"]):
        name = f"layer.{index}"
        attended = _attention(graph, x, layer, bias, config, f"{name}.attention")
        residual = graph.op("Add", [x, attended], f"{name}.attention.residual")
        x = graph.norm(residual, layer["attention_norm"], f"{name}.attention.norm", config.epsilon)
        inner = graph.op("Gelu", [graph.dense(x, layer["intermediate"], f"{name}.inner")], f"{name}.gelu")
        residual = graph.op(
            "Add", [x, graph.dense(inner, layer["output"], f"{name}.outer")], f"{name}.residual"
        )
        x = graph.norm(residual, layer["output_norm"], f"{name}.norm", config.epsilon)
    _pool(graph, x, mask)
    tokens = ["batch", "tokens"]
    proto = helper.make_graph(
        graph.nodes,
        "sentence-encoder",
        [
            helper.make_tensor_value_info(name, TensorProto.INT64, tokens)
            for name in ("input_ids", "attention_mask")
        ],
        [helper.make_tensor_value_info("sentence_embedding", TensorProto.FLOAT, ["batch", config.hidden])],
        graph.initialisers,
    )
    model = helper.make_model(
        proto, opset_imports=[helper.make_opsetid("", _OPSET)], producer_name="inference-server"
    )
    model.ir_version = _IR_VERSION
    onnx.checker.check_model(model)
    return model


def write_onnx(params: Params, config: BertConfig, path: Path, *, int8: bool) -> None:
    """Write the encoder to ``path``.

    With ``int8``, weights as 8-bit integers and activations quantised as they come.
    """
    model = build_model(params, config)
    if not int8:
        path.write_bytes(model.SerializeToString(deterministic=True))
        return
    from onnxruntime.quantization import QuantType, quantize_dynamic  # noqa: PLC0415 - slow to import

    with tempfile.TemporaryDirectory() as scratch:
        plain, small = Path(scratch) / "plain.onnx", Path(scratch) / "int8.onnx"
        plain.write_bytes(model.SerializeToString(deterministic=True))
        # It advises, on the root logger, to infer shapes first; this graph needs that for nothing.
        logging.disable(logging.WARNING)
        try:
            quantize_dynamic(plain, small, per_channel=True, weight_type=QuantType.QInt8)
        finally:
            logging.disable(logging.NOTSET)
        path.write_bytes(onnx.load(small).SerializeToString(deterministic=True))
