"""Training of the suggestion model: what it learns, what the gate lets through, the same bytes each time."""

from __future__ import annotations

import json
import random
from pathlib import Path

import lightgbm
import numpy as np
import pytest
from click.testing import CliRunner
from sklearn.svm import LinearSVC

from inference_server.artifacts import ArtifactError, load_manifest
from inference_server.commands import evaluate, train
from inference_server.predictors.suggestions.calibration import CALIBRATION_FILE
from inference_server.predictors.suggestions.model import LINEAR_FILE, Model, tree_rows
from inference_server.predictors.suggestions.training import corpus, fitting
from inference_server.predictors.suggestions.training.data import row_of
from inference_server.predictors.suggestions.training.fitting import Options, fit, matrix
from inference_server.predictors.suggestions.training.pipeline import Gate
from inference_server.predictors.suggestions.training.pipeline import train as train_rows
from inference_server.predictors.suggestions.training.splits import folds, held_out
from inference_server.predictors.suggestions.transactions import Transaction
from inference_server.predictors.suggestions.trees import TREES_FILE
from inference_server.training.scores import macro_f1
from tests.support.suggestions import train_suggestions, write_corpus

OTHER = corpus.rows(800, seed=7)


def latest(registry: Path) -> Path:
    return registry / "latest"


def load(directory: Path) -> Model:
    return Model.read(directory, load_manifest(directory).labels)


def quiet(_: str) -> None:
    """No progress."""


def test_the_answer_says_what_people_ask(trained_registry: Path) -> None:
    result = load_manifest(latest(trained_registry)).metrics
    assert result["val_f1_macro"] > 0.8
    assert set(result["val_f1_per_class"]) == set(result["calibration"]) == set(result["rows_per_class"])
    assert result["passed_acceptance_gate"] is True
    assert 0 < result["coverage_at_thresholds"] <= 1
    assert result["rows"]["validated"] + result["rows"]["trained"] == result["rows"]["all"]
    assert [row["coverage"] for row in result["risk_coverage"]] == [0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0]


def test_equal_data_and_seed_give_equal_bytes(trained_registry: Path, tmp_path: Path) -> None:
    answer = train_suggestions(
        "--data", write_corpus(tmp_path / "rows.csv"), "--registry", tmp_path / "registry"
    )
    made = tmp_path / "registry" / "runs" / answer["run_id"]
    first = latest(trained_registry)
    assert sorted(path.name for path in made.iterdir()) == [
        CALIBRATION_FILE,
        LINEAR_FILE,
        "manifest.json",
        TREES_FILE,
    ]
    for path in made.iterdir():
        assert path.read_bytes() == (first / path.name).read_bytes(), path.name


def test_the_trees_answer_as_lightgbm_does(trained_registry: Path) -> None:
    """Serving reads LightGBM's text model by itself; both give the same numbers."""
    model = load(latest(trained_registry))
    transactions = [row.transaction for row in OTHER[:300]]
    inputs = tree_rows(model.linear.scores(transactions), transactions)
    text = (latest(trained_registry) / TREES_FILE).read_text()
    assert text.count("Tree=") >= len(model.labels)
    booster = lightgbm.Booster(model_str=text)
    expected = booster.predict(inputs, raw_score=True)
    assert np.allclose(model.trees.scores(inputs), expected, rtol=0, atol=1e-12)


def test_it_is_no_worse_than_a_linear_svm_from_few_rows_and_better_calibrated(tmp_path: Path) -> None:
    rows = corpus.rows(300, seed=3)
    truth = np.asarray([row.category for row in OTHER])
    run = train_rows(rows, tmp_path, Options(), Gate(), quiet)
    model = load(run.directory)
    probabilities = model.probabilities([row.transaction for row in OTHER])
    ours = np.asarray(model.labels)[probabilities.argmax(axis=1)]
    machine = LinearSVC(random_state=1).fit(
        matrix([row.transaction for row in rows]), [row.category for row in rows]
    )
    theirs = machine.predict(matrix([row.transaction for row in OTHER]))
    places = {label: at for at, label in enumerate(model.labels)}

    def f1(answer: np.ndarray) -> float:
        return macro_f1(
            np.asarray([places[label] for label in truth]),
            np.asarray([places[label] for label in answer]),
            len(places),
        )

    assert f1(ours) > f1(theirs) - 0.01
    right, confidence = ours == truth, probabilities.max(axis=1)
    assert abs(right.mean() - confidence.mean()) < 0.06


def test_the_order_of_a_large_file_changes_no_calibration(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file sorted by category lost classes, and equal purchases were on both sides of the cut."""
    for name, value in {
        "LARGE": 1000,
        "ISOTONIC_ROWS": 200,
        "ISOTONIC_POSITIVES": 15,
        "HELD_ROWS": 400,
    }.items():
        monkeypatch.setattr(fitting, name, value)
    rows = corpus.rows(1500, seed=3)
    labels = tuple(sorted({row.category for row in rows}))
    files = [rows, sorted(rows, key=lambda row: row.category), random.Random(1).sample(rows, len(rows))]
    held = []
    for file in files:
        fold = folds(file, 3, 42)
        places = held_out(file, fold, 42, fitting.HELD_ROWS)
        inside = {file[place].key for place in places}
        assert 300 < len(places) <= 400
        assert not inside & {row.key for place, row in enumerate(file) if place not in set(places)}
        held.append(inside)
    assert held[0] == held[1] == held[2]
    methods = [fit(file, labels, Options(rounds=2), quiet).methods for file in files]
    assert "isotonic" in methods[0].values()
    assert methods[0] == methods[1] == methods[2]


def test_the_gate_keeps_latest_where_it_is(run_registry: Path, tmp_path: Path) -> None:
    before = latest(run_registry).resolve()
    refused = train_suggestions(
        "--data",
        write_corpus(tmp_path / "rows.csv", rows=600),
        "--registry",
        run_registry,
        "--min-class-f1",
        "0.99",
    )
    assert (refused["passed_acceptance_gate"], refused["deployed"]) == (False, False)
    assert "below 0.99" in refused["deploy_reason"]
    assert latest(run_registry).resolve() == before
    kept = train_suggestions(
        "--data", write_corpus(tmp_path / "rows.csv", rows=600), "--registry", run_registry, "--no-deploy"
    )
    assert (kept["deployed"], kept["deploy_reason"]) == (False, "not asked for (--no-deploy)")
    assert (run_registry / "runs" / kept["run_id"]).is_dir()
    assert latest(run_registry).resolve() == before


def test_a_class_with_three_rows_is_learned_named_and_refused(tmp_path: Path) -> None:
    rare = [
        row_of({"description": f"VET {name} ANIMAL CLINIC", "category": "Pets"})
        for name in ("OAK", "ELM", "ASH")
    ]
    rows = [*corpus.rows(400, seed=5), *(row for row in rare if row is not None)]
    run = train_rows(rows, tmp_path, Options(), Gate(), quiet)
    assert run.result["rows_per_class"]["Pets"] == 3
    assert run.result["calibration"]["Pets"] == "none"
    assert not run.result["passed_acceptance_gate"]
    assert any("Pets" in reason for reason in run.result["gate_refusals"])
    probabilities = load(run.directory).probabilities([Transaction(description="VET OAK ANIMAL CLINIC")])
    assert np.isfinite(probabilities).all()


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("description,category\n" + "SHOP,Shopping\n" * 50, "two categories at least"),
        ("description,category\nSHOP,Shopping\nBAR,Dining\n", "four rows for each on average"),
    ],
)
def test_too_little_is_a_sentence(tmp_path: Path, rows: str, message: str) -> None:
    path = tmp_path / "rows.csv"
    path.write_text(rows)
    run = CliRunner().invoke(train, ["suggestions", "--data", str(path), "--registry", str(tmp_path / "r")])
    assert run.exit_code == 1
    assert message in run.output
    assert not (tmp_path / "r" / "latest").exists()


def test_evaluate_measures_artefacts_as_they_are_served(trained_registry: Path, tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    extra = {"description": "VET OAK", "category": "Pets"}
    path.write_text(corpus.as_csv([*corpus.generate(300, seed=9), extra]))
    arguments = ["suggestions", "--artifacts", str(latest(trained_registry)), "--data", str(path)]
    run = CliRunner().invoke(evaluate, [*arguments, "--json"])
    assert run.exit_code == 0, run.output
    result = json.loads(run.stdout)
    assert result["f1_per_class"]["Pets"] == 0
    assert result["support"]["Pets"] == 1
    assert {"f1_macro", "calibration_error", "brier", "accuracy_at_thresholds"} <= set(result)
    assert "macro" in CliRunner().invoke(evaluate, arguments).stdout


@pytest.mark.parametrize(
    ("change", "seen"),
    [
        (lambda text: text.replace("split_feature=", "split_feature=99 ", 1), "without children"),
        (lambda text: text.replace("left_child=1", "left_child=0", 1), "leads"),
        (lambda text: text.replace("leaf_value=", "leaf_value=nan ", 1), "leaves without values"),
        (lambda text: text[: len(text) // 2], "expected trees"),
        (lambda text: "nothing", None),
    ],
)
def test_damaged_trees_are_refused(run_registry: Path, change: object, seen: str | None) -> None:
    path = latest(run_registry).resolve() / TREES_FILE
    path.write_text(change(path.read_text()))  # type: ignore[operator]
    labels = json.loads((latest(run_registry) / "manifest.json").read_text())["labels"]
    if seen is None:
        assert len(Model.read(latest(run_registry), tuple(labels)).trees.roots) == 0
        return
    with pytest.raises(ArtifactError, match=seen):
        Model.read(latest(run_registry), tuple(labels))


def test_the_corpus_is_what_its_card_says() -> None:
    rows = corpus.generate()
    assert len(rows) >= 20_000
    assert corpus.as_csv(rows[:2000]) == corpus.as_csv(corpus.generate(2000))
    texts = [row["description"] for row in rows]
    assert len(set(texts)) > 0.9 * len(texts)
    assert {row["currency"] for row in rows} == {"EUR", "GBP", "USD"}
