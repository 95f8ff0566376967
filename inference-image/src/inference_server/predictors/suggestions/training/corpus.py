"""Invented bank strings in French and English, for tests, the demo and a first model without any data.

``python -m inference_server.predictors.suggestions.training.corpus FILE`` writes them as CSV; the same seed
gives the same bytes. What they are and what they are not good for: ``data/CARD.md``.
"""

from __future__ import annotations

import csv
import io
import random
import sys
import tomllib
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from importlib import resources
from pathlib import Path
from typing import Any, Final

from inference_server.predictors.suggestions.training.data import COLUMNS, Example, row_of

SEED: Final = 42
ROWS: Final = 24_000
_START: Final = date(2025, 1, 1)
_LABEL_NOISE: Final = 0.02
_LETTERS: Final = "ABCDEFGHJKLMNPQRSTUVWXYZ0123456789"


def generate(rows: int = ROWS, seed: int = SEED) -> list[dict[str, str]]:
    """Generate rows with the fields of :data:`data.COLUMNS`."""
    source = tomllib.loads(
        (resources.files("inference_server.predictors.suggestions") / "data" / "bank_strings.toml").read_text(
            "utf-8"
        )
    )
    rng = random.Random(seed)  # noqa: S311 - a reproducible corpus, no secret
    categories = list(source["category"])
    weights = [source["category"][name]["share"] for name in categories]
    return [_row(source, categories, weights, rng) for _ in range(rows)]


def _row(
    source: Mapping[str, Any], categories: Sequence[str], weights: Sequence[float], rng: random.Random
) -> dict[str, str]:
    language = rng.choice(("fr", "en"))
    category = rng.choices(categories, weights)[0]
    spec = source["category"][category]
    merchant = _merchant(source, spec, language, rng)
    amount = round(min(rng.lognormvariate(spec["log_mean"], spec["log_spread"]), 9000), 2)
    if spec.get("round") and rng.random() < 0.7:
        amount = float(max(5, round(amount / 5) * 5))
    elif spec.get("ninety_nine") and rng.random() < 0.8:
        amount = max(0.99, int(amount) + 0.99)
    sign = 1 if spec.get("credit") else -1
    day = _START + timedelta(days=rng.randrange(700))
    while spec.get("weekend") and day.weekday() < 4 and rng.random() < 0.6:
        day = _START + timedelta(days=rng.randrange(700))
    label = category if rng.random() >= _LABEL_NOISE else rng.choice(categories)
    return {
        "description": _describe(source, spec, merchant, language, day, rng),
        "merchant": merchant.title() if rng.random() < 0.4 else "",
        "amount": f"{sign * amount:.2f}" if rng.random() < 0.97 else "",
        "currency": "EUR" if language == "fr" else rng.choice(("GBP", "USD")),
        "date": day.isoformat(),
        "category": label,
    }


def _merchant(source: Mapping[str, Any], spec: Mapping[str, Any], language: str, rng: random.Random) -> str:
    """Return a known name, or one made of words of the trade and a family name."""
    if rng.random() < 0.12 and spec.get("shared"):
        return str(rng.choice(spec["shared"]))
    if rng.random() < 0.55:
        trade = rng.choice(spec[f"trade_{language}"])
        family = rng.choice(source["names"][language])
        form = rng.choice(source["forms"][language])
        return str(form.format(trade=trade, name=family))
    return str(rng.choice(spec[f"known_{language}"]))


def _describe(
    source: Mapping[str, Any],
    spec: Mapping[str, Any],
    merchant: str,
    language: str,
    day: date,
    rng: random.Random,
) -> str:
    form = rng.choice(spec.get(f"line_{language}") or source["lines"][language])
    text: str = form.format(
        merchant=merchant,
        town=rng.choice(source["towns"][language]),
        day=day.strftime("%d/%m"),
        compact=day.strftime("%d%m%y"),
        number=rng.randrange(10, 99_999),
        code="".join(rng.choice(_LETTERS) for _ in range(rng.randrange(5, 10))),
    )
    if rng.random() < 0.25:
        text = text[: rng.randrange(18, 34)].rstrip()
    if rng.random() < 0.04:
        at = rng.randrange(len(text))
        text = text[:at] + text[at + 1 :]
    return text.upper() if rng.random() < 0.8 else text


def as_csv(rows: Sequence[Mapping[str, str]]) -> str:
    """Return the rows as a file with a header."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def rows(count: int = ROWS, seed: int = SEED) -> list[Example]:
    """Return the corpus as training reads it."""
    made = []
    for fields in generate(count, seed):
        row = row_of(fields)
        assert row is not None
        made.append(row)
    return made


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(as_csv(generate()), encoding="utf-8")
