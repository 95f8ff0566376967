"""Rules that suggest a category: a YAML file, checked when it is read.

.. code-block:: yaml

    default: Other                       # what is answered when no rule matches
    rules:
    - name: supermarkets                 # unique; shown as the reason of an answer
      category: Groceries
      words: [tesco, marks & spencer, carrefour*]   # in description or merchant; * ends a beginning of a word
      merchant: [aldi]                   # in the merchant alone
      pattern: 'sq\\s+bakery'             # regular expression on the folded text
      amount: {min: 1, max: 300}         # of the amount without its sign
      sign: debit                        # debit: below zero; credit: above
      priority: 50                       # higher first, then the order of the file
      confidence: 0.9

Texts are folded first (:func:`normalise.fold`): lower case, no accents. ``words``, ``merchant`` and
``pattern`` are alternatives of one rule, one of which has to match; ``amount`` and ``sign`` have to hold
as well.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Any, Final

import yaml

from inference_server.predictors.suggestions.normalise import fold
from inference_server.predictors.suggestions.patterns import nested_repeat
from inference_server.predictors.suggestions.transactions import Transaction

DEFAULT_PRIORITY: Final = 50
DEFAULT_CONFIDENCE: Final = 0.9
_FIELDS: Final = frozenset(
    {"name", "category", "words", "merchant", "pattern", "amount", "sign", "priority", "confidence"}
)
_SIGNS: Final = ("debit", "credit")
_MAX_RULES: Final = 5000


class RuleError(ValueError):
    """A file of rules that cannot be used: which rule, what was expected, what was seen."""

    def __init__(self, where: str, expected: str, seen: object) -> None:
        super().__init__(
            f"{where}: expected {expected}, but it is {_shown(seen)}. Correct the file of rules."
        )


def _shown(value: object) -> str:
    try:
        return repr(value)
    except (ValueError, RecursionError):  # an integer of thousands of digits, a deep list
        return f"a {type(value).__name__} that is too large to show"


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One rule; see the module. ``words`` and ``merchant`` are folded phrases, each a tuple of words."""

    name: str
    category: str
    words: tuple[tuple[str, ...], ...] = ()
    merchant: tuple[tuple[str, ...], ...] = ()
    pattern: re.Pattern[str] | None = None
    low: float = 0.0
    high: float = float("inf")
    sign: str | None = None
    priority: int = DEFAULT_PRIORITY
    confidence: float = DEFAULT_CONFIDENCE

    @property
    def has_text(self) -> bool:
        """Whether it asks for any text at all."""
        return bool(self.words or self.merchant or self.pattern)

    def accepts_amount(self, amount: float | None) -> bool:
        """Tell whether amount and sign are as the rule asks; an unknown amount is what no limit excludes."""
        if amount is None:
            return self.sign is None and self.low == 0.0 and self.high == float("inf")
        if self.sign is not None and (amount < 0) != (self.sign == "debit"):
            return False
        return self.low <= abs(amount) <= self.high


@dataclass(frozen=True, slots=True)
class Match:
    """The answer of the rules; ``rule`` is ``None`` when only the default was left."""

    category: str
    confidence: float
    rule: str | None


@dataclass(frozen=True)
class RuleSet:
    """Rules in the order in which they are tried.

    Attributes:
        rules: highest priority first.
        default: the category when no rule matches.
    """

    rules: tuple[Rule, ...]
    default: str

    @property
    def categories(self) -> tuple[str, ...]:
        """Every category that can be answered, sorted."""
        return tuple(sorted({self.default, *(rule.category for rule in self.rules)}))

    @cached_property
    def _index(self) -> tuple[dict[str, list[tuple[int, tuple[str, ...], bool]]], list[int]]:
        """Phrases by their first word (or its beginning), and the rules to try on every text."""
        phrases: dict[str, list[tuple[int, tuple[str, ...], bool]]] = {}
        always: list[int] = []
        for place, rule in enumerate(self.rules):
            for only_merchant, group in ((False, rule.words), (True, rule.merchant)):
                for phrase in group:
                    phrases.setdefault(phrase[0], []).append((place, phrase, only_merchant))
            if rule.pattern is not None or not rule.has_text:
                always.append(place)
        return phrases, always

    def match(self, transaction: Transaction) -> Match:
        """Return the first rule that matches, or the default."""
        text, merchant = fold(transaction.description), fold(transaction.merchant)
        whole = f"{text} {merchant}".strip()
        places = set(self._found(text.split(), merchant.split()))
        for place in self._index[1]:
            pattern = self.rules[place].pattern
            if pattern is None or pattern.search(whole):
                places.add(place)
        for place in sorted(places):
            rule = self.rules[place]
            if rule.accepts_amount(transaction.amount):
                return Match(rule.category, rule.confidence, rule.name)
        return Match(self.default, 0.0, None)

    def _found(self, text: Sequence[str], merchant: Sequence[str]) -> Iterator[int]:
        phrases = self._index[0]
        for words, in_merchant in ((text, False), (merchant, True)):
            for start, word in enumerate(words):
                keys = [word, *(f"{word[:length]}*" for length in range(2, len(word) + 1))]
                for key in keys:
                    for place, phrase, only_merchant in phrases.get(key, ()):
                        if (in_merchant or not only_merchant) and _continues(phrase, words, start):
                            yield place


def _continues(phrase: tuple[str, ...], words: Sequence[str], start: int) -> bool:
    """Tell whether the rest of ``phrase`` follows at ``start``, where its first word was found."""
    if start + len(phrase) > len(words):
        return False
    return all(
        words[start + offset].startswith(part[:-1]) if part.endswith("*") else words[start + offset] == part
        for offset, part in enumerate(phrase)
        if offset
    )


def parse_rules(text: str, where: str) -> RuleSet:
    """Read rules from YAML; ``where`` names the file in errors.

    Raises:
        RuleError: naming the rule, what was expected and what was seen.
    """
    try:
        body = yaml.safe_load(text)
    # ValueError: a value such as the date 2026-99-99; RecursionError: lists in lists in lists.
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise RuleError(where, "YAML", " ".join(str(error).split())) from error
    if (
        not isinstance(body, dict)
        or not isinstance(body.get("rules"), list)
        or set(body) - {"default", "rules"}
    ):
        seen = sorted(map(str, body)) if isinstance(body, dict) else type(body).__name__
        raise RuleError(where, 'an object with "rules" (a list) and "default"', seen)
    if len(body["rules"]) > _MAX_RULES:
        raise RuleError(where, f"at most {_MAX_RULES} rules", len(body["rules"]))
    default = body.get("default", "Other")
    if not isinstance(default, str) or not default:
        raise RuleError(f"{where}: default", "a category", default)
    rules = [_rule(item, f"{where}: rule {number}") for number, item in enumerate(body["rules"], 1)]
    names: set[str] = set()
    for rule in rules:
        if rule.name in names:
            raise RuleError(where, "a name of its own for every rule", rule.name)
        names.add(rule.name)
    return RuleSet(tuple(sorted(rules, key=lambda rule: -rule.priority)), default)


def read_rules(path: Path | None = None) -> RuleSet:
    """Read a file of rules; without one those that ship with the server.

    Raises:
        RuleError: it cannot be read or used.
    """
    if path is None:
        shipped = resources.files(__package__) / "data" / "rules.yaml"
        return parse_rules(shipped.read_text(encoding="utf-8"), "rules.yaml")
    try:
        return parse_rules(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise RuleError(
            str(path), "a file in UTF-8 that can be read", f"{type(error).__name__}: {error}"
        ) from error


def _rule(item: Any, where: str) -> Rule:
    if not isinstance(item, dict) or not isinstance(item.get("name"), str) or not item["name"]:
        raise RuleError(where, 'an object with a "name"', item)
    where = f"{where} ({item['name']})"
    unknown = sorted(str(name) for name in set(item) - _FIELDS)
    if unknown:
        raise RuleError(where, f"only the fields {', '.join(sorted(_FIELDS))}", unknown)
    category = item.get("category")
    if not isinstance(category, str) or not category:
        raise RuleError(f"{where}: category", "a category", category)
    low, high = _amount(item.get("amount", {}), where)
    rule = Rule(
        name=item["name"],
        category=category,
        words=_phrases(item, "words", where),
        merchant=_phrases(item, "merchant", where),
        pattern=_pattern(item.get("pattern"), where),
        low=low,
        high=high,
        sign=item.get("sign"),
        priority=int(_number(item, "priority", DEFAULT_PRIORITY, where)),
        confidence=_number(item, "confidence", DEFAULT_CONFIDENCE, where),
    )
    if rule.sign not in (None, *_SIGNS):
        raise RuleError(f"{where}: sign", "debit or credit", rule.sign)
    if not 0 <= rule.confidence <= 1:
        raise RuleError(f"{where}: confidence", "a number from 0 to 1", rule.confidence)
    if not rule.has_text and rule.accepts_amount(None):
        raise RuleError(where, "words, merchant, pattern, amount or sign", "none of them")
    return rule


def _phrases(item: Mapping[str, Any], name: str, where: str) -> tuple[tuple[str, ...], ...]:
    listed = item.get(name, [])
    if not isinstance(listed, list) or not all(isinstance(phrase, str | int) for phrase in listed):
        raise RuleError(f"{where}: {name}", "a list of words and phrases", listed)
    phrases = []
    for phrase in map(str, listed):
        words = fold(phrase.rstrip("*")).split()
        if not words or (phrase.endswith("*") and len(words[-1]) < 2):
            raise RuleError(f"{where}: {name}", "letters or digits (two before a *)", phrase)
        if phrase.endswith("*"):
            words[-1] += "*"
        phrases.append(tuple(words))
    return tuple(phrases)


def _pattern(raw: Any, where: str) -> re.Pattern[str] | None:
    if raw is None:
        return None
    try:
        pattern, nested = re.compile(raw), nested_repeat(raw)
    except (re.error, TypeError, RecursionError, OverflowError) as error:
        raise RuleError(f"{where}: pattern", "a regular expression", f"{_shown(raw)} ({error})") from error
    if nested:
        raise RuleError(
            f"{where}: pattern",
            r"no unbounded repeat (*, + or {n,}) inside another repeat, which can take hours on one text; "
            r"write '[\w\s]+ltd$' instead of '(\w+\s?)+ltd$'",
            raw,
        )
    return pattern


def _amount(raw: Any, where: str) -> tuple[float, float]:
    if not isinstance(raw, dict) or set(raw) - {"min", "max"}:
        raise RuleError(f"{where}: amount", "an object with min, max or both", raw)
    low = _number(raw, "min", 0.0, f"{where}: amount")
    high = _number(raw, "max", float("inf"), f"{where}: amount")
    if not 0 <= low <= high:
        raise RuleError(f"{where}: amount", "0 <= min <= max: the amount without its sign", raw)
    return low, high


def _number(item: Mapping[str, Any], name: str, default: float, where: str) -> float:
    value = item.get(name, default)
    try:
        number = math.nan if isinstance(value, bool) or not isinstance(value, int | float) else float(value)
    except OverflowError:
        number = math.nan
    if math.isnan(number) or (math.isinf(number) and name != "max"):
        raise RuleError(f"{where}: {name}", "a number", value)
    return number
