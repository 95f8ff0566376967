"""The store: parsed once a version, older versions passed over, claims settled by age."""

from __future__ import annotations

from typing import Any

from modelrollout.operator.rollouts import RolloutState
from modelrollout.operator.store import RolloutStore
from tests.support import manifests


def stored(name: str = "emotion", *, version: int = 1, uid: str = "", **options: Any) -> dict[str, Any]:
    """A ModelRollout as the API server gives it."""
    meta = options.pop("meta", {})
    status = options.pop("status", {})
    obj = manifests.rollout(name, **options)
    obj["metadata"] |= {
        "namespace": "ns",
        "uid": uid or f"uid-{name}",
        "resourceVersion": str(version),
        "generation": 1,
        "creationTimestamp": "2026-01-01T00:00:00Z",
        **meta,
    }
    obj["status"] = status
    return obj


class Store:
    """A store and what it told."""

    def __init__(self) -> None:
        self.changed: list[str] = []
        self.forgotten: list[str] = []
        self.store = RolloutStore(
            changed=lambda key: self.changed.append(key[1]),
            forgotten=lambda old: self.forgotten.append(old.name),
        )

    def add(self, name: str, **options: Any) -> RolloutState:
        self.store.apply(stored(name, **options))
        rollout = self.store.get(("ns", name))
        assert rollout is not None
        self.store.refresh_claims(rollout)
        return rollout


def test_the_same_or_an_older_version_changes_nothing() -> None:
    seen = Store()
    rollout = seen.add("emotion", version=5)
    assert not seen.store.apply(stored(version=5, status={"phase": "Idle"}))
    assert not seen.store.apply(stored(version=4, status={"phase": "Idle"}))
    assert rollout.phase == ""


def test_a_spec_is_parsed_once_a_generation() -> None:
    seen = Store()
    rollout = seen.add("emotion", version=1)
    before = rollout.spec
    seen.store.apply(stored(version=2, status={"phase": "Idle"}))
    assert rollout.spec is before
    assert rollout.phase == "Idle"
    seen.store.apply(stored(version=3, replicas=9, meta={"generation": 2}))
    assert rollout.spec is not None and rollout.spec.replicas == 9


def test_what_was_measured_for_an_older_spec_is_forgotten() -> None:
    seen = Store()
    rollout = seen.add("emotion", version=1)
    rollout.metrics_error, rollout.evaluate_at = "down", 5.0
    seen.store.apply(stored(version=2))
    assert rollout.metrics_error == "down"
    seen.store.apply(stored(version=3, meta={"generation": 2}))
    assert (rollout.metrics_error, rollout.evaluate_at) == (None, 0.0)


def test_another_object_of_the_same_name_starts_from_nothing() -> None:
    seen = Store()
    first = seen.add("emotion", version=9)
    seen.store.apply(stored(version=10, uid="another"))
    second = seen.store.get(("ns", "emotion"))
    assert second is not first
    assert seen.forgotten == ["emotion"]


def test_a_late_deletion_of_a_former_object_removes_nothing() -> None:
    seen = Store()
    seen.add("emotion", version=1, uid="new")
    seen.store.remove(("ns", "emotion"), uid="old")
    assert len(seen.store) == 1


def test_an_answer_from_before_the_deletion_brings_nothing_back() -> None:
    seen = Store()
    rollout = seen.add("emotion", version=5)
    seen.store.remove(rollout.key, uid=rollout.uid, version="8")
    assert not seen.store.apply(stored(version=5))
    assert not seen.store.apply(stored(version=7))
    assert len(seen.store) == 0
    assert seen.store.apply(stored(version=9, uid="another")), "made again after it"


def test_an_older_object_of_the_same_name_does_not_replace_the_newer_one() -> None:
    seen = Store()
    newer = seen.add("emotion", version=9, uid="newer")
    assert not seen.store.apply(stored(version=7, uid="older"))
    assert seen.store.get(newer.key) is newer


def test_removals_are_kept_until_a_list_that_began_after_them() -> None:
    seen = Store()
    for name in ("one", "two"):
        seen.add(name, version=5)
    seen.store.remove(("ns", "one"))
    told = seen.store.removals.noted()
    seen.store.remove(("ns", "two"))
    seen.store.removals.forget(told)
    assert seen.store.removals.noted() == {("ns", "two"): "5"}


def test_an_invalid_spec_and_status_are_explained_not_raised() -> None:
    obj = stored(version=1, status={"phase": "Nonsense"})
    obj["spec"] = {"replicas": "x", "steps": 3}
    rollout = RolloutState.of(obj)
    assert rollout.spec is None
    assert "spec.replicas" in rollout.spec_error
    assert rollout.status.phase is None
    assert "phase" in rollout.status_error
    for garbage in (None, [], "x", 7):
        obj["spec"], obj["status"] = garbage, garbage
        odd = RolloutState.of(obj)
        assert odd.spec is None
        assert odd.status.phase is None


def test_the_older_of_two_claims_wins_and_its_end_wakes_the_other() -> None:
    seen = Store()
    old = seen.add("old", service="shared", stable="o1", candidate="o2")
    new = seen.add(
        "new",
        service="shared",
        stable="n1",
        candidate="n2",
        meta={"creationTimestamp": "2026-01-02T00:00:00Z"},
    )
    assert seen.store.holder(new, "services", "shared") == "old"
    assert seen.store.holder(old, "services", "shared") is None
    assert seen.store.holder(new, "deployments", "n1") is None
    seen.changed.clear()
    seen.store.remove(old.key)
    assert seen.changed == ["new"]
    assert seen.store.holder(new, "services", "shared") is None


def test_a_rollout_that_was_deleted_during_its_tick_claims_nothing_again() -> None:
    seen = Store()
    deleted = seen.add("emotion")
    claim = next(claim for claim in deleted.claims if claim[0] == "deployments")
    seen.store.remove(deleted.key)
    seen.store.refresh_claims(deleted)  # what its tick does after it waited for an answer
    assert list(seen.store.claimants(*claim)) == []


def test_of_two_of_one_second_one_wins_on_both_sides() -> None:
    seen = Store()
    first = seen.add("a", service="shared", uid="1", stable="a1", candidate="a2")
    second = seen.add("b", service="shared", uid="2", stable="b1", candidate="b2")
    losers = [seen.store.holder(one, "services", "shared") for one in (first, second)]
    assert losers == [None, "a"]


def test_of_two_of_one_second_the_one_with_a_run_keeps_what_it_holds() -> None:
    seen = Store()
    run = {"id": "r1", "candidate": "b2", "stable": "b1", "startedAt": "2026-01-01T00:00:00.5Z"}
    first = seen.add("a", service="shared", uid="1", stable="a1", candidate="a2")
    second = seen.add("b", service="shared", uid="2", stable="b1", candidate="b2", status={"run": run})
    assert seen.store.holder(first, "services", "shared") == "b"
    assert seen.store.holder(second, "services", "shared") is None


LATER = {"creationTimestamp": "2026-01-02T00:00:00Z"}


def in_run(stable: str, candidate: str, **more: Any) -> dict[str, Any]:
    """The status of a rollout with a run under way."""
    run = {"id": "r1", "candidate": candidate, "stable": stable, "startedAt": "2026-01-03T00:00:00Z"}
    return {"phase": "Progressing", "stable": stable, "run": run | more}


def test_an_older_rollout_edited_to_name_a_newer_ones_deployments_does_not_get_them() -> None:
    seen = Store()
    old = seen.add(
        "old", service="old", stable="o1", candidate="o1", status={"phase": "Idle", "stable": "o1"}
    )
    status = in_run("n1", "n2")
    new = seen.add("new", service="new", stable="n1", candidate="n2", meta=LATER, status=status)
    old.take(stored("old", version=7, service="new", stable="o1", candidate="n2", meta={"generation": 2}))
    old._raw_status = {"phase": "Idle", "stable": "o1"}
    seen.store.refresh_claims(old)
    for kind, name in (("deployments", "n2"), ("deployments", "n1"), ("services", "new")):
        assert seen.store.holder(new, kind, name) is None, name
    assert seen.store.holder(old, "deployments", "n2") == "new"
    assert seen.store.holder(old, "services", "new") == "new"


def test_what_serves_at_rest_is_not_lost_to_an_older_rollout_either() -> None:
    seen = Store()
    old = seen.add(
        "old", service="old", stable="o1", candidate="n1", status={"phase": "Idle", "stable": "o1"}
    )
    status = {"phase": "Idle", "stable": "n1"}
    new = seen.add("new", service="new", stable="n1", candidate="n1", meta=LATER, status=status)
    assert seen.store.holder(new, "deployments", "n1") is None
    assert seen.store.holder(old, "deployments", "n1") == "new"


def test_the_end_of_a_run_wakes_those_that_wait_for_its_deployments() -> None:
    seen = Store()
    old = seen.add(
        "old", service="old", stable="o1", candidate="n2", status={"phase": "Idle", "stable": "o1"}
    )
    status = in_run("n1", "n2")
    new = seen.add("new", service="new", stable="n1", candidate="n2", meta=LATER, status=status)
    assert seen.store.holder(old, "deployments", "n2") == "new"
    seen.changed.clear()
    over = in_run("n1", "n2", finishedAt="2026-01-03T01:00:00Z", result="RolledBack")
    seen.add("new", version=9, service="new", stable="n1", candidate="n2", meta=LATER, status=over)
    assert "old" in seen.changed
    assert seen.store.holder(old, "deployments", "n2") is None
    assert seen.store.holder(new, "deployments", "n2") == "old"


def test_a_changed_spec_gives_back_what_it_no_longer_names() -> None:
    seen = Store()
    old = seen.add("old", service="shared", stable="o1", candidate="o2")
    seen.store.apply(
        stored("old", version=2, service="else", stable="o1", candidate="o2", meta={"generation": 2})
    )
    seen.store.refresh_claims(old)
    assert not list(seen.store.claimants("services", "ns", "shared"))
    assert [one.name for one in seen.store.claimants("services", "ns", "else")] == ["old"]


def test_every_command_that_waits_is_taken_in_the_order_in_which_it_was_given() -> None:
    listed = '[{"id": "1", "verb": "abort"}, {"id": "2", "verb": "promote"}]'
    rollout = RolloutState.of(stored(meta={"annotations": {"modelrollout.dev/commands": listed}}))
    assert [command.id for command in rollout.commands] == ["1", "2"]


def test_a_command_that_cannot_be_read_is_kept_as_a_sentence() -> None:
    annotations = {"annotations": {"modelrollout.dev/command": "{"}}
    rollout = RolloutState.of(stored(meta=annotations))
    assert rollout.commands == ()
    assert "modelrollout.dev/command" in rollout.command_error
