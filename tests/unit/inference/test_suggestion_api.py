"""The paths of the suggestion system in process: comparisons, exports, feedback."""

from __future__ import annotations

import csv
import threading
from pathlib import Path
from typing import Any

import pytest

from inference_server.artifacts import Manifest, load_manifest, write_manifest
from inference_server.predictors.suggestions import routes
from inference_server.predictors.suggestions.loading import SuggestionConfig, load_suggestions
from inference_server.predictors.suggestions.store import as_csv
from inference_server.predictors.suggestions.transactions import Transaction
from tests.support.suggestion_server import DiningModel, predictor, suggestion_server


async def test_a_shadow_comparison_counts_each_text_once_and_judges_the_model(tmp_path: Path) -> None:
    """With nobody in the canary both servers answer by rules, which agree whatever the model is worth."""
    async with suggestion_server(tmp_path, canary=0.0) as server:
        body = {
            "request_id": "r",
            "version": "rules",
            "texts": ["TESCO STORES", "TESCO STORES", "TESCO STORES"],
            "answers": [{"label": label, "confidence": 0.9} for label in ("Groceries", "Dining", "")],
        }
        answer = await server.client.post("/shadow/compare", json=body)
        assert answer.json() == {"agree": ["false", "true", "none"]}
        assert await server.comparisons() == {"true": 1, "false": 1, "none": 1}
        await server.client.post(
            "/suggest", json={"user_id": "u", "transactions": [{"description": "TESCO"}]}
        )
        assert await server.comparisons() == {"true": 1, "false": 2, "none": 1}


ITEM = {"id": "bob@example.org", "label": "Groceries", "source": "rule", "verdict": "accept"}


@pytest.mark.parametrize("path", ["/suggest/feedback", "/suggest/disagreements", "/shadow/disagreements"])
async def test_what_users_sent_is_read_on_the_admin_port_with_the_token(tmp_path: Path, path: str) -> None:
    async with suggestion_server(tmp_path) as server:
        assert (await server.client.get(path)).status_code == 404
        assert (await server.admin.get(path, headers={"authorization": "Bearer wrong"})).status_code == 403
        assert (await server.admin.get(path)).status_code == 200


async def test_ids_are_masked_and_rows_are_written_off_the_event_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = set()

    def as_csv(*arguments: Any) -> str:
        threads.add(threading.current_thread())
        return original(*arguments)

    original = routes.as_csv
    monkeypatch.setattr(routes, "as_csv", as_csv)
    async with suggestion_server(tmp_path) as server:
        body = {"user_id": "u", "items": [{**ITEM, "description": "=1+1"}]}
        assert (await server.client.post("/feedback", json=body)).json() == {"kept": 1}
        shop = {"id": "alice@example.org", "description": "TESCO"}
        await server.client.post("/suggest", json={"user_id": "u", "transactions": [shop]})
        lines = (await server.admin.get("/suggest/feedback?format=csv")).text
        other = (await server.admin.get("/suggest/disagreements?format=csv")).text
    (row,) = csv.DictReader(lines.splitlines())
    assert (row["item"], row["text"], row["right_label"]) == ("[EMAIL]", "'=1+1", "")
    assert "alice@example.org" not in other
    assert "[EMAIL]" in other
    assert threads
    assert threading.current_thread() not in threads


@pytest.mark.parametrize("name", ["label", "right_label"])
async def test_feedback_with_a_label_that_nothing_answers_is_refused(tmp_path: Path, name: str) -> None:
    async with suggestion_server(tmp_path) as server:
        body = {"user_id": "u", "items": [ITEM, {**ITEM, name: "alice@example.org"}]}
        answer = await server.client.post("/feedback", json=body)
        assert answer.status_code == 422
        assert f"in {name} of item 1" in answer.json()["error"]
        assert (await server.admin.get("/suggest/feedback")).text == ""


@pytest.mark.parametrize(("canary", "route"), [(99.99, "rule"), (100, "model")])
def test_without_a_user_the_rules_answer_below_100_per_cent(canary: float, route: str) -> None:
    """Transactions without a user would all be on one side: of one bucket, whatever the share."""
    (answer,) = predictor(canary=canary).predict([Transaction(description="TESCO")])
    assert answer.route == route


def test_a_threshold_of_1_means_never() -> None:
    sure = predictor(canary=100, thresholds={"default": 1.0}, model=DiningModel(confidence=1.0))
    (answer,) = sure.predict([Transaction(description="TESCO", user="u")])
    assert (answer.route, answer.fallbacks) == ("rule", ("low_confidence",))


def test_thresholds_of_unknown_labels_are_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    fields: dict[str, Any] = {"files": {}, "config": {}, "config_sha256": ""}
    manifest = Manifest(kind="suggestions", name="s", version="1", labels=("a", "b"), **fields)
    write_manifest(tmp_path, manifest)
    config = SuggestionConfig.from_environment({"SUGGEST_THRESHOLDS": '{"Dinning": 0.8, "Dining": 0.9}'})
    load_suggestions(tmp_path, load_manifest(tmp_path), config)
    assert "there is no Dinning. " in caplog.text


def test_only_what_a_spreadsheet_would_run_is_quoted() -> None:
    values = {"a": "", "b": "=1", "c": "-1", "d": "\t=1", "e": "x"}
    assert as_csv([values], "feedback").splitlines()[1] == ",'=1,'-1,'\t=1,x"
