"""Artefacts for rehearsing rollouts: a stable version, a better one, and three that must be rolled back.

``python -m inference_server.predictors.emotion.training.rehearsal --out DIR`` writes one directory each:

========== ======= ======================================================================================
directory  version what it is
========== ======= ======================================================================================
stable     1.0     trained on half of the corpus, on the embedding alone
better     1.1     trained on all of it, with n-grams beside the embedding
mismatch   1.2     heads of another dimension than the encoder's: regex answers, mismatches are counted
fallback   1.3     demands confidences that it rarely reaches: most answers come from prototypes and regex
slow       1.4     pads every text to 256 tokens
========== ======= ======================================================================================
"""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import click

from inference_server.artifacts import ArtifactError
from inference_server.predictors.emotion.training import corpus
from inference_server.predictors.emotion.training.cli import default_encoder
from inference_server.predictors.emotion.training.datasets import Row
from inference_server.predictors.emotion.training.options import TrainOptions
from inference_server.predictors.emotion.training.pipeline import train

_OTHER_DIMENSION = "hashing:768"


def versions(encoder: str, *, copy_encoder: bool) -> dict[str, TrainOptions]:
    """Return the options of each version by its directory's name; ``encoder`` as in :class:`TrainOptions`."""
    better = TrainOptions(version="1.1", encoder=encoder, finetune="never", copy_encoder=copy_encoder)
    demanding = {"linear_minimum": 0.75, "prototypes_minimum": 0.75}
    return {
        "stable": replace(better, version="1.0", lexical=False),
        "better": better,
        "mismatch": replace(better, version="1.2", encoder=_OTHER_DIMENSION, serve_encoder=encoder),
        "fallback": replace(better, version="1.3", serving=demanding),
        "slow": replace(better, version="1.4", serving={"pad_to_tokens": 256}),
    }


def build(out: Path, encoder: str, *, copy_encoder: bool, only: tuple[str, ...] = ()) -> None:
    """Train every version (or ``only`` some) from our own corpus into directories below ``out``."""
    sentences = corpus.load_corpus()
    rows, dev = corpus.select(sentences, "train"), corpus.select(sentences, "dev")
    for name, options in versions(encoder, copy_encoder=copy_encoder).items():
        if only and name not in only:
            continue
        started = time.monotonic()
        chosen: list[Row] = rows[::2] if name == "stable" else rows
        metrics = train(chosen, dev, options, out / name, lambda _: None)
        score = metrics["dev_macro_f1"]["linear_head"]
        click.echo(f"{name} {options.version}: dev macro-F1 {score:.3f}, {time.monotonic() - started:.0f} s.")


@click.command()
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), required=True, help="Parent.")
@click.option("--encoder", help="Directory or hashing:DIM [default: as for training].")
@click.option(
    "--copy-encoder/--reference-encoder", default=True, show_default=True, help="Copy it into each."
)
@click.option("--only", multiple=True, help="Write this version only; may be given several times.")
def main(out: Path, encoder: str | None, copy_encoder: bool, only: tuple[str, ...]) -> None:
    """Train the versions that a rollout is rehearsed with."""
    try:
        build(out, encoder or default_encoder(), copy_encoder=copy_encoder, only=only)
    except (ArtifactError, ValueError, OSError) as error:
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    main()
