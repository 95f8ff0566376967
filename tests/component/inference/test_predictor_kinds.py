"""A kind of predictor is its folder and its row: a toy is trained, served and validated without a change."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from inference_server.predictors import table
from inference_server.predictors.kinds import all_kinds
from tests.support.inference import ROOT, ServerProcess, server_process

SOURCE = ROOT / "inference-image" / "src" / "inference_server"
TOY = "tests.support.toy"


def toy(*arguments: object) -> subprocess.CompletedProcess[str]:
    """`inference-server` with the toy in its table."""
    paths = os.pathsep.join([str(ROOT), str(ROOT / "inference-image" / "src")])
    return subprocess.run(
        [sys.executable, "-m", TOY, *map(str, arguments)],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=ROOT,
    )


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    directory = tmp_path_factory.mktemp("toy")
    trained = toy("train", "parity", "--out", directory / "models" / "toy")
    assert trained.returncode == 0, trained.stderr
    settings = {
        "INFERENCE_ARTIFACTS": str(directory / "models" / "toy"),
        "INFERENCE_LOG_OUTPUTS": "file",
        "INFERENCE_LOG_DIR": str(directory / "log"),
    }
    with server_process(directory, module=TOY, arguments=("serve",), **settings) as process:
        yield process


def test_its_path_answers_and_what_it_answers_is_counted_and_logged(
    server: ServerProcess, tmp_path_factory: pytest.TempPathFactory
) -> None:
    answer = httpx.post(f"{server.url}/parity", json={"numbers": [1, 22, -3]})
    assert answer.json() == {"labels": ["odd", "even", "odd"], "squares": [1, 484, 9]}
    page = httpx.get(f"{server.url}/metrics").text
    ours = 'model="toy",version="1.0"'
    series = dict(line.rsplit(" ", 1) for line in page.splitlines() if not line.startswith("#"))
    assert series['model_predictions_total{label="odd",model="toy",route="table",version="1.0"}'] == "2.0"
    assert series['model_predictions_total{label="even",model="toy",route="digits",version="1.0"}'] == "1.0"
    assert series['model_predictions_total{label="even",model="toy",route="table",version="1.0"}'] == "0.0"
    assert series[f'toy_signs_total{{{ours.split(",", maxsplit=1)[0]},sign="minus",version="1.0"}}'] == "1.0"
    assert series['model_requests_total{code="200",model="toy",version="1.0"}'] == "1.0"
    assert "joy" not in page


def test_every_server_has_the_other_protocol_and_the_status(server: ServerProcess) -> None:
    tensor = {"name": "text", "shape": [2], "datatype": "BYTES", "data": ["4", "7"]}
    answer = httpx.post(
        f"{server.url}/v2/models/toy/infer", json={"inputs": [tensor], "outputs": [{"name": "label"}]}
    )
    assert answer.json()["outputs"][0]["data"] == ["even", "odd"]
    wrong = {**tensor, "data": ["4", "seven"]}
    refused = httpx.post(f"{server.url}/v2/models/toy/infer", json={"inputs": [wrong]})
    assert (refused.status_code, refused.json()) == (400, {"error": "'seven' is no whole number."})
    status = httpx.get(f"{server.url}/model/status").json()
    assert (status["kind"], status["labels"], status["routes"]) == (
        "parity",
        ["even", "odd"],
        ["table", "digits"],
    )
    compared = httpx.post(
        f"{server.url}/shadow/compare",
        json={
            "request_id": "r",
            "version": "0.9",
            "texts": ["4", "7"],
            "answers": [{"label": "even", "confidence": 1.0}, {"label": "even", "confidence": 1.0}],
        },
    )
    assert compared.json() == {"agree": ["true", "false"]}
    assert "/predict" not in httpx.get(f"{server.url}/openapi.json").json()["paths"]


def test_a_value_that_the_kind_does_not_declare_never_becomes_a_series(server: ServerProcess) -> None:
    assert httpx.post(f"{server.url}/parity", json={"numbers": [13]}).status_code == 500
    assert "unlucky" not in httpx.get(f"{server.url}/metrics").text
    assert "label 'unlucky', which its kind does not declare" in server.log.read_text()


def test_its_suite_runs_and_a_suite_of_another_kind_says_what_there_is(server: ServerProcess) -> None:
    passed = toy("validate", "small-numbers", "--url", server.url)
    assert (passed.returncode, json.loads(passed.stdout)["passed"]) == (0, True)
    masked = toy("validate", "pii", "--url", server.url)
    assert masked.returncode == 0, masked.stdout
    other = toy("validate", "tiebreak", "--url", server.url)
    assert other.returncode == 2
    assert "kind 'parity', which has no suite 'tiebreak'; it has small-numbers, pii." in other.stdout


def test_its_examples_are_what_the_load_generator_sends(server: ServerProcess) -> None:
    sent = toy("loadgen", "--kind", "parity", "--url", server.url, "--rate", "20", "--duration", "0.5")
    assert sent.returncode == 0, sent.stdout + sent.stderr
    assert json.loads(sent.stdout.splitlines()[-1])["ok"] == 10


def test_artefacts_of_an_unknown_kind_are_a_sentence(tmp_path: Path) -> None:
    out = tmp_path / "models" / "toy"
    assert toy("train", "parity", "--out", out).returncode == 0
    with server_process(
        tmp_path, module="inference_server", ready=False, INFERENCE_ARTIFACTS=str(out)
    ) as server:
        assert server.process.wait(60) == 3
        assert "expected a kind that this server knows (" in server.log.read_text()
        assert "'parity'" in server.log.read_text()


def test_no_file_of_the_server_but_the_table_names_a_kind() -> None:
    """Nor a route or a rule of one: what a kind is called is written in its folder and its row."""
    words = {kind.name for kind in all_kinds()}
    words |= {route for kind in all_kinds() for route in kind.label_sets.routes if "_" in route}
    words |= {rule for kind in all_kinds() for rule in kind.label_sets.rules}
    pattern = re.compile(rf"\b(?:{'|'.join(sorted(words))})", re.IGNORECASE)
    folders = tuple(SOURCE / "predictors" / name for name in table.KINDS)
    core = [
        path
        for path in SOURCE.rglob("*.py")
        if path != SOURCE / "predictors" / "table.py" and not any(path.is_relative_to(f) for f in folders)
    ]
    assert len(core) > 40
    named = {str(path.relative_to(SOURCE)): pattern.findall(path.read_text()) for path in core}
    assert {path: found for path, found in named.items() if found} == {}


def test_every_folder_is_a_row_and_independent_of_the_others() -> None:
    folders = {path.parent.name for path in SOURCE.glob("predictors/*/kind.py")}
    assert folders == set(table.KINDS)
    assert [kind.name for kind in all_kinds()] == list(table.KINDS)
    contracts = (ROOT / "pyproject.toml").read_text()
    listed = re.search(
        r"know nothing of each other\"\ntype = \"independence\"\nmodules = (\[.*?\])", contracts, re.S
    )
    assert listed is not None
    assert {name.rsplit(".", 1)[1] for name in json.loads(listed[1].replace(",\n]", "\n]"))} == folders
