"""What status says: conditions, and the clocks that contradict each other."""

from __future__ import annotations

from modelrollout.api.conditions import ConditionStatus, ConditionType, Phase, Reason, get_condition
from modelrollout.api.status import CriterionState
from tests.unit import decision_world as sim
from tests.unit.decision_story import Story


def test_transition_time_moves_only_with_the_status_of_a_condition() -> None:
    story = Story()
    story.until_weight(10)
    before = get_condition(story.status.conditions, ConditionType.PROGRESSING)
    story.until_weight(50)
    after = get_condition(story.status.conditions, ConditionType.PROGRESSING)
    assert before is not None and after is not None
    assert before.message != after.message
    assert before.last_transition_time == after.last_transition_time


def test_pending_before_the_first_answer() -> None:
    story = Story()
    decision = story.tick()
    assert [entry.state for entry in decision.status.criteria] == [CriterionState.PENDING]
    assert decision.evaluate == ("errors",)


def test_contradicting_clocks_hold_the_advance_but_not_a_rollback() -> None:
    story = Story()
    story.until_weight(10)
    story.world.clock_uncertain = True
    story.play(600)
    assert story.status.step is not None and story.status.step.weight == 10
    assert story.status.reason == Reason.CLOCK_UNCERTAIN
    said = get_condition(story.status.conditions, ConditionType.CLOCK_IN_SYNC)
    assert said is not None and said.status is ConditionStatus.UNKNOWN
    story.world.set_mode("errors", sim.BAD)
    status = story.until(Phase.ROLLED_BACK)
    assert status.rollback is not None and status.rollback.reason == Reason.CRITERION_BREACHED


def test_a_skewed_clock_is_said_and_holds_nothing() -> None:
    story = Story()
    story.world.clock_skewed = True
    story.until_weight(50)
    said = get_condition(story.status.conditions, ConditionType.CLOCK_IN_SYNC)
    assert said is not None and (said.status, said.reason) == (ConditionStatus.FALSE, Reason.CLOCK_SKEWED)
    story.world.clock_skewed = False
    status = story.until(Phase.SUCCEEDED)
    assert get_condition(status.conditions, ConditionType.CLOCK_IN_SYNC) is None
