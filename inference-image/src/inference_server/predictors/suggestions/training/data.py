"""Labelled transactions from CSV or TSV files as banks and spreadsheets write them."""

from __future__ import annotations

import csv
import io
import random
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from inference_server.predictors.suggestions.normalise import clean
from inference_server.predictors.suggestions.transactions import Transaction, parse_amount, parse_date

COLUMNS: Final = ("description", "merchant", "amount", "currency", "date", "category")
MAX_ROWS: Final = 200_000
_LONGEST_FIELD: Final = 2_000
_LONGEST_LINE: Final = 100_000


class TableError(Exception):
    """A file that nothing can be learned from; the text says why."""


@dataclass(frozen=True, slots=True)
class Example:
    """One labelled transaction.

    Attributes:
        transaction: without user and id.
        category: its label.
        key: rows with one key are the same purchase to a model; they never go to different splits.
    """

    transaction: Transaction
    category: str
    key: str


@dataclass
class Report:
    """What was read, for people."""

    rows: int = 0
    used: int = 0
    left_out: Counter[str] = field(default_factory=Counter)


def read_rows(
    path: Path, *, columns: Mapping[str, str] | None = None, max_rows: int = MAX_ROWS, seed: int = 42
) -> tuple[list[Example], Report]:
    """Read a file with a header; rows that cannot be used are counted, not fatal.

    Args:
        path: CSV, or TSV, in UTF-8 or Windows-1252; comma, semicolon or tab between the fields.
        columns: the file's own name of each of :data:`COLUMNS` that it calls otherwise.
        max_rows: a larger file is sampled to as many, each row with the same chance.
        seed: of the sample.

    Raises:
        TableError: the file is empty, or has no column of descriptions or categories.
    """
    report = Report()
    rng = random.Random(seed)  # noqa: S311 - a reproducible sample, no secret
    rows: list[Example] = []
    usable = 0
    for fields in _records(path, columns or {}, report):
        row = row_of(fields)
        if row is None:
            report.left_out[
                "no description" if not fields.get("description", "").strip() else "no category"
            ] += 1
            continue
        usable += 1
        if len(rows) < max_rows:
            rows.append(row)
        else:
            place = rng.randrange(usable)
            if place < max_rows:
                rows[place] = row
    report.used = len(rows)
    if usable > len(rows):
        report.left_out["sampled out"] = usable - len(rows)
    if not rows:
        raise TableError(f"{path}: expected rows with a description and a category, but there are none.")
    return rows, report


def _records(path: Path, columns: Mapping[str, str], report: Report) -> Iterator[dict[str, str]]:
    with path.open("rb") as stream:
        head = stream.read(65_536)
    if not head.strip(b"\x00 \r\n\t\xef\xbb\xbf"):
        raise TableError(f"{path}: expected a header and rows, but the file is empty.")
    encoding = _encoding(path)
    with path.open(encoding=encoding, errors="replace", newline="") as text:
        lines = _lines(text, report)
        header = next(lines, "")
        delimiter = max(",;\t", key=header.count)
        names = [name.strip().lower() for name in next(csv.reader([header], delimiter=delimiter), [])]
        wanted = {name: columns.get(name, name).strip().lower() for name in COLUMNS}
        missing = [wanted[name] for name in ("description", "category") if wanted[name] not in names]
        if missing:
            raise TableError(
                f"{path}: expected the columns {', '.join(missing)}, but there are {', '.join(names)[:200]}. "
                "Name them with --column description=NAME."
            )
        places = {name: names.index(column) for name, column in wanted.items() if column in names}
        reader = csv.reader(lines, delimiter=delimiter)
        try:
            for fields in reader:
                if fields:
                    report.rows += 1
                    yield {name: fields[place] for name, place in places.items() if place < len(fields)}
        except csv.Error as error:
            where = f"{path}, line {reader.line_num + 1}"
            raise TableError(
                f"{where}: expected rows of a table, but {error}. Is a quotation mark open?"
            ) from error


def _encoding(path: Path) -> str:
    """UTF-8, unless the file cannot be; read in pieces."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as text:
            while text.read(1 << 20):
                pass
    except UnicodeDecodeError:
        return "cp1252"
    return "utf-8-sig"


def _lines(text: io.TextIOBase, report: Report) -> Iterator[str]:
    """Yield lines without NUL bytes; one that is too long to be a row is left out."""
    while line := text.readline(_LONGEST_LINE):
        if len(line) == _LONGEST_LINE and not line.endswith(("\n", "\r")):
            while (rest := text.readline(_LONGEST_LINE)) and not rest.endswith(("\n", "\r")):
                pass
            report.rows += 1
            report.left_out["line too long"] += 1
            continue
        yield line.replace("\x00", "")


def row_of(fields: Mapping[str, str]) -> Example | None:
    """Return the row of fields by name; ``None`` without a description or a category."""
    description = fields.get("description", "").strip()[:_LONGEST_FIELD]
    category = fields.get("category", "").strip()[:100]
    if not description or not category:
        return None
    transaction = Transaction(
        description=description,
        merchant=fields.get("merchant", "").strip()[:_LONGEST_FIELD],
        amount=parse_amount(fields.get("amount", "")),
        currency=fields.get("currency", "").strip()[:3].upper(),
        day=parse_date(fields.get("date", "")),
    )
    return Example(transaction, category, f"{clean(description)}|{clean(transaction.merchant)}")
