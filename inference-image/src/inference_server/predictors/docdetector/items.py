"""What detection finds: definitions in source code, and whether each is documented."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


class Language(StrEnum):
    """Languages with a parser here; everything else is judged by patterns alone."""

    PYTHON = "python"
    RUST = "rust"
    OTHER = "other"


class Method(StrEnum):
    """How an answer was found, from the most to the least certain."""

    PARSER = "parser"
    TOLERANT = "tolerant"
    PATTERNS = "patterns"


@dataclass(slots=True)
class Item:
    """One thing that can be documented.

    Attributes:
        name: Its name, qualified by what it is nested in (``Class.method``, ``module::function``).
        kind: What it is: ``module``, ``class``, ``function``, ``struct`` and so on.
        line: Its first line, counted from 1.
        end_line: Its last line, included.
        documented: Whether it has documentation that is not empty.
    """

    name: str
    kind: str
    line: int
    end_line: int
    documented: bool


@dataclass(slots=True)
class Count:
    """How many items one counting mode sees in a file, and why it sees none.

    Attributes:
        documented: How many of them are documented.
        total: How many there are.
        items: The items themselves, where they are kept.
        error: Why the file could not be read or parsed; such a file counts as nothing.
    """

    documented: int = 0
    total: int = 0
    items: list[Item] = field(default_factory=list)
    error: str = ""

    @classmethod
    def of(cls, items: list[Item]) -> Count:
        """Count some items and keep them."""
        return cls(sum(1 for item in items if item.documented), len(items), items)

    def without_items(self) -> Count:
        """Return the numbers alone: items of a large tree take much memory."""
        return Count(self.documented, self.total, [], self.error)
