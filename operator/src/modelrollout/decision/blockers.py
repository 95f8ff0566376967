"""Why a run may not go on now: every condition of an advance, the most telling first."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from modelrollout.api.base import format_timestamp
from modelrollout.api.conditions import Phase, Reason
from modelrollout.api.criteria import OnBreach
from modelrollout.api.spec import Approval, ModelRolloutSpec
from modelrollout.api.status import CriterionState, CriterionStatus, ModelRolloutStatus
from modelrollout.decision import schedule
from modelrollout.decision.context import Blocker, Draft, Stage, next_step, step_of
from modelrollout.decision.evaluation import Evaluation
from modelrollout.decision.reach import reach_blockers
from modelrollout.decision.replicas import Counts, candidate_count, settled
from modelrollout.decision.standby import kept_pods
from modelrollout.decision.validation import all_succeeded, describe_open, validations_before

_OLDEST = timedelta(seconds=30)
"""Age beyond which no value lets a run go on, however long the interval is."""


def target_of(draft: Draft) -> Counts:
    """The pods of both versions that the stage asks for."""
    total, stage, step = draft.total, draft.stage, draft.status.step
    if stage is Stage.OBSERVING:
        return Counts(stable=0, candidate=total)
    if stage is Stage.STEP and step is not None:
        count = candidate_count(total, step.weight)
        return Counts(stable=total - count, candidate=count)
    return Counts(stable=total, candidate=0)


def weight_reached(draft: Draft) -> bool:
    """Whether the observed weight is the desired one, as closely as whole pods allow."""
    if kept_pods(draft):  # they are beyond the target, but no client reaches them
        return draft.candidate.ready >= draft.total and not draft.stable.ready
    return settled(target_of(draft), draft.stable, draft.candidate)


def step_ends_at(draft: Draft) -> datetime | None:
    """When the duration of the step is over; None while its weight has not been reached."""
    step, spec = draft.step, draft.spec
    assert spec is not None
    if step.reached_at is None:
        return None
    duration = step_of(spec, step).duration
    seconds = (duration.seconds if duration else 0.0) + step.paused_seconds
    return step.reached_at + timedelta(seconds=seconds)


def step_blockers(draft: Draft, evaluation: Evaluation | None) -> Iterator[Blocker]:
    """What keeps the step from ending; nothing: it can end now."""
    spec, step = draft.spec, draft.step
    assert spec is not None
    target = target_of(draft)
    if not weight_reached(draft) or step.reached_at is None:
        stable, candidate = draft.stable, draft.candidate
        seen = f"{candidate.ready} and {stable.ready} ready"
        if candidate.without_ports:
            seen += f"; {candidate.without_ports} ready candidate pods lack a port that the Service names"
        yield Blocker(
            reason=Reason.WAITING_FOR_WEIGHT,
            message=f"{target.candidate} candidate and {target.stable} stable pods ({seen})",
        )
    if draft.run.skip_analysis:
        return
    yield from criteria_blockers(draft, evaluation)
    yield from _duration(draft)
    upcoming = next_step(spec, step)
    if upcoming is None:
        return
    yield from validation_blockers(draft, upcoming)
    if step_of(spec, step).approval is Approval.REQUIRED and step.approved_at is None:
        yield approval_blocker(f"the step to {spec.steps[upcoming].weight}%")
    yield from schedule_blockers(draft)


def approval_blocker(what: str) -> Blocker:
    """Somebody must agree to `what`."""
    return Blocker(
        reason=Reason.WAITING_FOR_APPROVAL,
        message=f"a person to approve {what} (kubectl modelrollout promote)",
    )


def validation_blockers(draft: Draft, upcoming: int) -> Iterator[Blocker]:
    """Validations before the step `upcoming` that have not succeeded."""
    spec = draft.spec
    assert spec is not None
    if validations_before(spec, upcoming) and not all_succeeded(spec, draft.status, upcoming):
        yield Blocker(reason=Reason.VALIDATING, message=describe_open(draft.status, upcoming))


def schedule_blockers(draft: Draft) -> Iterator[Blocker]:
    """The schedule, which guards every increase of the weight."""
    spec = draft.spec
    assert spec is not None
    if spec.schedule is None or schedule.is_open(spec.schedule, draft.now):
        return
    opens = schedule.next_opening(spec.schedule, draft.now)
    if opens is None:
        text = f"a window of the schedule, but {spec.schedule.time_zone!r} is no known time zone"
    else:
        text = f"the next window of the schedule, at {format_timestamp(opens)}"
    yield Blocker(reason=Reason.WAITING_FOR_SCHEDULE, message=text, until=opens)


def criteria_blockers(draft: Draft, evaluation: Evaluation | None) -> Iterator[Blocker]:
    """Criteria that do not pass now."""
    if evaluation is None:
        return
    entries = {entry.name: entry for entry in draft.status.criteria}
    held = [entries[name] for name, verdict in evaluation.verdicts.items() if verdict.holds]
    if held:
        no_data = all(entry.state is CriterionState.NO_DATA for entry in held)
        reason = Reason.WAITING_FOR_SAMPLES if no_data else Reason.WAITING_FOR_CRITERIA
        yield Blocker(reason=reason, message="; ".join(_shown(entry) for entry in held))


def stage_began_at(draft: Draft) -> datetime | None:
    """When the candidate was first measured as the present stage wants it."""
    status = draft.status
    if draft.stage is Stage.SHADOW and status.shadow is not None:
        return status.shadow.started_at
    if draft.stage is Stage.STEP and status.step is not None:
        return status.step.reached_at
    if draft.stage is Stage.OBSERVING and status.observation is not None:
        return status.observation.started_at
    return None


def stage_ends_at(draft: Draft) -> datetime | None:
    """When the duration of the present stage is over; None where it has none or has not begun."""
    spec, status = draft.spec, draft.status
    assert spec is not None
    if draft.stage is Stage.SHADOW and status.shadow is not None and spec.shadow is not None:
        seconds = spec.shadow.duration.seconds + status.shadow.paused_seconds
        return status.shadow.started_at + timedelta(seconds=seconds)
    if draft.stage is Stage.STEP and status.step is not None:
        return step_ends_at(draft)
    if draft.stage is Stage.OBSERVING and status.observation is not None:
        seconds = spec.observation.duration.seconds if spec.observation else 0.0
        seconds += status.observation.paused_seconds
        return status.observation.started_at + timedelta(seconds=seconds)
    return None


def freshness_blocker(draft: Draft, evaluation: Evaluation | None) -> Blocker | None:
    """Going on needs values that were asked for after the stage's duration ended, and not long ago.

    What was good before says nothing of the end: Prometheus may have died since, and with an interval of an
    hour the last value may be an hour old.
    """
    if evaluation is None:
        return None
    began, ended = stage_began_at(draft), stage_ends_at(draft)
    oldest = draft.now - min(draft.interval, _OLDEST)
    for name in _binding_names(draft):
        verdict = evaluation.verdicts.get(name)
        if verdict is None:
            continue
        if verdict.at is None or verdict.at < max(oldest, ended or oldest) or verdict.at <= (began or oldest):
            text = "the next evaluation of the criteria"
            return Blocker(reason=Reason.WAITING_FOR_CRITERIA, message=text, silent=True)
    return None


def _binding_names(draft: Draft) -> frozenset[str]:
    """Criteria that must pass for an advance (not those that only warn)."""
    spec = draft.spec
    assert spec is not None
    return frozenset(c.name for c in spec.criteria if not c.dry_run and c.on_breach is not OnBreach.WARN)


def _shown(entry: CriterionStatus) -> str:
    return f"criterion {entry.name} ({entry.state}: {entry.message})"


def _duration(draft: Draft) -> Iterator[Blocker]:
    ends = stage_ends_at(draft)
    if ends is not None and draft.now < ends:
        text = f"its end at {format_timestamp(ends)}"
        yield Blocker(reason=Reason.WAITING_FOR_DURATION, message=text, until=ends)


def shadow_blockers(draft: Draft, evaluation: Evaluation | None) -> Iterator[Blocker]:
    """What keeps the shadow phase from ending."""
    spec, shadow = draft.spec, draft.status.shadow
    assert spec is not None and spec.shadow is not None
    if shadow is None:
        yield Blocker(reason=Reason.WAITING_FOR_PODS, message="the pods of the shadow to be ready")
        return
    yield from criteria_blockers(draft, evaluation)
    yield from _duration(draft)
    if spec.shadow.approval is Approval.REQUIRED and shadow.approved_at is None:
        yield approval_blocker("that clients see the candidate")
    if not validations_before(spec, 0):
        yield from schedule_blockers(draft)


def observation_blockers(draft: Draft, evaluation: Evaluation | None) -> Iterator[Blocker]:
    """What keeps the observation from ending."""
    spec, observation = draft.spec, draft.status.observation
    assert spec is not None and observation is not None
    if not weight_reached(draft):
        ready = f"{draft.candidate.ready} of {draft.total} candidate pods"
        yield Blocker(reason=Reason.WAITING_FOR_PODS, message=f"all pods to be ready ({ready} are)")
    yield from criteria_blockers(draft, evaluation)
    yield from _duration(draft)


def blockers(draft: Draft, evaluation: Evaluation | None) -> tuple[Blocker, ...]:
    """What keeps the present stage from ending, most telling first; empty if it can end now.

    Where only the age of the values is in the way, `draft.fresh_wanted` asks for new ones at once.
    """
    if draft.spec is None:
        return ()
    found = (*_clock_blockers(draft), *_stage_blockers(draft, evaluation))
    if not found:
        stale = freshness_blocker(draft, evaluation)
        draft.fresh_wanted = stale is not None
        return () if stale is None else (stale,)
    return found


def _clock_blockers(draft: Draft) -> Iterator[Blocker]:
    """Nothing that rests on how long something lasted goes on while the time is not known."""
    run = draft.status.run
    if draft.observed.clock_uncertain and run is not None and not run.skip_analysis:
        text = "clocks that agree (the API server's answers contradict each other about the time)"
        yield Blocker(reason=Reason.CLOCK_UNCERTAIN, message=text)


def _stage_blockers(draft: Draft, evaluation: Evaluation | None) -> tuple[Blocker, ...]:
    return (*reach_blockers(draft), *_own_blockers(draft, evaluation))


def _own_blockers(draft: Draft, evaluation: Evaluation | None) -> tuple[Blocker, ...]:
    """What the stage itself waits for."""
    stage = draft.stage
    if stage is Stage.BASELINE:
        return (Blocker(reason=Reason.RECORDING_BASELINE, message="the baseline of stable"),)
    if stage is Stage.SHADOW:
        return tuple(shadow_blockers(draft, evaluation))
    if stage is Stage.FIRST_VALIDATION:
        return (*validation_blockers(draft, 0), *schedule_blockers(draft))
    if stage is Stage.STEP and draft.status.step is not None:
        return tuple(step_blockers(draft, evaluation))
    if stage is Stage.OBSERVING:
        return tuple(observation_blockers(draft, evaluation))
    return ()


def stage_name(spec: ModelRolloutSpec, status: ModelRolloutStatus) -> str:
    """The stage for the start of a sentence."""
    step = status.step
    if status.phase is Phase.OBSERVING or status.observation is not None:
        return "The observation"
    if step is not None:
        return f"Step {step.index + 1} of {len(spec.steps)} ({step.weight}%)"
    return "The shadow phase" if status.shadow is not None else "The run"
