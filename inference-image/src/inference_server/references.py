"""Names of things that are imported only when they are needed."""

from __future__ import annotations

from importlib import import_module
from typing import Any

Reference = str
"""``package.module:attribute``, imported only when it is needed."""


def resolve(reference: Reference) -> Any:
    """Import what a reference names."""
    module, _, attribute = reference.partition(":")
    return getattr(import_module(module), attribute)
