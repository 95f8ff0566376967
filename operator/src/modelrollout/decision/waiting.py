"""What the run waits for, over all: the clocks, what clients reach, the stage, the age of the values."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from modelrollout.api.conditions import Phase, Reason
from modelrollout.api.criteria import OnBreach
from modelrollout.api.spec import ModelRolloutSpec
from modelrollout.decision import pauses
from modelrollout.decision.context import Blocker
from modelrollout.decision.draft import Draft
from modelrollout.decision.measured import Evaluation
from modelrollout.decision.reach import reach_blockers
from modelrollout.decision.stages import RunRules

_OLDEST = timedelta(seconds=30)
"""Age beyond which no value lets a run go on, however long the interval is."""


def all_blockers(draft: Draft, evaluation: Evaluation | None) -> tuple[Blocker, ...]:
    """Return what keeps the present stage from ending, most telling first; empty if it can end now.

    Where only the age of the values is in the way, `draft.fresh_wanted` asks for new ones at once.
    """
    rules = draft.run_rules
    found = (
        *_clock_blockers(rules),
        *reach_blockers(draft.context, rules.run),
        *rules.blockers(evaluation),
    )
    if found:
        return found
    stale = freshness_blocker(rules, evaluation)
    draft.fresh_wanted = stale is not None
    return () if stale is None else (stale,)


def _clock_blockers(rules: RunRules) -> Iterator[Blocker]:
    """Nothing that rests on how long something lasted goes on while the time is not known."""
    if rules.context.observed.clock_uncertain and not rules.run.skip_analysis:
        text = "clocks that agree (the API server's answers contradict each other about the time)"
        yield Blocker(reason=Reason.CLOCK_UNCERTAIN, message=text)


def freshness_blocker(rules: RunRules, evaluation: Evaluation | None) -> Blocker | None:
    """Return a blocker unless the values were asked for after the stage's duration ended, and not long ago.

    What was good before says nothing of the end: Prometheus may have died since, and with an interval of an
    hour the last value may be an hour old.
    """
    if evaluation is None:
        return None
    context = rules.context
    began, ended = rules.began_at(), rules.ends_at()
    oldest = context.now - min(context.interval, _OLDEST)
    for name in _binding_names(context.spec):
        verdict = evaluation.verdicts.get(name)
        if verdict is None:
            continue
        if verdict.at is None or verdict.at < max(oldest, ended or oldest) or verdict.at <= (began or oldest):
            text = "the next evaluation of the criteria"
            return Blocker(reason=Reason.WAITING_FOR_CRITERIA, message=text, silent=True)
    return None


def _binding_names(spec: ModelRolloutSpec) -> frozenset[str]:
    """Return the criteria that must pass for an advance (not those that only warn)."""
    return frozenset(c.name for c in spec.criteria if not c.dry_run and c.on_breach is not OnBreach.WARN)


def show_waiting(draft: Draft, found: tuple[Blocker, ...]) -> None:
    """Let the phase say what the run waits for."""
    held = draft.status.pause
    if held is not None:
        pauses.show(draft, held)
        return
    rules, first = draft.run_rules, found[0]
    if first.silent and draft.status.phase is rules.phase:
        return
    if rules.is_overdue():
        draft.enter(rules.phase, Reason.DEADLINE_EXCEEDED, rules.overdue_text())
        return
    phase = Phase.VALIDATING if first.reason is Reason.VALIDATING else rules.phase
    more = f"; then for {found[1].message}" if len(found) > 1 else ""
    draft.enter(phase, first.reason, f"{rules.title()} waits for {first.message}{more}.")
