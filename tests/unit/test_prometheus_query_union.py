"""Joining questions and telling the answers apart, without a server."""

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelrollout.prometheus.batcher import render_questions
from modelrollout.prometheus.query_union import (
    NOTHING,
    Answer,
    is_scalar,
    is_self_contained,
    joined,
    labelled,
    single,
    split,
)
from tests.support.queries import criterion, rollout


@pytest.mark.parametrize(
    "promql",
    [
        "up",
        'sum by (pod) (rate(x{a=~"[)(]+"}[5m]))',
        "x{a='}'}",
        "x{a=`\\`}",
        'x{a="\\""}',
        'up # a comment with ) and "',
        "(((1)))",
    ],
)
def test_whole_questions_are_self_contained(promql: str) -> None:
    assert is_self_contained(promql)


@pytest.mark.parametrize(
    "promql",
    [
        "vector(1)) or (vector(2)",
        'vector(1), "__mro_id", "7.0", "", "") or label_replace(vector(0)',
        "sum(",
        "x[5m",
        "(x]",
        'x{a="b}',
        "x{a='b\n'}",
        "`",
        ")(",
        'vector(0) # \r, "__mro_id", "7.0", "", "") or label_replace(vector(1)',
        "vector(0) # \r) or (vector(1) # (",
    ],
)
def test_what_could_leave_its_parentheses_is_found(promql: str) -> None:
    assert not is_self_contained(promql)


@given(st.text(alphabet="()[]{}\"'`\\#\n\r ax", max_size=12))
def test_a_self_contained_question_never_closes_the_parenthesis_around_it(promql: str) -> None:
    """An independent reading, character by character: the depth inside never falls below where it began."""
    if not is_self_contained(promql):
        return
    depth, quote, comment, skip = 0, "", False, False
    for character in f"({promql}\n)":
        if skip:
            skip = False
        elif comment:
            comment = character not in "\r\n"
        elif quote:
            skip = character == "\\" and quote != "`"
            assert quote == "`" or character != "\n"
            quote = "" if character == quote else quote
        elif character in "\"'`":
            quote = character
        elif character == "#":
            comment = True
        else:
            depth += (character in "([{") - (character in ")]}")
            assert depth >= 0
    assert (depth, quote) == (0, "")


@given(st.integers(min_value=1, max_value=300))
def test_the_tree_has_every_part_once_and_is_balanced(count: int) -> None:
    parts = [f"p{index}" for index in range(count)]
    text = joined(parts)
    assert [word for word in text.replace("(", " ").replace(")", " ").split() if word != "or"] == parts
    depth = deepest = 0
    for character in text:
        depth += (character == "(") - (character == ")")
        deepest = max(deepest, depth)
    assert depth == 0
    assert deepest <= math.ceil(math.log2(count)) if count > 1 else deepest == 0


def test_a_question_is_labelled_with_its_id() -> None:
    assert labelled("up", "1.0") == 'label_replace(topk(2, (\nup\n)), "__mro_id", "1.0", "", "")'
    assert labelled("1", "1.0", scalar=True).startswith("label_replace(vector(\n1\n)")


def test_answers_are_told_apart_and_counted() -> None:
    result = [
        {"metric": {"__mro_id": "1.0"}, "value": [10.5, "0.25"]},
        {"metric": {"__mro_id": "1.1", "pod": "a"}, "value": [10.5, "1"]},
        {"metric": {"__mro_id": "1.1", "pod": "b"}, "value": [10.5, "2"]},
    ]
    assert split(result) == {"1.0": Answer(10.5, (0.25,)), "1.1": Answer(10.5, (1.0, 2.0))}


def test_forms_of_a_single_answer() -> None:
    assert single([]) is NOTHING
    assert single([3.0, "4"]) == Answer(3.0, (4.0,))
    assert single([3.0, "text"]) == Answer(3.0, None)
    assert single([{"metric": {}, "values": [[1.0, "2"]]}]) == Answer(0.0, None)
    assert single([{"metric": {}, "value": [1.0, "2"]}]) == Answer(1.0, (2.0,))
    assert is_scalar([3.0, "4"])
    assert not is_scalar([{"metric": {}, "value": [1.0, "2"]}])
    assert not is_scalar([])


def test_numbers_stay_what_prometheus_says() -> None:
    """No infinity is told as another number, and a native histogram is no number."""
    texts = ("+Inf", "-Inf", "NaN", "1e-3")
    result = [{"metric": {"__mro_id": text}, "value": [1.0, text]} for text in texts]
    numbers = {text: (answer.values or (0.0,))[0] for text, answer in split(result).items()}
    assert (numbers["+Inf"], numbers["-Inf"], numbers["1e-3"]) == (math.inf, -math.inf, 0.001)
    assert math.isnan(numbers["NaN"])
    histogram = {"metric": {"__mro_id": "h"}, "histogram": [1.0, {"count": "3", "sum": "2"}]}
    assert split([histogram]) == {"h": Answer(0.0, None)}


def test_ids_are_made_from_a_source_that_is_handed_in_and_unguessable_otherwise() -> None:
    queries = rollout("ns", criterion("a", query="up"), criterion("b", query="down"))
    assert set(render_questions(queries, lambda: "fixed").questions) == {"fixed.0", "fixed.1", "fixed.2"}
    prefixes = {next(iter(render_questions(queries).questions)).partition(".")[0] for _ in range(50)}
    assert len(prefixes) == 50
    assert all(re.fullmatch(r"[0-9a-f]{32}", prefix) for prefix in prefixes)
