"""From rows to a model: a linear classifier of n-grams, trees on its scores, calibration of each class.

The linear part learns from few rows what words mean; trees start from its logits and add what words do not
say (amount, weekday, sign). With no trees at all the model is the linear one, so that few rows cannot make it
worse than that.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import lightgbm
import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression
from sklearn.svm import LinearSVC

from inference_server.predictors.suggestions.calibration import Calibrator
from inference_server.predictors.suggestions.features import BUCKETS, places
from inference_server.predictors.suggestions.model import Linear, Model, softmax, tree_rows
from inference_server.predictors.suggestions.training.data import Example
from inference_server.predictors.suggestions.training.splits import folds, held_out
from inference_server.predictors.suggestions.transactions import Transaction
from inference_server.predictors.suggestions.trees import Trees

Floats = NDArray[np.float64]
Progress = Callable[[str], None]

LARGE: Final = 10_000
"""From this many rows on, some are held out for calibration; fewer rows are cross-fitted instead."""
HELD_ROWS: Final = 20_000
"""At most so many rows are held out: calibration gains nothing by more, and trees do."""
ISOTONIC_ROWS: Final = 1000
ISOTONIC_POSITIVES: Final = 100
"""What isotonic calibration of a class wants: rows in all, and rows of the class; with fewer a sigmoid."""
SIGMOID_POSITIVES: Final = 5
_SCALES: Final = tuple(float(value) for value in np.geomspace(0.3, 12, 25))


@dataclass(frozen=True, kw_only=True)
class Options:
    """What decides a training run, beside its rows.

    Attributes:
        seed: of every random choice.
        rounds: most rounds of boosting; as many are used as the log-loss of other rows allows.
        learning_rate, leaves: of the trees.
        regularisation: C of the linear classifier; larger trusts the rows more.
    """

    seed: int = 42
    rounds: int = 80
    learning_rate: float = 0.1
    leaves: int = 15
    regularisation: float = 0.5


@dataclass
class Fitted:
    """A model and what its fitting found out."""

    model: Model
    text: str
    seen: NDArray[np.int64]
    rounds: int
    methods: dict[str, str] = field(default_factory=dict)


def matrix(transactions: Sequence[Transaction]) -> sparse.csr_matrix:
    """N-grams ``(transactions, BUCKETS)``: 1 where one occurs."""
    found = [places(item) for item in transactions]
    starts = np.concatenate([[0], np.cumsum([len(item) for item in found])])
    columns = np.concatenate(found) if found else np.zeros(0, np.int32)
    return sparse.csr_matrix(
        (np.ones(len(columns), np.float32), columns, starts), shape=(len(found), BUCKETS)
    )


def fit(rows: Sequence[Example], labels: tuple[str, ...], options: Options, progress: Progress) -> Fitted:
    """Fit a model on all ``rows``; ``labels`` are its classes, in order."""
    truth = np.asarray([labels.index(row.category) for row in rows], np.int64)
    transactions = [row.transaction for row in rows]
    large = len(rows) >= LARGE
    count = 3 if large else 5
    fold = folds(rows, count, options.seed)
    grams = matrix(transactions)
    progress(f"{len(rows)} rows, {grams.nnz} n-grams, {len(labels)} classes; fitting the linear part.")
    other = np.zeros((len(rows), len(labels)))
    for at in range(count):
        inside, outside = np.flatnonzero(fold != at), np.flatnonzero(fold == at)
        if len(outside) and len(inside):
            part = _linear(grams[inside], truth[inside], len(labels), options)
            other[outside] = _score(part, grams[outside])
    linear = _linear(grams, truth, len(labels), options)
    scale = min(_SCALES, key=lambda value: _log_loss(softmax(value * other), truth))
    linear = Linear(rows=linear.rows, weights=linear.weights, idf=linear.idf, bias=linear.bias, scale=scale)
    progress("Fitting the trees.")
    inputs, start = tree_rows(other, transactions), scale * other
    parts = [np.flatnonzero(fold == at) for at in range(int(fold.max()) + 1)]
    if large:
        parts = [held_out(rows, fold, options.seed, HELD_ROWS)]
    rounds, held, margins = _choose_rounds(inputs, start, truth, parts, options)
    kept = np.setdiff1d(np.arange(len(rows)), held) if large else np.arange(len(rows))
    text = _trees(inputs[kept], start[kept], truth[kept], len(labels), rounds, options)
    calibrators = _calibrators(softmax(margins), truth[held])
    seen = np.unique(grams.indices).astype(np.int64)
    model = Model(
        labels=labels,
        linear=linear,
        trees=Trees.parse(text, classes=len(labels), features=inputs.shape[1]),
        calibrators=calibrators,
    )
    methods = {label: item.method for label, item in zip(labels, calibrators, strict=True)}
    return Fitted(model, text, seen, rounds, methods)


def _linear(grams: Any, truth: NDArray[np.int64], classes: int, options: Options) -> Linear:
    """Return a linear SVM, one against the rest, on inverse document frequencies."""
    seen = np.unique(grams.indices)
    chosen = grams[:, seen]
    frequency = np.asarray(chosen.sum(axis=0)).ravel()
    idf = np.log((1 + chosen.shape[0]) / (1 + frequency)) + 1
    weighted = chosen @ sparse.diags(idf)
    lengths = np.sqrt(np.asarray(weighted.multiply(weighted).sum(axis=1)).ravel())
    weighted = sparse.diags(1 / np.maximum(lengths, 1e-9)) @ weighted
    present = np.unique(truth)
    weights = np.zeros((len(seen), classes))
    bias = np.full(classes, -1.5)  # what was not there is not expected
    if len(present) > 1:
        machine = LinearSVC(C=options.regularisation, random_state=options.seed, max_iter=3000, tol=1e-3)
        machine.fit(weighted.tocsr().astype(np.float64), truth)
        if len(present) == 2:
            weights[:, present[1]], bias[present[1]] = machine.coef_[0], machine.intercept_[0]
            weights[:, present[0]], bias[present[0]] = -machine.coef_[0], -machine.intercept_[0]
        else:
            weights[:, present], bias[present] = machine.coef_.T, machine.intercept_
    else:
        bias[present] = 1.0
    return Linear.build(seen=seen, weights=weights, idf=idf, bias=bias, scale=1.0)


def _score(linear: Linear, grams: Any) -> Floats:
    """Return what ``linear.scores`` gives, for many rows at once."""
    idf, weights = linear.idf[linear.rows], linear.weights[linear.rows]
    weighted = grams @ sparse.diags(idf)
    lengths = np.sqrt(np.asarray(weighted.multiply(weighted).sum(axis=1)).ravel())
    scored = sparse.diags(1 / np.maximum(lengths, 1e-9)) @ weighted @ weights
    return np.asarray(scored, np.float64) + linear.bias


def _choose_rounds(
    inputs: Floats,
    start: Floats,
    truth: NDArray[np.int64],
    parts: Sequence[NDArray[np.int64]],
    options: Options,
) -> tuple[int, NDArray[np.int64], Floats]:
    """Return how many rounds serve other rows best; those rows and their margins, for calibration.

    Each of ``parts`` is judged by trees that did not see it: one part that is held out of many rows, or
    parts that are together all of few rows.
    """
    classes = start.shape[1]
    losses = np.zeros(options.rounds + 1)
    boosters = []
    for outside in parts:
        inside = np.setdiff1d(np.arange(len(truth)), outside)
        booster, history = _boost(inputs, start, truth, (inside, outside), options)
        base = _log_loss(softmax(start[outside]), truth[outside])
        losses += np.asarray([base, *history]) * len(outside)
        boosters.append(booster)
    rounds = int(np.argmin(losses))
    margins = [
        start[outside] + _raw(booster, inputs[outside], rounds, classes)
        for booster, outside in zip(boosters, parts, strict=True)
    ]
    return rounds, np.concatenate(parts), np.concatenate(margins)


def _raw(booster: Any, inputs: Floats, rounds: int, classes: int) -> Floats:
    if not rounds:
        return np.zeros((len(inputs), classes))
    return np.asarray(booster.predict(inputs, raw_score=True, num_iteration=rounds))


def _boost(
    inputs: Floats,
    start: Floats,
    truth: NDArray[np.int64],
    parts: tuple[NDArray[np.int64], NDArray[np.int64]],
    options: Options,
) -> tuple[Any, list[float]]:
    """Trees on the first part, and their log-loss on the second after each round."""
    inside, outside = parts
    classes, rounds = start.shape[1], options.rounds
    history: dict[str, Any] = {}
    data = lightgbm.Dataset(
        inputs[inside], truth[inside], init_score=start[inside], params=_params(len(inside), classes, options)
    )
    other = lightgbm.Dataset(inputs[outside], truth[outside], init_score=start[outside], reference=data)
    booster = lightgbm.train(
        _params(len(inside), classes, options),
        data,
        rounds,
        valid_sets=[other],
        valid_names=["other"],
        callbacks=[lightgbm.record_evaluation(history)],
    )
    losses = list(history["other"]["multi_logloss"])
    # Boosting ends early when no split helps; later rounds change nothing.
    return booster, losses + [losses[-1]] * (rounds - len(losses))


def _trees(
    inputs: Floats, start: Floats, truth: NDArray[np.int64], classes: int, rounds: int, options: Options
) -> str:
    """LightGBM's text model without what names this machine's settings."""
    if not rounds:
        return "tree\n"
    params = _params(len(truth), classes, options)
    data = lightgbm.Dataset(inputs, truth, init_score=start, params=params)
    text = str(lightgbm.train(params, data, rounds).model_to_string(importance_type="gain"))
    return text[: text.index("end of trees")] + "end of trees\n"


def _params(rows: int, classes: int, options: Options) -> dict[str, Any]:
    return {
        "objective": "multiclass",
        "num_class": classes,
        "metric": "multi_logloss",
        "learning_rate": options.learning_rate,
        "num_leaves": options.leaves,
        "min_data_in_leaf": int(min(100, max(5, rows // 200))),
        "lambda_l2": 1.0,
        "max_depth": 6,
        "max_bin": 127,
        "seed": options.seed,
        "deterministic": True,
        "force_row_wise": True,
        "use_missing": False,
        "boost_from_average": False,
        # Several threads meet at a barrier for every node: on busy cores that takes a hundred times as long.
        "num_threads": 1,
        "verbosity": -1,
    }


def _log_loss(probabilities: Floats, truth: NDArray[np.int64]) -> float:
    chosen = probabilities[np.arange(len(truth)), truth]
    return float(-np.log(np.maximum(chosen, 1e-12)).mean())


def _calibrators(raw: Floats, truth: NDArray[np.int64]) -> tuple[Calibrator, ...]:
    return tuple(_calibrator(raw[:, at], truth == at) for at in range(raw.shape[1]))


def _calibrator(probability: Floats, right: NDArray[np.bool_]) -> Calibrator:
    """Return the best that so many rows allow."""
    positives = int(right.sum())
    if len(right) >= ISOTONIC_ROWS and positives >= ISOTONIC_POSITIVES:
        curve = IsotonicRegression(out_of_bounds="clip", y_min=0.0, y_max=1.0).fit(probability, right)
        return Calibrator("isotonic", _rounded(curve.X_thresholds_), _rounded(curve.y_thresholds_))
    if min(positives, len(right) - positives) < SIGMOID_POSITIVES:
        return Calibrator("none")
    clipped = np.clip(probability, 1e-6, 1 - 1e-6)
    logits = np.log(clipped / (1 - clipped))[:, None]
    curve = LogisticRegression(C=1.0).fit(logits, right)
    slope, offset = float(curve.coef_[0, 0]), float(curve.intercept_[0])
    if not slope > 0 or not math.isfinite(offset):
        return Calibrator("none")  # a curve that turns the model's answers round is noise
    return Calibrator("sigmoid", (slope, offset))


def _rounded(values: NDArray[Any]) -> tuple[float, ...]:
    return tuple(float(value) for value in values)
