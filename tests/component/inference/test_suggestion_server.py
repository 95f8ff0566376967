"""The suggestion system as it is served: rules, model, canary, thresholds, feedback, metrics, reload."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from inference_server.artifacts import Manifest, load_manifest, write_manifest
from inference_server.canary import on_candidate
from inference_server.predictors.suggestions.loading import SuggestionConfig, load_suggestions, parse_share
from inference_server.predictors.suggestions.thresholds import parse_thresholds
from inference_server.predictors.suggestions.transactions import Transaction
from tests.support.inference import ServerProcess, free_port, server_process

TOKEN = "a token that is long enough"
ADMIN_PORT = free_port()
SHOP = {"id": "a", "description": "CARD PAYMENT TO TESCO STORES 3297", "amount": -12.5, "date": "2026-03-12"}


@pytest.fixture(scope="module")
def server(trained_registry: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """Half of the users get the model's answers."""
    directory = tmp_path_factory.mktemp("served")
    (directory / "token").write_text(TOKEN)
    with server_process(
        directory,
        module="inference_server",
        INFERENCE_ARTIFACTS=str(trained_registry / "latest"),
        SUGGEST_CANARY="50%",
        SUGGEST_STORE=str(directory / "store.sqlite"),
        INFERENCE_ADMIN_TOKEN_FILE=str(directory / "token"),
        INFERENCE_ADMIN_PORT=str(ADMIN_PORT),
        SUGGEST_THRESHOLDS='{"default": 0.3, "Groceries": 0.3, "Dining": 0.3}',
    ) as process:
        yield process


def suggest(server: ServerProcess, user: str = "alice", *items: dict[str, Any]) -> dict[str, Any]:
    body = {"user_id": user, "transactions": list(items or [SHOP])}
    response = httpx.post(f"{server.url}/suggest", json=body)
    assert response.status_code == 200, response.text
    answer = response.json()
    assert isinstance(answer, dict)
    return answer


def export(path: str) -> str:
    """What the server kept, from its admin port."""
    headers = {"authorization": f"Bearer {TOKEN}"}
    response = httpx.get(f"http://127.0.0.1:{ADMIN_PORT}/suggest/{path}", headers=headers)
    assert response.status_code == 200, response.text
    return response.text


def samples(server: ServerProcess) -> dict[tuple[str, ...], float]:
    page = httpx.get(f"{server.url}/metrics").text
    return {
        (
            s.name,
            *(value for key, value in sorted(s.labels.items()) if key not in {"model", "version"}),
        ): s.value
        for family in text_string_to_metric_families(page)
        for s in family.samples
    }


def test_every_series_is_there_at_zero_before_the_first_request(
    trained_registry: Path, tmp_path: Path
) -> None:
    with server_process(
        tmp_path, module="inference_server", INFERENCE_ARTIFACTS=str(trained_registry / "latest")
    ) as fresh:
        found = samples(fresh)
    for key in (
        *(
            ("model_feedback_total", source, verdict)
            for source in ("rule", "model")
            for verdict in ("accept", "reject")
        ),
        *(("model_shadow_comparisons_total", agree) for agree in ("true", "false", "none")),
        *(
            ("model_fallbacks_total", reason)
            for reason in ("unavailable", "not_in_canary", "low_confidence", "unknown", "error")
        ),
        *(("model_accepted_total", accepted) for accepted in ("true", "false")),
        *(
            ("model_predictions_total", label, route)
            for label in ("Groceries", "Other")
            for route in ("rule", "model")
        ),
    ):
        assert found[key] == 0.0, key


def test_an_answer_says_where_it_comes_from(server: ServerProcess) -> None:
    inside = next(name for name in map(str, range(99)) if on_candidate(name, 50))
    outside = next(name for name in map(str, range(99)) if not on_candidate(name, 50))
    model = suggest(server, inside)["suggestions"][0]
    assert (model["id"], model["label"], model["source"], model["reason"]) == (
        "a",
        "Groceries",
        "model",
        None,
    )
    assert model["candidates"][0] == {"label": "Groceries", "confidence": model["confidence"]}
    assert len(model["candidates"]) == 3
    rule = suggest(server, outside)["suggestions"][0]
    assert (rule["label"], rule["source"], rule["reason"], rule["rule"]) == (
        "Groceries",
        "rule",
        "not_in_canary",
        "groceries",
    )
    assert rule["model_id"] == httpx.get(f"{server.url}/model/status").json()["version"]
    nothing = suggest(server, inside, {"description": "!!!"})["suggestions"][0]
    assert (nothing["label"], nothing["source"], nothing["reason"]) == ("Other", "rule", "unknown")


def test_a_user_is_in_or_out_by_the_documented_function_alone(server: ServerProcess) -> None:
    for number in range(60):
        source = suggest(server, f"user-{number}")["suggestions"][0]["source"]
        assert source == ("model" if on_candidate(f"user-{number}", 50) else "rule"), number


def test_rules_and_model_are_compared_on_every_request_and_disagreements_kept(server: ServerProcess) -> None:
    before = samples(server)
    # To the rules a supermarket, to a model that knows "netflix.com" a subscription.
    odd = {"id": "odd", "description": "NETFLIX.COM TESCO alice@example.org", "amount": -9.99}
    suggest(server, "alice", SHOP, odd, {"description": "zzzz qqqq"})
    after = samples(server)
    change = {
        agree: after["model_shadow_comparisons_total", agree]
        - before["model_shadow_comparisons_total", agree]
        for agree in ("true", "false", "none")
    }
    assert sum(change.values()) == 3
    assert change["none"] == 1
    lines = export("disagreements").splitlines()
    kept = [json.loads(line) for line in lines]
    assert len(kept) == after["model_shadow_comparisons_total", "false"]
    assert all(item["rule_label"] != item["model_label"] for item in kept)
    assert "alice@example.org" not in "".join(lines)
    table = export("disagreements?format=csv")
    assert len(list(csv.reader(table.splitlines()))) == len(kept) + 1


def test_the_open_inference_protocol_answers_too(server: ServerProcess) -> None:
    name = httpx.get(f"{server.url}/model/status").json()["model"]
    texts = [json.dumps({**SHOP, "user_id": "u"}), "NETFLIX.COM"]
    tensor = {"name": "text", "shape": [2], "datatype": "BYTES", "data": texts}
    answer = httpx.post(f"{server.url}/v2/models/{name}/infer", json={"inputs": [tensor]}).json()
    outputs = {output["name"]: output["data"] for output in answer["outputs"]}
    assert outputs["label"] == ["Groceries", "Subscriptions"]


def test_feedback_is_kept_and_counted_by_source_and_verdict(server: ServerProcess) -> None:
    before = samples(server)
    items = [
        {"id": "a", "label": "Groceries", "source": "rule", "verdict": "accept"},
        {
            "id": "b",
            "label": "Dining",
            "source": "model",
            "verdict": "reject",
            "right_label": "Transport",
            "description": "UBER bob@example.org",
        },
    ]
    answer = httpx.post(f"{server.url}/feedback", json={"user_id": "alice", "items": items})
    assert answer.json() == {"kept": 2}
    after = samples(server)
    for key in (("rule", "accept"), ("model", "reject")):
        assert after["model_feedback_total", *key] == before["model_feedback_total", *key] + 1
    kept = [json.loads(line) for line in export("feedback?limit=2").splitlines()]
    assert [item["right_label"] for item in kept] == ["Transport", ""]
    assert "bob@example.org" not in kept[0]["text"]


def test_status_and_thresholds(server: ServerProcess) -> None:
    status = httpx.get(f"{server.url}/model/status").json()
    assert (status["kind"], status["details"]["canary_percent"], status["details"]["model_available"]) == (
        "suggestions",
        50.0,
        True,
    )
    assert status["details"]["val_f1_macro"] > 0.7
    assert set(status["details"]["calibration"].values()) <= {"isotonic", "sigmoid", "none"}
    thresholds = httpx.get(f"{server.url}/thresholds").json()
    assert (thresholds["default"], thresholds["thresholds"]["Dining"]) == (0.3, 0.3)
    assert thresholds["thresholds"]["Shopping"] == 0.65


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"user_id": 7}, "user_id"),
        ({"user_id": ""}, "user_id"),
        ({"user_id": "\ud800"}, ""),
        ({"transactions": []}, "transactions"),
        ({"transactions": [{**SHOP, "amount": "twelve"}]}, "expected an amount"),
        ({"transactions": [{**SHOP, "amount": 1e400}]}, ""),
        ({"transactions": [{**SHOP, "date": "yesterday"}]}, "expected a date"),
        ({"transactions": [{**SHOP, "amount": 10**400}]}, ""),
        ({"transactions": [{**SHOP, "description": "TESCO \ud83d"}]}, "surrogate"),
        ({"transactions": [{**SHOP, "merchant": "\udc00"}]}, "surrogate"),
        ({"transactions": [{"merchant": "x"}]}, "description"),
        ({"transactions": [{**SHOP, "colour": "red"}]}, "colour"),
        ({"transactions": [SHOP] * 10_000}, "Expected 1 to 64 transactions, but there are 10000"),
    ],
)
def test_bad_requests_are_sentences(server: ServerProcess, change: dict[str, Any], message: str) -> None:
    body = json.dumps({"user_id": "u", "transactions": [SHOP], **change})
    response = httpx.post(f"{server.url}/suggest", content=body)
    assert response.status_code in {400, 413, 422}
    assert message in response.json()["error"] or response.status_code == 413


def test_amounts_and_dates_may_be_texts(server: ServerProcess) -> None:
    answer = suggest(server, "u", {**SHOP, "amount": "-1.234,50", "date": "12/03/2026", "currency": "EUR"})
    assert answer["suggestions"][0]["label"] == "Groceries"


def test_a_swap_is_served_after_a_reload_and_a_changed_run_is_not(run_registry: Path, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(TOKEN)
    port = free_port()
    with server_process(
        tmp_path,
        module="inference_server",
        INFERENCE_ARTIFACTS=str(run_registry / "latest"),
        INFERENCE_MODELS_ROOT=str(run_registry),
        INFERENCE_ADMIN_TOKEN_FILE=str(tmp_path / "token"),
        INFERENCE_ADMIN_PORT=str(port),
    ) as server:

        def reload() -> httpx.Response:
            return httpx.post(
                f"http://127.0.0.1:{port}/model/reload",
                headers={"authorization": f"Bearer {TOKEN}"},
                timeout=60,
            )

        first = suggest(server)["version"]
        for name in ("second", "third"):
            other = run_registry / "runs" / name
            other.mkdir()
            for file in (run_registry / "runs" / first).iterdir():
                (other / file.name).write_bytes(file.read_bytes())
            old = load_manifest(other)
            write_manifest(
                other,
                Manifest(
                    kind=old.kind,
                    name=old.name,
                    version=name,
                    labels=old.labels,
                    files={},
                    config=old.config,
                    config_sha256="",
                ),
            )
            (run_registry / "latest").unlink()
            (run_registry / "latest").symlink_to(other)
            assert reload().status_code == 200  # the link is followed each time
            assert suggest(server)["version"] == name
        (run_registry / "runs" / "third" / "trees.txt").write_text("changed")
        refused = reload()
        assert refused.status_code == 422
        assert "trees.txt" in refused.json()["error"]
        assert suggest(server)["version"] == "third"


def test_artefacts_without_a_model_answer_by_rules(tmp_path: Path) -> None:
    manifest = Manifest(
        kind="suggestions",
        name="suggestions",
        version="rules",
        labels=("a", "b"),
        files={},
        config={},
        config_sha256="",
    )
    write_manifest(tmp_path, manifest)
    predictor = load_suggestions(
        tmp_path, load_manifest(tmp_path), SuggestionConfig.from_environment({"SUGGEST_CANARY": "100"})
    )
    (answer,) = predictor.predict([Transaction(description="TESCO", user="u")])
    assert (answer.label, answer.route, answer.fallbacks) == ("Groceries", "rule", ("unavailable",))
    assert answer.detail.agree == "none"


@pytest.mark.parametrize(
    ("raw", "share"),
    [("", 0), ("0", 0), ("1", 100), ("100", 100), ("10%", 10), ("0.5 %", 0.5), ("100%", 100)],
)
def test_shares(raw: str, share: float) -> None:
    assert parse_share(raw) == share


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("SUGGEST_CANARY", "10"),
        ("SUGGEST_CANARY", "101%"),
        ("SUGGEST_CANARY", "-1%"),
        ("SUGGEST_SHADOW", "maybe"),
        ("SUGGEST_THRESHOLDS", "0.7"),
        ("SUGGEST_THRESHOLDS", '{"Dining": 1.5}'),
        ("SUGGEST_THRESHOLDS", '{"Dining": true}'),
        ("SUGGEST_THRESHOLDS", "{"),
    ],
)
def test_settings_that_cannot_be_used_name_their_variable(variable: str, value: str) -> None:
    with pytest.raises(ValueError, match=f"{variable}: expected"):
        SuggestionConfig.from_environment({variable: value})


def test_the_default_thresholds_are_those_of_the_guide() -> None:
    assert parse_thresholds(None) == {
        "Groceries": 0.70,
        "Dining": 0.75,
        "Shopping": 0.65,
        "Transport": 0.65,
        "Subscriptions": 0.70,
        "Entertainment": 0.60,
        "default": 0.70,
    }


@pytest.mark.parametrize("settings", [{"SUGGEST_CANARY": "all"}, {"SUGGEST_STORE": "/nowhere/at/all.sqlite"}])
def test_a_start_with_bad_settings_ends_with_a_sentence(
    trained_registry: Path, tmp_path: Path, settings: dict[str, str]
) -> None:
    with server_process(
        tmp_path,
        module="inference_server",
        ready=False,
        INFERENCE_ARTIFACTS=str(trained_registry / "latest"),
        **settings,
    ) as server:
        assert server.process.wait(60) == 3
        assert f"{next(iter(settings))}: expected" in server.log.read_text()
