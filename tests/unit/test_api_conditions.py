"""Conditions: the time of a transition moves with the status and with nothing else."""

from datetime import UTC, datetime, timedelta

from modelrollout.api.conditions import (
    Condition,
    ConditionStatus,
    ConditionType,
    Phase,
    get_condition,
    set_condition,
)

NOON = datetime(2026, 1, 31, 12, 0, 0, 987654, tzinfo=UTC)


def _ready(
    conditions: tuple[Condition, ...], status: bool, reason: str, now: datetime
) -> tuple[Condition, ...]:
    return set_condition(
        conditions,
        type_=ConditionType.READY,
        status=status,
        reason=reason,
        message=f"{reason}.",
        now=now,
        generation=3,
    )


def test_a_new_condition_is_added_with_whole_seconds() -> None:
    (condition,) = _ready((), True, "Promoted", NOON)
    assert condition.status is ConditionStatus.TRUE
    assert condition.last_transition_time == NOON.replace(microsecond=0)
    assert condition.to_json() == {
        "type": "Ready",
        "status": "True",
        "reason": "Promoted",
        "message": "Promoted.",
        "lastTransitionTime": "2026-01-31T12:00:00Z",
        "observedGeneration": 3,
    }


def test_another_reason_alone_keeps_the_time() -> None:
    before = _ready((), True, "Promoted", NOON)
    after = _ready(before, True, "UpToDate", NOON + timedelta(hours=1))
    assert after[0].reason == "UpToDate"
    assert after[0].last_transition_time == before[0].last_transition_time


def test_another_status_moves_the_time() -> None:
    before = _ready((), True, "Promoted", NOON)
    after = _ready(before, False, "StepRunning", NOON + timedelta(hours=1))
    assert after[0].last_transition_time == datetime(2026, 1, 31, 13, 0, 0, tzinfo=UTC)


def test_saying_the_same_again_changes_nothing_at_all() -> None:
    before = _ready((), True, "Promoted", NOON)
    assert _ready(before, True, "Promoted", NOON + timedelta(days=1)) is before


def test_conditions_keep_their_order() -> None:
    conditions: tuple[Condition, ...] = ()
    for type_ in ("A", "B", "C"):
        conditions = set_condition(conditions, type_=type_, status=True, reason="X", now=NOON)
    conditions = set_condition(conditions, type_="B", status=ConditionStatus.UNKNOWN, reason="Y", now=NOON)
    assert [condition.type for condition in conditions] == ["A", "B", "C"]
    found = get_condition(conditions, "B")
    assert found is not None
    assert found.status is ConditionStatus.UNKNOWN
    assert get_condition(conditions, "D") is None


def test_finished_phases_are_those_in_which_nothing_happens() -> None:
    assert {phase for phase in Phase if phase.finished} == {
        Phase.IDLE, Phase.SUCCEEDED, Phase.ROLLED_BACK, Phase.INVALID,
    }  # fmt: skip
