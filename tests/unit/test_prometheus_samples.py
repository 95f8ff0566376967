"""From answers to samples, and numbers that are none, without a server."""

from __future__ import annotations

from datetime import UTC, datetime
from math import inf

import pytest

from modelrollout.cli.text import value_text
from modelrollout.decision.types import SampleState
from modelrollout.prometheus import CriterionQuery
from modelrollout.prometheus.query_union import Answer
from modelrollout.prometheus.samples import sample_of
from tests.support.queries import criterion
from tests.unit.decision_story import Story

NOW = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize("count", [inf, -1.0])
def test_a_number_of_samples_that_cannot_be_one_is_an_error(count: float) -> None:
    query = CriterionQuery(name="c", value="q", count="n / 0")
    sample = sample_of(query, {"v": Answer(1.0, (0.5,)), "n": Answer(1.0, (count,))}, NOW)
    assert sample.state is SampleState.ERROR
    assert "expected a finite number from 0. Query: n / 0" in sample.message


@pytest.mark.parametrize(
    ("value", "text"), [(inf, "+Inf"), (-inf, "-Inf"), (1.7976931348623157e308, "+Inf"), (0.5, "0.5")]
)
def test_the_command_line_shows_infinities_as_prometheus_does(value: float, text: str) -> None:
    """The large number is what versions before wrote into status."""
    assert value_text(None, value) == value_text(criterion(query="q", max=1), value) == text


def test_an_infinite_value_stays_out_of_status_and_is_no_baseline() -> None:
    compares = {
        "name": "c",
        "query": "q(${candidatePods})",
        "compare": {"to": "Baseline", "maxIncrease": "20%"},
    }
    story = Story(criteria=[compares], baseline={"window": "1h"})
    observe = story.world.observe

    def infinite(status: object) -> object:
        seen = observe(status)  # type: ignore[arg-type]
        for sample in seen.baselines.values():
            object.__setattr__(sample, "value", inf)
        return seen

    story.world.observe = infinite  # type: ignore[method-assign,assignment]
    story.play(30)
    assert story.status.baseline == ()
    assert "its value is +Inf, with which nothing can be compared" in story.status.message
