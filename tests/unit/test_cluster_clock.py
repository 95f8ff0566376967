"""The API server's time: kept through a wrong clock, a clock that is set, and answers that disagree."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import formatdate

import pytest

from modelrollout.cluster.clock import ServerClock

START = 1_767_603_600.0
"""2026-01-05 09:00 UTC."""


class Machine:
    """A node whose clock may be wrong, before an API server whose clock is right."""

    def __init__(self, ahead: float = 0.0) -> None:
        self.true = START + 0.25
        self.ahead = ahead
        self.clock = ServerClock(bound=2.0, monotonic=lambda: self.true - START, wall=self.wall)

    def wall(self) -> float:
        return self.true + self.ahead

    def request(self, *, took: float = 0.02, wrong: float = 0.0) -> None:
        """An answer of the API server, whose clock is wrong by so much."""
        sent = self.true - START
        self.true += took
        self.clock.observe(formatdate(self.true + wrong, usegmt=True), sent=sent, received=self.true - START)

    @property
    def error(self) -> float:
        """Seconds by which the time it tells is off."""
        return (self.clock.now() - datetime.fromtimestamp(self.true, tz=UTC)).total_seconds()


def test_a_clock_that_agrees_is_left_alone_to_the_fraction_of_a_second() -> None:
    machine = Machine(ahead=0.1)
    for _ in range(30):
        machine.request()
        machine.true += 1.7
    assert 0 <= machine.error <= 0.1 + 1e-6, "only where a Date proves it wrong is it moved"
    assert not machine.clock.skewed and not machine.clock.uncertain


@pytest.mark.parametrize("ahead", [900.0, -900.0, 30.0])
def test_a_clock_that_is_wrong_is_corrected_and_said(ahead: float, caplog: pytest.LogCaptureFixture) -> None:
    machine = Machine(ahead)
    for _ in range(30):
        machine.request()
        machine.true += 1.7
        assert abs(machine.error) < 1.1
    assert machine.clock.skew == pytest.approx(ahead, abs=1.1)
    assert machine.clock.skewed and not machine.clock.uncertain
    assert caplog.text.count("Synchronize the node's clock") == 1


def test_a_clock_that_is_set_while_the_operator_runs_moves_nothing() -> None:
    machine = Machine()
    machine.request()
    machine.ahead = 900.0
    assert abs(machine.error) < 1.1, "also before the next answer"
    assert machine.clock.skewed
    machine.ahead = 0.0
    machine.request()
    assert not machine.clock.skewed


def test_answers_that_contradict_each_other_are_not_believed_and_hold_everything() -> None:
    machine = Machine()
    machine.request()
    for wrong in (900.0, 0.0, 900.0, 0.0):
        machine.request(wrong=wrong)
        machine.true += 2
        assert abs(machine.error) < 1.1
        assert machine.clock.uncertain
    machine.true += 61
    machine.request()
    assert not machine.clock.uncertain


def test_an_api_server_whose_clock_was_set_counts_after_a_minute() -> None:
    machine = Machine()
    machine.request()
    for _ in range(40):
        machine.true += 2
        machine.request(wrong=900.0)
    assert machine.error == pytest.approx(900, abs=1.1)


@pytest.mark.parametrize("date", [None, "", "yesterday", "Mon, 99 Foo 2026 00:00:00 GMT"])
def test_an_answer_without_a_usable_date_changes_nothing(date: str | None) -> None:
    machine = Machine(ahead=900.0)
    machine.request()
    before = machine.clock.skew
    machine.clock.observe(date, sent=0.0, received=0.1)
    assert machine.clock.skew == before


def test_a_slow_answer_proves_less_and_breaks_nothing() -> None:
    machine = Machine(ahead=0.2)
    machine.request(took=9.0)
    machine.request()
    assert abs(machine.error) < 1.1 and not machine.clock.uncertain
