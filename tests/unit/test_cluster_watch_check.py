"""Whether kopf tells of ModelRollouts what lists show."""

from __future__ import annotations

import pytest

from modelrollout.cluster.watch_check import LATE_SECONDS, NotWatchedError, WatchCheck

ONE = ("ns", "one")


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.check = WatchCheck("modelrollouts", clock=lambda: self.now)


def test_what_the_watch_does_not_tell_in_time_is_stale_in_its_namespace() -> None:
    clock = Clock()
    clock.check.listed(ONE, "7")
    assert clock.check.waiting
    assert clock.check.stale() == ""
    clock.now += LATE_SECONDS + 1
    assert "did not tell" in clock.check.stale()
    assert "did not tell" in clock.check.stale("ns")
    assert clock.check.stale("other") == ""
    assert clock.check.age == LATE_SECONDS + 1


@pytest.mark.parametrize(("version", "told"), [("6", False), ("7", True), ("9", True)])
def test_the_watch_told_it_with_that_version_or_a_newer_one(version: str, told: bool) -> None:
    clock = Clock()
    clock.check.listed(ONE, "7")
    clock.check.heard(("ns", "another"), "9")
    clock.check.heard(ONE, version)
    assert clock.check.waiting is not told


def test_a_later_list_does_not_prolong_the_wait() -> None:
    clock = Clock()
    clock.check.listed(ONE, "7")
    clock.now += LATE_SECONDS + 1
    clock.check.listed(ONE, "8")
    assert clock.check.stale()
    clock.check.heard(ONE, "7")
    assert clock.check.stale()


def test_what_is_gone_is_not_waited_for() -> None:
    clock = Clock()
    clock.check.listed(ONE, "7")
    clock.check.forget(ONE)
    assert (clock.check.waiting, clock.check.age) == (False, 0.0)


def test_it_is_an_error_only_where_two_lists_find_the_watch_late() -> None:
    clock = Clock()
    clock.check.listed(ONE, "7")
    clock.check.require()
    clock.now += 3600  # an outage of the API server: no list was answered, no watch could tell anything
    clock.check.require()
    clock.now += 10
    clock.check.require()
    clock.now += LATE_SECONDS
    with pytest.raises(NotWatchedError, match="kopf does not watch modelrollouts"):
        clock.check.require()


def test_a_watch_that_was_late_and_told_it_is_relied_on_again() -> None:
    clock = Clock()
    clock.check.listed(ONE, "7")
    clock.now += LATE_SECONDS + 1
    clock.check.require()
    clock.check.heard(ONE, "7")
    clock.check.require()
    clock.check.listed(ONE, "8")
    clock.now += LATE_SECONDS + 1
    clock.check.require()
