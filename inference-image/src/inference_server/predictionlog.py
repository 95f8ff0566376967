"""The prediction log: one JSON line a prediction, personal data masked, written by a thread of its own.

A request only puts a record into a bounded queue; when the queue is full, or the disk is, records are dropped
and counted, and serving goes on.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import queue
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Final, Protocol

from inference_server.masking import logged_text
from inference_server.predictors.base import Prediction

logger = logging.getLogger(__name__)

FILE_PATTERN: Final = "predictions_*.jsonl"
_BATCH: Final = 256
_COMPLAINT_INTERVAL: Final = 60.0


@dataclass(frozen=True, kw_only=True, slots=True)
class LogRecord:
    """One prediction as it waits for the writer; its text is still unmasked and stays in the process."""

    at: datetime
    text: str
    prediction: Prediction
    seconds: float
    model: str
    version: str
    pod: str
    request_id: str
    source: str

    def to_json(self) -> str:
        """Return the line that is written: masked, cut, without a line break."""
        prediction = self.prediction
        fields: dict[str, Any] = {
            "ts": self.at.isoformat(timespec="milliseconds"),
            "model": self.model,
            "version": self.version,
            "pod": self.pod,
            "request_id": self.request_id,
            "source": self.source,
            "text": logged_text(self.text),
            "label": prediction.label,
            "confidence": round(prediction.confidence, 4),
            "route": prediction.route,
            "latency_ms": round(self.seconds * 1000, 3),
            "low_confidence": prediction.low_confidence,
            "rule": prediction.rule,
            "fallbacks": list(prediction.fallbacks),
            "dimension_mismatches": list(prediction.dimension_mismatches),
        }
        line = json.dumps(fields, ensure_ascii=False, separators=(",", ":"))
        # Half of a surrogate pair would make the whole batch fail; this writes its escape in JSON.
        return line.encode(errors="backslashreplace").decode()


class Sink(Protocol):
    """Somewhere to write lines."""

    def write(self, lines: list[str], today: date) -> None:
        """Write whole lines. Raises OSError when it cannot; then none of them counts as written."""
        ...

    def close(self) -> None:
        """Let go of files."""
        ...


class StreamSink:
    """Standard output."""

    def write(self, lines: list[str], today: date) -> None:  # noqa: ARG002 - the protocol's
        """Write and flush."""
        sys.stdout.write("".join(line + "\n" for line in lines))
        sys.stdout.flush()

    def close(self) -> None:
        """Do nothing: standard output stays open."""


class DailyFileSink:
    """``predictions_YYYY-MM-DD.jsonl`` by UTC day; a full one is moved to ``predictions_YYYY-MM-DD.N.jsonl``.

    Args:
        directory: made if missing.
        retention_days: files of days longer ago than this are deleted.
        max_bytes: a larger file is rotated.
    """

    def __init__(self, directory: Path, *, retention_days: int, max_bytes: int) -> None:
        self._directory = directory
        self._retention = timedelta(days=retention_days)
        self._max_bytes = max_bytes
        self._descriptor: int | None = None
        self._day: date | None = None
        self._size = 0

    def write(self, lines: list[str], today: date) -> None:
        """Append; on failure the file is cut back to its last whole line."""
        data = "".join(line + "\n" for line in lines).encode()
        if self._descriptor is None or self._day != today:
            self._open(today)
        elif self._size and self._size + len(data) > self._max_bytes:
            self._rotate(today)
        assert self._descriptor is not None
        written = 0
        try:
            while written < len(data):
                written += os.write(self._descriptor, data[written:])
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(self._descriptor, self._size)
            self.close()
            raise
        self._size += len(data)

    def close(self) -> None:
        """Close the file; the next write opens it again."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _path(self, day: date) -> Path:
        return self._directory / f"predictions_{day.isoformat()}.jsonl"

    def _open(self, today: date) -> None:
        self.close()
        self._directory.mkdir(parents=True, exist_ok=True)
        self._descriptor = os.open(
            self._path(today), os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640
        )
        self._size = os.fstat(self._descriptor).st_size
        if self._day != today:
            self._day = today
            self._delete_old(today)

    def _rotate(self, today: date) -> None:
        self.close()
        taken = len(list(self._directory.glob(f"predictions_{today.isoformat()}.*.jsonl")))
        self._path(today).rename(self._directory / f"predictions_{today.isoformat()}.{taken + 1}.jsonl")
        self._open(today)

    def _delete_old(self, today: date) -> None:
        for path in self._directory.glob(FILE_PATTERN):
            try:
                day = date.fromisoformat(path.name.removeprefix("predictions_")[:10])
            except ValueError:
                continue
            if today - day > self._retention:
                path.unlink(missing_ok=True)


class PredictionLog:
    """Takes records from any thread and never blocks; one thread masks and writes them.

    Args:
        sinks: where lines go; without any, records are ignored.
        queue_size: most records that wait.
        dropped: called with the reason ("queue_full" or "write_failed") for each record that is lost.
        clock: now, in UTC.
    """

    def __init__(
        self,
        sinks: list[Sink],
        *,
        queue_size: int,
        dropped: Callable[[str], None],
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._sinks = sinks
        self._dropped = dropped
        self._clock = clock
        self._queue: queue.Queue[LogRecord | None] = queue.Queue(queue_size)
        self._complained_at: datetime | None = None
        self._thread = threading.Thread(target=self._run, name="prediction-log", daemon=True)
        if sinks:
            self._thread.start()

    @property
    def enabled(self) -> bool:
        """Whether anything is written."""
        return bool(self._sinks)

    def put(self, record: LogRecord) -> None:
        """Hand over a record, or count it as dropped."""
        if not self._sinks:
            return
        try:
            self._queue.put_nowait(record)
        except queue.Full:
            self._dropped("queue_full")

    def close(self, *, timeout: float = 5.0) -> None:
        """Write what waits, for at most ``timeout`` seconds, and end the thread."""
        if not self._thread.is_alive():
            return
        try:
            self._queue.put(None, timeout=timeout)
        except queue.Full:
            logger.warning(
                "The prediction log still had %d records to write at the end.", self._queue.qsize()
            )
            return
        self._thread.join(timeout)

    def _run(self) -> None:
        ended = False
        while not ended:
            records = [self._queue.get()]
            while len(records) < _BATCH:
                try:
                    records.append(self._queue.get_nowait())
                except queue.Empty:
                    break
            ended = None in records
            lines = [record.to_json() for record in records if record is not None]
            if lines:
                self._write(lines)
        for sink in self._sinks:
            sink.close()

    def _write(self, lines: list[str]) -> None:
        today = self._clock().date()
        for sink in self._sinks:
            try:
                sink.write(lines, today)
            except (OSError, ValueError) as error:  # ValueError: standard output was closed
                for _ in lines:
                    self._dropped("write_failed")
                self._complain(error)

    def _complain(self, error: Exception) -> None:
        """Once a minute: a full disk would otherwise fill the process's own log."""
        now = self._clock()
        if self._complained_at is None or (now - self._complained_at).total_seconds() > _COMPLAINT_INTERVAL:
            self._complained_at = now
            logger.warning(
                "Predictions could not be logged (%s); serving goes on, records are counted.", error
            )
