"""Commands ``train suggestions`` and ``evaluate suggestions``."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Any

import click
import numpy as np

from inference_server.artifacts import ArtifactError, load_manifest
from inference_server.predictors.suggestions.model import Model
from inference_server.predictors.suggestions.thresholds import parse_thresholds
from inference_server.predictors.suggestions.training import corpus
from inference_server.predictors.suggestions.training.data import COLUMNS, Example, TableError, read_rows
from inference_server.predictors.suggestions.training.fitting import Options
from inference_server.predictors.suggestions.training.pipeline import Gate, predict
from inference_server.predictors.suggestions.training.pipeline import train as train_run
from inference_server.predictors.suggestions.training.scoring import score
from inference_server.runstore import RegistryError, RunStore

_file = click.Path(exists=True, dir_okay=False, path_type=Path)
data_option = click.option("--data", type=_file, required=True, help="Labelled rows, as for training.")
columns_option = click.option(
    "--column", multiple=True, metavar="NAME=COLUMN", help=f"Column of one of {', '.join(COLUMNS)}."
)

artifacts_option = click.option(
    "--artifacts",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    required=True,
    help="Of the model.",
)


def _say(sentence: str) -> None:
    click.echo(f"{time.strftime('%H:%M:%S')} {sentence}", err=True)


def _columns(values: tuple[str, ...]) -> dict[str, str]:
    result = {}
    for value in values:
        name, _, column = value.partition("=")
        if name not in COLUMNS or not column:
            raise click.BadParameter(
                f"expected NAME=COLUMN with a name of {', '.join(COLUMNS)}, but it is {value!r}",
                param_hint="--column",
            )
        result[name] = column
    return result


def read_examples(path: Path, columns: tuple[str, ...], seed: int) -> list[Example]:
    """Read a file and say on standard error what was left out. Raises TableError."""
    rows, report = read_rows(path, columns=_columns(columns), seed=seed)
    left_out = ", ".join(f"{count} {reason}" for reason, count in sorted(report.left_out.items()))
    _say(f"{path}: {report.used} of {report.rows} rows{f', left out: {left_out}' if left_out else ''}.")
    return rows


@click.command("suggestions")
@click.option("--data", type=_file, help="CSV or TSV with a header; without it our invented bank strings.")
@columns_option
@click.option(
    "--registry",
    "root",
    envvar="INFERENCE_REGISTRY",
    type=click.Path(file_okay=False, path_type=Path),
    required=True,
    help="Where the run is kept [$INFERENCE_REGISTRY].",
)
@click.option(
    "--deploy/--no-deploy", default=True, show_default=True, help="Let latest name a run that is good."
)
@click.option("--min-macro-f1", type=click.FloatRange(0, 1), default=Gate().macro, show_default=True)
@click.option("--min-class-f1", type=click.FloatRange(0, 1), default=Gate().least, show_default=True)
@click.option("--seed", type=int, default=42, show_default=True)
def train(  # noqa: PLR0913 - one parameter per option
    *,
    data: Path | None,
    column: tuple[str, ...],
    root: Path,
    deploy: bool,
    min_macro_f1: float,
    min_class_f1: float,
    seed: int,
) -> None:
    """Train the suggestion model; the answer is one JSON object. A refusal by the gate is exit code 0."""
    store = RunStore(root)
    gate = Gate(macro=min_macro_f1, least=min_class_f1)
    try:
        rows = corpus.rows() if data is None else read_examples(data, column, seed)
        work = store.work()
        try:
            run = train_run(rows, work, Options(seed=seed), gate, _say)
            store.add(run.directory, run.run_id)
        finally:
            shutil.rmtree(work, ignore_errors=True)
        deployed, reason = _deploy(store, run.run_id, run.result, deploy=deploy)
    except (TableError, RegistryError, ArtifactError) as error:
        raise click.ClickException(str(error)) from error
    click.echo(json.dumps({**run.result, "deployed": deployed, "deploy_reason": reason}, ensure_ascii=False))


def _deploy(store: RunStore, run_id: str, result: dict[str, Any], *, deploy: bool) -> tuple[bool, str]:
    if not result["passed_acceptance_gate"]:
        return False, "; ".join(result["gate_refusals"])
    if not deploy:
        return False, "not asked for (--no-deploy)"
    store.swap(run_id)
    return True, "passed the acceptance gate"


@click.command("suggestions")
@artifacts_option
@data_option
@columns_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def evaluate(*, artifacts: Path, data: Path, column: tuple[str, ...], as_json: bool) -> None:
    """Macro-F1, F1 of each class, calibration, Brier score, coverage and accuracy at the thresholds."""
    try:
        manifest = load_manifest(artifacts)
        model = Model.read(artifacts, manifest.labels)
        rows = read_examples(data, column, 42)
        # Categories that the model does not know are wrong for it, whatever it answers.
        labels = tuple(dict.fromkeys([*manifest.labels, *sorted({row.category for row in rows})]))
        truth = np.asarray([labels.index(row.category) for row in rows], np.int64)
        raw, probabilities = predict(model, [row.transaction for row in rows])
        wider = ((0, 0), (0, len(labels) - len(manifest.labels)))
        thresholds = parse_thresholds(None)
        result = score(np.pad(raw, wider), np.pad(probabilities, wider), truth, labels, thresholds)
    except (TableError, ArtifactError, ValueError) as error:
        raise click.ClickException(str(error)) from error
    result = {
        "run_id": manifest.version,
        **{name.removeprefix("val_"): value for name, value in result.items()},
    }
    if as_json:
        click.echo(json.dumps(result, ensure_ascii=False))
        return
    for name in ("rows", "f1_macro", "accuracy", "calibration_error", "brier", "coverage_at_thresholds"):
        click.echo(f"{name.replace('_', ' '):<24} {result[name]}")
    for label, value in result["f1_per_class"].items():
        click.echo(f"  {label:<22} {value:.3f}  ({result['support'][label]} rows)")
