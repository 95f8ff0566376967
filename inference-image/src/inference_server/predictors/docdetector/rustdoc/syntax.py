"""Items of a module, found in its token trees."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from inference_server.predictors.docdetector.rustdoc.cfg import Attributes, Conditions
from inference_server.predictors.docdetector.rustdoc.tokens import Token

_BODY_ENDS: Final = frozenset({"fn", "mod", "struct", "enum", "union", "trait", "impl", "extern"})
_MODIFIERS: Final = frozenset({"unsafe", "async", "const", "extern", "default", "safe", "auto"})
_KEYWORDS: Final = frozenset({*_BODY_ENDS, "const", "static", "type", "use", "macro_rules", "macro"})


@dataclass(eq=False)
class Node:
    """One item as the later steps need it.

    Attributes:
        kind: ``mod``, ``struct``, ``fn``, ``use``, ``impl``, ``call`` (of a macro) and so on.
        name: Its own name.
        visibility: ``pub``, ``restricted`` or empty.
        attributes: What its attributes say.
        tokens: The tokens after its attributes and visibility.
        parent: The item that it is in.
        file: Path of the file that it counts for.
        children: Items, fields or variants in it.
    """

    kind: str
    name: str
    visibility: str
    attributes: Attributes
    tokens: list[Token]
    parent: Node | None = None
    file: str = ""
    children: list[Node] = field(default_factory=list)

    @property
    def is_public(self) -> bool:
        """Whether it says ``pub``."""
        return self.visibility == "pub"

    def ancestors(self) -> Iterator[Node]:
        """Yield what it is in, the innermost first."""
        node = self.parent
        while node is not None:
            yield node
            node = node.parent


class Cursor:
    """A position in a sequence of tokens."""

    def __init__(self, tokens: list[Token]) -> None:
        self.tokens = tokens
        self.at = 0

    def peek(self, ahead: int = 0) -> Token:
        """Return the next token, or an empty one at the end."""
        position = self.at + ahead
        return self.tokens[position] if position < len(self.tokens) else _END

    def attributes(self, conditions: Conditions, into: Attributes | None = None) -> Attributes:
        """Read outer attributes and doc comments."""
        found = into or Attributes()
        while True:
            token = self.peek()
            if token.kind == "doc":
                found.docs = True
                self.at += 1
            elif token.is_punct("#") and self.peek(1).is_group("["):
                found.add(self.peek(1).inner, conditions)
                self.at += 2
            else:
                return found

    def inner_attributes(self, conditions: Conditions, into: Attributes) -> None:
        """Read the attributes of what these tokens are the contents of."""
        while True:
            token = self.peek()
            if token.kind == "inner_doc":
                into.docs = True
                self.at += 1
            elif token.is_punct("#") and self.peek(1).is_punct("!") and self.peek(2).is_group("["):
                into.add(self.peek(2).inner, conditions)
                self.at += 3
            else:
                return

    def visibility(self) -> str:
        """Read a visibility."""
        if self.peek().is_word("crate") and not self.peek(1).is_punct("::"):
            self.at += 1
            return "restricted"
        if not self.peek().is_word("pub"):
            return ""
        self.at += 1
        group = self.peek()
        if group.is_group("(") and group.inner and group.inner[0].text in {"crate", "super", "self", "in"}:
            self.at += 1
            return "restricted"
        return "pub"


_END: Final = Token("end", "")


def items(tokens: list[Token], conditions: Conditions, owner: Attributes | None = None) -> Iterator[Node]:
    """Yield the items in a module's, trait's or block's tokens; what a condition leaves out is left out.

    Args:
        tokens: The tokens.
        conditions: What ``cfg`` holds.
        owner: Attributes of what these tokens are the contents of; inner attributes are added to them.
    """
    cursor = Cursor(tokens)
    cursor.inner_attributes(conditions, owner or Attributes())
    while cursor.at < len(tokens):
        attributes = cursor.attributes(conditions)
        visibility = cursor.visibility()
        start = cursor.at
        kind, name = heading(cursor)
        cursor.at = item_end(tokens, start, kind)
        if kind and attributes.compiled:
            yield Node(kind, name, visibility, attributes, tokens[start : cursor.at])


def heading(cursor: Cursor) -> tuple[str, str]:
    """Return the kind and name of the item here; an empty kind where there is none."""
    ahead = 0
    while cursor.peek(ahead).kind == "ident" and cursor.peek(ahead).text in _MODIFIERS:
        word, following = cursor.peek(ahead).text, cursor.peek(ahead + 1)
        if word == "const" and not (following.kind == "ident" and following.text in {"fn", *_MODIFIERS}):
            return "const", following.text
        if word == "extern" and following.is_word("crate"):
            return "extern_crate", cursor.peek(ahead + 2).text
        if following.kind == "literal":
            ahead += 1
            following = cursor.peek(ahead + 1)
        if word == "extern" and following.is_group("{"):
            return "foreign", ""
        ahead += 1
    word, following = cursor.peek(ahead).text, cursor.peek(ahead + 1)
    if word == "macro_rules" and following.is_punct("!"):
        return "macro_rules", cursor.peek(ahead + 2).text
    if word in {"fn", "struct", "enum", "trait", "mod", "type", "macro"} and following.kind == "ident":
        return word, following.text
    if word == "union" and following.kind == "ident":
        return "union", following.text
    if word == "static":
        return "static", cursor.peek(ahead + (2 if following.is_word("mut") else 1)).text
    if word in {"impl", "use"}:
        return word, ""
    return _call(cursor)


def _call(cursor: Cursor) -> tuple[str, str]:
    """Return a macro call such as ``name! {...}`` or ``crate::name!(...);``."""
    ahead, name = 0, ""
    while True:
        token = cursor.peek(ahead)
        if token.kind == "ident":
            name = token.text
        elif token.is_punct("!") and name:
            return "call", name
        elif not (token.is_punct("::") or (token.is_punct("$") and not ahead)):
            return "", ""
        ahead += 1


def item_end(tokens: list[Token], start: int, kind: str) -> int:
    """Index after the item that starts at an index; attributes and visibility are before it."""
    if not kind:
        return start + 1
    closes_with_body = kind in {"fn", "mod", "struct", "enum", "union", "trait", "impl", "foreign", "macro"}
    is_call = kind in {"call", "macro_rules"}
    for position in range(start, len(tokens)):
        token = tokens[position]
        if token.is_punct(";"):
            return position + 1
        if token.is_group("{") and (closes_with_body or is_call):
            return position + 1
    return len(tokens)
