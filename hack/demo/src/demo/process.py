"""Run other programs."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from demo.errors import CommandError

SHOWN: Final = 2000
"""Characters of a failed program's output that go into the message."""


def run(
    command: Sequence[str | Path],
    *,
    timeout: float,
    stdin: str | bytes | None = None,
    env: Mapping[str, str] | None = None,
) -> str:
    """Run a program to its end and return its standard output.

    Args:
        command: The program and its arguments.
        timeout: The longest time, in seconds.
        stdin: What the program reads; nothing by default.
        env: Variables beside those of this process.

    Raises:
        CommandError: There is no such program, it ended with another code than 0, or not in time.
    """
    words = [str(word) for word in command]
    try:
        done = subprocess.run(
            words,
            input=stdin.encode() if isinstance(stdin, str) else stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            timeout=timeout,
            check=False,
            env={**os.environ, **(env or {})},
        )
    except OSError as error:
        raise CommandError(f"`{words[0]}` cannot be run: {error.strerror}") from error
    except subprocess.TimeoutExpired as error:
        said = (error.stderr or b"").decode(errors="replace").strip()[-SHOWN:]
        raise CommandError(
            f"`{_short(words)}` did not end within {timeout:.0f} s: {said or 'it printed nothing'}"
        ) from error
    out, err = done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")
    if done.returncode:
        said = "\n".join(text.strip()[-SHOWN:] for text in (out, err) if text.strip())
        raise CommandError(
            f"`{_short(words)}` ended with code {done.returncode}: {said or 'it printed nothing'}"
        )
    return out


def _short(words: Sequence[str]) -> str:
    text = " ".join(words)
    return text if len(text) <= 120 else text[:117] + "..."
