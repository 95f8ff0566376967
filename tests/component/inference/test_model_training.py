"""Readers of labelled data, the corpus, training, evaluation, and the commands."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from inference_server.artifacts import load_manifest
from inference_server.commands import evaluate, train
from inference_server.predictors.emotion.labels import LABELS
from inference_server.predictors.emotion.loading import PredictorConfig, load_predictor
from inference_server.predictors.emotion.training import corpus
from inference_server.predictors.emotion.training.datasets import (
    GOEMOTIONS_LABELS,
    GOEMOTIONS_MAPPING,
    DataError,
    read_dataset,
    split_stratified,
)
from inference_server.predictors.emotion.training.heads import fit_mixture, tune_bias
from inference_server.predictors.emotion.training.options import TrainOptions
from inference_server.predictors.emotion.training.pipeline import train as train_artifacts
from inference_server.training.scores import calibration, confusion, f1_by_class, macro_f1

GOEMOTIONS = (
    "my favourite food is anything I didn't have to cook\t27\teebbqej\n"
    "thanks, that made me laugh\t1,15\ta1\n"
    "that is gross and I hate it\t2,11\ta2\n"
    "oh no, poor thing, I am so sorry\t24,25\ta3\n"
    "not this again, what a let-down\t3,9,10\ta4\n"
    "huh? why would that be\t6,7\ta5\n"
    "I'm scared\t14\ta6\r\n"
    "wait\u2028what\t26\ta7\n"
    "get out\t2\ta8\n"
    "yuck\t11\ta9\n"
)


def test_goemotions_rows_are_mapped_and_ambiguous_ones_left_out(tmp_path: Path) -> None:
    path = tmp_path / "train.tsv"
    path.write_text(GOEMOTIONS, encoding="utf-8")
    data = read_dataset(path, "goemotions")
    assert data.left_out == 1
    assert [LABELS[row.label] for row in data.rows] == [
        "neutral", "joy", "sadness", "frustration", "surprise", "fear", "surprise", "anger", "disgust",
    ]  # fmt: skip
    assert data.rows[1].fine == (1, 15)
    assert data.rows[6].text == "wait\u2028what"


def test_the_mapping_covers_goemotions_labels_in_their_order() -> None:
    assert len(GOEMOTIONS_LABELS) == 28
    assert GOEMOTIONS_LABELS[:4] == ("admiration", "amusement", "anger", "annoyance")
    assert GOEMOTIONS_LABELS[-1] == "neutral"
    assert list(GOEMOTIONS_LABELS[:-1]) == sorted(GOEMOTIONS_LABELS[:-1])
    groups = Counter(GOEMOTIONS_MAPPING.values())
    assert groups == {
        "joy": 12, "fear": 2, "frustration": 3, "sadness": 4,
        "anger": 1, "surprise": 4, "disgust": 1, "neutral": 1,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("form", "content", "message"),
    [
        ("goemotions", "text\t28\tid\n", r"line 1: expected label ids 0\.\.27, but they are '28'"),
        ("goemotions", "fine\t3\tid\ntext\tx\tid\n", "line 2: expected label ids like 3"),
        ("goemotions", "only text\n", "line 1: expected text, label ids and id"),
        ("goemotions", "a\t2,11\tid\n", "no line has one label"),
        ("tsv", "text\thappy\n", "line 1: expected one of the labels joy"),
        ("tsv", "", "no line has one label"),
    ],
)
def test_bad_data_is_refused_by_line(tmp_path: Path, form: str, content: str, message: str) -> None:
    path = tmp_path / "data.tsv"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=message):
        read_dataset(path, form)


def test_data_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "data.tsv"
    path.write_bytes(b"caf\xe9\tjoy\n")
    with pytest.raises(DataError, match="UTF-8"):
        read_dataset(path, "tsv")


def test_the_shipped_corpus_is_what_the_generator_gives() -> None:
    assert corpus.load_corpus() == corpus.generate()
    assert corpus.generate(seed=1) != corpus.generate()


def test_the_corpus_is_large_balanced_and_split_by_family() -> None:
    sentences = corpus.load_corpus()
    assert len(sentences) >= 2000
    assert len({item.text for item in sentences}) == len(sentences)
    counts = Counter((item.language, item.label) for item in sentences)
    assert set(counts) == {(language, label) for language in ("en", "fr") for label in LABELS}
    assert min(counts.values()) >= 100
    splits: dict[str, set[str]] = {}
    for item in sentences:
        splits.setdefault(item.family, set()).add(item.split)
    assert all(len(found) == 1 for found in splits.values())
    assert {item.split for item in sentences} == {"train", "dev", "test"}


def test_a_stratified_split_takes_the_share_of_each_label() -> None:
    rows = corpus.select(corpus.load_corpus(), "train")
    kept, taken = split_stratified(rows, 0.1, seed=3)
    assert len(kept) + len(taken) == len(rows)
    assert Counter(row.label for row in taken) == {
        label: round(count * 0.1) for label, count in Counter(row.label for row in rows).items()
    }
    assert split_stratified(rows, 0.1, seed=3) == (kept, taken)


def test_same_data_and_seed_give_the_same_bytes(tmp_path: Path) -> None:
    rows = corpus.select(corpus.load_corpus(), "train")[::4]
    trees = []
    for name in ("one", "two"):
        train_artifacts(rows, None, TrainOptions(encoder="hashing:32"), tmp_path / name, lambda _: None)
        files = sorted(path for path in (tmp_path / name).rglob("*") if path.is_file())
        trees.append({path.relative_to(tmp_path / name): path.read_bytes() for path in files})
    assert trees[0] == trees[1]
    assert {str(path) for path in trees[0]} == {"manifest.json", "linear_head.npz", "prototypes.npz"}


def test_the_manifest_says_how_the_artefacts_came_to_be(trained_artifacts: Path) -> None:
    manifest = load_manifest(trained_artifacts)
    assert manifest.seed == 42
    assert manifest.encoder == "hashing:64"
    assert manifest.dimension == 64
    assert manifest.config["rows"] == {"train": 1920, "dev": 320}
    assert set(manifest.versions) >= {"numpy", "onnxruntime", "scikit-learn", "jax"}
    assert 0.2 < manifest.metrics["dev_macro_f1"]["linear_head"] <= 1.0
    assert "/" not in json.dumps(manifest.config["encoder"])


def test_training_does_not_destroy_a_directory_that_holds_something_else(tmp_path: Path) -> None:
    out = tmp_path / "home"
    out.mkdir()
    (out / "letter.txt").write_text("keep me")
    rows = corpus.select(corpus.load_corpus(), "train")[::8]
    with pytest.raises(FileExistsError, match="something else"):
        train_artifacts(rows, None, TrainOptions(encoder="hashing:16", lexical=False), out, lambda _: None)
    assert [path.name for path in tmp_path.iterdir()] == ["home"]
    assert (out / "letter.txt").read_text() == "keep me"


def test_a_missing_label_trains_and_never_wins(tmp_path: Path) -> None:
    rows = [row for row in corpus.select(corpus.load_corpus(), "train") if LABELS[row.label] != "disgust"]
    train_artifacts(rows[::3], None, TrainOptions(encoder="hashing:32"), tmp_path / "out", lambda _: None)
    predictor = load_predictor(tmp_path / "out", config=PredictorConfig())
    items = predictor.predict([row.text for row in rows[:200]])
    assert "disgust" not in {item.label for item in items}


def test_scores_match_their_definitions() -> None:
    truth, answer = np.asarray([0, 0, 0, 1, 1, 2]), np.asarray([0, 0, 1, 1, 2, 2])
    assert confusion(truth, answer, 4).tolist() == [[2, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 0], [0, 0, 0, 0]]
    np.testing.assert_allclose(f1_by_class(truth, answer, 4), [0.8, 0.5, 2 / 3, 0.0])
    assert macro_f1(truth, answer, 4) == pytest.approx((0.8 + 0.5 + 2 / 3) / 3)
    table, error = calibration(np.asarray([0.95, 0.95, 0.15, 0.15]), np.asarray([True, True, False, True]))
    assert (table[9]["count"], table[9]["accuracy"]) == (2, 1.0)
    assert error == pytest.approx(0.5 * 0.05 + 0.5 * 0.35)


def test_bias_tuning_raises_macro_f1_of_a_model_that_ignores_a_rare_label() -> None:
    rng = np.random.default_rng(0)
    labels = (rng.random(4000) < 0.05).astype(np.int32)
    logits = rng.normal(size=(4000, 2))
    logits[:, 1] += 3.0 * labels - 4.0
    before = macro_f1(labels, logits.argmax(axis=1), 2)
    after = macro_f1(labels, (logits + tune_bias(logits, labels, 2)).argmax(axis=1), 2)
    assert after > before + 0.03


def test_the_mixture_trusts_the_better_half() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 8, 2000).astype(np.int32)
    good = rng.normal(size=(2000, 8)).astype(np.float32)
    good[np.arange(2000), labels] += 2.0
    noise = rng.normal(size=(2000, 8)).astype(np.float32)
    mixture = fit_mixture(good, noise, labels, 8)
    assert mixture.dense > 5 * mixture.lexical
    assert mixture.temperature == pytest.approx(1.0, abs=0.15)


def test_the_commands_train_and_evaluate(tmp_path: Path) -> None:
    sentences = corpus.load_corpus()[::3]
    data = tmp_path / "goemotions.tsv"
    ids = {
        label: min(i for i, n in enumerate(GOEMOTIONS_LABELS) if GOEMOTIONS_MAPPING[n] == label)
        for label in LABELS
    }
    data.write_text(
        "".join(f"{s.text}\t{ids[s.label]}\t{i}\n" for i, s in enumerate(sentences)), encoding="utf-8"
    )
    run = CliRunner().invoke(
        train,
        ["emotion", "--format", "goemotions", "--train", str(data), "--dev", str(data),
         "--out", str(tmp_path / "out"), "--encoder", "hashing:32", "--version", "2.5",
         "--serving", "linear_minimum=0.3"],
    )  # fmt: skip
    assert run.exit_code == 0, run.output
    picture = tmp_path / "picture.png"
    run = CliRunner().invoke(
        evaluate,
        ["emotion", "--artifacts", str(tmp_path / "out"), "--format", "goemotions", "--data", str(data),
         "--json", "--picture", str(picture)],
    )  # fmt: skip
    assert run.exit_code == 0, run.output
    result = json.loads(run.stdout)
    assert result["version"] == "2.5"
    assert result["rows"] == len(sentences)
    assert sum(map(sum, result["confusion"])) == len(sentences)
    assert result["macro_f1"] == pytest.approx(np.mean(list(result["f1"].values())), abs=1e-3)
    assert sum(entry["count"] for entry in result["calibration"]) == len(sentences)
    assert picture.read_bytes().startswith(b"\x89PNG")
    table = CliRunner().invoke(evaluate, ["emotion", "--artifacts", str(tmp_path / "out")])
    assert table.exit_code == 0, table.output
    assert "macro-F1" in table.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--serving", "speed=1"], "linear_minimum"),
        (["--serving", "linear_minimum=fast"], "expected a number"),
        (["--encoder", "hashing:3"], "8..4096"),
        (["--encoder", "/nowhere"], "no such file"),
        (["--dev", __file__], "needs --train"),
    ],
)
def test_bad_options_are_sentences(tmp_path: Path, arguments: list[str], message: str) -> None:
    run = CliRunner().invoke(train, ["emotion", "--out", str(tmp_path / "out"), *arguments])
    assert run.exit_code != 0
    assert message in run.output
    assert not (tmp_path / "out").exists()


def test_bad_artifacts_are_a_sentence(tmp_path: Path) -> None:
    run = CliRunner().invoke(evaluate, ["emotion", "--artifacts", str(tmp_path)])
    assert run.exit_code == 1
    assert "manifest" in run.output


def test_serving_imports_nothing_of_training() -> None:
    code = (
        "import sys; import inference_server.predictors.emotion.loading; "
        "heavy = {'sklearn', 'scipy', 'jax', 'onnx', 'matplotlib'}; "
        "bad = [m for m in sys.modules if m.split('.')[0] in heavy "
        "or m.startswith('inference_server.training') or '.training' in m]; print(bad); sys.exit(bool(bad))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": ":".join(sys.path)},
    )
    assert done.returncode == 0, done.stdout + done.stderr
