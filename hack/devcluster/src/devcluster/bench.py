"""How long clusters take on this machine: what `python -m devcluster bench` prints."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from devcluster.errors import CommandError
from devcluster.golang import go_command
from devcluster.progress import say

_NAME = "bench"
Row = tuple[str, list[float]]


def warm(runs: int, *, with_kind: bool) -> list[Row]:
    """Measure seconds of `up` and `down` with everything cached, `runs` times each, as a shell sees them."""
    rows = _up_and_down("control plane", ["up", "--name", _NAME], ["down", "--name", _NAME], runs)
    if with_kind:
        rows += _up_and_down("kind", ["kind-up", "--name", _NAME], ["kind-down", "--name", _NAME], runs)
    return rows


def cold(*, with_kind: bool) -> list[Row]:
    """Measure seconds of one `up` with no cache at all.

    Nothing built, no Go module downloaded, no Debian root.
    """
    with _empty_caches() as environment:
        rows = [("control plane, nothing cached", [_timed(["up", "--name", _NAME], environment)])]
        _timed(["down", "--name", _NAME], environment)
    if with_kind:
        with _empty_caches() as environment:
            arguments = ["kind-up", "--name", _NAME, "--build"]
            rows.append(("kind, nothing cached or pullable", [_timed(arguments, environment)]))
            _timed(["kind-down", "--name", _NAME], environment)
    return rows


def table(rows: list[Row]) -> str:
    """Return the rows as Markdown, with the machine's load, without which such figures mean little."""
    lines = ["| what | median s | min s | max s | runs |", "|---|---|---|---|---|"]
    for what, seconds in rows:
        figures = (statistics.median(seconds), min(seconds), max(seconds))
        lines.append(
            f"| {what} | " + " | ".join(f"{figure:.1f}" for figure in figures) + f" | {len(seconds)} |"
        )
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    return "\n".join([*lines, "", f"{os.cpu_count()} cores, load {load} (1, 5, 15 minutes) at the end"])


def _up_and_down(what: str, up: list[str], down: list[str], runs: int) -> list[Row]:
    _timed(up)  # fills the caches; not counted
    _timed(down)
    pairs = [(_timed(up), _timed(down)) for _ in range(runs)]
    return [(f"{what} up, cached", [p[0] for p in pairs]), (f"{what} down", [p[1] for p in pairs])]


def _timed(arguments: list[str], environment: dict[str, str] | None = None) -> float:
    began = time.monotonic()
    command = [sys.executable, "-m", "devcluster", *arguments]
    done = subprocess.run(
        command, env={**os.environ, **(environment or {})}, stdout=subprocess.DEVNULL, check=False
    )
    seconds = time.monotonic() - began
    if done.returncode:
        raise CommandError(
            f"`{' '.join(command)}` ended with code {done.returncode}", returncode=done.returncode
        )
    say(f"{' '.join(arguments)}: {seconds:.1f} s")
    return seconds


@contextmanager
def _empty_caches() -> Iterator[dict[str, str]]:
    with tempfile.TemporaryDirectory(prefix="devcluster-bench-") as name:
        directory = Path(name)
        variables = {"MODELROLLOUT_CACHE": "cache", "GOCACHE": "go-build", "GOMODCACHE": "go-mod"}
        environment = {variable: str(directory / path) for variable, path in variables.items()}
        try:
            yield environment
        finally:
            # Go writes its modules read-only; only go itself removes them without ado.
            clean = [go_command()[0], "clean", "-modcache"]
            subprocess.run(clean, env={**os.environ, **environment}, check=False)
