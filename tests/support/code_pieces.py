"""Pieces of source files cut at random lines, with the truth from the whole file's parse.

``python -m tests.support.code_pieces LANGUAGE DIRECTORY...`` prints how often each sign means documentation:
what ``predictors/docdetector/pieces.py`` has as SHARES.
"""

from __future__ import annotations

import random
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from inference_server.predictors.docdetector import python, rust
from inference_server.predictors.docdetector.items import Language
from inference_server.predictors.docdetector.pieces import look

SUFFIX = {Language.PYTHON: "*.py", Language.RUST: "*.rs"}


def documentation(source: str, language: Language) -> list[tuple[int, int]]:
    """First and last line of each piece of documentation in a whole file.

    Raises:
        SyntaxError: if it is no Python.
        ValueError: if it is no Rust.
    """
    if language is Language.PYTHON:
        found = python.definitions(python.parse(source))
        return [(one.body[0].lineno, one.body[0].end_lineno or 0) for one in found if one.documented]
    parsed = rust.parse(source.encode())
    if parsed.broken:
        raise ValueError("broken")
    return parsed.spans


def pieces(
    directory: Path, language: Language, seed: int, *, files: int = 10**9, each: int = 8
) -> Iterator[tuple[str, bool]]:
    """Pieces of 3 to 60 lines from some files, and whether each contains a line of documentation."""
    draw = random.Random(seed)
    paths = sorted(directory.rglob(SUFFIX[language]))
    draw.shuffle(paths)
    for path in paths[:files]:
        try:
            source = path.read_text("utf-8")
            spans = documentation(source, language)
        except (SyntaxError, ValueError):
            continue
        lines = source.splitlines(keepends=True)
        for _ in range(each if len(lines) > 9 else 0):
            first = draw.randrange(len(lines))
            last = min(len(lines), first + draw.randint(3, 60))
            truth = any(begin <= last and end > first for begin, end in spans)
            yield "".join(lines[first:last]), truth


def main() -> None:
    """Print the shares."""
    language = Language(sys.argv[1])
    counts: dict[tuple[str, bool], list[int]] = defaultdict(lambda: [0, 0])
    for directory in sys.argv[2:]:
        for code, truth in pieces(Path(directory), language, 1):
            seen = look(code, language)
            counts[seen.sign.name, seen.is_strong][truth] += 1
    for (sign, strong), (no, yes) in sorted(counts.items()):
        # One of each is added, so that no share is 0 or 1 for want of cases.
        share = (yes + 1) / (yes + no + 2)
        print(f"    (Language.{language.name}, Sign.{sign}, {strong}): {share:.4f},  # {yes + no}")


if __name__ == "__main__":
    main()
