"""Which regular expressions of a file of rules may take a time that grows exponentially with the text."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import Any, Final

# The parser that re.compile uses; it has no public name.
_PARSER: Final[Any] = import_module("re._parser")
_REPEATS: Final = frozenset({"MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"})


def nested_repeat(pattern: str) -> bool:
    """Tell whether an unbounded repeat is inside another repeat, as in ``(\\w+\\s?)+ltd$``.

    A text that nearly matches can be split over the two in exponentially many ways.

    Raises:
        re.error, OverflowError, RecursionError: it is no regular expression, or too deep a one.
    """
    return _nested(_PARSER.parse(pattern), repeated=False)


def _nested(node: Any, *, repeated: bool) -> bool:
    for operation, argument in _operations(node):
        inside = repeated
        if str(operation) in _REPEATS:
            _, most, _ = argument
            if repeated and most is _PARSER.MAXREPEAT:
                return True
            inside = repeated or most > 1
        if any(_nested(part, repeated=inside) for part in _parts(argument)):
            return True
    return False


def _operations(node: Any) -> Iterator[tuple[Any, Any]]:
    for item in node:
        if isinstance(item, tuple) and len(item) == 2:
            yield item


def _parts(argument: Any) -> Iterator[Any]:
    """Yield every pattern inside the argument of an operation, whatever form the operation gives it."""
    if isinstance(argument, _PARSER.SubPattern):
        yield argument
    elif isinstance(argument, tuple | list):
        for item in argument:
            yield from _parts(item)
