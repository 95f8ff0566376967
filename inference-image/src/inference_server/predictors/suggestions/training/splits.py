"""Splits that keep equal purchases together: a duplicate in both parts would flatter the model."""

from __future__ import annotations

import random
import zlib
from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from inference_server.predictors.suggestions.training.data import Example


def folds(rows: Sequence[Example], count: int, seed: int) -> NDArray[np.int64]:
    """Deal rows to ``count`` folds: equal keys to one fold, every category as evenly as its keys allow.

    Returns:
        the fold of each row.
    """
    categories: dict[str, Counter[str]] = defaultdict(Counter)
    for row in rows:
        categories[row.key][row.category] += 1
    # A key with several categories goes with the most frequent one, whatever the order of the file.
    home = {key: min(found, key=lambda name: (-found[name], name)) for key, found in categories.items()}
    groups: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for place, row in enumerate(rows):
        groups[home[row.key]][row.key].append(place)
    result = np.zeros(len(rows), np.int64)
    for category in sorted(groups):
        members = sorted(groups[category].items())
        random.Random(f"{seed}/{category}").shuffle(members)  # noqa: S311 - a reproducible split, no secret
        members.sort(
            key=lambda item: -len(item[1])
        )  # stable: large groups first, so that folds come out even
        sizes = [0] * count
        offset = random.Random(f"{seed}/{category}/offset").randrange(count)  # noqa: S311
        for _, places in members:
            fold = min(range(count), key=lambda at: (sizes[at], (at - offset) % count))
            sizes[fold] += len(places)
            result[places] = fold
    return result


def held_out(rows: Sequence[Example], fold: NDArray[np.int64], seed: int, most: int) -> NDArray[np.int64]:
    """Return the rows of the first fold, by whole keys about ``most``, whatever the order of the file.

    Equal purchases are all held out or none is, and a sorted file loses no category.
    """
    places: dict[str, list[int]] = defaultdict(list)
    for place in map(int, np.flatnonzero(fold == 0)):
        places[rows[place].key].append(place)
    chosen: list[int] = []
    for key in sorted(places, key=lambda key: (zlib.crc32(f"{seed}/{key}".encode()), key)):
        if chosen and len(chosen) + len(places[key]) > most:
            break
        chosen += places[key]
    return np.asarray(sorted(chosen), np.int64)
