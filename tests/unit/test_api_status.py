"""Status: what is written is what is read, to the microsecond, or a restart would invent or forget time."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from modelrollout.api.base import MESSAGE_LENGTH
from modelrollout.api.conditions import Condition, ConditionStatus, Phase
from modelrollout.api.constants import HANDLED_COMMANDS_LIMIT, HISTORY_LIMIT
from modelrollout.api.schedule import Transition
from modelrollout.api.status import (
    BaselineStatus,
    CriterionState,
    CriterionStatus,
    HistoryEntry,
    HoldStatus,
    ModelRolloutStatus,
    ObservationStatus,
    OwnedDeployment,
    PauseStatus,
    PodCounts,
    PodsStatus,
    RollbackStatus,
    RolledBackCandidate,
    RunResult,
    RunStatus,
    ShadowStatus,
    StepStatus,
    ValidationState,
    ValidationStatus,
    WeightStatus,
)
from modelrollout.api.unreported import UnreportedTransition

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
TIMES = st.integers(0, 10**15).map(lambda microseconds: EPOCH + timedelta(microseconds=microseconds))
NAMES = st.sampled_from(["emotion-2-4-1", "emotion-2-4-2", "b7c1", "latency-p95"])
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
AMOUNTS = st.floats(min_value=0, max_value=1e12)


def _some(model: type[BaseModel], **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    # not st.builds: it would also invent arguments, for the names that the fields have in JSON
    return st.fixed_dictionaries(fields).map(lambda values: model(**values))


def _or_none(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | strategy


def _few(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(strategy, max_size=3).map(tuple)


MESSAGES = st.text(max_size=40)
COUNTS = _some(PodCounts, desired=st.integers(0, 99), ready=st.integers(0, 99))
STATUSES = _some(
    ModelRolloutStatus,
    phase=_or_none(st.sampled_from(Phase)),
    reason=NAMES,
    message=MESSAGES,
    observed_generation=_or_none(st.integers(0, 99)),
    stable=_or_none(NAMES),
    previous_stable=_or_none(NAMES),
    candidate=_or_none(NAMES),
    run=_or_none(
        _some(
            RunStatus, id=NAMES, candidate=NAMES, fingerprint=NAMES, stable=_or_none(NAMES), started_at=TIMES,
            attempt=st.integers(1, 5), skip_analysis=st.booleans(), serving_at=_or_none(TIMES),
            finished_at=_or_none(TIMES),
            result=_or_none(st.sampled_from(RunResult)),
        )
    ),
    step=_or_none(
        _some(
            StepStatus, index=st.integers(0, 49), weight=st.integers(0, 100), progress=st.just("1/5"),
            started_at=TIMES, reached_at=_or_none(TIMES), progressed_at=_or_none(TIMES),
            approved_at=_or_none(TIMES),
            paused_seconds=AMOUNTS,
        )
    ),
    weight=_or_none(
        _some(WeightStatus, desired=st.integers(0, 100), achievable=FLOATS, observed=_or_none(FLOATS))
    ),
    pods=_or_none(_some(PodsStatus, stable=COUNTS, candidate=COUNTS)),
    criteria=_few(
        _some(
            CriterionStatus, name=NAMES, state=st.sampled_from(CriterionState), value=_or_none(FLOATS),
            reference=_or_none(FLOATS), limit=st.just("<= 200ms"), samples=_or_none(AMOUNTS),
            since=_or_none(TIMES), breached=st.booleans(), message=MESSAGES,
        )
    ),
    baseline=_few(
        _some(BaselineStatus, criterion=NAMES, value=FLOATS, samples=_or_none(AMOUNTS), recorded_at=TIMES)
    ),
    shadow=_or_none(
        _some(
            ShadowStatus, started_at=TIMES, deployment=NAMES, service=NAMES, approved_at=_or_none(TIMES),
            paused_seconds=AMOUNTS,
        )
    ),
    observation=_or_none(
        _some(ObservationStatus, started_at=TIMES, short_since=_or_none(TIMES), paused_seconds=AMOUNTS)
    ),
    hold=_or_none(_some(HoldStatus, since=TIMES, counts_from=TIMES, reason=NAMES, message=MESSAGES)),
    pause=_or_none(
        _some(
            PauseStatus, at=TIMES, phase=st.sampled_from(Phase), reason=NAMES, message=MESSAGES,
            criterion=_or_none(NAMES),
        )
    ),
    rollback=_or_none(
        _some(
            RollbackStatus, started_at=TIMES, reason=NAMES, message=MESSAGES, criterion=_or_none(NAMES),
            result=st.sampled_from(RunResult),
        )
    ),
    rolled_back_from=_or_none(
        _some(
            RolledBackCandidate, fingerprint=NAMES, candidate=NAMES, at=TIMES, template=_or_none(NAMES),
            generation=_or_none(st.integers(0, 9))
        )
    ),
    validations=_few(
        _some(
            ValidationStatus, name=NAMES, run=NAMES, step=st.integers(0, 9), job=NAMES,
            state=st.sampled_from(ValidationState), started_at=_or_none(TIMES), finished_at=_or_none(TIMES),
            message=MESSAGES,
        )
    ),
    owned=_few(_some(OwnedDeployment, name=NAMES, fingerprint=NAMES, created_at=TIMES)),
    handled_commands=_few(NAMES),
    unreported=_few(
        _some(
            UnreportedTransition, id=NAMES, at=TIMES, reason=NAMES, message=MESSAGES,
            severity=st.sampled_from(("Normal", "Warning")), criterion=_or_none(NAMES),
            announcement=_or_none(st.sampled_from(Transition)),
        )
    ),
    history=_few(
        _some(
            HistoryEntry, id=NAMES, from_=_or_none(NAMES), to=NAMES, result=st.sampled_from(RunResult),
            reason=NAMES, message=MESSAGES, started_at=TIMES, finished_at=TIMES,
        )
    ),
    stable_template=_or_none(NAMES),
    stable_edited_at=_or_none(TIMES),
    previous_stable_template=_or_none(NAMES),
    replicas=_or_none(st.integers(0, 99)),
    selector=_or_none(st.just("app=emotion")),
    conditions=_few(
        _some(
            Condition, type=NAMES, status=st.sampled_from(ConditionStatus), reason=NAMES, message=MESSAGES,
            last_transition_time=TIMES, observed_generation=_or_none(st.integers(0, 9)),
        )
    ),
)  # fmt: skip


def test_the_strategy_knows_every_field_of_the_status() -> None:
    """A field that is added without being in STATUSES would go untested."""
    drawn: set[str] = set()

    @given(STATUSES)
    def collect(status: ModelRolloutStatus) -> None:
        drawn.update(name for name in type(status).model_fields if getattr(status, name))

    collect()
    assert drawn == set(ModelRolloutStatus.model_fields)


@given(STATUSES)
def test_status_through_json_is_the_same_status(status: ModelRolloutStatus) -> None:
    text = json.dumps(status.to_json(), allow_nan=False)
    assert ModelRolloutStatus.from_json(json.loads(text)) == status


@given(STATUSES)
def test_json_through_status_is_the_same_json(status: ModelRolloutStatus) -> None:
    document = status.to_json()
    assert ModelRolloutStatus.from_json(document).to_json() == document


def test_an_empty_status_is_empty() -> None:
    assert ModelRolloutStatus.from_json(None) == ModelRolloutStatus.from_json({}) == ModelRolloutStatus()
    assert ModelRolloutStatus().to_json() == {}


def test_times_are_utc_with_microseconds() -> None:
    at = datetime(2026, 3, 1, 1, 30, 0, 42, tzinfo=UTC)
    document = {"startedAt": "2026-03-01T02:30:00.000042+01:00"}
    observation = ObservationStatus.model_validate(document)
    assert observation.started_at == at
    assert observation.to_json()["startedAt"] == "2026-03-01T01:30:00.000042Z"
    with pytest.raises(ValidationError, match="must have a time zone"):
        ObservationStatus.model_validate({"startedAt": "2026-03-01T02:30:00"})


def test_fields_of_a_newer_operator_are_passed_over() -> None:
    assert ModelRolloutStatus.from_json({"phase": "Idle", "invented": {"later": 1}}).phase is Phase.IDLE


def test_status_cannot_be_changed_in_place() -> None:
    with pytest.raises(ValidationError):
        ModelRolloutStatus().phase = Phase.IDLE  # type: ignore[misc]


def test_a_long_message_is_cut_and_not_refused() -> None:
    status = ModelRolloutStatus(message="x" * (MESSAGE_LENGTH + 1))
    assert len(status.message) == MESSAGE_LENGTH
    assert status.message.endswith("…")


def test_history_keeps_the_newest_runs_first() -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    status = ModelRolloutStatus()
    for number in range(HISTORY_LIMIT + 3):
        at = start + timedelta(days=number)
        status = status.with_history(
            HistoryEntry(
                id=f"run-{number}", to="b", result=RunResult.SUCCEEDED, started_at=at, finished_at=at
            )
        )
    assert [entry.id for entry in status.history] == [f"run-{number}" for number in range(12, 2, -1)]


def test_a_first_version_has_no_from_in_its_history() -> None:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    entry = HistoryEntry(id="1", from_="a", to="b", result=RunResult.ABORTED, started_at=at, finished_at=at)
    assert entry.to_json()["from"] == "a"
    assert "from" not in entry.model_copy(update={"from_": None}).to_json()


def test_handled_commands_keep_the_newest_ids() -> None:
    status = ModelRolloutStatus()
    for number in range(HANDLED_COMMANDS_LIMIT + 5):
        status = status.with_handled_command(str(number))
    assert status.handled_commands == tuple(str(number) for number in range(5, 25))
