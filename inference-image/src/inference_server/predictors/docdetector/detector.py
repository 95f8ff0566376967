"""The detector: four detectors vote, answers are remembered, many pieces are spread over processes."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from threading import Lock
from typing import Final

from inference_server.predictors.docdetector.items import Item, Language, Method
from inference_server.predictors.docdetector.pieces import has_patterns, look, share

CACHED: Final = 10_000
MOST_WORKERS: Final = 8


@dataclass(frozen=True, slots=True)
class Weights:
    """How much each detector's vote counts, and from which mean on the answer is yes.

    A detector of another language does not vote; the mean is over those that do.
    """

    python: float = 0.40
    rust: float = 0.35
    patterns: float = 0.15
    confidence: float = 0.10
    threshold: float = 0.5

    def __post_init__(self) -> None:
        """Raise ValueError for weights that cannot vote."""
        if min(self.python, self.rust, self.patterns, self.confidence) < 0:
            raise ValueError("A weight is below 0.")
        if self.patterns + self.confidence <= 0:
            raise ValueError(
                "The weights of patterns and confidence are both 0: other languages have no vote."
            )
        if not 0 < self.threshold < 1:
            raise ValueError(f"The threshold is {self.threshold}; expected more than 0 and less than 1.")


@dataclass(frozen=True, slots=True)
class Answer:
    """What is said of one piece of code.

    Attributes:
        has_documentation: The verdict of the vote.
        confidence: How often verdicts like this one are right (0.5 to 1).
        method: How it was found.
        votes: Each detector's share of yes, from 0 to 1; those that did not vote are missing.
        items: Items, where a parser took the piece.
    """

    has_documentation: bool
    confidence: float
    method: Method
    votes: dict[str, float]
    items: tuple[Item, ...] = ()

    @property
    def documented(self) -> int:
        """How many items are documented."""
        return sum(1 for item in self.items if item.documented)


def judge(code: str, language: Language, weights: Weights) -> Answer:
    """Judge one piece of code, which may be cut at any line; any text gives an answer."""
    seen = look(code, language)
    likely = share(language, seen)
    votes = {"patterns": float(has_patterns(code)), "confidence": likely}
    own = {Language.PYTHON: weights.python, Language.RUST: weights.rust}.get(language, 0.0)
    if own:
        votes[language.value] = likely
    counted = {**{"patterns": weights.patterns, "confidence": weights.confidence}, language.value: own}
    mean = sum(counted[name] * vote for name, vote in votes.items()) / sum(counted[name] for name in votes)
    verdict = mean >= weights.threshold
    return Answer(verdict, likely if verdict else 1 - likely, seen.method, votes, seen.items)


class Detector:
    """Judges pieces of code and remembers its answers by their content; safe to call from several threads."""

    def __init__(self, weights: Weights | None = None, *, cached: int = CACHED, workers: int = 1) -> None:
        """Start without answers.

        Args:
            weights: How detectors vote.
            cached: How many answers are kept; the one that was asked for longest ago goes first.
            workers: Processes that judge, at most 8; with 1 the caller's own.

        Raises:
            ValueError: if the number of workers is out of range.
        """
        if not 1 <= workers <= MOST_WORKERS:
            raise ValueError(f"{workers} workers; expected 1 to {MOST_WORKERS}.")
        self._weights = weights or Weights()
        self._cached = cached
        self._answers: OrderedDict[bytes, Answer] = OrderedDict()
        self._lock = Lock()
        self._pool = ProcessPoolExecutor(workers) if workers > 1 else None

    def detect(self, code: str, language: Language) -> Answer:
        """Judge one piece."""
        return self.detect_many([(code, language)])[0]

    def detect_many(self, pieces: Sequence[tuple[str, Language]]) -> list[Answer]:
        """Judge many pieces; the answers are in their order."""
        keys = [_key(code, language) for code, language in pieces]
        known = {key: answer for key in keys if (answer := self._remembered(key)) is not None}
        new = {key: piece for key, piece in zip(keys, pieces, strict=True) if key not in known}
        codes, languages = [code for code, _ in new.values()], [language for _, language in new.values()]
        spread = map if self._pool is None else self._pool.map
        answers = spread(judge, codes, languages, [self._weights] * len(new))
        for key, answer in zip(new, answers, strict=True):
            known[key] = answer
            self._remember(key, answer)
        return [known[key] for key in keys]

    def close(self) -> None:
        """End the processes."""
        if self._pool is not None:
            self._pool.shutdown()

    def _remembered(self, key: bytes) -> Answer | None:
        with self._lock:
            if key in self._answers:
                self._answers.move_to_end(key)
            return self._answers.get(key)

    def _remember(self, key: bytes, answer: Answer) -> None:
        with self._lock:
            self._answers[key] = answer
            while len(self._answers) > self._cached:
                self._answers.popitem(last=False)


def _key(code: str, language: Language) -> bytes:
    return hashlib.sha256(f"{language.value}\n{code}".encode("utf-8", "surrogatepass")).digest()
