"""Text of others made harmless for a terminal: logs of Jobs, messages of webhooks, names, answers.

A terminal obeys control characters: they move the cursor, rewrite what is above, set the clipboard or the
title, and some terminals type answers. Direction marks show a text in another order than it has.
"""

from __future__ import annotations

import re
from typing import Final

_COLOURS: Final = re.compile(r"(?:\x1b\[|\x9b)[0-9;:]*m")
"""Sequences that only set colours. They are left out: in logs they are common, and say nothing."""
_PICTURES: Final = 0x2400
"""The block of pictures of the characters below 0x20: ␀ ... ␛ ... ␟."""
_DIRECTIONS: Final = (
    *range(0x200E, 0x2010),
    *range(0x2028, 0x202F),
    *range(0x2066, 0x206A),
    0x061C,
)
"""Marks and overrides of direction, and the separators of lines and paragraphs."""
_SHOWN: Final = {
    **{code: chr(_PICTURES + code) for code in range(0x20)},
    0x7F: "␡",
    **{code: f"<{code:02X}>" for code in range(0x80, 0xA0)},
    **{code: f"<{code:04X}>" for code in _DIRECTIONS},
}
_KEPT: Final = {ord("\n"): "\n", ord("\t"): "\t"}
_ESCAPED: Final = {code: f"\\u{code:04x}" for code in (*range(0x7F, 0xA0), *_DIRECTIONS)}
_BLOCK: Final = {**_SHOWN, **_KEPT}


def printable(text: str, *, lines: bool = True) -> str:
    """Return the text with control characters as visible signs and without colours.

    `lines`: Line ends and tabs stay; without, they are shown as signs, too, so that one line stays one.
    """
    if text.isascii() and text.isprintable():
        return text
    return _COLOURS.sub("", text.replace("\r\n", "\n")).translate(_BLOCK if lines else _SHOWN)


def printable_json(text: str) -> str:
    """JSON that says the same and holds no character that a terminal obeys: they are escaped.

    `text` is what `json.dumps` made, so that such characters are inside of strings alone.
    """
    return text if text.isascii() else text.translate(_ESCAPED)


def needs_escapes(text: str) -> bool:
    """Tell whether a terminal would obey something in the text that YAML leaves as it is."""
    return text.translate(_ESCAPED) != text
