"""Tokenised rows and the batches they are fed in: rows of similar length together, padded to a few lengths.

Every padded length is compiled once, so there are few; padding is wasted work, so they are not too few.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

LENGTHS: Final = (12, 16, 20, 24, 28, 32, 40, 48, 64, 96, 128)


@dataclass(frozen=True, kw_only=True, slots=True)
class Tokens:
    """Tokenised rows: ids without padding, the label of each, and finer labels as probabilities (or none)."""

    ids: Sequence[NDArray[np.int32]]
    labels: NDArray[np.int32]
    fine: NDArray[np.float32] | None = None


@dataclass(frozen=True, slots=True)
class Batch:
    """One batch: ids and mask ``(rows, length)``, labels and row weights ``(rows,)``, finer labels."""

    ids: NDArray[np.int32]
    mask: NDArray[np.float32]
    labels: NDArray[np.int32]
    fine: NDArray[np.float32]
    weights: NDArray[np.float32]


def bucket(length: int) -> int:
    """Return the padded length that a row of ``length`` tokens gets."""
    return next((limit for limit in LENGTHS if length <= limit), LENGTHS[-1])


def batches(
    rows: Tokens, order: NDArray[np.int64], size: int, fine_size: int, class_weights: NDArray[np.float32]
) -> Iterator[Batch]:
    """Yield batches of equal padded length, each filled from ``order``.

    The last of a length is topped up with weight 0.
    """
    by_length: dict[int, list[int]] = {}
    for index in order:
        by_length.setdefault(bucket(len(rows.ids[index])), []).append(int(index))
    for length in sorted(by_length):
        members = by_length[length]
        for start in range(0, len(members), size):
            yield _fill(rows, members[start : start + size], (size, length, fine_size), class_weights)


def _fill(
    rows: Tokens, chosen: list[int], shape: tuple[int, int, int], class_weights: NDArray[np.float32]
) -> Batch:
    size, length, fine_size = shape
    ids = np.zeros((size, length), np.int32)
    mask = np.zeros((size, length), np.float32)
    labels = np.zeros(size, np.int32)
    fine = np.zeros((size, fine_size), np.float32)
    weights = np.zeros(size, np.float32)
    for place, index in enumerate(chosen):
        cut = rows.ids[index][:length]
        ids[place, : len(cut)] = cut
        mask[place, : len(cut)] = 1.0
        labels[place] = rows.labels[index]
        weights[place] = class_weights[rows.labels[index]]
        if fine_size and rows.fine is not None:
            fine[place] = rows.fine[index]
    mask[len(chosen) :, 0] = 1.0
    return Batch(ids, mask, labels, fine, weights)
