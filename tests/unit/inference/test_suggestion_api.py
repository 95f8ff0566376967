"""The paths of the suggestion system in process: comparisons, exports, feedback."""

from __future__ import annotations

from pathlib import Path

from tests.support.suggestion_server import suggestion_server


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
