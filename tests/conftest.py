"""Profiles of the property tests.

`make test` draws the same examples every time, so that it says the same of the same code.
`HYPOTHESIS_PROFILE=nightly` draws others each night, and forty times as many; `quick` draws few,
`mutation` the fewest: those tests run once for each mutant.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

HISTORIES = {"mutation": 20, "quick": 200, "default": 2_500, "nightly": 100_000}
"""Histories of each of the two halves of the rollout property (5,000 and 200,000 in all)."""

_BASE = settings(
    deadline=None,
    suppress_health_check=(HealthCheck.too_slow, HealthCheck.data_too_large),
    print_blob=True,
)

settings.register_profile("default", _BASE, max_examples=200, derandomize=True, database=None)
settings.register_profile("quick", _BASE, max_examples=50, derandomize=True, database=None)
settings.register_profile("mutation", _BASE, max_examples=10, derandomize=True, database=None)
settings.register_profile("nightly", _BASE, max_examples=5_000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))
