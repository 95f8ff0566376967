"""Commands ``features`` and ``thresholds``: what a model reads of a file, and which confidence to ask for."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from inference_server.artifacts import ArtifactError, load_manifest
from inference_server.predictors.suggestions.features import NUMBERS, grams, numbers
from inference_server.predictors.suggestions.model import Model
from inference_server.predictors.suggestions.normalise import clean
from inference_server.predictors.suggestions.training.command import (
    artifacts_option,
    columns_option,
    data_option,
    read_examples,
)
from inference_server.predictors.suggestions.training.data import TableError
from inference_server.predictors.suggestions.training.pipeline import predict

_SHOWN = 5


@click.command()
@data_option
@columns_option
def features(data: Path, column: tuple[str, ...]) -> None:
    """Print what a model reads of a file, as JSON: counts, and the first rows as features."""
    try:
        rows = read_examples(data, column, 42)
    except TableError as error:
        raise click.ClickException(str(error)) from error
    transactions = [row.transaction for row in rows]
    seen: Counter[str] = Counter()
    for item in transactions:
        seen.update(set(grams(item)))
    values = numbers(transactions)
    known = {name: float(values[:, at].mean().round(4)) for at, name in enumerate(NUMBERS)}
    body = {
        "rows": len(rows),
        "rows_per_class": dict(sorted(Counter(row.category for row in rows).items())),
        "different_purchases": len({row.key for row in rows}),
        "n_grams": len(seen),
        "numbers": known,
        "first": [
            {
                "description": item.description,
                "read_as": clean(item.description),
                "numbers": values[at].tolist(),
            }
            for at, item in enumerate(transactions[:_SHOWN])
        ],
    }
    click.echo(json.dumps(body, ensure_ascii=False))


@click.command()
@artifacts_option
@data_option
@columns_option
@click.option(
    "--precision", type=click.FloatRange(0.5, 1), default=0.9, show_default=True, help="Wanted share right."
)
@click.option(
    "--picture", type=click.Path(dir_okay=False, path_type=Path), help="Draw risk against coverage (.png)."
)
def thresholds(
    artifacts: Path, data: Path, column: tuple[str, ...], precision: float, picture: Path | None
) -> None:
    """Print the lowest confidence of each class that gives the wanted precision (SUGGEST_THRESHOLDS)."""
    try:
        manifest = load_manifest(artifacts)
        model = Model.read(artifacts, manifest.labels)
        rows = read_examples(data, column, 42)
    except (TableError, ArtifactError) as error:
        raise click.ClickException(str(error)) from error
    _, probabilities = predict(model, [row.transaction for row in rows])
    answer, confidence = probabilities.argmax(axis=1), probabilities.max(axis=1)
    right = np.asarray([model.labels[at] == row.category for at, row in zip(answer, rows, strict=True)])
    table: dict[str, dict[str, Any]] = {}
    for at, label in enumerate(model.labels):
        table[label] = lowest(confidence[answer == at], right[answer == at], precision)
    limits = {label: item["threshold"] for label, item in table.items()}
    click.echo(
        json.dumps(
            {"precision": precision, "SUGGEST_THRESHOLDS": limits, "classes": table}, ensure_ascii=False
        )
    )
    if picture is not None:
        draw(confidence, right, picture)
        click.echo(f"Drew {picture}.", err=True)


def lowest(confidence: NDArray[np.float64], right: NDArray[np.bool_], precision: float) -> dict[str, Any]:
    """Return the lowest threshold that reaches ``precision``, with the share of answers that it lets through.

    Where none does, the threshold is 1: the rules answer.
    """
    for hundredths in range(100):
        let_through = confidence >= hundredths / 100
        if let_through.any() and right[let_through].mean() >= precision:
            # As high as it can be without letting fewer through: nothing was measured below.
            limit = float(np.floor(confidence[let_through].min() * 100 + 1e-9) / 100)
            return {
                "threshold": max(limit, hundredths / 100),
                "coverage": round(float(let_through.mean()), 4),
                "precision": round(float(right[let_through].mean()), 4),
                "answers": len(confidence),
            }
    return {"threshold": 1.0, "coverage": 0.0, "precision": None, "answers": len(confidence)}


def draw(confidence: NDArray[np.float64], right: NDArray[np.bool_], path: Path) -> None:
    """Draw how many of the most confident answers are wrong, against how many they are."""
    import matplotlib as mpl  # noqa: PLC0415 - slow to import and rarely needed

    mpl.use("Agg")
    from matplotlib import pyplot  # noqa: PLC0415

    order = np.argsort(-confidence, kind="stable")
    count = np.arange(1, len(order) + 1)
    figure, axes = pyplot.subplots(figsize=(6, 4))
    axes.plot(count / len(order), np.cumsum(~right[order]) / count)
    axes.set_xlabel("coverage: share of transactions, the most confident first")
    axes.set_ylabel("risk: share of them that is wrong")
    axes.set_ylim(bottom=0)
    figure.tight_layout()
    figure.savefig(path, metadata={"Software": None} if path.suffix == ".png" else None)
    pyplot.close(figure)
