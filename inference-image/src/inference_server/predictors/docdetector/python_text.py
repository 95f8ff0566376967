"""Docstrings in pieces of Python that no parser takes: cut at any line, or of another version of Python.

A piece may begin inside a text. Both readings are tried, and the one whose code looks less like prose is
taken: in prose words follow words, in code they hardly do.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from keyword import kwlist, softkwlist
from typing import Final

_TOKEN: Final = re.compile(
    r"""
    (?P<space>[ \t\f\r]+|\\\r?\n)
  | (?P<comment>\#[^\n]*)
  | (?P<newline>\n)
  | (?P<prefix>[rRuUbBfFtT]{0,2})(?P<quote>\"\"\"|'''|"|')
  | (?P<word>\w+)
  | (?P<open>[(\[{])
  | (?P<close>[)\]}])
  | (?P<other>.)
    """,
    re.VERBOSE,
)
_ENDS: Final = {
    '"""': re.compile(r'(?:[^\\"]|\\.|"(?!""))*"""', re.DOTALL),
    "'''": re.compile(r"(?:[^\\']|\\.|'(?!''))*'''", re.DOTALL),
    '"': re.compile(r'(?:[^\\"\n]|\\.)*"', re.DOTALL),
    "'": re.compile(r"(?:[^\\'\n]|\\.)*'", re.DOTALL),
}
_TRIPLE: Final = re.compile(r"\"\"\"|'''")
_SYMBOL: Final = re.compile(r"[<>|=\[\]{}*%$;\\]")
_WORD: Final = re.compile(r"[^\W\d]\w*")
# Each run of letters and digits is tried once: a long one without an end would take quadratic time.
_PAIR: Final = re.compile(r"\b\d*+[^\W\d]\w*+(?=[,.;:]?\s+[^\W\d])")
_HEADER: Final = re.compile(r"\s*(?:async\s+def|def|class)\b")
_KEYWORDS: Final = frozenset(kwlist) | frozenset(softkwlist) | {"print", "exec"}


class Sign(StrEnum):
    """What speaks for or against documentation in a piece, the strongest first."""

    PARSED_WITH = "parsed-with"
    """A parser takes the piece and finds documentation."""
    PARSED_WITHOUT = "parsed-without"
    """A parser takes the piece and finds none."""

    DOCSTRING = "docstring"
    """A text follows the line of a function or class."""
    SIGNATURE = "signature"
    """A text follows what can be the end of such a line."""
    FIRST = "first"
    """The piece begins with a text."""
    TAIL = "tail"
    """The piece begins inside a text, prose that ends with its line."""
    PROSE = "prose"
    """The piece is nothing but prose."""
    DULL_TAIL = "dull-tail"
    """The same, but the text is no prose."""
    DATA = "data"
    """The piece begins with or inside a text that is a value: an argument, an element of a table."""
    NONE = "none"
    """Code without any of these."""


@dataclass(slots=True)
class _Line:
    """A logical line: what stands between two line ends outside brackets and texts."""

    text: str = ""
    only_text: bool = True
    has_text: bool = False
    says: bool = False
    triple: bool = False
    unmatched: int = 0
    colon: bool = False
    late_text: bool = False


@dataclass(slots=True)
class Reading:
    """One way to read a piece.

    Attributes:
        sign: The strongest sign.
        words: How many words its code has.
        adjoining: How many of them follow another word directly, neither being a keyword.
        errors: Quotes and brackets without a partner.
    """

    sign: Sign
    words: int
    adjoining: int
    errors: int

    @property
    def oddity(self) -> float:
        """How little the code looks like code."""
        return (self.adjoining + 2 * self.errors + 0.1) / (self.words + 5)


def read(text: str) -> tuple[Reading, float]:
    """Return the better reading of a piece, and how much better it is (0 to 1)."""
    outside = _Scan(text, 0).reading(None)
    inside: list[Reading] = []
    first = _TRIPLE.search(text)
    if first is not None:
        end = _ENDS[first.group()].match(text)
        if end is not None:
            rest = text[end.end() :].partition("\n")[0].strip()
            sign = Sign.TAIL if _is_docstring_tail(text, end.end()) else Sign.DULL_TAIL
            if rest and not rest.startswith("#"):
                sign = Sign.DATA
            inside.append(_Scan(text, end.end()).reading(sign))
    else:
        inside.append(Reading(Sign.PROSE, 7, 0, 1))
    best = min([outside, *inside], key=lambda one: one.oddity)
    other = max([outside, *inside], key=lambda one: one.oddity)
    if best is not outside and outside.sign is Sign.DOCSTRING and outside.oddity < 2 * best.oddity:
        best = outside
    return best, (other.oddity - best.oddity) / other.oddity


def is_prose(text: str) -> bool:
    """Tell whether words follow words, as in sentences; too few words to tell are taken for prose."""
    words = len(_WORD.findall(text))
    return words < 4 or len(_PAIR.findall(text)) / words > 0.35


def _is_docstring_tail(text: str, end: int) -> bool:
    """Tell whether a text that ends here, and began before the piece, looks like a docstring.

    A docstring is as far right as the code that it belongs to, and it is prose or shows a session.
    """
    inside = text[: end - 3]
    if ">>> " not in inside and len(_SYMBOL.findall(inside)) > 0.06 * len(inside):
        return False
    before = text[: end - 3].rpartition("\n")[2]
    following = next((line for line in text[end:].split("\n")[1:] if line.strip()), "")
    if not before.strip():
        difference = len(before) - len(following) + len(following.lstrip())
        is_cut_off = len(_WORD.findall(inside)) < 4 and inside.rstrip()[-1:] not in (*".!?:)", "")
        if (difference < 0 and following) or is_cut_off:
            return False
        if (
            not difference
            and before
            and not _HEADER.match(following)
            and not following.lstrip().startswith("@")
        ):
            return True
    return is_prose(text[:end]) or ">>> " in text[:end]


class _Scan:
    """Reads code from a position on."""

    def __init__(self, text: str, start: int) -> None:
        self._text = text
        self._at = start
        self._depth = 0
        self._line = _Line()
        self._lines: list[_Line] = []
        self._words = self._adjoining = self._errors = 0
        self._after_word = False

    def reading(self, beginning: Sign | None) -> Reading:
        """Read to the end.

        Args:
            beginning: What the text is that the piece begins in the middle of, if it does.
        """
        match = _TOKEN.match
        end = len(self._text)
        while self._at < end:
            found = match(self._text, self._at)
            assert found is not None
            self._at = found.end()
            self._take(found)
        self._end_line()
        self._errors += self._depth > 0 and self._depth > 3
        return Reading(self._sign(beginning), self._words, self._adjoining, self._errors)

    def _take(self, found: re.Match[str]) -> None:
        kind = found.lastgroup
        line = self._line
        if kind in {"space", "comment"}:
            return
        if kind == "newline":
            self._after_word = False
            if not self._depth:
                self._end_line()
            return
        if kind == "quote":
            self._string(found)
            return
        if kind == "word":
            word = found.group()
            is_plain = word not in _KEYWORDS
            self._words += 1
            self._adjoining += self._after_word and is_plain
            self._after_word = is_plain
        else:
            self._after_word = False
            self._bracket(kind or "")
        if not line.text:
            line.text = self._text[found.start() : found.start() + 40]
        line.late_text = False
        line.only_text = False
        line.colon = found.group() == ":" and not self._depth

    def _bracket(self, kind: str) -> None:
        if kind == "open":
            self._depth += 1
        elif kind == "close":
            if self._depth:
                self._depth -= 1
            else:
                self._line.unmatched += 1

    def _string(self, found: re.Match[str]) -> None:
        quote = found["quote"]
        end = _ENDS[quote].match(self._text, self._at)
        line = self._line
        self._errors += self._after_word and not found["prefix"]
        self._after_word = False
        if end is None and len(quote) == 1:
            self._errors += 1
            line_end = self._text.find("\n", self._at)
            self._at = line_end if line_end >= 0 else len(self._text)
            line.only_text = False
            return
        stop = end.end() if end is not None else len(self._text)
        is_docstring = not set(found["prefix"].lower()) & {"b", "f", "t"} and not self._depth
        says = bool(self._text[self._at : stop].strip(" \t\r\n\f\"'"))
        self._at = stop
        line.late_text = is_docstring and says and line.colon
        line.only_text = line.only_text and is_docstring
        line.says = line.says or says
        line.triple = line.triple or len(quote) == 3
        line.has_text = True
        line.colon = False

    def _end_line(self) -> None:
        if self._line.text or self._line.has_text:
            self._lines.append(self._line)
        self._line = _Line()

    def _begins_with_data(self, beginning: Sign | None) -> bool:
        """Tell whether what begins the piece is within brackets that close later, or a row of texts."""
        lines = self._lines
        if not lines or not (beginning or (lines[0].only_text and lines[0].has_text)):
            return False
        if beginning is None and len(lines) > 1 and lines[1].only_text and not lines[0].triple:
            return True
        return any(line.unmatched for line in lines)

    def _sign(self, beginning: Sign | None) -> Sign:
        signs = {beginning} if beginning else set()
        if self._begins_with_data(beginning):
            signs = {Sign.DATA}
        before: _Line | None = None
        for line in self._lines:
            is_text = line.only_text and line.has_text and line.says
            is_header = before is not None and _HEADER.match(before.text) and before.colon
            if (is_text and is_header) or (line.late_text and _HEADER.match(line.text)):
                return Sign.DOCSTRING
            if is_text and before is not None and before.colon and before.unmatched:
                signs.add(Sign.SIGNATURE)
            elif is_text and before is None and not signs:
                signs.add(Sign.FIRST)
            before = line
        return min(signs, key=list(Sign).index, default=Sign.NONE)
