"""Rules that can never fire, and why."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from inference_server.predictors.suggestions.normalise import fold
from inference_server.predictors.suggestions.rules import Rule, RuleSet

# Escapes such as \S and \W are no text.
_ESCAPE: Final = re.compile(r"\\.")


@dataclass(frozen=True, slots=True)
class Finding:
    """One rule, or a part of it, that decides nothing."""

    rule: str
    problem: str
    whole: bool

    def __str__(self) -> str:
        return f"{self.rule}: {self.problem}"


def lint(rules: RuleSet) -> list[Finding]:
    """Name every rule that can never fire, and every phrase of one that another rule always takes first."""
    found: list[Finding] = []
    for place, rule in enumerate(rules.rules):
        found += _unfoldable(rule)
        found += _shadowed(rule, rules.rules[:place])
    return found


def _unfoldable(rule: Rule) -> Iterator[Finding]:
    """Yield a pattern that asks for what folded texts never have."""
    if rule.pattern is None or rule.pattern.flags & re.IGNORECASE:
        return
    letters = {c for c in _ESCAPE.sub("", rule.pattern.pattern) if c.isalpha() and fold(c) != c}
    if letters:
        yield Finding(
            rule.name,
            f"its pattern asks for {', '.join(sorted(letters))}, which folded texts never have",
            whole=not (rule.words or rule.merchant),
        )


def _shadowed(rule: Rule, earlier: Sequence[Rule]) -> Iterator[Finding]:
    """Phrases that an earlier rule matches wherever this one does."""
    wider = [other for other in earlier if _covers_amounts(other, rule)]
    for other in wider:
        if not other.has_text:
            yield Finding(rule.name, f"{other.name} takes every text of these amounts first", whole=True)
            return
    phrases = [*((p, False) for p in rule.words), *((p, True) for p in rule.merchant)]
    taken = {}
    for phrase, merchant in phrases:
        for other in wider:
            if any(_covers(theirs, phrase) for theirs in other.words) or (
                merchant and any(_covers(theirs, phrase) for theirs in other.merchant)
            ):
                taken[phrase, merchant] = other.name
                break
    same_pattern = rule.pattern is None or any(
        other.pattern is not None and other.pattern.pattern == rule.pattern.pattern for other in wider
    )
    if rule.has_text and len(taken) == len(phrases) and same_pattern:
        names = ", ".join(sorted(set(taken.values()))) or "a rule with the same pattern"
        yield Finding(rule.name, f"it can never fire: {names} always matches first", whole=True)
        return
    for (phrase, _), name in taken.items():
        yield Finding(rule.name, f'"{" ".join(phrase)}" decides nothing: {name} matches first', whole=False)


def _covers_amounts(wide: Rule, narrow: Rule) -> bool:
    if wide.sign not in (None, narrow.sign):
        return False
    if narrow.accepts_amount(None) and not wide.accepts_amount(None):
        return False
    return wide.low <= narrow.low and narrow.high <= wide.high


def _covers(wide: tuple[str, ...], narrow: tuple[str, ...]) -> bool:
    """Tell whether every text with ``narrow`` has ``wide``, too."""
    for start in range(len(narrow) - len(wide) + 1):
        if all(_covers_word(ours, narrow[start + offset]) for offset, ours in enumerate(wide)):
            return True
    return False


def _covers_word(wide: str, narrow: str) -> bool:
    if wide.endswith("*"):
        return narrow.rstrip("*").startswith(wide[:-1])
    return wide == narrow
