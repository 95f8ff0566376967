"""A small trained suggestion model, made once per run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

ROWS = 1200


def train_suggestions(*arguments: object) -> dict[str, Any]:
    """`inference-server train suggestions`; the JSON that it answers."""
    from inference_server.predictors.suggestions.training.command import train

    run = CliRunner().invoke(train, list(map(str, arguments)), catch_exceptions=False)
    assert run.exit_code == 0, run.output
    answer = json.loads(run.stdout)
    assert isinstance(answer, dict)
    return answer


def write_corpus(path: Path, *, rows: int = ROWS, seed: int = 42) -> Path:
    """Invented bank strings as a file."""
    from inference_server.predictors.suggestions.training import corpus

    path.write_text(corpus.as_csv(corpus.generate(rows, seed)), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def trained_registry(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A registry with one run that is `latest`; not to be changed."""
    root = tmp_path_factory.mktemp("suggestions")
    answer = train_suggestions("--data", write_corpus(root / "rows.csv"), "--registry", root / "registry")
    assert answer["deployed"], answer
    return root / "registry"


@pytest.fixture
def run_registry(trained_registry: Path, tmp_path: Path) -> Path:
    """A copy of the registry that a test may change."""
    return Path(shutil.copytree(trained_registry, tmp_path / "registry", symlinks=True))
