"""How far each kind of macro fragment (``$x:ty`` and so on) reaches in a sequence of tokens."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from inference_server.predictors.docdetector.rustdoc.cfg import Conditions
from inference_server.predictors.docdetector.rustdoc.syntax import Cursor, heading, item_end
from inference_server.predictors.docdetector.rustdoc.tokens import Token

_NOTHING: Final = Conditions(frozenset(), frozenset())
_TYPE_WORDS: Final = frozenset({"dyn", "impl", "mut", "const", "unsafe", "extern", "fn", "for"})


def reach(kind: str, tokens: list[Token], start: int) -> int | None:
    """Index after the fragment that begins at an index; None where no such fragment begins there."""
    return _REACH.get(kind, _expression)(tokens, start)


def _one(matches: Callable[[Token], bool]) -> Callable[[list[Token], int], int | None]:
    def check(tokens: list[Token], start: int) -> int | None:
        return start + 1 if start < len(tokens) and matches(tokens[start]) else None

    return check


def _literal(tokens: list[Token], start: int) -> int | None:
    if start < len(tokens) and tokens[start].is_punct("-"):
        start += 1
    if start < len(tokens) and (tokens[start].kind == "literal" or tokens[start].text in {"true", "false"}):
        return start + 1
    return None


def _visibility(tokens: list[Token], start: int) -> int | None:
    cursor = Cursor(tokens)
    cursor.at = start
    cursor.visibility()
    return cursor.at


def _path(tokens: list[Token], start: int) -> int | None:
    at = start
    while at < len(tokens):
        if tokens[at].is_punct("::"):
            at += 1
        if at >= len(tokens) or not (tokens[at].kind == "ident" or tokens[at].is_punct("<")):
            break
        if tokens[at].kind == "ident":
            at += 1
        at = past_angles(tokens, at)
        if at < len(tokens) and tokens[at].is_group("(") and tokens[at - 1].text in {"Fn", "FnMut", "FnOnce"}:
            at = _returns(tokens, at + 1)
        if at >= len(tokens) or not tokens[at].is_punct("::"):
            break
    return at if at > start else None


def past_angles(tokens: list[Token], start: int) -> int:
    """Past ``<...>``, if that is what begins here."""
    at, depth = start, 0
    while at < len(tokens):
        token = tokens[at]
        if token.kind == "punct" and token.text in {"<", "<<"}:
            depth += len(token.text)
        elif token.kind == "punct" and token.text in {">", ">>", ">>="}:
            depth -= token.text.count(">")
        at += 1 if depth > 0 or at > start or token.text in {"<", "<<"} else 0
        if depth <= 0:
            break
    return at


def _returns(tokens: list[Token], start: int) -> int:
    if start < len(tokens) and tokens[start].is_punct("->"):
        return _type(tokens, start + 1) or start
    return start


def _type(tokens: list[Token], start: int) -> int | None:
    at = start
    while at < len(tokens):
        token = tokens[at]
        if (token.kind == "punct" and token.text in {"&", "&&", "*", "?"}) or token.kind == "lifetime":
            at += 1
        elif token.kind == "ident" and token.text in _TYPE_WORDS:
            at += 1
            if token.text == "for":
                at = past_angles(tokens, at)
            elif token.text == "fn" and at < len(tokens):
                return _bounds(tokens, _returns(tokens, at + 1))
        elif token.kind == "group" or (token.kind == "punct" and token.text in {"!", "_"}):
            return _bounds(tokens, at + 1)
        else:
            end = _path(tokens, at)
            return None if end is None else _bounds(tokens, end)
    return at if at > start else None


def _bounds(tokens: list[Token], at: int) -> int:
    """Past ``+ Bound``, however many there are."""
    if at + 1 < len(tokens) and tokens[at].is_punct("+"):
        return _type(tokens, at + 1) or at
    return at


def _until(*stops: str) -> Callable[[list[Token], int], int | None]:
    def check(tokens: list[Token], start: int) -> int | None:
        at = start
        while at < len(tokens) and not (tokens[at].kind == "punct" and tokens[at].text in stops):
            at += 1
        return at if at > start else None

    return check


def _pattern(tokens: list[Token], start: int) -> int | None:
    at = start
    while at < len(tokens):
        token = tokens[at]
        if (
            (token.kind == "punct" and token.text in {"=>", ",", "="})
            or token.is_word("if")
            or token.is_word("in")
        ):
            break
        at += 1
    return at if at > start else None


def _meta(tokens: list[Token], start: int) -> int | None:
    at = _path(tokens, start)
    if at is None:
        return None
    if at < len(tokens) and tokens[at].kind == "group":
        return at + 1
    if at < len(tokens) and tokens[at].is_punct("="):
        return _expression(tokens, at + 1)
    return at


def _item(tokens: list[Token], start: int) -> int | None:
    cursor = Cursor(tokens)
    cursor.at = start
    cursor.attributes(_NOTHING)
    cursor.visibility()
    if cursor.at >= len(tokens):
        return None
    kind, _ = heading(cursor)
    return item_end(tokens, cursor.at, kind) if kind else None


_expression = _until("=>", ",", ";")
_REACH: Final[dict[str, Callable[[list[Token], int], int | None]]] = {
    "ident": _one(lambda token: token.kind == "ident" and token.text != "_"),
    "lifetime": _one(lambda token: token.kind == "lifetime"),
    "tt": _one(lambda token: bool(token.kind)),
    "block": _one(lambda token: token.is_group("{")),
    "literal": _literal,
    "vis": _visibility,
    "path": _path,
    "ty": _type,
    "meta": _meta,
    "item": _item,
    "pat": _pattern,
    "pat_param": _until("=>", ",", "=", "|"),
    "stmt": _expression,
    "expr": _expression,
}
