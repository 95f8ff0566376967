"""Expansion of ``macro_rules`` macros that make items."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from inference_server.predictors.docdetector.rustdoc.fragments import reach
from inference_server.predictors.docdetector.rustdoc.tokens import Token, as_attributes

_REPEATS: Final = frozenset({"*", "+", "?"})
_OPAQUE: Final = frozenset({"ty", "expr"})
MOST_TOKENS: Final = 500_000
"""What all macros of a crate may make; a macro that doubles its argument at each call ends here."""


@dataclass(slots=True)
class _Part:
    """One part of a pattern or a template: a token, a group, a variable or a repetition."""

    kind: str
    token: Token
    parts: list[_Part] = field(default_factory=list)
    name: str = ""
    fragment: str = ""
    separator: Token | None = None
    times: str = ""


@dataclass
class Bound:
    """What a variable has matched: tokens, or one binding for each repetition."""

    tokens: list[Token] = field(default_factory=list)
    each: list[Bound] | None = None


Bindings = dict[str, Bound]


class Macro:
    """The rules of one macro."""

    def __init__(self, definition: list[Token]) -> None:
        body = next((token for token in reversed(definition) if token.kind == "group"), Token("group", "{"))
        self._rules: list[tuple[list[_Part], list[_Part]]] = []
        tokens = body.inner
        at = 0
        while at + 2 < len(tokens):
            pattern, template = tokens[at], tokens[at + 2]
            self._rules.append((_parts(as_attributes(pattern.inner), pattern=True), _parts(template.inner)))
            at += 4

    def expand(self, arguments: list[Token]) -> list[Token] | None:
        """Return the tokens that a call makes; None where no rule matches."""
        arguments = as_attributes(arguments)
        for pattern, template in self._rules:
            bindings: Bindings = {}
            if _match(pattern, arguments, 0, bindings, to_end=True) is not None:
                made: list[Token] = []
                _write(template, bindings, made)
                return made
        return None


def size(tokens: list[Token]) -> int:
    """Return how many tokens there are, those within brackets included; no exact count over the limit."""
    found = 0
    waiting = [tokens]
    while waiting and found <= MOST_TOKENS:
        some = waiting.pop()
        found += len(some)
        waiting += [token.inner for token in some if token.kind == "group"]
    return found


def _parts(tokens: list[Token], *, pattern: bool = False) -> list[_Part]:
    parts: list[_Part] = []
    at = 0
    while at < len(tokens):
        token = tokens[at]
        following = tokens[at + 1] if at + 1 < len(tokens) else None
        if token.is_punct("$") and following is not None:
            at += 2
            if following.is_group("("):
                at = _repetition(tokens, at, following, parts, pattern=pattern)
                continue
            if following.is_word("crate"):
                parts.append(_Part("token", Token("ident", "$crate")))
                continue
            fragment = ""
            if pattern and at + 1 < len(tokens) and tokens[at].is_punct(":"):
                fragment = tokens[at + 1].text
                at += 2
            parts.append(_Part("variable", token, name=following.text, fragment=fragment))
            continue
        if token.kind == "group":
            parts.append(_Part("group", token, _parts(token.inner, pattern=pattern)))
        else:
            parts.append(_Part("token", token))
        at += 1
    return parts


def _repetition(tokens: list[Token], at: int, group: Token, parts: list[_Part], *, pattern: bool) -> int:
    separator = None
    if not (tokens[at].kind == "punct" and tokens[at].text in _REPEATS and not _is_separator(tokens, at)):
        separator = tokens[at]
        at += 1
    inner = _parts(group.inner, pattern=pattern)
    parts.append(_Part("repeat", group, inner, separator=separator, times=tokens[at].text))
    return at + 1


def _is_separator(tokens: list[Token], at: int) -> bool:
    """Tell whether the operator here separates repetitions, as the first plus sign of ``$(...)+*`` does."""
    following = tokens[at + 1] if at + 1 < len(tokens) else None
    return (
        tokens[at].text == "+"
        and following is not None
        and following.kind == "punct"
        and following.text in {"*", "+"}
    )


def _same(one: Token, other: Token) -> bool:
    return one.kind == other.kind and one.text == other.text


def _match(
    parts: list[_Part], tokens: list[Token], at: int, bindings: Bindings, *, to_end: bool
) -> int | None:
    """Match a pattern from an index on; the index after it, or None."""
    for position, part in enumerate(parts):
        if part.kind == "repeat":
            return _match_repeat(parts[position:], tokens, at, bindings, to_end=to_end)
        if part.kind == "variable":
            end = reach(part.fragment, tokens, at)
            if end is None:
                return None
            bindings[part.name] = Bound(_captured(part.fragment, tokens[at:end]))
            at = end
        elif at >= len(tokens):
            return None
        elif part.kind == "group":
            token = tokens[at]
            if not token.is_group(part.token.text):
                return None
            if _match(part.parts, token.inner, 0, bindings, to_end=True) is None:
                return None
            at += 1
        elif _same(part.token, tokens[at]):
            at += 1
        else:
            return None
    return None if to_end and at != len(tokens) else at


def _captured(fragment: str, tokens: list[Token]) -> list[Token]:
    return [Token("group", "", tokens)] if fragment in _OPAQUE and len(tokens) > 1 else tokens


def _match_repeat(
    parts: list[_Part], tokens: list[Token], at: int, bindings: Bindings, *, to_end: bool
) -> int | None:
    """Match as many repetitions as leave the rest of the pattern a match, the most first."""
    part, rest = parts[0], parts[1:]
    rounds: list[Bindings] = []
    ends = [at]
    while part.times != "?" or len(rounds) < 1:
        start = ends[-1]
        if rounds and part.separator is not None:
            if start >= len(tokens) or not _same(part.separator, tokens[start]):
                break
            start += 1
        found: Bindings = {}
        end = _match(part.parts, tokens, start, found, to_end=False)
        if end is None or end == ends[-1]:
            break
        rounds.append(found)
        ends.append(end)
    least = 1 if part.times == "+" else 0
    for count in range(len(rounds), least - 1, -1):
        more: Bindings = {}
        end = _match(rest, tokens, ends[count], more, to_end=to_end)
        if end is not None:
            for name in _names(part.parts):
                bindings[name] = Bound(each=[one.get(name, Bound()) for one in rounds[:count]])
            bindings |= more
            return end
    return None


def _names(parts: list[_Part]) -> list[str]:
    names = [part.name for part in parts if part.kind == "variable"]
    for part in parts:
        if part.kind in {"group", "repeat"}:
            names += _names(part.parts)
    return names


def _write(template: list[_Part], bindings: Bindings, made: list[Token]) -> None:
    for part in template:
        if part.kind == "token":
            made.append(part.token)
        elif part.kind == "group":
            inner: list[Token] = []
            _write(part.parts, bindings, inner)
            made.append(Token("group", part.token.text, inner))
        elif part.kind == "variable":
            bound = bindings.get(part.name)
            if bound is None:
                made += [part.token, Token("ident", part.name)]
            else:
                made += bound.tokens
        else:
            _write_repeat(part, bindings, made)


def _write_repeat(part: _Part, bindings: Bindings, made: list[Token]) -> None:
    repeated = {
        name: bindings[name]
        for name in _names(part.parts)
        if name in bindings and bindings[name].each is not None
    }
    count = max((len(bound.each or ()) for bound in repeated.values()), default=0)
    for number in range(count):
        if number and part.separator is not None:
            made.append(part.separator)
        now = dict(bindings)
        for name, bound in repeated.items():
            assert bound.each is not None
            if number < len(bound.each):
                now[name] = bound.each[number]
        _write(part.parts, now, made)
