"""Putting a complete artefact directory where an earlier one was."""

from __future__ import annotations

import shutil
from pathlib import Path

from inference_server.artifacts import MANIFEST_FILE


def replace_directory(work: Path, out: Path) -> None:
    """Put ``work`` where ``out`` is; an earlier directory disappears only after the new one is complete."""
    if out.exists():
        if not (out / MANIFEST_FILE).is_file() and any(out.iterdir()):
            message = f"{out}: expected no directory or one with artefacts, but it holds something else."
            raise FileExistsError(message)
        old = work.with_name(work.name + "-old")
        out.rename(old)
        work.rename(out)
        shutil.rmtree(old, ignore_errors=True)
    else:
        work.rename(out)
    out.chmod(0o755)
