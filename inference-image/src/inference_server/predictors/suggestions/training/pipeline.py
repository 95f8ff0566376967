"""A training run: split, fit, write, read back, measure, judge."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version as library_version
from pathlib import Path
from typing import Any, Final

import numpy as np

from inference_server.artifacts import Manifest, canonical_json, write_manifest, write_npz
from inference_server.predictors.suggestions import features
from inference_server.predictors.suggestions.calibration import CALIBRATION_FILE, calibrate
from inference_server.predictors.suggestions.model import LINEAR_FILE, Model
from inference_server.predictors.suggestions.thresholds import DEFAULTS
from inference_server.predictors.suggestions.training.data import Example, TableError
from inference_server.predictors.suggestions.training.fitting import LARGE, Fitted, Options, Progress, fit
from inference_server.predictors.suggestions.training.scoring import score
from inference_server.predictors.suggestions.training.splits import folds
from inference_server.predictors.suggestions.transactions import encode
from inference_server.predictors.suggestions.trees import TREES_FILE

KIND: Final = "suggestions"
VALIDATION_FOLDS: Final = 5
"""One of so many folds is kept apart: nothing is fitted or chosen by it, the gate is measured on it."""


@dataclass(frozen=True, kw_only=True)
class Gate:
    """What a model must reach to be deployed, on rows that were kept apart.

    Attributes:
        macro: mean of F1 over the classes.
        least: F1 of each class.
        rows: of each class, to be measured with; an F1 of fewer says nothing.
    """

    macro: float = 0.72
    least: float = 0.60
    rows: int = 3

    def refusals(self, scores: Mapping[str, Any]) -> list[str]:
        """Return why a model is not good enough; nothing when it is."""
        reasons = []
        if scores["val_f1_macro"] < self.macro:
            reasons.append(f"macro-F1 {scores['val_f1_macro']:.3f} is below {self.macro:g}")
        for label, value in scores["val_f1_per_class"].items():
            if scores["support"][label] < self.rows:
                seen = scores["support"][label]
                reasons.append(f"{label} has {seen} rows to validate with, fewer than {self.rows}")
            elif value < self.least:
                reasons.append(f"F1 of {label} is {value:.3f}, below {self.least:g}")
        return reasons


@dataclass(frozen=True, kw_only=True)
class Run:
    """What a run made; ``directory`` holds the artefacts, to be moved."""

    run_id: str
    directory: Path
    result: dict[str, Any]


def train(rows: Sequence[Example], work: Path, options: Options, gate: Gate, progress: Progress) -> Run:
    """Train and measure a model, and write its artefacts below ``work``.

    The model that is written is the one that was measured, unless there are few rows: then it is fitted
    again, in the same way, on all of them.

    Raises:
        TableError: there are fewer than two categories, or too few rows.
    """
    labels = _labels(rows)
    fold = folds(rows, VALIDATION_FOLDS, options.seed)
    kept = [row for row, at in zip(rows, fold, strict=True) if at]
    apart = [row for row, at in zip(rows, fold, strict=True) if not at]
    fitted = fit(kept, labels, options, progress)
    with tempfile.TemporaryDirectory(dir=work) as scratch:
        write_parts(Path(scratch), fitted)
        scores = _measure(Model.read(Path(scratch), labels), apart, labels)
    if len(rows) < LARGE:
        progress("Fitting again on all rows.")
        fitted = fit(rows, labels, options, progress)
    result = _result(scores, gate, fitted)
    result["rows"] = {"all": len(rows), "trained": len(kept), "validated": len(apart)}
    result["rows_per_class"] = dict(sorted(Counter(row.category for row in rows).items()))
    config = {"options": asdict(options), "gate": asdict(gate), "data_sha256": data_digest(rows)}
    run_id = hashlib.sha256(canonical_json(config)).hexdigest()[:12]
    directory = work / run_id
    directory.mkdir()
    write_parts(directory, fitted)
    write_manifest(directory, _manifest(run_id, labels, config, result, options))
    return Run(run_id=run_id, directory=directory, result={"run_id": run_id, **result})


def _labels(rows: Sequence[Example]) -> tuple[str, ...]:
    """Return the classes of the rows, in order.

    Raises:
        TableError: there are fewer than two, or too few rows.
    """
    labels = tuple(sorted({row.category for row in rows}))
    if len(labels) < 2 or len(rows) < 4 * len(labels):
        raise TableError(
            "Expected two categories at least and four rows for each on average, "
            f"but there are {len(rows)} rows of {len(labels)}."
        )
    return labels


def _result(scores: Mapping[str, Any], gate: Gate, fitted: Fitted) -> dict[str, Any]:
    """Return what people are told of a run."""
    refusals = gate.refusals(scores)
    return {
        **scores,
        "rounds": fitted.rounds,
        "calibration": fitted.methods,
        "passed_acceptance_gate": not refusals,
        "gate": asdict(gate),
        "gate_refusals": refusals,
    }


def _measure(model: Model, rows: Sequence[Example], labels: tuple[str, ...]) -> dict[str, Any]:
    transactions = [row.transaction for row in rows]
    truth = np.asarray([labels.index(row.category) for row in rows], np.int64)
    raw, probabilities = predict(model, transactions)
    return score(raw, probabilities, truth, labels, DEFAULTS)


def predict(model: Model, transactions: Sequence[Any]) -> tuple[Any, Any]:
    """Return probabilities before and after calibration, as they are served."""
    step = 2048
    raw = np.concatenate(
        [model.raw(transactions[at : at + step]) for at in range(0, len(transactions), step)]
    )
    return raw, calibrate(raw, model.calibrators)


def write_parts(directory: Path, fitted: Fitted) -> None:
    """Write the files of a model; their bytes depend on the model only."""
    linear = fitted.model.linear
    write_npz(
        directory / LINEAR_FILE,
        {
            "seen": fitted.seen.astype(np.int32),
            "weights": linear.weights[:-1].astype(np.float16),
            "idf": linear.idf[:-1].astype(np.float32),
            "bias": linear.bias,
            "scale": np.asarray([linear.scale]),
        },
    )
    (directory / TREES_FILE).write_text(fitted.text, encoding="utf-8")
    calibration = {
        label: {"method": item.method, "x": item.x, "y": item.y}
        for label, item in zip(fitted.model.labels, fitted.model.calibrators, strict=True)
    }
    (directory / CALIBRATION_FILE).write_text(
        json.dumps(calibration, sort_keys=True, indent=1) + "\n", encoding="utf-8"
    )


def data_digest(rows: Sequence[Example]) -> str:
    """SHA-256 of the rows in their order."""
    digest = hashlib.sha256()
    for row in rows:
        digest.update(f"{encode(row.transaction)}\t{row.category}\n".encode("utf-8", "replace"))
    return digest.hexdigest()


def _manifest(
    run_id: str, labels: tuple[str, ...], config: dict[str, Any], result: dict[str, Any], options: Options
) -> Manifest:
    return Manifest(
        kind=KIND,
        name=KIND,
        version=run_id,
        labels=labels,
        encoder=features.VERSION,
        dimension=len(labels) + len(features.NUMBERS),
        files={},
        config=config,
        config_sha256="",
        metrics=result,
        versions={name: library_version(name) for name in ("lightgbm", "scikit-learn", "scipy", "numpy")},
        seed=options.seed,
    )
