"""Counting modes: which items of a Python file count as documentable, exactly as known tools decide it."""

from __future__ import annotations

import ast
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Final

from inference_server.predictors.docdetector import pydocstyle, python
from inference_server.predictors.docdetector.files import language_of
from inference_server.predictors.docdetector.items import Count, Item, Language
from inference_server.predictors.docdetector.modes import Mode

LARGEST: Final = 16 * 2**20
"""Bytes; larger files are not parsed: a syntax tree takes about fifty times as much memory."""


def count(path: Path, mode: Mode, *, items: bool = True) -> Count:
    """Count one file; what cannot be read or parsed gives an error and no items.

    Args:
        path: The file.
        mode: How to count.
        items: Whether to keep the items, or their numbers alone.

    Raises:
        ValueError: if the mode counts crates, not files.
    """
    if mode is Mode.RUSTDOC:
        raise ValueError("The mode rustdoc counts crates: use rustdoc.count.")
    try:
        problem = refused(path)
        if problem:
            return Count(error=problem)
        source = path.read_bytes()
    except OSError as error:
        return Count(error=error.strerror or str(error))
    if language_of(path) is Language.RUST:
        from inference_server.predictors.docdetector import rust  # noqa: PLC0415 - Python needs no parser of Rust

        counted = Count.of(rust.parse(source).items)
    else:
        counted = count_python(source, mode, path)
    return counted if items else counted.without_items()


def refused(path: Path) -> str:
    """Return why a file is not read; empty if it is. Raises OSError."""
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        return "no regular file"  # a pipe would be waited for, a device never ends
    if status.st_size > LARGEST:
        return f"{status.st_size} bytes; at most {LARGEST} are parsed"
    return ""


def count_python(source: bytes, mode: Mode, path: Path) -> Count:
    """Count Python source in one of the modes for Python."""
    try:
        return Count.of(_PYTHON[mode](source, path))
    except (SyntaxError, ValueError) as error:
        return Count(error=_reason(error))
    except (RecursionError, MemoryError):
        return Count(error="nested too deeply for the parser")


def _reason(error: SyntaxError | ValueError) -> str:
    if isinstance(error, SyntaxError):
        where = f"line {error.lineno}: " if error.lineno else ""
        return f"{where}{error.msg}"
    return str(error)


def _ast(source: bytes, path: Path) -> list[Item]:
    del path
    return [definition.item() for definition in python.definitions(python.parse(source))]


def _interrogate(source: bytes, path: Path) -> list[Item]:
    # interrogate reads every file as UTF-8, whatever its first lines declare.
    text = source.decode("utf-8")
    del path
    return [definition.item() for definition in python.definitions(python.parse(text))]


def _ruff(source: bytes, path: Path) -> list[Item]:
    text = source.decode("utf-8-sig")
    tree: ast.Module = python.parse(text)
    items = []
    for definition, _ in pydocstyle.counted(python.definitions(tree), tree, text, path):
        item = definition.item()
        item.documented = definition.has_docstring  # an empty text is another rule's matter (D419)
        items.append(item)
    return items


_PYTHON: Final[dict[Mode, Callable[[bytes, Path], list[Item]]]] = {
    Mode.AST: _ast,
    Mode.INTERROGATE: _interrogate,
    Mode.RUFF: _ruff,
}
