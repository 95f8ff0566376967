"""Verdicts on code that may be cut at any line: what is seen, and how often that means documentation."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

from inference_server.predictors.docdetector import python, python_text, rust
from inference_server.predictors.docdetector.items import Item, Language, Method
from inference_server.predictors.docdetector.python_text import Sign, is_prose

_STRONG: Final = 0.5
_BLOCK_EDGE: Final = re.compile(r"/\*|\*/")
_PATTERNS: Final = re.compile(
    r"^[ \t]*(?://[/!](?!/)|/\*[*!](?![*/])|#'|--- |\"\"\"[^\"\n]*\S)"
    r"|:\s*\n\s*[rRuU]?(?:\"\"\"|''')|^=begin\b",
    re.MULTILINE,
)


@dataclass(frozen=True, slots=True)
class Seen:
    """What is seen in a piece.

    Attributes:
        sign: What speaks for or against documentation.
        is_strong: Whether one reading is clearly better than the other.
        method: How it was seen.
        items: Items, where a parser took the piece.
    """

    sign: Sign
    is_strong: bool
    method: Method
    items: tuple[Item, ...] = field(default=())


SHARES: Final[dict[tuple[Language, Sign, bool], float]] = {
    (Language.PYTHON, Sign.DATA, False): 0.0690,  # 27
    (Language.PYTHON, Sign.DATA, True): 0.0042,  # 950
    (Language.PYTHON, Sign.DOCSTRING, False): 0.9286,  # 12
    (Language.PYTHON, Sign.DOCSTRING, True): 0.9994,  # 5057
    (Language.PYTHON, Sign.DULL_TAIL, False): 0.2857,  # 26
    (Language.PYTHON, Sign.DULL_TAIL, True): 0.2319,  # 136
    (Language.PYTHON, Sign.FIRST, False): 0.5714,  # 5
    (Language.PYTHON, Sign.FIRST, True): 0.9710,  # 239
    (Language.PYTHON, Sign.NONE, False): 0.2752,  # 107
    (Language.PYTHON, Sign.NONE, True): 0.0035,  # 13812
    (Language.PYTHON, Sign.PARSED_WITH, False): 0.9831,  # 116
    (Language.PYTHON, Sign.PARSED_WITH, True): 0.9990,  # 982
    (Language.PYTHON, Sign.PARSED_WITHOUT, True): 0.0008,  # 2610
    (Language.PYTHON, Sign.PROSE, False): 0.7015,  # 65
    (Language.PYTHON, Sign.PROSE, True): 0.9116,  # 213
    (Language.PYTHON, Sign.SIGNATURE, True): 0.9861,  # 70
    (Language.PYTHON, Sign.TAIL, False): 0.8000,  # 38
    (Language.PYTHON, Sign.TAIL, True): 0.9450,  # 1143
    (Language.RUST, Sign.DOCSTRING, True): 0.9855,  # 827
    (Language.RUST, Sign.NONE, True): 0.0027,  # 1848
    (Language.RUST, Sign.PARSED_WITH, True): 0.9839,  # 807
    (Language.RUST, Sign.PARSED_WITHOUT, True): 0.0194,  # 462
    (Language.RUST, Sign.PROSE, True): 0.1176,  # 15
    (Language.RUST, Sign.TAIL, True): 0.6667,  # 1
    # Nothing is known of these: there is no parser to measure against.
    (Language.OTHER, Sign.DOCSTRING, True): 0.5,
    (Language.OTHER, Sign.NONE, True): 0.5,
}
"""Shares with documentation, and of how many pieces; ``python -m tests.support.code_pieces`` measures.

Python: the standard library, once more without its tests, and pip. Rust: tokio, serde, syn, regex-syntax and
bytes.
"""


def share(language: Language, seen: Seen) -> float:
    """Return the share of pieces with this sign that contain documentation, as measured."""
    found = SHARES.get((language, seen.sign, seen.is_strong))
    return found if found is not None else SHARES[language, seen.sign, not seen.is_strong]


def has_patterns(code: str) -> bool:
    """Tell whether something looks like a documentation comment of any usual language."""
    return _PATTERNS.search(code) is not None


def look(code: str, language: Language) -> Seen:
    """See what is in a piece of code; any text gives an answer."""
    if language is Language.PYTHON:
        return _python(code)
    if language is Language.RUST:
        return _rust(code)
    return Seen(Sign.DOCSTRING if has_patterns(code) else Sign.NONE, True, Method.PATTERNS)


def _python(code: str) -> Seen:
    try:
        found = python.definitions(python.parse(code))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        reading, margin = python_text.read(code)
        return Seen(reading.sign, margin > _STRONG, Method.TOLERANT)
    items = tuple(definition.item() for definition in found)
    sign = Sign.PARSED_WITH if any(item.documented for item in items) else Sign.PARSED_WITHOUT
    # A text that begins a module may have been cut from the middle of one.
    only_module = found[0].documented and not any(item.documented for item in items[1:])
    return Seen(sign, not only_module, Method.PARSER, items)


def _rust(code: str) -> Seen:
    found = rust.parse(code.encode("utf-8", "surrogatepass"))
    items = tuple(found.items)
    if not found.broken:
        sign = Sign.PARSED_WITH if found.spans else Sign.PARSED_WITHOUT
        return Seen(sign, True, Method.PARSER, items)
    if found.spans:
        return Seen(Sign.DOCSTRING, True, Method.TOLERANT, items)
    edge = _BLOCK_EDGE.search(code)
    if edge is not None and edge.group() == "*/":
        return Seen(Sign.TAIL, is_prose(code[: edge.start()]), Method.TOLERANT)
    if not set(code) & set(";{}/") and is_prose(code):
        return Seen(Sign.PROSE, True, Method.TOLERANT)
    return Seen(Sign.NONE, True, Method.TOLERANT, items)
