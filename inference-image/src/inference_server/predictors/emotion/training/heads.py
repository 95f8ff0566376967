"""Fitting of what sits on an encoder: logistic regressions, their mixture, prototypes, calibration."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.sparse import csr_matrix
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from inference_server.predictors.emotion.features import BUCKETS, count_features, weigh
from inference_server.training.scores import macro_f1

_BIAS_GRID = np.linspace(-1.2, 1.2, 25)


@dataclass(frozen=True, kw_only=True, slots=True)
class Affine:
    """Weights ``(features, labels)`` and bias ``(labels,)``."""

    weights: NDArray[np.float32]
    bias: NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, slots=True)
class Lexical:
    """N-gram regression: weights and bias over the places ``rows`` of the hashed space, and their ``idf``."""

    rows: NDArray[np.int64]
    idf: NDArray[np.float32]
    affine: Affine


@dataclass(frozen=True, kw_only=True, slots=True)
class Mixture:
    """How two sets of logits become one: ``(dense * a + lexical * b + bias) / temperature``."""

    dense: float
    lexical: float
    bias: NDArray[np.float32]
    temperature: float


def balanced_weights(labels: NDArray[np.int32], power: float) -> NDArray[np.float64]:
    """Return weight of each row: its class's frequency to the power of minus ``power``; the mean is 1."""
    counts = np.maximum(np.bincount(labels), 1).astype(np.float64)
    weights = (counts**-power)[labels]
    return np.asarray(weights / weights.mean(), np.float64)


def fit_logistic(
    features: NDArray[np.float32] | csr_matrix,
    labels: NDArray[np.int32],
    classes: int,
    *,
    strength: float,
    balance: float,
) -> Affine:
    """Multinomial logistic regression; a label without rows gets a bias that never wins.

    Args:
        features: ``(rows, features)``.
        labels: ``(rows,)``.
        classes: number of labels.
        strength: inverse of the L2 penalty.
        balance: exponent of the class weights, 0 (none) to 1 (all classes weigh the same).
    """
    model = LogisticRegression(C=strength, max_iter=300, tol=1e-3)
    with warnings.catch_warnings():
        # Three hundred steps are near enough to the optimum; the last decimals do not move a label.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(features, labels, sample_weight=balanced_weights(labels, balance))
    coefficients, intercept = model.coef_, model.intercept_
    if len(model.classes_) == 2 and coefficients.shape[0] == 1:
        coefficients, intercept = (
            np.vstack([-coefficients, coefficients]) / 2,
            np.r_[-intercept, intercept] / 2,
        )
    weights = np.zeros((coefficients.shape[1], classes), np.float32)
    bias = np.full(classes, -20.0, np.float32)
    weights[:, model.classes_] = coefficients.T
    bias[model.classes_] = intercept
    return Affine(weights=weights, bias=bias)


def lexical_matrix(texts: Sequence[str], idf: NDArray[np.float32]) -> csr_matrix:
    """TF-IDF rows ``(texts, BUCKETS)`` of normalised texts, as serving computes them."""
    pointers, columns, values = [0], [], []
    for text in texts:
        places, counts, words = count_features(text)
        columns.append(places)
        values.append(weigh(places, counts, words, idf))
        pointers.append(pointers[-1] + len(places))
    data = np.concatenate(values) if values else np.zeros(0, np.float32)
    indices = np.concatenate(columns) if columns else np.zeros(0, np.int64)
    return csr_matrix((data, indices, np.asarray(pointers)), shape=(len(texts), BUCKETS), dtype=np.float32)


def fit_lexical(texts: Sequence[str], labels: NDArray[np.int32], classes: int, *, balance: float) -> Lexical:
    """Logistic regression on the n-grams that occur in at least two of the normalised ``texts``."""
    frequency = np.zeros(BUCKETS, np.int64)
    for text in texts:
        frequency[count_features(text)[0]] += 1
    rows = np.flatnonzero(frequency >= 2)
    idf = np.zeros(BUCKETS, np.float32)
    idf[rows] = np.log((1 + len(texts)) / (1 + frequency[rows])) + 1.0
    matrix = lexical_matrix(texts, idf)[:, rows]
    affine = fit_logistic(matrix, labels, classes, strength=4.0, balance=balance)
    return Lexical(rows=rows, idf=idf[rows], affine=affine)


def lexical_logits(lexical: Lexical, texts: Sequence[str]) -> NDArray[np.float32]:
    """Return logits ``(texts, labels)`` of normalised texts."""
    idf = np.zeros(BUCKETS, np.float32)
    idf[lexical.rows] = lexical.idf
    product = lexical_matrix(texts, idf)[:, lexical.rows] @ lexical.affine.weights
    return np.asarray(product + lexical.affine.bias, np.float32)


def _log_softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    shifted = logits - logits.max(axis=1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)), np.float64)


def _loss(logits: NDArray[np.float64], labels: NDArray[np.int32], weights: NDArray[np.float64]) -> float:
    return float(-(weights * _log_softmax(logits)[np.arange(len(labels)), labels]).mean())


def fit_mixture(
    dense: NDArray[np.float32], lexical: NDArray[np.float32] | None, labels: NDArray[np.int32], classes: int
) -> Mixture:
    """Choose the mixture on rows that neither model has learned from.

    The shares of both models minimise a half-balanced log-loss (smooth, so a few rows cannot sway it); the
    bias is then moved label by label to raise macro-F1, each move paying a small price so that rare labels
    are not fitted to single rows; the temperature at last minimises the plain log-loss and changes no answer.
    """
    weights = balanced_weights(labels, 0.5)
    a64 = dense.astype(np.float64)
    b64 = np.zeros_like(a64) if lexical is None else lexical.astype(np.float64)

    def joint(x: NDArray[np.float64]) -> NDArray[np.float64]:
        share = 0.0 if lexical is None else np.exp(x[1])
        return np.asarray(np.exp(x[0]) * a64 + share * b64 + x[2:], np.float64)

    def price(x: NDArray[np.float64]) -> float:
        return _loss(joint(x), labels, weights) + 0.02 * float((x[2:] ** 2).mean())

    start = np.r_[0.0, -1.0, np.zeros(classes)]
    best = minimize(price, start, method="L-BFGS-B", bounds=[(-4, 4), (-4, 4)] + [(-3, 3)] * classes).x
    logits = joint(best)
    moved = tune_bias(logits, labels, classes)
    logits = logits + moved
    uniform = np.ones(len(labels))
    result = minimize(
        lambda t: _loss(logits / np.exp(t[0]), labels, uniform), [0.0], method="L-BFGS-B", bounds=[(-2, 3)]
    )
    return Mixture(
        dense=float(np.exp(best[0])),
        lexical=0.0 if lexical is None else float(np.exp(best[1])),
        bias=np.asarray(best[2:] + moved, np.float32),
        temperature=float(np.exp(result.x[0])),
    )


def tune_bias(logits: NDArray[np.float64], labels: NDArray[np.int32], classes: int) -> NDArray[np.float64]:
    """Return bias ``(labels,)`` that raises macro-F1 by coordinate ascent.

    Macro-F1 is averaged over a few small shifts around each value: a peak that only a few rows make is no
    peak.
    """
    bias = np.zeros(classes)
    base = macro_f1(labels, logits.argmax(axis=1), classes)
    if base >= 1.0:
        return bias

    def value(candidate: NDArray[np.float64], label: int) -> float:
        scores = []
        for shift in (-0.15, 0.0, 0.15):
            shifted = candidate.copy()
            shifted[label] += shift
            scores.append(macro_f1(labels, (logits + shifted).argmax(axis=1), classes))
        return float(np.mean(scores)) - 0.004 * float((candidate**2).mean())

    for _ in range(3):
        for label in range(classes):
            candidates = []
            for step in _BIAS_GRID:
                candidate = bias.copy()
                candidate[label] = step
                candidates.append((value(candidate, label), -abs(float(step)), candidate))
            bias = max(candidates, key=lambda entry: entry[:2])[2]
    return bias


def fit_prototypes(
    embeddings: NDArray[np.float32], labels: NDArray[np.int32], classes: int
) -> NDArray[np.float32]:
    """Return unit-length mean ``(labels, dimension)`` of each label's embeddings.

    Zeros for a label without rows.
    """
    centres = np.zeros((classes, embeddings.shape[1]), np.float32)
    for label in range(classes):
        members = embeddings[labels == label]
        if len(members):
            mean = members.mean(axis=0)
            centres[label] = mean / max(1e-12, float(np.linalg.norm(mean)))
    return centres


def fit_temperature(logits: NDArray[np.float32], labels: NDArray[np.int32]) -> float:
    """Return temperature that minimises the log-loss of ``logits`` ``(rows, labels)``."""
    wide = logits.astype(np.float64)
    uniform = np.ones(len(labels))
    result = minimize(
        lambda t: _loss(wide / np.exp(t[0]), labels, uniform), [-2.0], method="L-BFGS-B", bounds=[(-6, 3)]
    )
    return float(np.exp(result.x[0]))
