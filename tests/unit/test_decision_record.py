"""What `decide` answers in fixed histories: a change of behaviour or text shows in a difference."""

from __future__ import annotations

import pytest

from tests.unit.decision_record import FOLDER, HISTORIES, record


@pytest.mark.parametrize("number", range(HISTORIES))
def test_a_recorded_history_is_decided_as_it_was(number: int) -> None:
    expected = (FOLDER / f"{number:02}.txt").read_text(encoding="utf-8")
    seen = record(number)
    assert seen == expected, "if this change is meant, run hack/generate and look at the difference"


def test_every_record_is_of_a_history() -> None:
    assert {path.name for path in FOLDER.iterdir()} == {f"{number:02}.txt" for number in range(HISTORIES)}
