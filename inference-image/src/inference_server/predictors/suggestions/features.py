"""What the model reads of a transaction: hashed n-grams of its texts, and a few numbers."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from inference_server.predictors.suggestions.normalise import clean
from inference_server.predictors.suggestions.transactions import Transaction

VERSION: Final = "suggestion-features-1"
BUCKETS: Final = 1 << 18
"""Places of n-grams. No vocabulary is stored: the place of an n-gram is its CRC-32."""
NUMBERS: Final = (
    "log_amount",
    "is_credit",
    "has_amount",
    "cents",
    "weekday",
    "has_date",
    "words",
    "has_merchant",
)
_SIZES: Final = (3, 4, 5)
_LONGEST_WORD: Final = 24


def grams(transaction: Transaction) -> Iterator[str]:
    """Words, pairs of words and parts of words of both texts."""
    text, merchant = clean(transaction.description), clean(transaction.merchant)
    words = text.split()
    yield from words
    for left, right in zip(["<", *words], [*words, ">"], strict=True):
        yield f"{left} {right}"
    for word in merchant.split():
        yield word
        yield f"m={word}"
    for word in {*words, *merchant.split()}:
        padded = f" {word[:_LONGEST_WORD]} "
        for size in _SIZES:
            for start in range(len(padded) - size + 1):
                yield padded[start : start + size]


def places(transaction: Transaction) -> NDArray[np.int32]:
    """Return the places of its n-grams, ascending, each once."""
    found = {zlib.crc32(gram.encode("utf-8", "replace")) % BUCKETS for gram in grams(transaction)}
    return np.fromiter(sorted(found), np.int32, len(found))


def numbers(transactions: Sequence[Transaction]) -> NDArray[np.float64]:
    """Return the numbers ``(transactions, len(NUMBERS))``.

    What is unknown is 0, with a column that says so.
    """
    rows = np.zeros((len(transactions), len(NUMBERS)))
    for place, item in enumerate(transactions):
        amount = item.amount if item.amount is not None and math.isfinite(item.amount) else None
        size = 0.0 if amount is None else min(abs(amount), 1e12)
        rows[place] = (
            math.log1p(size),
            amount is not None and amount > 0,
            amount is not None,
            round(size % 1 * 100) % 100,
            0 if item.day is None else item.day.weekday() + 1,
            item.day is not None,
            min(len(item.description.split()), 20),
            bool(item.merchant),
        )
    return rows
