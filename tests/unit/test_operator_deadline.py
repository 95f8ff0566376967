"""The process ends when its time is over, whatever still waits."""

from __future__ import annotations

import threading

import pytest

from modelrollout.operator.deadline import REST_SECONDS, ExitDeadline
from modelrollout.operator.settings import load_settings


@pytest.mark.parametrize(("done", "code"), [(False, 1), (True, 0)])
def test_the_process_is_ended_when_its_time_is_over(done: bool, code: int) -> None:
    ended: list[int] = []
    over = threading.Event()

    def end(number: int) -> None:
        ended.append(number)
        over.set()

    deadline = ExitDeadline(end)
    deadline.start(0.05)
    if done:
        deadline.done()
    assert over.wait(10)
    assert ended == [code]


def test_by_default_it_ends_within_the_grace_period_of_a_pod() -> None:
    settings = load_settings(["--prometheus-url", "http://p"], {})
    assert settings.shutdown + REST_SECONDS < 30
