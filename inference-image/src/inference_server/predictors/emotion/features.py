"""Hashed word and character n-grams with TF-IDF weights, the same in training and serving.

No vocabulary is stored: the place of an n-gram is its CRC-32, so serving needs nothing but NumPy.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

WORD_BUCKETS: Final = 1 << 18
CHARACTER_BUCKETS: Final = 1 << 18
BUCKETS: Final = WORD_BUCKETS + CHARACTER_BUCKETS
"""Length of one feature vector: words first, then characters."""

_TOKEN = re.compile(r"[^\W_]+(?:'[^\W_]+)*|[!?]+|[^\w\s]")
_SIZES = (2, 3, 4, 5)


def _word_grams(tokens: Sequence[str], text: str) -> Iterator[str]:
    lowered = [token.lower() for token in tokens]
    yield from lowered
    for left, right in zip(["<", *lowered], [*lowered, ">"], strict=True):
        yield f"{left} {right}"
    for left, right in zip(lowered, lowered[2:], strict=False):
        yield f"{left} _ {right}"
    shouted = sum(len(token) > 1 and token.isupper() for token in tokens)
    if shouted:
        yield "#shout"
    if tokens and shouted * 2 > len(tokens):
        yield "#shout-all"
    yield f"#length-{min(len(tokens) // 4, 8)}"
    if text.endswith("?"):
        yield "#asks"


def _character_grams(tokens: Sequence[str]) -> Iterator[str]:
    for token in tokens:
        padded = f" {token.lower()} "
        for size in _SIZES:
            for start in range(len(padded) - size + 1):
                yield padded[start : start + size]


def _block(grams: Iterator[str], buckets: int) -> tuple[list[int], list[int]]:
    counts: dict[int, int] = {}
    for gram in grams:
        place = zlib.crc32(gram.encode("utf-8", "replace")) % buckets
        counts[place] = counts.get(place, 0) + 1
    places = sorted(counts)
    return places, [counts[place] for place in places]


def count_features(text: str) -> tuple[NDArray[np.int64], NDArray[np.float32], int]:
    """Count the n-grams of a normalised text.

    Returns:
        the places (ascending) and ``1 + log(count)`` of the n-grams that occur, and how many of them are
        words.
    """
    tokens = _TOKEN.findall(text)
    words, word_counts = _block(_word_grams(tokens, text), WORD_BUCKETS)
    characters, character_counts = _block(_character_grams(tokens), CHARACTER_BUCKETS)
    places = np.asarray(words + [WORD_BUCKETS + place for place in characters], np.int64)
    counts = np.asarray(word_counts + character_counts, np.float32)
    return places, np.asarray(1.0 + np.log(counts), np.float32), len(words)


def weigh(
    places: NDArray[np.int64], values: NDArray[np.float32], words: int, idf: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Multiply by inverse document frequencies ``(BUCKETS,)``; scale words and characters to length 1."""
    weighted = values * idf[places]
    for block in (slice(0, words), slice(words, None)):
        length = float(np.linalg.norm(weighted[block]))
        if length > 0.0:
            weighted[block] /= np.float32(length * np.sqrt(2.0))
    return weighted
