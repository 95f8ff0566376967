"""Confidence bounds of a measured share (Wilson's score interval).

A share p measured on n events says little when n is small: 1 of 20 is 5 %, and so might be a true 1 %. The
score interval of E. B. Wilson ("Probable inference, the law of succession, and statistical inference",
Journal of the American Statistical Association 22, 1927, pages 209-212) behaves well for small n and for
shares near 0 and 1, where the textbook interval fails (Brown, Cai and DasGupta, "Interval estimation for a
binomial proportion", Statistical Science 16, 2001):

centre = (p + z²/2n) / (1 + z²/n) half   = z / (1 + z²/n) · sqrt(p(1 - p)/n + z²/4n²)

Each bound is used alone ("is the share beyond the limit?"), so z is the one-sided quantile of the confidence:
1.645 for 0.95.
"""

from __future__ import annotations

from functools import lru_cache
from math import erfc, exp, pi, sqrt


@lru_cache(maxsize=64)
def normal_quantile(confidence: float) -> float:
    """z such that a standard normal variable is below it with probability `confidence` (from 0.5, under 1).

    Newton's method on the distribution function; the result is exact to about 1e-12.
    """
    if not 0.5 <= confidence < 1:
        raise ValueError(f"confidence must be at least 0.5 and under 1, not {confidence}")
    z = 0.0
    for _ in range(60):
        tail = 0.5 * erfc(z / sqrt(2))
        density = exp(-z * z / 2) / sqrt(2 * pi)
        change = (tail - (1 - confidence)) / density
        z += change
        if abs(change) < 1e-13:
            break
    return z


def wilson_bounds(share: float, count: float, confidence: float) -> tuple[float, float]:
    """Return lower and upper bound (each one-sided at `confidence`) of a share measured on `count` events.

    `share` is clamped to 0..1 (a quotient of rates can overshoot by rounding); without events nothing is
    known: (0, 1).
    """
    if count <= 0:
        return 0.0, 1.0
    p = min(1.0, max(0.0, share))
    z2 = normal_quantile(confidence) ** 2
    scale = 1 + z2 / count
    centre = (p + z2 / (2 * count)) / scale
    half = sqrt(z2 * (p * (1 - p) / count + z2 / (4 * count * count))) / scale
    return max(0.0, centre - half), min(1.0, centre + half)
