"""Fixtures of the inference server's tests: tiny real models, trained once per run."""

import shutil
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def trained_artifacts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Artefacts of a small model trained on our own corpus with the hashing encoder; not to be changed."""
    from inference_server.predictors.emotion.training import corpus
    from inference_server.predictors.emotion.training.options import TrainOptions
    from inference_server.predictors.emotion.training.pipeline import train

    out = tmp_path_factory.mktemp("trained") / "emotion"
    sentences = corpus.load_corpus()
    options = TrainOptions(version="0.1", encoder="hashing:64")
    train(corpus.select(sentences, "train"), corpus.select(sentences, "dev"), options, out, lambda _: None)
    return out


@pytest.fixture
def artifacts(trained_artifacts: Path, tmp_path: Path) -> Path:
    """A copy of the trained artefacts that a test may damage."""
    return Path(shutil.copytree(trained_artifacts, tmp_path / "artifacts"))
