"""Confidence bounds against values computed by hand and by definition."""

from __future__ import annotations

from math import sqrt
from statistics import NormalDist

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelrollout.decision.wilson import normal_quantile, wilson_bounds


@pytest.mark.parametrize("confidence", [0.5, 0.8, 0.9, 0.95, 0.975, 0.99, 0.999])
def test_quantile_is_the_normal_distribution(confidence: float) -> None:
    assert normal_quantile(confidence) == pytest.approx(NormalDist().inv_cdf(confidence), abs=1e-9)


@pytest.mark.parametrize("confidence", [0.0, 0.49, 1.0, 1.5])
def test_quantile_refuses_what_is_no_confidence(confidence: float) -> None:
    with pytest.raises(ValueError, match="confidence must be at least"):
        normal_quantile(confidence)


@pytest.mark.parametrize(
    ("share", "count", "confidence", "low", "high"),
    [
        # published tables give two-sided 95 % intervals: each bound is one-sided at 97.5 %
        (0.3, 50, 0.975, 0.1910, 0.4375),
        (0.0, 10, 0.975, 0.0, 0.2775),
        (1.0, 10, 0.975, 0.7225, 1.0),
        (0.02, 200, 0.975, 0.0078, 0.0503),
    ],
)
def test_known_intervals(share: float, count: float, confidence: float, low: float, high: float) -> None:
    assert wilson_bounds(share, count, confidence) == (
        pytest.approx(low, abs=1e-4),
        pytest.approx(high, abs=1e-4),
    )


def test_without_events_nothing_is_known() -> None:
    assert wilson_bounds(0.5, 0, 0.95) == (0.0, 1.0)


@given(share=st.floats(0, 1), count=st.integers(1, 10**7), confidence=st.floats(0.5, 0.999))
def test_property_bounds_solve_the_defining_equation(share: float, count: int, confidence: float) -> None:
    """A bound b is where |share - b| is exactly z standard errors of a true share b."""
    z = normal_quantile(confidence)
    low, high = wilson_bounds(share, count, confidence)
    assert 0 <= low <= share + 1e-9 and share - 1e-9 <= high <= 1
    for bound in (low, high):
        if 1e-9 < bound < 1 - 1e-9:
            assert abs(share - bound) == pytest.approx(z * sqrt(bound * (1 - bound) / count), abs=1e-6)


@given(share=st.floats(0, 1), count=st.integers(1, 10**6))
def test_property_more_events_say_more(share: float, count: int) -> None:
    low, high = wilson_bounds(share, count, 0.95)
    closer_low, closer_high = wilson_bounds(share, count * 4, 0.95)
    assert closer_low >= low - 1e-12 and closer_high <= high + 1e-12
