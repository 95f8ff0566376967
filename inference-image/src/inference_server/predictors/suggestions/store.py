"""Feedback and disagreements, kept for people and for training: in SQLite, bounded.

Texts are masked before they are stored. Without a file (``SUGGEST_STORE``) everything is in memory and ends
with the process.
"""

from __future__ import annotations

import csv
import io
import json
import sqlite3
import threading
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

from inference_server.masking import logged_text

MAX_ROWS: Final = 50_000
_CHARACTERS: Final = 200
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
COLUMNS: Final = {
    "feedback": ("at", "item", "label", "source", "verdict", "right_label", "text"),
    "disagreements": (
        "at",
        "item",
        "text",
        "rule_label",
        "rule",
        "model_label",
        "model_confidence",
        "model_id",
    ),
}


class Store:
    """Safe to use from several threads.

    Args:
        path: of the database; ``:memory:`` for none.
        max_rows: of each table; the oldest go first.

    Raises:
        ValueError: the database cannot be opened.
    """

    def __init__(self, path: str = ":memory:", *, max_rows: int = MAX_ROWS) -> None:
        self._max_rows = max_rows
        self._lock = threading.Lock()
        try:
            self._database = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
            self._database.execute("PRAGMA journal_mode=WAL")
            for table, columns in COLUMNS.items():
                self._database.execute(f"CREATE TABLE IF NOT EXISTS {table} ({', '.join(columns)})")
        except sqlite3.Error as error:
            raise ValueError(
                f"SUGGEST_STORE: expected a database that can be written, but {path} cannot: {error}."
            ) from error

    def add(self, table: str, rows: Sequence[tuple[Any, ...]]) -> None:
        """Keep all rows or none; each begins with its item, the time is added here.

        Raises:
            sqlite3.Error: they cannot be written.
            UnicodeError: a text holds half of a surrogate pair.
        """
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        marks = ", ".join("?" * len(COLUMNS[table]))
        with self._lock:
            try:
                self._database.execute("BEGIN")
                statement = f"INSERT INTO {table} VALUES ({marks})"  # noqa: S608 - names of our own
                self._database.executemany(statement, [(now, *row) for row in rows])
                self._database.execute(
                    f"DELETE FROM {table} WHERE rowid <= (SELECT max(rowid) FROM {table}) - ?",  # noqa: S608
                    (self._max_rows,),
                )
                self._database.execute("COMMIT")
            except BaseException:
                # Whatever it was: a transaction that stays open would make every later call fail.
                if self._database.in_transaction:
                    self._database.execute("ROLLBACK")
                raise

    def newest(self, table: str, limit: int) -> list[dict[str, Any]]:
        """At most ``limit`` rows, the newest first."""
        with self._lock:
            rows = self._database.execute(
                f"SELECT * FROM {table} ORDER BY rowid DESC LIMIT ?",  # noqa: S608
                (limit,),
            ).fetchall()
        return [dict(zip(COLUMNS[table], row, strict=True)) for row in rows]

    def close(self) -> None:
        """Close the database."""
        with self._lock:
            self._database.close()


def masked(text: str) -> str:
    """Return a text as it may be kept."""
    return logged_text(text, limit=_CHARACTERS)


def as_lines(rows: Sequence[dict[str, Any]]) -> str:
    """JSON Lines."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def as_csv(rows: Sequence[dict[str, Any]], table: str) -> str:
    """Return a file with a header; what a spreadsheet would run as a formula is quoted."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(COLUMNS[table])
    for row in rows:
        values = [str(value) for value in row.values()]
        writer.writerow([f"'{value}" if value.startswith(_FORMULA) else value for value in values])
    return text.getvalue()
