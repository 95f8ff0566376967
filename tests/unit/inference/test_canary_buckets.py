"""The bucket function: known answers that every implementation shares, and what they promise."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_server.canary import BUCKETS, bucket, on_candidate
from tests.support.inference import ROOT

KNOWN: list[dict[str, Any]] = json.loads((ROOT / "tests/data/buckets.json").read_text(encoding="utf-8"))[
    "users"
]
users = st.text(st.characters(exclude_categories=("Cs",)), max_size=40)


@pytest.mark.parametrize("row", KNOWN, ids=lambda row: ascii(row["user"])[:20])
def test_known_answers(row: dict[str, Any]) -> None:
    assert bucket(row["user"]) == row["bucket"]
    for weight, candidate in row["candidate"].items():
        assert on_candidate(row["user"], float(weight)) is candidate, weight


@given(users, st.integers(0, 10_000), st.integers(0, 10_000))
def test_a_user_who_is_on_the_candidate_stays_there_as_the_weight_rises(
    user: str, one: int, two: int
) -> None:
    low, high = sorted((one / 100, two / 100))
    assert 0 <= bucket(user) < BUCKETS
    assert on_candidate(user, low) <= on_candidate(user, high)
    assert not on_candidate(user, 0)
    assert on_candidate(user, 100)


@pytest.mark.parametrize("hundredths", [1, 110, 1000, 5700, 9999])
def test_a_weight_of_hundredths_lets_in_exactly_its_buckets(hundredths: int) -> None:
    """Floating point must not move the limit by one bucket (1.1 * 100 is more than 110)."""
    by_bucket = {bucket(str(number)): str(number) for number in range(200_000)}
    assert on_candidate(by_bucket[hundredths - 1], hundredths / 100)
    assert not on_candidate(by_bucket[hundredths], hundredths / 100)


def test_shares_are_what_the_weight_says() -> None:
    inside = sum(on_candidate(f"user-{number}", 10) for number in range(20_000))
    assert abs(inside / 20_000 - 0.1) < 0.0064  # three standard deviations
