"""The validation suites as Jobs run them: exit codes, one line of JSON, the scale of readiness."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from inference_server.metrics import LATENCY_BUCKETS
from inference_server.predictors.emotion.validation.logs import (
    Limits,
    LogError,
    Readiness,
    Tally,
    judge,
    tally_files,
    tally_metrics,
)
from inference_server.validation.suites import load_cases
from tests.support.inference import LABELS, ROOT, ServerProcess, free_port, server_process

DATA = "inference_server.predictors.emotion.validation"
SMOKE, TIE_BREAK = load_cases("smoke", package=DATA), load_cases("tiebreak", package=DATA)
GOOD = Tally(predictions=1000, linear=990, regex=5, low_confidence=150, rules=20, mismatches=0, p95=0.05)


def run(*arguments: str, **environment: str) -> tuple[int, dict[str, Any]]:
    variables = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT / "inference-image" / "src"), **environment}
    command = [sys.executable, "-m", "inference_server", "validate", *arguments]
    done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.count("\n") == 1, done.stdout + done.stderr
    return done.returncode, json.loads(done.stdout)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with server_process(tmp_path_factory.mktemp("validated")) as process:
        yield process


@pytest.mark.parametrize(
    ("check", "changes", "expected"),
    [
        ("nothing", {}, Readiness.READY),
        ("linear_head_share", {"linear": 899}, Readiness.NOT_READY),
        ("linear_head_share at its limit", {"linear": 900}, Readiness.READY),
        ("regex_share", {"regex": 11}, Readiness.NOT_READY),
        ("dimension_mismatches", {"mismatches": 1}, Readiness.NOT_READY),
        ("latency_p95_seconds", {"p95": 0.21}, Readiness.NOT_READY),
        ("latency_p95_seconds", {"p95": math.nan}, Readiness.NOT_READY),
        (
            "samples",
            {"predictions": 99, "linear": 99, "rules": 2, "regex": 0, "low_confidence": 9},
            Readiness.NOT_READY,
        ),
        ("low_confidence_share", {"low_confidence": 251}, Readiness.MOSTLY_READY),
        ("tie_break_share", {"rules": 9}, Readiness.MOSTLY_READY),
        ("tie_break_share", {"rules": 51}, Readiness.MOSTLY_READY),
    ],
)
def test_the_scale(check: str, changes: dict[str, Any], expected: Readiness) -> None:
    readiness, checks = judge(replace(GOOD, **changes), Limits())
    assert readiness is expected
    failed = [item.name for item in checks if not item.passed]
    assert failed == ([] if expected is Readiness.READY else [check])


def test_a_log_and_the_metrics_of_the_same_traffic_agree(tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    texts = ["x"] * 90 + ["route=regex"] * 5 + ["confidence=0.2"] * 10 + ["rule"] * 3 + ["mismatch"] * 2
    options = {"INFERENCE_LOG_OUTPUTS": "file", "INFERENCE_LOG_DIR": str(logs)}
    with server_process(tmp_path, **options) as server:
        with httpx.Client(base_url=server.url) as client:
            for text in texts:
                client.post("/predict", json={"text": text}).raise_for_status()
            suite = {"x-request-source": "validation"}
            tensor = {"name": "text", "datatype": "BYTES", "shape": [1], "data": ["route=regex"]}
            client.post("/predict", json={"text": "route=regex"}, headers=suite).raise_for_status()
            infer = "/v2/models/emotion/infer"
            client.post(infer, json={"inputs": [tensor]}, headers=suite).raise_for_status()
            client.post("/predict", json={}, headers=suite)
            page = client.get("/metrics").text
        server.terminate()
        assert server.process.wait(20) == 0
    (file,) = logs.iterdir()
    sources = [json.loads(line)["source"] for line in file.read_text().splitlines()]
    assert sources == ["client"] * 110 + ["validation"] * 2
    assert 'model_requests_total{code="422",model="emotion",version="1"} 0.0' in page, (
        "nor a refusal of theirs"
    )
    with file.open("a") as stream:
        stream.write('{"cut sho\n[1, 2]\n\n')
    by_file, by_metrics = tally_files([file]), tally_metrics(page)
    assert by_file.unreadable == 2
    assert replace(by_file, p95=0, unreadable=0) == replace(by_metrics, p95=0)
    assert by_file == replace(
        by_file, predictions=110, linear=105, regex=5, low_confidence=10, rules=3, mismatches=2
    )
    # A histogram knows the bucket of the percentile and no more; the log rounds to a microsecond.
    bounds = (0.0, *LATENCY_BUCKETS)
    lowest = max(bound for bound in bounds if bound <= max(by_file.p95 - 1e-6, 0.0))
    highest = min(bound for bound in bounds if bound >= by_file.p95 + 1e-6)
    assert lowest <= by_metrics.p95 <= highest
    code, line = run("logs", "--file", str(file))
    assert (code, line["readiness"]) == (1, "NOT READY")


def test_logs_that_cannot_be_judged(tmp_path: Path) -> None:
    with pytest.raises(LogError, match="lacks"):
        tally_metrics("# nothing here\n")
    with pytest.raises(LogError, match="cannot be read"):
        tally_files([tmp_path / "none.jsonl"])
    code, line = run("logs", "--file", str(tmp_path / "none.jsonl"))
    assert code == 2
    assert "none.jsonl" in line["error"]
    code, line = run("logs", "--url", f"http://127.0.0.1:{free_port()}", "--wait", "0.1")
    assert code == 2
    assert "was not ready" in line["error"]


def test_at_least_chooses_what_passes(tmp_path: Path) -> None:
    record = {"latency_ms": 10, "route": "linear_head", "low_confidence": True}
    file = tmp_path / "log.jsonl"
    file.write_text("\n".join([json.dumps(record)] * 200))
    assert run("logs", "--file", str(file))[0] == 0
    code, line = run("logs", "--file", str(file), "--at-least", "ready")
    assert (code, line["readiness"]) == (1, "MOSTLY READY")


def test_pii_of_our_server_passes_and_the_address_may_come_from_the_environment(
    server: ServerProcess,
) -> None:
    code, line = run("pii", CANDIDATE_URL=server.url)
    assert (code, line["passed"], line["score"]) == (0, True, 1.0)
    assert line["cases"] == len(load_cases("pii"))


@pytest.mark.parametrize("suite", ["smoke", "tiebreak"])
def test_a_model_that_always_says_joy_fails_and_says_where(server: ServerProcess, suite: str) -> None:
    code, line = run(suite, "--url", server.url)
    assert (code, line["passed"]) == (1, False)
    assert line["score"] == pytest.approx({"smoke": 1 / 8, "tiebreak": 0}[suite])
    assert line["failures"][0]["seen"] == "joy"
    assert run(suite, "--url", server.url, "--threshold", "0")[0] == 0
    assert tally_metrics(httpx.get(f"{server.url}/metrics").text).predictions == 0


def test_a_server_without_our_paths_could_not_be_run() -> None:
    code, line = run("smoke", "--url", f"http://127.0.0.1:{free_port()}", "--wait", "0.2")
    assert code == 2
    assert line["passed"] is False


def test_the_data_are_balanced_and_well_formed() -> None:
    smoke = Counter((case["label"], case["language"]) for case in SMOKE)
    assert set(smoke) == {(label, language) for label in LABELS for language in ("fr", "en")}
    assert len(set(smoke.values())) == 1
    tie = Counter((case["label"], case["language"]) for case in TIE_BREAK)
    assert tie == {(label, language): 10 for label in ("anger", "frustration") for language in ("fr", "en")}
    kinds = {case["kind"] for case in load_cases("pii")}
    assert {"email", "phone", "iban", "card", "ip", "name", "clean"} <= kinds
    for cases in (SMOKE, TIE_BREAK, load_cases("pii")):
        texts = [case["text"] for case in cases]
        assert len(texts) == len(set(texts))
        for case in cases:
            assert all(secret in case["text"] for secret in case.get("secrets", ()))
