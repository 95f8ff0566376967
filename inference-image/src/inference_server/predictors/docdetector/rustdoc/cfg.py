"""Conditions and attributes: what is compiled, and what an item's attributes say about documentation."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from inference_server.predictors.docdetector.rustdoc.tokens import Token, text_of

_ARCHITECTURES: Final = {"arm64": "aarch64", "AMD64": "x86_64"}
_LEVELS: Final = frozenset({"allow", "expect", "warn", "deny", "forbid"})


@dataclass(frozen=True)
class Conditions:
    """What ``cfg`` holds: names, and pairs of a name and a value."""

    names: frozenset[str]
    pairs: frozenset[tuple[str, str]]

    @classmethod
    def for_linux(cls, features: frozenset[str], extra: tuple[str, ...] = ()) -> Conditions:
        """Return what rustdoc sets on 64-bit Linux, with features and ``extra`` (``name=value``)."""
        machine = platform.machine()
        pairs = {
            ("target_os", "linux"),
            ("target_family", "unix"),
            ("target_env", "gnu"),
            ("target_arch", _ARCHITECTURES.get(machine, machine)),
            ("target_endian", "little"),
            ("target_pointer_width", "64"),
            ("target_vendor", "unknown"),
            ("panic", "unwind"),
            *(("target_has_atomic", width) for width in ("8", "16", "32", "64", "ptr")),
            *(("feature", feature) for feature in features),
        }
        names = {"unix", "doc", "debug_assertions", "target_thread_local", "target_has_atomic"}
        for one in extra:
            name, equals, value = one.partition("=")
            if equals:
                pairs.add((name, value.strip('"')))
            else:
                names.add(name)
        return cls(frozenset(names), frozenset(pairs))

    def hold(self, predicate: list[Token]) -> bool:
        """Tell whether the condition inside ``cfg(...)`` is true."""
        if not predicate:
            return True
        name = predicate[0].text
        if len(predicate) > 1 and predicate[1].is_group("("):
            parts = [self.hold(part) for part in split(predicate[1].inner)]
            if name == "not":
                return not all(parts)
            return all(parts) if name == "all" else any(parts)
        if len(predicate) > 2 and predicate[1].is_punct("="):
            return (name, text_of(predicate[2].text)) in self.pairs
        return name == "true" or name in self.names


def split(tokens: list[Token], by: str = ",") -> Iterator[list[Token]]:
    """Yield the parts between commas, empty ones left out."""
    part: list[Token] = []
    for token in tokens:
        if token.is_punct(by):
            if part:
                yield part
            part = []
        else:
            part.append(token)
    if part:
        yield part


@dataclass
class Attributes:
    """What the attributes of an item say.

    Attributes:
        compiled: False where a ``cfg`` leaves the item out.
        docs: Whether it has documentation, be it empty.
        hidden: ``#[doc(hidden)]``.
        inline: ``#[doc(inline)]``.
        no_inline: ``#[doc(no_inline)]``.
        path: ``#[path = "..."]``.
        missing_docs: The level of the lint ``missing_docs`` where it is set here.
        words: Names of all attributes.
    """

    compiled: bool = True
    docs: bool = False
    hidden: bool = False
    inline: bool = False
    no_inline: bool = False
    path: str = ""
    missing_docs: str = ""
    words: set[str] = field(default_factory=set)

    def add(self, content: list[Token], conditions: Conditions) -> None:
        """Take in what stands between the brackets of one attribute."""
        if not content:
            return
        name = content[0].text
        arguments = content[1].inner if len(content) > 1 and content[1].kind == "group" else []
        if name == "unsafe" and arguments:
            self.add(arguments, conditions)
        elif name == "cfg":
            self.compiled = self.compiled and all(conditions.hold(part) for part in split(arguments))
        elif name == "cfg_attr":
            parts = list(split(arguments))
            if parts and conditions.hold(parts[0]):
                for part in parts[1:]:
                    self.add(part, conditions)
        else:
            self._plain(name, content, arguments)

    def _plain(self, name: str, content: list[Token], arguments: list[Token]) -> None:
        self.words.add(name)
        is_value = len(content) > 1 and content[1].is_punct("=")
        if name == "doc":
            self.docs = self.docs or is_value
            for part in split(arguments):
                self.hidden = self.hidden or part[0].is_word("hidden")
                self.inline = self.inline or part[0].is_word("inline")
                self.no_inline = self.no_inline or part[0].is_word("no_inline")
        elif name == "path" and is_value and len(content) > 2:
            self.path = text_of(content[2].text)
        elif name in _LEVELS and any(part[0].is_word("missing_docs") for part in split(arguments)):
            self.missing_docs = name
