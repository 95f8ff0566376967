"""The commands of the runbook: JSON on standard output, an exit code that a script can use."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from inference_server.cli import main
from inference_server.predictors.suggestions.training.tools import lowest
from tests.support.inference import ROOT, free_port, server_process
from tests.support.suggestions import write_corpus

COMMANDS = ("features", "status", "thresholds", "canary", "smoke", "rules", "registry", "train", "evaluate")


def run(*arguments: object, code: int = 0) -> Any:
    """`inference-server ARGUMENTS`; its JSON."""
    done = subprocess.run(
        [sys.executable, "-m", "inference_server", *map(str, arguments)],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT / "inference-image" / "src")},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return json.loads(done.stdout)


def test_all_of_them_are_in_the_help() -> None:
    commands = main.list_commands(main.make_context("inference-server", [], resilient_parsing=True))
    assert set(COMMANDS) <= set(commands)


def test_canary_places_users_by_the_shared_function() -> None:
    placed = run("canary", "--share", "98.5%", "alice", "bob")
    assert placed["share_percent"] == 98.5
    assert placed["users"]["alice"] == {"bucket": 9850, "canary": False}
    assert run("canary", "--share", "98.51%", "alice")["users"]["alice"]["canary"] is True
    assert (
        "SUGGEST_CANARY: expected 0, a percentage"
        in run("canary", "--share", "most", "alice", code=2)["error"]
    )


def test_rules_lint_names_what_never_fires(tmp_path: Path) -> None:
    assert run("rules", "lint")["never"] == {}
    path = tmp_path / "rules.yaml"
    path.write_text(
        "rules: [{name: a, category: A, words: [shop]}, {name: b, category: B, words: [shop two]}]"
    )
    assert list(run("rules", "lint", path, code=1)["never"]) == ["b"]
    path.write_text("rules: [{name: a, category: A, pattern: '('}]")
    assert "a regular expression" in run("rules", "lint", path, code=2)["error"]


def test_status_and_smoke_ask_a_server(trained_registry: Path, tmp_path: Path) -> None:
    with server_process(
        tmp_path, module="inference_server", INFERENCE_ARTIFACTS=str(trained_registry / "latest")
    ) as server:
        assert run("status", "--url", server.url)["details"]["model_available"] is True
        smoke = run("smoke", "--url", server.url)
        assert (smoke["suite"], smoke["passed"], smoke["cases"]) == ("smoke", True, 42)
        assert smoke["sources"] == {"rule": 42, "model": 0}
        assert run("validate", "smoke", "--url", server.url, "--threshold", "1")["score"] == 1.0
    assert "failed" in run("status", "--url", f"http://127.0.0.1:{free_port()}", code=2)["error"]


def test_smoke_judges_the_model_too(trained_registry: Path, tmp_path: Path) -> None:
    with server_process(
        tmp_path,
        module="inference_server",
        INFERENCE_ARTIFACTS=str(trained_registry / "latest"),
        SUGGEST_CANARY="100",
        SUGGEST_THRESHOLDS=json.dumps(
            dict.fromkeys(
                ("Groceries", "Dining", "Shopping", "Transport", "Subscriptions", "Entertainment", "default"),
                0,
            )
        ),
    ) as server:
        assert run("smoke", "--url", server.url)["sources"] == {"rule": 0, "model": 42}


def test_features_say_what_a_model_reads(tmp_path: Path) -> None:
    body = run("features", "--data", write_corpus(tmp_path / "rows.csv", rows=50))
    assert body["rows"] == 50
    assert body["different_purchases"] <= 50
    assert body["first"][0]["read_as"] == body["first"][0]["read_as"].lower()


def test_thresholds_for_a_precision(trained_registry: Path, tmp_path: Path) -> None:
    picture = tmp_path / "risk.png"
    body = run(
        *("thresholds", "--artifacts", trained_registry / "latest", "--precision", "0.95"),
        *("--data", write_corpus(tmp_path / "rows.csv", rows=400, seed=8), "--picture", picture),
    )
    for label, found in body["classes"].items():
        assert found["precision"] is None or found["precision"] >= 0.95, label
        assert body["SUGGEST_THRESHOLDS"][label] == found["threshold"]
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("confidence", "right", "threshold", "coverage"),
    [
        ([0.9, 0.8, 0.7, 0.6], [1, 1, 1, 0], 0.7, 0.75),
        ([0.9, 0.8], [1, 1], 0.8, 1.0),
        ([0.9, 0.8], [0, 0], 1.0, 0.0),
        ([], [], 1.0, 0.0),
        ([0.903, 0.899, 0.5], [1, 1, 0], 0.89, 0.6667),
        ([0.95, 0.9, 0.85, 0.8], [1, 0, 1, 1], 0.95, 0.25),
    ],
)
def test_the_lowest_threshold(
    confidence: list[float], right: list[int], threshold: float, coverage: float
) -> None:
    found = lowest(np.asarray(confidence), np.asarray(right, bool), 0.9)
    assert (found["threshold"], found["coverage"]) == (threshold, coverage)
