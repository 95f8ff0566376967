"""Many rollouts in one request, without one bad query blinding the others.

Blocking; runs in worker threads.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import nan
from typing import Any, Final

from modelrollout.prometheus.client import PrometheusClient
from modelrollout.prometheus.errors import FailureKind, PrometheusError
from modelrollout.prometheus.queries import RolloutQueries
from modelrollout.prometheus.query_union import (
    NOTHING,
    Answer,
    counted,
    is_scalar,
    is_self_contained,
    joined,
    labelled,
    single,
    split,
)
from modelrollout.prometheus.samples import Outcome

_CULPRITS_KEPT: Final = 10_000
_PROBE: Final = "vector(1)"
_MOST_PARTIAL: Final = 8
"""Questions of one round that may be found one by one to have partial answers; with more it is the server."""
_OVERDUE: Final = "not asked: the questions before it took too long; look at the load of Prometheus"


@dataclass(frozen=True, slots=True)
class Question:
    """One PromQL expression of one rollout; `text` is its form in a joined query."""

    id: str
    promql: str
    text: str
    joinable: bool


@dataclass(frozen=True, eq=False)
class Rendered:
    """The questions of a rollout, made once. Equal questions of several criteria are asked once.

    Attributes:
        rollout: Whose.
        parts: By criterion, letter of the part to id of the question.
        questions: By id.
        freshness: Id of the question for the newest scrape.
    """

    rollout: RolloutQueries
    parts: Mapping[str, Mapping[str, str]]
    questions: Mapping[str, Question]
    freshness: str

    def chosen(self, names: Iterable[str]) -> list[Question]:
        """Return the questions for these criteria and the newest scrape, each once."""
        ids = dict.fromkeys(id_ for name in names for id_ in self.parts[name].values())
        return [self.questions[id_] for id_ in (*ids, self.freshness)]

    def outcomes(self, name: str, all_outcomes: Mapping[str, Outcome]) -> dict[str, Outcome]:
        """Return those of one criterion, by letter of the part."""
        return {letter: all_outcomes[id_] for letter, id_ in self.parts[name].items() if id_ in all_outcomes}


def random_token() -> str:
    """Return a text of 128 random bits."""
    return secrets.token_hex(16)


def render_questions(rollout: RolloutQueries, token: Callable[[], str] = random_token) -> Rendered:
    """Give every different question of the rollout an id that no other rollout has or can guess.

    Args:
        rollout: Whose questions.
        token: Yields a new unguessable text (letters and digits) at each call.
    """
    prefix = token()
    ids: dict[str, str] = {}

    def id_of(promql: str) -> str:
        return ids.setdefault(promql, f"{prefix}.{len(ids)}")

    parts = {
        name: {letter: id_of(promql) for letter, promql in query.parts}
        for name, query in rollout.queries.items()
    }
    freshness = id_of(rollout.freshness)
    questions = {
        id_: Question(id_, promql, labelled(promql, id_), is_self_contained(promql))
        for promql, id_ in ids.items()
    }
    return Rendered(rollout, parts, questions, freshness)


@dataclass
class Asker:
    """Asks one server many questions at once.

    A joined query that is refused, or too heavy, is halved until the culprit stands alone; that one is asked
    alone from then on for `memory` seconds, so that the search is not repeated every time. The same is done
    with one that yields several series. After `patience` seconds the search is given up, and what was not
    asked by then counts as timed out: others wait.
    """

    client: PrometheusClient
    memory: float = 300.0
    patience: float = 12.0
    _alone_until: dict[str, float] = field(default_factory=dict)
    _scalars: dict[str, float] = field(default_factory=dict)
    _several: dict[str, float] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def ask(self, groups: Sequence[Sequence[Question]]) -> dict[str, Outcome]:
        """Return the outcome of every question by id.

        Args:
            groups: The questions of each rollout; a group is halved only after it has been told from the
                others.

        Raises:
            PrometheusError: The server as a whole gives no answers.
        """
        now = time.monotonic()
        alone = [q for group in groups for q in group if not q.joinable or self._is_culprit(q, now)]
        excluded = {q.id for q in alone}
        together = [[q for q in group if q.id not in excluded] for group in groups]
        outcomes: dict[str, Outcome] = {}
        deadline = now + self.patience
        self._ask_together([group for group in together if group], outcomes, deadline)
        for question in alone:
            outcomes[question.id] = self._ask_alone(question, deadline)
        return outcomes

    def makes_trouble(self, questions: Iterable[Question]) -> bool:
        """Tell whether one of them cannot be joined, or made a joined query fail lately."""
        now = time.monotonic()
        return any(not q.joinable or self._is_culprit(q, now) for q in questions)

    def _is_culprit(self, question: Question, now: float) -> bool:
        until = self._alone_until.get(question.promql)
        return until is not None and now < until

    def _ask_together(
        self, groups: Sequence[Sequence[Question]], outcomes: dict[str, Outcome], deadline: float
    ) -> None:
        questions = [question for group in groups for question in group]
        if not questions:
            return
        if time.monotonic() > deadline:
            outcomes.update((question.id, _overdue()) for question in questions)
            return
        try:
            result = self.client.query(joined([self._text(q) for q in questions]), legs=len(questions))
        except PrometheusError as error:
            self._raise_if_outage(error)
            if error.kind is FailureKind.PARTIAL and _partial(outcomes) >= _MOST_PARTIAL:
                outcomes.update((question.id, error) for question in questions)
                return
            self._halve(groups, questions, outcomes, deadline)
            return
        answers = split(result)
        for question in questions:
            answer = outcomes[question.id] = answers.get(question.id, NOTHING)
            if _is_several(answer):
                self._remember(self._alone_until, question.promql)
                outcomes[question.id] = self._count_series(question, answer, deadline)

    def _halve(
        self,
        groups: Sequence[Sequence[Question]],
        questions: list[Question],
        outcomes: dict[str, Outcome],
        deadline: float,
    ) -> None:
        if len(questions) == 1:
            self._remember(self._alone_until, questions[0].promql)
            outcomes[questions[0].id] = self._ask_alone(questions[0], deadline)
            return
        parts = groups if len(groups) > 1 else [[question] for question in questions]
        middle = len(parts) // 2
        self._ask_together(parts[:middle], outcomes, deadline)
        self._ask_together(parts[middle:], outcomes, deadline)

    def _ask_alone(self, question: Question, deadline: float) -> Outcome:
        if time.monotonic() > deadline:
            return _overdue()
        if question.joinable and question.promql in self._several:
            seen = self._count_series(question, NOTHING, deadline)
            if not isinstance(seen, Answer) or seen.series is not None:
                return seen
        try:
            result = self.client.query(question.promql)
        except PrometheusError as error:
            self._raise_if_outage(error)
            return error
        answer = single(result)
        if is_scalar(result) and answer.values is not None and question.joinable:
            with self._lock:
                self._alone_until.pop(question.promql, None)
            self._remember(self._scalars, question.promql)
        if _is_several(answer):
            self._remember(self._alone_until, question.promql)
            self._remember(self._several, question.promql)
        return answer

    def _count_series(self, question: Question, seen: Answer, deadline: float) -> Outcome:
        """Return how many series there are, without fetching them.

        What was seen before if there are not several.
        """
        self._remember(self._several, question.promql)
        if time.monotonic() > deadline:
            return seen if seen.values else _overdue()
        try:
            answer = single(self.client.query(counted(question.promql)))
        except PrometheusError as error:
            self._raise_if_outage(error)
            return seen if seen.values else error
        count = answer.values[0] if answer.values else 0.0
        if count > 1:
            return Answer(answer.at, (nan, nan), series=int(count))
        with self._lock:
            self._several.pop(question.promql, None)
            self._alone_until.pop(question.promql, None)
        return seen

    def _raise_if_outage(self, error: PrometheusError) -> None:
        """Raise an outage; a timeout counts as one only if a trivial query fails too."""
        if error.kind is FailureKind.TIMEOUT:
            self.client.query(_PROBE)
        elif error.is_outage:
            raise error

    def _text(self, question: Question) -> str:
        if question.promql in self._scalars:
            return labelled(question.promql, question.id, scalar=True)
        return question.text

    def _remember(self, memory: dict[str, float], promql: str) -> None:
        with self._lock:
            now = time.monotonic()
            if len(memory) >= _CULPRITS_KEPT:
                memory.clear()
            memory[promql] = now + self.memory


def _is_several(answer: Answer) -> bool:
    return answer.values is not None and len(answer.values) > 1


def _partial(outcomes: Mapping[str, Outcome]) -> int:
    """Count the questions that had partial answers."""
    return sum(
        isinstance(each, PrometheusError) and each.kind is FailureKind.PARTIAL for each in outcomes.values()
    )


def _overdue() -> PrometheusError:
    return PrometheusError(FailureKind.TIMEOUT, _OVERDUE)


def newest_scrape(outcome: Outcome | None) -> float | None:
    """Time of the newest scrape by Prometheus' clock, or None if it does not say."""
    if not isinstance(outcome, Answer) or not outcome.values:
        return None
    return outcome.values[0]


def evaluated_at(outcomes: Mapping[str, Any]) -> float | None:
    """When Prometheus evaluated, by its own clock; None if no question yielded anything."""
    times = [outcome.at for outcome in outcomes.values() if isinstance(outcome, Answer) and outcome.at]
    return max(times, default=None)
