"""From which confidence on the model's answer is used, class by class."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Final

VARIABLE: Final = "SUGGEST_THRESHOLDS"
DEFAULTS: Final[Mapping[str, float]] = {
    "Groceries": 0.70,
    "Dining": 0.75,
    "Shopping": 0.65,
    "Transport": 0.65,
    "Subscriptions": 0.70,
    "Entertainment": 0.60,
    "default": 0.70,
}


def parse_thresholds(raw: str | None) -> dict[str, float]:
    """Return the defaults, replaced by a JSON object's numbers 0..1 by class (``default`` for the others).

    Raises:
        ValueError: it is none.
    """
    result = dict(DEFAULTS)
    if raw is None or not raw.strip():
        return result
    try:
        given = json.loads(raw)
        if not isinstance(given, dict):
            raise TypeError
        for label, value in given.items():
            if isinstance(value, bool) or not 0 <= float(value) <= 1:
                raise ValueError
            result[label] = float(value)
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"{VARIABLE}: expected a JSON object of numbers from 0 to 1 such as "
            f'{{"Dining": 0.8, "default": 0.7}}, but it is {raw[:200]!r}. Correct it and start again.'
        ) from error
    return result


def unknown_labels(thresholds: Mapping[str, float], labels: Collection[str]) -> list[str]:
    """Return the labels that were given a threshold and that no answer of the model can have, sorted."""
    return sorted(
        label
        for label, value in thresholds.items()
        if label not in labels and label != "default" and DEFAULTS.get(label) != value
    )


def threshold(thresholds: Mapping[str, float], label: str) -> float:
    """Return the threshold of a label; 1 means that the model's answer is never used."""
    return thresholds.get(label, thresholds["default"])
