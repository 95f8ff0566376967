"""Artefact directories: a manifest with the SHA-256 of every file, verified before any file is opened.

Arrays are stored as ``.npz`` without pickled objects and read with ``allow_pickle=False``; so nothing of an
artefact is ever executed, whatever its author put into it.
"""

from __future__ import annotations

from pathlib import Path


class ArtifactError(Exception):
    """An artefact directory that must not be served.

    Attributes:
        file: the file that is wrong, as a path.
        expected: what should have been there.
        seen: what was there instead.
    """

    def __init__(self, file: Path, *, expected: str, seen: str, advice: str = "") -> None:
        self.file = file
        self.expected = expected
        self.seen = seen
        self.advice = advice or "Train the artefacts again or copy the whole directory again."
        super().__init__(f"{file}: expected {expected}, but {seen}. {self.advice}")
