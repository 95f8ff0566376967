"""A ModelRollout against the past: when its criteria would have fired, and how often on a healthy version."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

from modelrollout.api.criteria import CompareTo, Criterion, CriterionPhase
from modelrollout.api.presets import Preset
from modelrollout.api.spec import ModelRolloutSpec
from modelrollout.api.status import BaselineStatus, CriterionState, ModelRolloutStatus
from modelrollout.api.workload import Stable
from modelrollout.backtest.firings import Course, Replay
from modelrollout.backtest.rehearsal import Measured, Outcome, Rehearsal, Span
from modelrollout.backtest.tracks import Clock, Past, Track
from modelrollout.decision import candidate_deployment, is_finite
from modelrollout.decision.types import Sample
from modelrollout.prometheus import CriterionQuery, PrometheusClient, QueryContext, build_rollout

WEEK = timedelta(weeks=1)
_SEEN = (CriterionState.PASS, CriterionState.FAIL)


class BacktestError(ValueError):
    """The rollout cannot be replayed; the message says why and what to do."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """What is to be replayed.

    Attributes:
        name: metadata.name.
        namespace: metadata.namespace: where the pods were.
        spec: The rollout.
        clock: Range and resolution.
        stable: Deployment that was stable in that range, if it was not spec.stable.deployment.
        candidate: Deployment whose past is taken for the candidate's, if not the one that spec.candidate
            stands for.
    """

    name: str
    namespace: str
    spec: ModelRolloutSpec
    clock: Clock
    stable: str | None = None
    candidate: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class CriterionReport:
    """One criterion.

    Attributes:
        name: Its name.
        candidate: Its course on the candidate's pods; None if it was not replayed there.
        stable: Its course on the stable version's pods, where every firing is a false alarm; None if it says
            nothing there.
        problem: Why it was not replayed, or what to know about it; empty if nothing.
    """

    name: str
    candidate: Course | None
    stable: Course | None
    problem: str = ""

    def false_alarms_per_week(self, clock: Clock) -> float | None:
        """Return firings on stable in a week of 168 hours; None if nothing was seen of it."""
        if self.stable is None or not any(self.stable.ticks[state] for state in _SEEN):
            return None
        return len(self.stable.firings) * (WEEK / (clock.end - clock.start))


@dataclass(frozen=True, kw_only=True, slots=True)
class BacktestReport:
    """The whole answer.

    Attributes:
        question: What was asked.
        candidate: Deployment replayed as the candidate.
        stable: Deployment replayed as stable.
        plan: When each step would have been, had nothing stopped the rollout.
        outcome: What the operator would have done.
        criteria: In the order of the spec.
    """

    question: Question
    candidate: str
    stable: str
    plan: tuple[Span, ...]
    outcome: Outcome
    criteria: tuple[CriterionReport, ...]

    def span_at(self, when: datetime) -> Span | None:
        """Return the stretch of the plan that a time falls into."""
        for span in self.plan:
            if span.start <= when and (span.end is None or when < span.end):
                return span
        return None

    def firings_by_step(self, name: str) -> dict[int | None, int]:
        """Return how often a criterion fired in each stretch of the plan, by step index (None: observing)."""
        counts: dict[int | None, int] = {span.index: 0 for span in self.plan}
        course = next(each.candidate for each in self.criteria if each.name == name)
        for firing in course.firings if course else ():
            span = self.span_at(self.question.clock.at(firing.tick))
            if span is not None:
                counts[span.index] += 1
        return counts


def run(question: Question, client: PrometheusClient, *, threads: int = 4) -> BacktestReport:
    """Replay a rollout over a past range.

    Raises:
        BacktestError: The spec cannot be replayed.
        PrometheusError: Prometheus refused a query or is not there.
    """
    spec, clock = question.spec, question.clock
    stable = question.stable or (spec.stable.deployment if spec.stable else None)
    if stable is None:
        raise BacktestError("a backtest needs a stable version: give spec.stable.deployment or name one")
    candidate = question.candidate or candidate_deployment(
        question.name, spec.candidate, ModelRolloutStatus()
    )
    past = Past(client, clock, threads=threads)
    on_candidate = _Side(question, past, candidate=candidate, stable=stable)
    on_stable = _Side(question, past, candidate=stable, stable=stable)
    baselines = on_stable.baselines(spec)
    replayed = {c.name for c in spec.criteria if set(c.phases) != {CriterionPhase.SHADOW}}
    measured = on_candidate.measure([c for c in spec.criteria if c.name in replayed], baselines)
    alarms = on_stable.measure([c for c in spec.criteria if not _silent_on_stable(c)], baselines)
    reports = [
        _report(c, measured.get(c.name), alarms.get(c.name), on_candidate.problems) for c in spec.criteria
    ]
    rehearse = partial(Rehearsal, name=question.name, candidate=candidate, clock=clock, baselines=baselines)
    fixed = _with_stable(spec, stable)
    plan = rehearse(spec=fixed.model_copy(update={"criteria": ()}), measured={}).run()
    outcome = rehearse(spec=fixed, measured=measured).run()
    return BacktestReport(
        question=question,
        candidate=candidate,
        stable=stable,
        plan=plan.spans,
        outcome=outcome,
        criteria=tuple(reports),
    )


class _Side:
    """One version's pods, taken as the candidate's."""

    def __init__(self, question: Question, past: Past, *, candidate: str, stable: str) -> None:
        self._past = past
        self._clock = question.clock
        self._spec = question.spec
        self._context = QueryContext(
            namespace=question.namespace, rollout=question.name, candidate=candidate, stable=stable
        )
        self.problems: dict[str, str] = {}

    def queries(self, criteria: list[Criterion], window: float | None = None) -> dict[str, CriterionQuery]:
        """Return those that can be built; why the others cannot is noted."""
        built = build_rollout("backtest", "backtest", criteria, self._context, window=window)
        self.problems |= built.problems
        return dict(built.queries)

    def baselines(self, spec: ModelRolloutSpec) -> dict[str, Sample]:
        """Return what stable measured before the range, for the criteria that compare with it."""
        compared = [c for c in spec.criteria if c.compare is not None and c.compare.to is CompareTo.BASELINE]
        if spec.baseline is None or not compared:
            return {}
        queries = self.queries(compared, window=spec.baseline.window.seconds)
        return {name: self._past.instant(query, self._clock.start) for name, query in queries.items()}

    def measure(self, criteria: list[Criterion], baselines: Mapping[str, Sample]) -> dict[str, Measured]:
        """Fetch and judge."""
        queries = self.queries(criteria)
        chosen = [(criterion, queries[criterion.name]) for criterion in criteria if criterion.name in queries]
        tracks = self._past.tracks(chosen)
        return {
            criterion.name: self._judge(criterion, query, track, baselines.get(criterion.name))
            for (criterion, query), track in zip(chosen, tracks, strict=True)
        }

    def _judge(
        self, criterion: Criterion, query: CriterionQuery, track: Track, baseline: Sample | None
    ) -> Measured:
        recorded = None
        if baseline is not None and baseline.value is not None and is_finite(baseline.value):
            recorded = BaselineStatus(
                criterion=criterion.name,
                value=baseline.value,
                samples=baseline.count,
                recorded_at=self._clock.start,
            )
        history = partial(self._past.history, query)
        interval = self._spec.evaluation.interval.timedelta
        replay = Replay(criterion, track, baseline=recorded, history=history, interval=interval)
        return Measured(track=track, course=replay.course(), history=history)


def _silent_on_stable(criterion: Criterion) -> bool:
    """Tell whether stable compared with itself says nothing."""
    to_stable = criterion.compare is not None and criterion.compare.to is CompareTo.STABLE
    shadow_only = set(criterion.phases) == {CriterionPhase.SHADOW}
    expects_candidate = criterion.preset in (Preset.LABEL_DRIFT, Preset.CONTRACT, Preset.SHADOW_AGREEMENT)
    return to_stable or shadow_only or expects_candidate


def _report(
    criterion: Criterion, candidate: Measured | None, stable: Measured | None, problems: Mapping[str, str]
) -> CriterionReport:
    problem = problems.get(criterion.name, "")
    if not problem and candidate is None:
        problem = "asked in the shadow phase only, which the past does not show"
    elif not problem and stable is None:
        problem = "says nothing of stable alone"
    return CriterionReport(
        name=criterion.name,
        candidate=candidate.course if candidate else None,
        stable=stable.course if stable else None,
        problem=problem,
    )


def _with_stable(spec: ModelRolloutSpec, stable: str) -> ModelRolloutSpec:
    return spec.model_copy(update={"stable": Stable(deployment=stable)})
