"""Splits that keep equal purchases together: a duplicate in both parts would flatter the model."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from inference_server.predictors.suggestions.training.data import Example


def folds(rows: Sequence[Example], count: int, seed: int) -> NDArray[np.int64]:
    """Deal rows to ``count`` folds: equal keys to one fold, every category as evenly as its keys allow.

    Returns:
        the fold of each row.
    """
    groups: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    first: dict[str, str] = {}
    for place, row in enumerate(rows):
        # A key with several categories goes with the first one: its rows stay together.
        groups[first.setdefault(row.key, row.category)][row.key].append(place)
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
