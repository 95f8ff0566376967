"""The names of the counting modes."""

from __future__ import annotations

from enum import StrEnum


class Mode(StrEnum):
    """Named ways of counting.

    ``ast``: every definition of a syntax tree; empty texts are no documentation. ``interrogate``: as
    interrogate 1.7 with its defaults. ``ruff``: what ruff's rules D100 to D107 look at, so that each
    undocumented item is one violation. ``rustdoc``: as ``rustdoc --show-coverage``.
    """

    AST = "ast"
    INTERROGATE = "interrogate"
    RUFF = "ruff"
    RUSTDOC = "rustdoc"
