"""Readers of labelled texts: GoEmotions' layout, plain TSV, and the project's own corpus."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from inference_server.predictors.emotion.labels import (
    ANGER,
    DISGUST,
    FEAR,
    FRUSTRATION,
    JOY,
    LABELS,
    NEUTRAL,
    SADNESS,
    SURPRISE,
)

FORMATS: Final[tuple[str, ...]] = ("goemotions", "tsv", "corpus")

# GoEmotions' own order of labels, each with the label of ours that it counts as. The order is the format.
_GOEMOTIONS: Final[tuple[tuple[str, str], ...]] = (
    ("admiration", JOY),
    ("amusement", JOY),
    ("anger", ANGER),
    ("annoyance", FRUSTRATION),
    ("approval", JOY),
    ("caring", JOY),
    ("confusion", SURPRISE),
    ("curiosity", SURPRISE),
    ("desire", JOY),
    ("disappointment", FRUSTRATION),
    ("disapproval", FRUSTRATION),
    ("disgust", DISGUST),
    ("embarrassment", SADNESS),
    ("excitement", JOY),
    ("fear", FEAR),
    ("gratitude", JOY),
    ("grief", SADNESS),
    ("joy", JOY),
    ("love", JOY),
    ("nervousness", FEAR),
    ("optimism", JOY),
    ("pride", JOY),
    ("realization", SURPRISE),
    ("relief", JOY),
    ("remorse", SADNESS),
    ("sadness", SADNESS),
    ("surprise", SURPRISE),
    ("neutral", NEUTRAL),
)
GOEMOTIONS_LABELS: Final[tuple[str, ...]] = tuple(name for name, _ in _GOEMOTIONS)
GOEMOTIONS_MAPPING: Final[dict[str, str]] = dict(_GOEMOTIONS)


class DataError(Exception):
    """A data file that cannot be learned from; says which line, what was expected and what was seen."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One labelled text.

    Attributes:
        text: as it stands in the file.
        label: position in :data:`inference_server.predictors.emotion.labels.LABELS`.
        fine: positions in :data:`GOEMOTIONS_LABELS`, empty where the data have no finer labels.
    """

    text: str
    label: int
    fine: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Dataset:
    """Rows, and how many lines of the file were left out because their labels map to several of ours."""

    rows: tuple[Row, ...]
    left_out: int = 0


def read_dataset(path: Path, form: str) -> Dataset:
    """Read a file in ``form``.

    ``goemotions`` (text, label ids, id), ``tsv`` (text, label) or ``corpus`` (the same).

    Raises:
        DataError: the file cannot be read or has a line of another form; or no row is left.
    """
    parsers: dict[str, Callable[[list[str]], Row | None]] = {
        "goemotions": _goemotions_row,
        "tsv": _tsv_row,
        "corpus": _tsv_row,
    }
    if form not in parsers:
        message = f"The format must be one of {', '.join(FORMATS)}, but it is {form!r}."
        raise DataError(message)
    rows: list[Row] = []
    left_out = 0
    for number, fields in _lines(path):
        try:
            row = parsers[form](fields)
        except ValueError as error:
            message = f"{path}, line {number}: {error}"
            raise DataError(message) from error
        if row is None:
            left_out += 1
        else:
            rows.append(row)
    if not rows:
        message = (
            f"{path}: expected labelled texts in the {form} format, but no line has one label of the eight."
        )
        raise DataError(message)
    return Dataset(rows=tuple(rows), left_out=left_out)


def _lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    # Only "\n" ends a line: comments from the web contain other characters that Python counts as line ends.
    try:
        content = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        message = f"{path}: expected a file in UTF-8, but {error}."
        raise DataError(message) from error
    for number, line in enumerate(content.split("\n"), start=1):
        stripped = line.rstrip("\r")
        if stripped.strip():
            yield number, stripped.split("\t")


def _goemotions_row(fields: list[str]) -> Row | None:
    """Text, comma-separated label ids, id of the comment.

    ``None`` where the ids map to several of our labels.
    """
    if len(fields) < 2:
        message = f"expected text, label ids and id between tabs, but there is {len(fields)} field."
        raise ValueError(message)
    text, ids = "\t".join(fields[:-2]) if len(fields) > 3 else fields[0], fields[-2 if len(fields) > 2 else 1]
    try:
        fine = tuple(sorted({int(part) for part in ids.split(",")}))
    except ValueError as error:
        message = f"expected label ids like 3 or 3,10, but they are {ids!r}."
        raise ValueError(message) from error
    if fine[0] < 0 or fine[-1] >= len(GOEMOTIONS_LABELS):
        message = f"expected label ids 0..{len(GOEMOTIONS_LABELS) - 1}, but they are {ids!r}."
        raise ValueError(message)
    mapped = {GOEMOTIONS_MAPPING[GOEMOTIONS_LABELS[index]] for index in fine}
    if len(mapped) > 1:
        return None
    return Row(text=text, label=LABELS.index(mapped.pop()), fine=fine)


def _tsv_row(fields: list[str]) -> Row | None:
    """Return text and label; further fields are ignored."""
    if len(fields) < 2:
        message = f"expected text and label between tabs, but there is {len(fields)} field."
        raise ValueError(message)
    label = fields[1].strip().lower()
    if label not in LABELS:
        message = f"expected one of the labels {', '.join(LABELS)}, but it is {fields[1]!r}."
        raise ValueError(message)
    return Row(text=fields[0], label=LABELS.index(label))


def split_stratified(rows: Sequence[Row], share: float, seed: int) -> tuple[list[Row], list[Row]]:
    """Split off ``share`` of each label's rows, at least one of each label that has two; order is kept.

    Returns:
        the rows that stay and the rows that were split off.
    """
    rng = random.Random(seed)  # noqa: S311 - a reproducible split, no secret
    chosen: set[int] = set()
    for label in range(len(LABELS)):
        members = [index for index, row in enumerate(rows) if row.label == label]
        count = max(1, round(len(members) * share)) if len(members) > 1 else 0
        chosen.update(rng.sample(members, count))
    kept = [row for index, row in enumerate(rows) if index not in chosen]
    return kept, [row for index, row in enumerate(rows) if index in chosen]
