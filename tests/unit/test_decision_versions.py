"""A version is its pod template: what a change of a template means, whatever its Deployment is called."""

from __future__ import annotations

from typing import Any

import pytest

from modelrollout.api.commands import Verb
from modelrollout.api.conditions import ConditionStatus, ConditionType, Phase, Reason, get_condition
from modelrollout.api.status import RunResult
from modelrollout.decision.copies import other_copies
from tests.unit import decision_world as sim
from tests.unit.decision_story import Story


def promoted(**spec: Any) -> Story:
    """`b` has become stable after `a`."""
    story = Story(**spec)
    story.until(Phase.SUCCEEDED)
    assert (story.status.stable, story.status.previous_stable) == ("b", "a")
    return story


def weights_since(story: Story, entries: int) -> list[int]:
    return [weight for _, weight in story.weights[entries:]]


# -- two Deployments in turn ------------------------------------------------------------------------------


def test_the_previous_version_comes_back_without_analysis() -> None:
    story = promoted()
    story.world.edit(candidate={"deployment": "a"})
    story.tick()
    assert story.status.run is not None and story.status.run.skip_analysis
    assert story.until(Phase.SUCCEEDED).reason == Reason.RETURNED_TO_PREVIOUS


def test_scenario_41_a_template_that_was_never_stable_takes_every_step_whatever_its_name() -> None:
    story = promoted()
    story.world.set_image("a", "t2")
    story.tick()
    began = len(story.weights)
    story.world.edit(candidate={"deployment": "a"})
    story.tick()
    assert story.status.run is not None and not story.status.run.skip_analysis
    assert "another pod template" in story.told[-2].message
    story.until(Phase.SUCCEEDED)
    assert weights_since(story, began) == [10, 50, 100]
    assert (story.status.stable, story.status.stable_template) == ("a", "t2")
    assert (story.status.previous_stable, story.status.previous_stable_template) == ("b", "t1")


def test_scenario_41_a_bad_new_image_in_the_idle_deployment_is_rolled_back() -> None:
    story = promoted()
    story.world.set_image("a", "t2")
    story.world.set_mode("errors", sim.BAD)
    story.world.edit(candidate={"deployment": "a"})
    story.play(300)
    assert story.status.phase is Phase.ROLLED_BACK
    assert story.desired() == {"a": 0, "b": 10, "c": 0}


def test_a_previous_version_that_no_hash_is_known_of_takes_every_step() -> None:
    """As in the status of an operator that kept none."""
    story = promoted()
    del story.world.status_json["previousStableTemplate"]
    story.world.status_json = dict(story.world.status_json)
    story.world.edit(candidate={"deployment": "a"})
    story.tick()
    assert story.status.run is not None and not story.status.run.skip_analysis


def test_the_rollback_command_does_not_bring_a_template_that_was_never_stable() -> None:
    story = promoted()
    story.world.set_image("a", "t2")
    story.world.command(Verb.ROLLBACK)
    story.play(30)
    assert story.status.stable == "b" and story.desired() == {"a": 0, "b": 10, "c": 0}
    assert Reason.COMMAND_REFUSED in story.reasons()
    story.world.set_image("a", "t1")
    story.world.command(Verb.ROLLBACK)
    assert story.until(Phase.ROLLED_BACK).stable == "a"
    assert story.status.stable_template == "t1"


# -- changes in mid-run -----------------------------------------------------------------------------------


def test_scenario_42_a_changed_candidate_starts_again_at_step_1_against_the_same_stable() -> None:
    story = Story()
    story.until_weight(50)
    before, began = story.status.run, len(story.weights)
    story.world.set_image("b", "t2")
    story.tick()
    assert story.status.reason == Reason.CANDIDATE_TEMPLATE_CHANGED
    assert get_condition(story.status.conditions, ConditionType.PROGRESSING).reason == (  # type: ignore[union-attr]
        Reason.CANDIDATE_TEMPLATE_CHANGED
    )
    assert story.desired()["b"] < 5
    story.until_weight(10)
    run = story.status.run
    assert run is not None and before is not None and run.id != before.id
    assert (run.stable, run.template, run.skip_analysis) == ("a", "t2", False)
    assert Reason.CANDIDATE_TEMPLATE_CHANGED in story.reasons()
    story.until(Phase.SUCCEEDED)
    assert weights_since(story, began) == [0, 10, 50, 100]
    assert [entry.result for entry in story.status.history] == [RunResult.SUCCEEDED, RunResult.SUPERSEDED]


@pytest.mark.parametrize("verb", [Verb.PROMOTE, Verb.PROMOTE_FULL])
@pytest.mark.parametrize("observation", [False, True])
def test_nobody_promotes_a_template_that_has_just_changed(verb: Verb, observation: bool) -> None:
    story = Story(observation={"duration": "1h"})
    if observation:
        story.until(Phase.OBSERVING)
    else:
        story.until_weight(50)
    story.world.set_image("b", "t2")
    story.world.command(verb)
    story.tick()
    assert story.status.stable == "a" and story.status.rollback is not None
    assert Reason.COMMAND_REFUSED in story.reasons()


def test_a_return_to_the_previous_version_that_changes_on_the_way_gets_the_whole_plan() -> None:
    story = promoted()
    story.world.deployments["a"].delay = lambda: 60.0
    story.world.edit(candidate={"deployment": "a"})
    story.play(10)
    story.world.set_image("a", "t2")
    began = len(story.weights)
    story.until(Phase.SUCCEEDED)
    assert story.status.stable == "a"
    assert [weight for weight in weights_since(story, began) if weight] == [10, 50, 100]


def test_a_first_version_that_changes_goes_on() -> None:
    story = Story(stable=None)
    story.tick()
    story.world.set_image("b", "t2")
    assert story.until(Phase.SUCCEEDED).stable_template == "t2"


def test_a_changed_candidate_in_the_shadow_gets_another_copy() -> None:
    story = Story(shadow={"duration": "60s"}, criteria=[])
    story.until(Phase.SHADOW)
    story.play(40)
    old = story.world.deployments["emotion-shadow"].version
    story.world.set_image("b", "t2")
    story.tick()
    decision = story.tick()
    assert decision.shadow is not None and decision.shadow.version != old
    assert decision.shadow.template == "t2"
    assert story.status.shadow is None, "the clock of the shadow starts again with the new copy"


def test_scenario_42_a_changed_stable_pauses_until_a_person_accepts_it() -> None:
    story = Story()
    story.until_weight(50)
    story.world.set_image("a", "t2")
    story.tick()
    assert (story.status.phase, story.status.reason) == (Phase.PAUSED, Reason.STABLE_TEMPLATE_CHANGED)
    assert "resume" in story.status.message and "abort" in story.status.message
    story.play(900)
    assert story.status.phase is Phase.PAUSED and story.desired()["b"] == 5
    story.world.command(Verb.RESUME)
    story.tick()
    assert story.status.stable_template == "t2" and story.status.pause is None
    status = story.until(Phase.SUCCEEDED)
    assert status.previous_stable_template == "t2"


def test_undoing_the_change_of_stable_resumes_the_run() -> None:
    story = Story()
    story.until_weight(10)
    story.world.set_image("a", "t2")
    story.play(30)
    story.world.set_image("a", "t1")
    story.tick()
    assert story.status.pause is None and story.status.stable_template == "t1"
    assert story.until(Phase.SUCCEEDED)


def test_a_breach_still_returns_to_a_stable_that_changed() -> None:
    story = Story()
    story.until_weight(50)
    story.world.set_image("a", "t2")
    story.play(30)
    story.world.set_mode("errors", sim.BAD)
    story.until(Phase.ROLLED_BACK)
    story.tick()
    assert story.status.stable_template == "t2"
    assert story.reasons()[-1] == Reason.STABLE_TEMPLATE_CHANGED


# -- at rest ----------------------------------------------------------------------------------------------


def test_an_edit_of_stable_at_rest_is_recorded_and_said_until_the_next_run() -> None:
    story = promoted()
    story.world.set_image("b", "t2")
    story.play(60)
    edited = get_condition(story.status.conditions, ConditionType.STABLE_EDITED)
    assert edited is not None and edited.status is ConditionStatus.TRUE
    assert "rolling update" in edited.message
    assert story.reasons().count(Reason.STABLE_TEMPLATE_CHANGED) == 1
    assert (story.status.phase, story.status.stable_template) == (Phase.SUCCEEDED, "t2")
    story.world.edit(candidate={"deployment": "c"})
    story.tick()
    assert get_condition(story.status.conditions, ConditionType.STABLE_EDITED) is None
    assert story.until(Phase.SUCCEEDED).previous_stable_template == "t2"


def test_a_rolled_back_candidate_is_tried_again_when_its_template_changes() -> None:
    story = Story()
    story.until_weight(10)
    story.world.set_mode("errors", sim.BAD)
    story.until(Phase.ROLLED_BACK)
    story.world.set_mode("errors", sim.GOOD)
    story.play(300)
    assert story.status.phase is Phase.ROLLED_BACK
    story.world.set_image("b", "t2")
    story.tick()
    assert story.status.run is not None and story.status.run.template == "t2"
    assert story.status.rolled_back_from is None
    assert story.until(Phase.SUCCEEDED).stable == "b"


def test_the_status_of_an_operator_that_kept_no_hashes_is_adopted_without_starting_again() -> None:
    story = Story()
    story.until_weight(50)
    kept = {key: value for key, value in story.world.status_json.items() if "emplate" not in key}
    kept["run"] = {key: value for key, value in kept["run"].items() if key != "template"}
    story.world.status_json = kept
    run = story.status.run
    story.tick()
    assert story.status.run is not None and run is not None
    assert (story.status.run.id, story.status.run.template) == (run.id, "t1")
    assert story.status.stable_template == "t1" and story.status.rollback is None
    story.until(Phase.SUCCEEDED)
    assert story.weights[-1][1] == 100


# -- copies of stable -------------------------------------------------------------------------------------


def image(number: int) -> dict[str, Any]:
    return {"image": f"emotion:{number}"}


def test_retry_after_stable_was_mended_makes_a_new_copy() -> None:
    story = Story(candidate=image(2))
    story.until_weight(10)
    first = story.status.run
    story.world.set_mode("errors", sim.BAD)
    story.until(Phase.ROLLED_BACK)
    story.world.set_mode("errors", sim.GOOD)
    story.world.set_image("a", "mended")
    story.play(60)
    assert story.status.phase is Phase.ROLLED_BACK, "a mended stable alone starts nothing"
    story.world.command(Verb.RETRY)
    story.tick()
    second = story.status.run
    assert first is not None and second is not None and second.candidate != first.candidate
    assert story.until(Phase.SUCCEEDED).stable == second.candidate
    assert story.play(60).status.stable == second.candidate, "what is asked for is stable now: it rests"


def test_retry_with_the_same_stable_uses_the_same_copy() -> None:
    story = Story(candidate=image(2))
    story.until_weight(10)
    first = story.status.run
    story.world.command(Verb.ABORT)
    story.until(Phase.ROLLED_BACK)
    story.world.command(Verb.RETRY)
    story.tick()
    assert first is not None and story.status.run is not None
    assert story.status.run.candidate == first.candidate


def test_a_stable_that_changes_before_it_was_copied_is_copied_as_it_is_then() -> None:
    story = Story(candidate=image(2))
    story.tick(crash=True)
    first = story.status.run
    story.world.set_image("a", "t2")
    story.tick()
    assert first is not None and story.status.run is not None
    assert story.status.run.candidate != first.candidate
    assert story.status.stable_template == "t2"
    assert story.until(Phase.SUCCEEDED)


def test_old_copies_are_deleted_beyond_the_limit_but_never_what_serves() -> None:
    story = Story(candidate=image(1), revisionHistoryLimit=2)
    made = []
    for number in range(1, 6):
        story.world.edit(candidate=image(number))
        story.until(Phase.VALIDATING, Phase.PROGRESSING)
        made.append(story.until(Phase.SUCCEEDED).stable)
        story.play(120)
    assert len(set(made)) == 5
    assert set(story.world.deployments) == {"a", "b", "c", *made[2:]}
    assert [one.name for one in story.status.owned] == made[2:]


def test_a_limit_of_zero_keeps_the_serving_copy_alone() -> None:
    story = Story(candidate=image(1), revisionHistoryLimit=0)
    story.until(Phase.SUCCEEDED)
    story.world.edit(candidate=image(2))
    story.tick()
    stable = story.until(Phase.SUCCEEDED).stable
    story.play(120)
    assert set(story.world.deployments) == {"a", "b", "c", stable}
    assert not other_copies(story.status)


def test_the_image_of_the_previous_version_brings_its_copy_back() -> None:
    story = Story(candidate=image(1))
    first = story.until(Phase.SUCCEEDED).stable
    story.world.edit(candidate=image(2))
    story.tick()
    assert story.until(Phase.SUCCEEDED).stable != first
    story.world.edit(candidate=image(1))
    story.tick()
    assert story.until(Phase.SUCCEEDED).stable == first
    assert story.status.reason == Reason.RETURNED_TO_PREVIOUS


@pytest.mark.parametrize("weight", [10, 50])
def test_scenario_46_deletion_deletes_the_copies_after_the_traffic_is_back(weight: int) -> None:
    story = Story(candidate=image(1))
    stable = story.until(Phase.SUCCEEDED).stable
    story.world.edit(candidate=image(2))
    story.tick()
    story.until_weight(weight)
    story.world.deleting = True
    while not story.world.gone:
        story.play(5)
    assert set(story.world.deployments) == {"a", "b", "c", stable}
    assert stable is not None and story.world.deployments[stable].desired == 10
    assert sum(each.ready(story.world.now) for each in story.world.deployments.values()) >= 5


def test_a_copy_that_alone_serves_is_not_deleted() -> None:
    story = Story(candidate=image(1))
    story.until_weight(50)
    copy = story.status.run.candidate if story.status.run else ""
    del story.world.deployments["a"]
    story.world.deleting = True
    story.play(30)
    assert story.world.gone and copy in story.world.deployments
