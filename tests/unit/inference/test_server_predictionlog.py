"""The prediction log: form, masking, rotation, retention, and what happens when the disk is full."""

from __future__ import annotations

import json
import os
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from inference_server.predictionlog import DailyFileSink, LogRecord, PredictionLog
from inference_server.predictors.base import Prediction

TODAY = date(2026, 3, 5)


def record(text: str = "hello") -> LogRecord:
    prediction = Prediction(
        label="joy", confidence=0.91234567, route="linear_head", scores={"joy": 0.91234567}
    )
    return LogRecord(
        at=datetime(2026, 3, 5, 12, tzinfo=UTC), text=text, prediction=prediction, seconds=0.0123,
        model="emotion", version="1", pod="p", request_id="r", source="client",
    )  # fmt: skip


def sink(directory: Path, **options: int) -> DailyFileSink:
    return DailyFileSink(directory, **{"retention_days": 2, "max_bytes": 1 << 20, **options})


def log(directory: Path, counts: Counter[str], **options: int) -> PredictionLog:
    return PredictionLog(
        [sink(directory)],
        queue_size=options.get("queue_size", 1000),
        dropped=lambda reason: counts.update([reason]),
        clock=lambda: datetime(2026, 3, 5, 12, tzinfo=UTC),
    )


def test_a_line_has_every_field_and_no_personal_data(tmp_path: Path) -> None:
    counts: Counter[str] = Counter()
    writer = log(tmp_path, counts)
    writer.put(record("Mme Dupont, 06 12 34 56 78, dupont@exemple.fr,\nne répond plus du tout depuis lundi"))
    writer.close()
    (line,) = (tmp_path / "predictions_2026-03-05.jsonl").read_text().splitlines()
    fields = json.loads(line)
    assert fields["text"] == "Mme [NAME], [PHONE], [EMAIL], ne répond plus du to"
    assert len(fields["text"]) == 50
    assert fields["label"] == "joy"
    assert fields["latency_ms"] == 12.3
    assert {
        "ts",
        "model",
        "version",
        "pod",
        "route",
        "confidence",
        "low_confidence",
        "rule",
        "fallbacks",
    } <= set(fields)
    assert not counts


def test_half_of_a_surrogate_pair_costs_no_record(tmp_path: Path) -> None:
    counts: Counter[str] = Counter()
    writer = log(tmp_path, counts)
    for text in ("before", "TESCO \ud83d", "after"):
        writer.put(record(text))
    writer.close()
    lines = (tmp_path / "predictions_2026-03-05.jsonl").read_text().splitlines()
    assert [json.loads(line)["text"] for line in lines] == ["before", "TESCO \ud83d", "after"]
    assert not counts


def test_files_are_daily_and_old_ones_go(tmp_path: Path) -> None:
    for day in ("2026-03-01", "2026-03-02", "2026-03-03", "2026-03-04"):
        (tmp_path / f"predictions_{day}.jsonl").write_text("{}\n")
    (tmp_path / "predictions_notes.jsonl").write_text("keep me")
    files = sink(tmp_path)
    files.write(["a"], date(2026, 3, 4))
    files.write(["b"], TODAY)
    files.close()
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == [f"predictions_2026-03-0{day}.jsonl" for day in (3, 4, 5)] + ["predictions_notes.jsonl"]
    assert (tmp_path / "predictions_2026-03-04.jsonl").read_text() == "{}\na\n"


def test_a_large_file_is_rotated_and_nothing_is_lost(tmp_path: Path) -> None:
    files = sink(tmp_path, max_bytes=30)
    for number in range(6):
        files.write([f"line {number:08d}"], TODAY)
    files.close()
    parts = sorted(tmp_path.iterdir())
    assert len(parts) == 3
    assert all(path.stat().st_size <= 30 for path in parts)
    lines = [line for path in parts for line in path.read_text().splitlines()]
    assert sorted(lines) == [f"line {number:08d}" for number in range(6)]


def test_a_full_queue_drops_and_counts_but_never_waits(tmp_path: Path) -> None:
    gate = threading.Event()

    class Stuck:
        def write(self, lines: list[str], today: date) -> None:
            gate.wait(10)

        def close(self) -> None:
            pass

    counts: Counter[str] = Counter()
    writer = PredictionLog([Stuck()], queue_size=5, dropped=lambda reason: counts.update([reason]))
    started = time.monotonic()
    for _ in range(500):
        writer.put(record())
    assert time.monotonic() - started < 1.0
    assert counts["queue_full"] >= 200
    gate.set()
    writer.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB."""
    if os.geteuid() != 0:
        pytest.skip("mounting a tmpfs needs root")
    mount = tmp_path / "disk"
    mount.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(mount)], capture_output=True, check=False
    )
    if done.returncode:
        pytest.skip(f"cannot mount a tmpfs here: {done.stderr.decode().strip()}")
    yield mount
    subprocess.run(["umount", str(mount)], check=True)


def test_a_full_disk_is_counted_and_writing_goes_on_when_there_is_room(small_disk: Path) -> None:
    filler = small_disk / "filler"
    filler.write_bytes(b"x" * (56 << 10))
    counts: Counter[str] = Counter()
    writer = log(small_disk, counts)
    for _ in range(100):
        writer.put(record("a text of some length, so that the disk is full soon"))
        time.sleep(0.001)
    deadline = time.monotonic() + 5
    while not counts["write_failed"] and time.monotonic() < deadline:
        time.sleep(0.01)
    assert counts["write_failed"] > 0
    filler.unlink()
    writer.put(record("room again"))
    writer.close()
    lines = (small_disk / "predictions_2026-03-05.jsonl").read_text().splitlines()
    texts = [json.loads(line)["text"] for line in lines]  # every line is whole, also those before the failure
    assert texts[-1] == "room again"
    assert len(texts) + counts["write_failed"] == 101


def test_a_device_that_is_always_full_is_no_failure_of_the_process(tmp_path: Path) -> None:
    (tmp_path / "predictions_2026-03-05.jsonl").symlink_to("/dev/full")
    counts: Counter[str] = Counter()
    writer = log(tmp_path, counts)
    for _ in range(10):
        writer.put(record())
    writer.close()
    assert counts["write_failed"] == 10


def test_a_directory_that_cannot_be_made_is_counted(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    counts: Counter[str] = Counter()
    writer = log(tmp_path / "file" / "logs", counts)
    writer.put(record())
    writer.close()
    assert counts["write_failed"] == 1
