"""Rust source as token trees."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

_LEXER: Final = re.compile(
    r"""
    (?P<space>\s+)
  | (?P<doc>///(?!/)[^\n]*|//![^\n]*)
  | (?P<comment>//[^\n]*)
  | (?P<block>/\*)
  | (?P<raw>(?:br|cr|r)(?P<hashes>\#+)"|(?:br|cr|r)")
  | (?P<string>(?:b|c)?"(?:[^"\\]|\\.)*")
  | (?P<char>b?'(?:[^'\\\n]|\\(?:u\{[^}]*\}|x[0-9a-fA-F]{2}|.))')
  | (?P<lifetime>'(?:r\#)?[^\W\d]\w*)
  | (?P<ident>(?:r\#)?[^\W\d]\w*)
  | (?P<number>\d[\w]*(?:\.\d[\w]*)?(?:(?<=[eE])[+-]\d+)?)
  | (?P<open>[(\[{])
  | (?P<close>[)\]}])
  | (?P<punct>::|->|=>|\.\.\.|\.\.=|\.\.|&&|\|\||<<=|>>=|[-+*/%^&|=!<>]=|<<|[-!\#$%&*+,./:;<=>?@^|~\\])
    """,
    re.VERBOSE | re.DOTALL,
)
_BLOCK_EDGE: Final = re.compile(r"/\*|\*/")
_CLOSED_BY: Final = {"(": ")", "[": "]", "{": "}"}


@dataclass(slots=True)
class Token:
    """One token, or a group of tokens between delimiters.

    Attributes:
        kind: ``ident``, ``lifetime``, ``literal``, ``punct``, ``doc`` or ``inner_doc`` (comments), ``group``.
        text: Its text; the opening delimiter of a group, empty for a group without delimiters.
        inner: The tokens of a group.
    """

    kind: str
    text: str
    inner: list[Token] = field(default_factory=list)

    def is_group(self, delimiter: str) -> bool:
        """Tell whether it is a group with this opening delimiter."""
        return self.kind == "group" and self.text == delimiter

    def is_punct(self, text: str) -> bool:
        """Tell whether it is this operator."""
        return self.kind == "punct" and self.text == text

    def is_word(self, text: str) -> bool:
        """Tell whether it is this identifier or keyword."""
        return self.kind == "ident" and self.text == text


class RustSyntaxError(ValueError):
    """The source is no sequence of token trees."""


def read(source: str) -> list[Token]:
    """Read source into token trees.

    Raises:
        RustSyntaxError: if a delimiter or a literal is not closed, or a character belongs to no token.
    """
    position = source.index("\n") + 1 if re.match(r"#!(?!\s*\[)[^\n]*\n", source) else 0
    stack: list[Token] = [Token("group", "")]
    current = stack[-1].inner
    end = len(source)
    match = _LEXER.match
    while position < end:
        found = match(source, position)
        if found is None:
            raise RustSyntaxError(f"line {_line(source, position)}: {source[position]!r} starts no token")
        kind = found.lastgroup or ""
        text = found.group()
        position = found.end()
        if kind in {"space", "comment"}:
            continue
        if kind in {"ident", "lifetime", "punct"}:
            current.append(Token(kind, text))
        elif kind == "open":
            stack.append(Token("group", text))
            current = stack[-1].inner
        elif kind == "close":
            group = stack.pop()
            if not stack or _CLOSED_BY.get(group.text) != text:
                raise RustSyntaxError(f"line {_line(source, position)}: unexpected {text!r}")
            current = stack[-1].inner
            current.append(group)
        elif kind == "doc":
            current.append(Token("inner_doc" if text[2] == "!" else "doc", text[3:]))
        elif kind == "block":
            position = _block_comment(source, found.start(), current)
        elif kind in {"raw", "hashes"}:
            position = _raw_string(source, found, current)
        else:
            current.append(Token("literal", text))
    if len(stack) != 1:
        raise RustSyntaxError(f"{stack[-1].text!r} is never closed")
    return stack[0].inner


def _line(source: str, position: int) -> int:
    return source.count("\n", 0, position) + 1


def _block_comment(source: str, start: int, current: list[Token]) -> int:
    """Skip or keep a block comment, which may contain others."""
    depth, position = 1, start + 2
    while depth:
        edge = _BLOCK_EDGE.search(source, position)
        if edge is None:
            raise RustSyntaxError(f"line {_line(source, start)}: a comment is never closed")
        depth += 1 if edge.group() == "/*" else -1
        position = edge.end()
    text = source[start:position]
    if text.startswith("/*!"):
        current.append(Token("inner_doc", text[3:-2]))
    elif text.startswith("/**") and not text.startswith("/***") and len(text) > 4:
        current.append(Token("doc", text[3:-2]))
    return position


def _raw_string(source: str, found: re.Match[str], current: list[Token]) -> int:
    closing = '"' + (found["hashes"] or "")
    end = source.find(closing, found.end())
    if end < 0:
        raise RustSyntaxError(f"line {_line(source, found.start())}: a text is never closed")
    end += len(closing)
    current.append(Token("literal", source[found.start() : end]))
    return end


def text_of(literal: str) -> str:
    """Return what a literal of text says, escapes left as they are."""
    start, end = literal.find('"'), literal.rfind('"')
    return literal[start + 1 : end] if 0 <= start < end else literal


def as_attributes(tokens: list[Token]) -> list[Token]:
    """Return the same tokens with doc comments as the attributes that macros see."""
    result: list[Token] = []
    for token in tokens:
        if token.kind in {"doc", "inner_doc"}:
            result.append(Token("punct", "#"))
            if token.kind == "inner_doc":
                result.append(Token("punct", "!"))
            quoted = Token("literal", 'r"' + token.text.replace('"', "'") + '"')
            result.append(Token("group", "[", [Token("ident", "doc"), Token("punct", "="), quoted]))
        elif token.kind == "group":
            result.append(Token("group", token.text, as_attributes(token.inner)))
        else:
            result.append(token)
    return result
