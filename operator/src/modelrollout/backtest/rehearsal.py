"""The whole rollout in a cluster that always obeys at once.

The operator's own `decide` with a virtual clock.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from modelrollout.api.conditions import Phase, Reason
from modelrollout.api.durations import Duration
from modelrollout.api.schedule import Transition as Announcement
from modelrollout.api.spec import Approval, ModelRolloutSpec
from modelrollout.api.status import ModelRolloutStatus
from modelrollout.backtest.firings import Course, History
from modelrollout.backtest.tracks import Clock, Track
from modelrollout.decision import decide, due_criteria, watched_deployments
from modelrollout.decision.types import Decision, Observation, Point, Sample, Transition, Workload

Place = tuple[int | None, int]

_MOST_CALLS_AT_ONCE: Final = 20
_HOLDS: Final = (Announcement.HELD, Announcement.HOLD_ENDED)
_NEVER: Final = Duration("366d")
_OVER: Final = (Phase.SUCCEEDED, Phase.ROLLED_BACK, Phase.IDLE, Phase.INVALID)


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """One criterion's past: what it measured, how it went, and how to look closer."""

    track: Track
    course: Course
    history: History

    @property
    def events(self) -> list[int]:
        """Ticks at which something about it became different."""
        return [*(tick for tick, _ in self.course.changes), *(firing.tick for firing in self.course.firings)]


@dataclass(frozen=True, kw_only=True, slots=True)
class Happened:
    """A transition of the rehearsed rollout."""

    at: datetime
    transition: Transition


@dataclass(frozen=True, kw_only=True, slots=True)
class Span:
    """A stretch of the plan: a step, or the observation (`index` is then None).

    Attributes:
        index: Position in spec.steps.
        weight: Per cent for the candidate.
        start: When it was entered.
        end: When it was left; None if the range ended before.
    """

    index: int | None
    weight: int
    start: datetime
    end: datetime | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """How the rehearsal ended.

    Attributes:
        phase: Where it stood at the end.
        at: When it got there.
        reason: Why, as one word.
        message: Why, as a sentence.
        criterion: The criterion that took it back, if one did.
        spans: Steps and observation that it went through.
        events: Every transition.
    """

    phase: Phase
    at: datetime
    reason: str
    message: str
    criterion: str | None
    spans: tuple[Span, ...]
    events: tuple[Happened, ...]


class Rehearsal:
    """One run of `decide` over the ticks of a clock.

    Called only where something changed or a time has come.
    """

    def __init__(
        self,
        *,
        name: str,
        spec: ModelRolloutSpec,
        candidate: str,
        clock: Clock,
        measured: Mapping[str, Measured],
        baselines: Mapping[str, Sample],
    ) -> None:
        self._spec = undisturbed(spec)
        self._name = name
        self._candidate = candidate
        self._clock = clock
        self._measured = measured
        self._baselines = baselines
        self._status = ModelRolloutStatus()
        self._counts: dict[str, int] = {spec.stable.deployment: spec.replicas} if spec.stable else {}
        self._events: list[Happened] = []
        self._spans: list[Span] = []
        self._told: dict[tuple[str, int, Place], tuple[int, tuple[Point, ...]]] = {}
        self._for = {each.name: each.for_.seconds for each in spec.criteria}

    def run(self) -> Outcome:
        """Go from tick to tick where anything can happen, until the rollout is over or the range is."""
        changes = sorted({tick for measured in self._measured.values() for tick in measured.events})
        tick, last = 0, self._clock.ticks - 1
        while True:
            decision = self._settle(tick)
            if self._is_over():
                break
            position = bisect_right(changes, tick)
            following = changes[position : position + 1]
            if decision.requeue_after is not None:
                due = self._clock.tick_from(self._clock.at(tick) + decision.requeue_after)
                following = [*following, max(due, tick + 1)]
            if not following or min(following) > last:
                break
            tick = min(following)
        return self._outcome()

    def _is_over(self) -> bool:
        pause = self._status.pause
        return self._status.phase in _OVER or (
            pause is not None and pause.reason == Reason.PAUSED_BY_CRITERION
        )

    def _settle(self, tick: int) -> Decision:
        """Decide, do it, and decide again until there is nothing more to do at this tick."""
        now = self._clock.at(tick)
        for _ in range(_MOST_CALLS_AT_ONCE):
            decision = decide(spec=self._spec, status=self._status, observed=self._observe(tick), now=now)
            changed = decision.status is not self._status
            self._status = decision.status
            self._events += [Happened(at=now, transition=each) for each in told(decision)]
            self._note(now)
            for scale in decision.scales:
                self._counts[scale.deployment] = scale.replicas
            if not (changed or decision.scales) or self._is_over():
                break
        return decision

    def _observe(self, tick: int) -> Observation:
        names = watched_deployments(self._spec, self._status, self._candidate, self._name)
        due = due_criteria(self._spec, self._status)
        return Observation(
            uid="backtest",
            generation=1,
            candidate_name=self._candidate,
            name=self._name,
            workloads={name: self._workload(name) for name in {*names, self._candidate, *self._counts}},
            samples={name: self._sample(name, tick) for name in due if name in self._measured},
            baselines=self._baselines,
        )

    def _workload(self, name: str) -> Workload:
        count = self._counts.get(name, 0)
        return Workload(name=name, desired=count, ready=count, pods=count)

    def _sample(self, name: str, tick: int) -> Sample:
        """Return the sample.

        With its past where a breach stands of which this stage has not been told yet.
        """
        measured = self._measured[name]
        firing = measured.course.firing_at(tick)
        if firing is None or not self._for[name]:
            return measured.track.sample(tick)
        key = (name, firing.tick, self._place())
        if key not in self._told:
            self._told[key] = (tick, measured.history(self._clock.at(tick)))
        told, history = self._told[key]
        return measured.track.sample(tick, history if told == tick else None)

    def _place(self) -> Place:
        status = self._status
        if status.observation is not None:
            return None, 100
        return (status.step.index, status.step.weight) if status.step else (-1, 0)

    def _note(self, now: datetime) -> None:
        """Keep the stretches of the plan as they come and go."""
        status = self._status
        over = status.rollback is not None or status.phase in _OVER
        place = None if over or (status.step is None and status.observation is None) else self._place()
        current = self._spans[-1] if self._spans and self._spans[-1].end is None else None
        if current is not None and (current.index, current.weight) != place:
            self._spans[-1] = replace(current, end=now)
            current = None
        if current is None and place is not None:
            self._spans.append(Span(index=place[0], weight=place[1], start=now, end=None))

    def _outcome(self) -> Outcome:
        status, rollback = self._status, self._status.rollback
        return Outcome(
            phase=status.phase or Phase.IDLE,
            at=self._events[-1].at if self._events and self._is_over() else self._clock.end,
            reason=status.reason,
            message=status.message,
            criterion=rollback.criterion if rollback else None,
            spans=tuple(self._spans),
            events=tuple(self._events),
        )


def told(decision: Decision) -> Iterator[Transition]:
    """Yield the transitions of a decision without holds.

    They depend on when it is looked, and NoData is shown.
    """
    return (each for each in decision.transitions if each.announcement not in _HOLDS)


def undisturbed(spec: ModelRolloutSpec) -> ModelRolloutSpec:
    """Return the spec without what the past cannot show.

    The shadow, validations and people are taken as agreeing.

    The interval is beyond any range, so that `decide` does not ask to be called at each: the ticks at which a
    value changes its meaning are known beforehand.
    """
    steps = tuple(step.model_copy(update={"approval": Approval.NOT_REQUIRED}) for step in spec.steps)
    evaluation = spec.evaluation.model_copy(update={"interval": _NEVER})
    changes = {"shadow": None, "validations": (), "paused": False, "steps": steps, "evaluation": evaluation}
    return spec.model_copy(update={**changes, "hold_deadline": None})
