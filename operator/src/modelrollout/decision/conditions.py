"""The conditions, derived anew each time from phase, stage and criteria (kstatus-compatible).

kstatus reads Reconciling=True as InProgress, Stalled=True as Failed and otherwise Ready=True as Current.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from modelrollout.api.base import truncate_to_seconds
from modelrollout.api.conditions import Condition, ConditionStatus, ConditionType, Phase, Reason
from modelrollout.api.criteria import OnBreach
from modelrollout.api.spec import ModelRolloutSpec
from modelrollout.api.status import CriterionState, CriterionStatus
from modelrollout.decision.context import Context, Stage
from modelrollout.decision.reach import reach_conditions
from modelrollout.decision.replicas import achievable_weight, candidate_count, exact_replicas
from modelrollout.decision.stages import current_stage
from modelrollout.decision.standby import wanted_pods
from modelrollout.decision.versions import edited_text

_UNDER_WAY = (
    Phase.VALIDATING,
    Phase.SHADOW,
    Phase.PROGRESSING,
    Phase.OBSERVING,
    Phase.ROLLING_BACK,
)


@dataclass(frozen=True, slots=True)
class _Said:
    """A condition without its times."""

    type: ConditionType
    status: ConditionStatus
    reason: str
    message: str


def derive_conditions(context: Context) -> tuple[Condition, ...]:
    """Return the conditions of the context.

    Unchanged ones are the same objects, unchanged all the same tuple.
    """
    old = {condition.type: condition for condition in context.status.conditions}
    generation = context.observed.generation
    result = []
    for said in _all(context):
        before = old.get(said.type)
        same = (
            before is not None
            and before.status is said.status
            and before.reason == said.reason
            and before.message == said.message
            and before.observed_generation == generation
        )
        if before is not None and same:
            result.append(before)
            continue
        kept = before is not None and before.status is said.status
        result.append(
            Condition(
                type=said.type.value,
                status=said.status,
                reason=said.reason,
                message=said.message[:4096],
                last_transition_time=before.last_transition_time
                if before is not None and kept
                else truncate_to_seconds(context.now),
                observed_generation=generation,
            )
        )
    conditions = tuple(result)
    return context.status.conditions if conditions == context.status.conditions else conditions


def _said(type_: ConditionType, status: bool | None, reason: str, message: str = "") -> _Said:
    if status is None:
        return _Said(type_, ConditionStatus.UNKNOWN, str(reason), message)
    return _Said(type_, ConditionStatus.TRUE if status else ConditionStatus.FALSE, str(reason), message)


def _all(context: Context) -> Iterator[_Said]:
    status = context.status
    phase, reason, message = status.phase or Phase.IDLE, status.reason, status.message
    yield _ready(context, phase, reason, message)
    lacking = _lacking_stable(context) if phase in (Phase.IDLE, Phase.SUCCEEDED) else 0
    moving = phase in _UNDER_WAY or bool(lacking)
    stopped = _is_stalled(context, phase)
    waiting = phase is Phase.PAUSED and not stopped
    yield _said(ConditionType.RECONCILING, (moving or waiting) and not stopped, reason, message)
    yield _said(ConditionType.STALLED, stopped, reason, message if stopped else "")
    yield _said(ConditionType.PROGRESSING, phase in _UNDER_WAY, reason, message)
    yield _healthy(context)
    yield _metrics(context)
    yield _weight(context)
    if current_stage(context).kind is Stage.OBSERVING:
        yield _kept(context)
    for type_, why, text in reach_conditions(context):
        yield _said(type_, True, why, text)
    if context.observed.clock_uncertain:
        text = "The API server's answers contradict each other about the time; nothing advances meanwhile."
        yield _said(ConditionType.CLOCK_IN_SYNC, None, Reason.CLOCK_UNCERTAIN, text)
    elif context.observed.clock_skewed:
        text = "The clock of the operator's node differs from the API server's, whose time is used."
        yield _said(ConditionType.CLOCK_IN_SYNC, False, Reason.CLOCK_SKEWED, text)
    if context.status.stable_edited_at is not None:
        yield _said(
            ConditionType.STABLE_EDITED, True, Reason.STABLE_TEMPLATE_CHANGED, edited_text(context.status)
        )
    paused = phase is Phase.PAUSED or reason == Reason.PAUSED_BY_SPEC
    yield _said(ConditionType.PAUSED, paused, reason if paused else "NotPaused", message if paused else "")
    for type_, wanted in (
        (ConditionType.SUCCEEDED, Phase.SUCCEEDED),
        (ConditionType.ROLLED_BACK, Phase.ROLLED_BACK),
    ):
        there = phase is wanted
        yield _said(type_, there, reason, message if there else "")


def _is_stalled(context: Context, phase: Phase) -> bool:
    """Nothing more will happen without a person."""
    pause = context.status.pause
    failed_validation = pause is not None and pause.reason == Reason.VALIDATION_FAILED
    stuck = current_stage(context).kind is Stage.REVERTING and context.status.reason in (
        Reason.DEPLOYMENT_NOT_FOUND,
        Reason.WAITING_FOR_PODS,
    )
    late = phase is Phase.PROGRESSING and context.status.reason == Reason.DEADLINE_EXCEEDED
    return phase in (Phase.ROLLED_BACK, Phase.INVALID) or failed_validation or stuck or late


def _lacking_stable(context: Context) -> int:
    """Return pods of the version in charge that are not ready."""
    return max(0, context.total - context.stable.ready)


def _ready(context: Context, phase: Phase, reason: str, message: str) -> _Said:
    if phase not in (Phase.IDLE, Phase.SUCCEEDED):
        return _said(ConditionType.READY, False, reason, message)
    lacking = _lacking_stable(context)
    if lacking:
        text = f"{context.total - lacking} of {context.total} pods of {context.status.stable} are ready."
        return _said(ConditionType.READY, False, Reason.WAITING_FOR_PODS, text)
    return _said(ConditionType.READY, True, reason, message)


def _judging(context: Context) -> tuple[CriterionStatus, ...]:
    """Return entries of criteria that are not dry runs."""
    dry = {c.name for c in context.spec.criteria if c.dry_run}
    return tuple(entry for entry in context.status.criteria if entry.name not in dry)


def _healthy(context: Context) -> _Said:
    entries = _judging(context)
    type_ = ConditionType.HEALTHY
    if not entries:
        none = context.spec_valid and not context.spec.criteria
        return _said(type_, None, Reason.NO_CRITERIA if none else Reason.NOT_EVALUATED)
    failing = [entry for entry in entries if entry.state is CriterionState.FAIL or entry.breached]
    serious = [entry for entry in failing if entry.name not in _warning_names(context.spec)]
    if serious:
        return _said(type_, False, Reason.CRITERION_BREACHED, _listed(serious))
    if failing:
        return _said(type_, True, Reason.WARNING, _listed(failing))
    unknown = [entry for entry in entries if entry.state is not CriterionState.PASS]
    if all(entry.state is CriterionState.PENDING for entry in entries):
        return _said(type_, None, Reason.NOT_EVALUATED)
    if unknown:
        return _said(type_, None, _data_reason(context, unknown), _listed(unknown))
    return _said(type_, True, Reason.ALL_PASS, "Every criterion passes.")


def _warning_names(spec: ModelRolloutSpec) -> frozenset[str]:
    return frozenset(c.name for c in spec.criteria if c.on_breach is OnBreach.WARN)


def _metrics(context: Context) -> _Said:
    entries = context.status.criteria
    type_ = ConditionType.METRICS_AVAILABLE
    if not entries:
        return _said(type_, None, Reason.NOT_EVALUATED)
    if all(entry.state is CriterionState.PENDING for entry in entries):
        return _said(type_, None, Reason.NOT_EVALUATED)
    without = [e for e in entries if e.state in (CriterionState.ERROR, CriterionState.NO_DATA)]
    if without:
        return _said(type_, False, _data_reason(context, without), _listed(without))
    return _said(type_, True, "Available", "Every criterion has data.")


def _data_reason(context: Context, entries: list[CriterionStatus]) -> Reason:
    if any(entry.state is CriterionState.ERROR for entry in entries):
        outage = context.observed.metrics_error is not None
        return Reason.PROMETHEUS_UNAVAILABLE if outage else Reason.QUERY_FAILED
    return Reason.NO_DATA


def _listed(entries: list[CriterionStatus]) -> str:
    return "; ".join(f"{entry.name}: {entry.message}" for entry in entries)


def _kept(context: Context) -> _Said:
    """Return what of stable could take over at once; only asked while the candidate is observed."""
    type_, stable, wanted = ConditionType.STABLE_KEPT, context.stable, wanted_pods(context)
    if not wanted:
        return _said(type_, False, "NotAskedFor", "spec.observation asks to keep no pods of stable.")
    if not stable.can_park:
        text = f"Going back has to start pods of {stable.name}: {stable.cannot_park or 'it is missing.'}"
        return _said(type_, False, Reason.CANNOT_PARK, text)
    text = f"{stable.parked_ready} of {wanted} pods of {stable.name} are ready outside the Service."
    kept = stable.parked_ready >= wanted
    return _said(type_, kept, Reason.PARKED if kept else Reason.PARKING, text)


def _weight(context: Context) -> _Said:
    type_, step, rules = ConditionType.WEIGHT_REACHED, context.status.step, current_stage(context)
    target, stage = rules.target(), rules.kind
    if context.observed.stale:
        return _said(type_, None, Reason.CACHE_STALE, "The ready pods are not known as they are now.")
    if stage in (Stage.NONE, Stage.REVERTING):
        done = (
            context.candidate.ready == 0 or context.status.run is None or context.candidate is context.stable
        )
        at_stable = stage is Stage.NONE and done
        return _said(type_, at_stable, "AllOnStable" if at_stable else Reason.SCALING)
    reached = rules.weight_reached()
    if stage is Stage.STEP and step is not None and 0 < step.weight < 100:
        total = context.total
        achievable = achievable_weight(total, step.weight)
        if achievable != step.weight and context.spec_valid:
            exact = exact_replicas(s.weight for s in context.spec.steps)
            text = (
                f"{step.weight}% of {total} pods is {achievable:g}% in whole pods "
                f"({candidate_count(total, step.weight)}); with replicas: {exact} every step would be exact."
            )
            return _said(type_, reached, Reason.WEIGHT_TOO_COARSE, text)
    if reached:
        return _said(type_, True, Reason.WEIGHT_REACHED)
    text = f"Waiting for {target.candidate} candidate and {target.stable} stable pods to serve."
    return _said(type_, False, Reason.SCALING, text)
