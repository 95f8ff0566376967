"""What `${name}` stands for, and what is said about a name that does not exist."""

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelrollout.prometheus.errors import TemplateError
from modelrollout.prometheus.templating import (
    QueryContext,
    pod_regex,
    quoted,
    render,
    replica_set_pods,
    variables,
)

CONTEXT = QueryContext(namespace="ml", rollout="emotion", candidate="emotion-2", stable="emotion-1")
NAMES = variables(CONTEXT, "5m", {"route": "regex"})


def test_every_documented_name_is_replaced() -> None:
    every = "${candidate} ${stable} ${namespace} ${window} ${rollout} ${args.route} ${candidatePods} "
    text = render(every + "${stablePods}", NAMES)
    pods = "-[a-z0-9]+-[a-z0-9]{5}"
    assert text == f"emotion-2 emotion-1 ml 5m emotion regex emotion-2{pods} emotion-1{pods}"


def test_text_without_names_stays_as_it_is() -> None:
    text = 'sum(rate(x{a=~"^b$", c=~"d{2}"}[5m])) # $5 {window}'
    assert render(text, NAMES) == text


def test_a_doubled_dollar_keeps_the_name_literal() -> None:
    assert render("a $${window} b", NAMES) == "a ${window} b"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("${candidatePod}", "did you mean ${candidatePods}?"),
        ("${nonsense}", "Known: ${args.route}, ${candidate}, ${candidatePods}, ${namespace}"),
        ("${args.reason}", "${args.reason} is not known"),
        ("x${", "not closed"),
        ('{pod=~"${candidatePods"}', "'${candidatePods' in the query is not closed"),
        ("${}", "${} is not known"),
    ],
)
def test_an_unknown_or_broken_name_is_refused_with_help(text: str, said: str) -> None:
    with pytest.raises(TemplateError, match=re.escape(said)):
        render(text, NAMES)


def test_without_a_stable_version_its_names_say_so() -> None:
    names = variables(QueryContext(namespace="ml", rollout="e", candidate="e-1"), "5m", {})
    with pytest.raises(TemplateError, match="no stable version yet"):
        render("${stablePods}", names)


def test_arguments_are_escaped_for_a_promql_string() -> None:
    names = variables(CONTEXT, "5m", {"route": 'a"b\\c\nd'})
    assert render('{r="${args.route}"}', names) == '{r="a\\"b\\\\c\\nd"}'


def test_on_stable_measures_stable() -> None:
    assert CONTEXT.on_stable().candidate == "emotion-1"
    with pytest.raises(TemplateError, match="no stable version"):
        QueryContext(namespace="n", rollout="r", candidate="c").on_stable()


def generated_pod_name(deployment: str, template_hash: str, suffix: str) -> str:
    """As the ReplicaSet controller and the API server do: 58 characters of the base, five random ones."""
    return f"{deployment}-{template_hash}-"[:58] + suffix


SAFE = "bcdfghjklmnpqrstvwxz2456789"
DEPLOYMENTS = st.from_regex(r"[a-z]([a-z0-9.-]{0,60}[a-z0-9])?", fullmatch=True)


@given(DEPLOYMENTS, st.text(SAFE, min_size=6, max_size=10), st.text(SAFE, min_size=5, max_size=5))
def test_the_regex_matches_the_pods_of_the_deployment(
    deployment: str, template_hash: str, suffix: str
) -> None:
    assert re.fullmatch(pod_regex(deployment), generated_pod_name(deployment, template_hash, suffix))


@pytest.mark.parametrize(
    ("deployment", "pod"),
    [
        ("emotion", "emotion-2-7d4b9c8f6-x2vbn"),
        ("emotion-2", "emotion-7d4b9c8f6-x2vbn"),
        ("a.b", "axb-7d4b9c8f6-x2vbn"),
        ("emotion", "my-emotion-7d4b9c8f6-x2vbn"),
        ("emotion", "emotion-7d4b9c8f6-x2vbn-0"),
    ],
)
def test_the_regex_matches_no_other_deployments_pods(deployment: str, pod: str) -> None:
    assert not re.fullmatch(pod_regex(deployment), pod)


@given(
    st.lists(st.tuples(DEPLOYMENTS, st.text(SAFE, min_size=6, max_size=10)), min_size=1, max_size=4),
    st.text(SAFE, min_size=5, max_size=5),
)
def test_the_regex_of_replica_sets_matches_the_pods_of_each(sets: list[tuple[str, str]], suffix: str) -> None:
    pattern = replica_set_pods(f"{name}-{template_hash}" for name, template_hash in sets)
    assert all(re.fullmatch(pattern, generated_pod_name(*one, suffix)) for one in sets)
    assert "\\" not in pattern


@pytest.mark.parametrize(
    "pod",
    [
        "emotion-batch-x2x9z",  # of a Job, a DaemonSet or a ReplicaSet emotion-batch
        "emotion-7d4b9c8f5-x2vbn",  # of a ReplicaSet that the Deployment does not have
        "emotion-2-7d4b9c8f6-x2vbn",
        "emotion-7d4b9c8f6-x2vbn0",
    ],
)
def test_scenario_45_the_regex_of_replica_sets_matches_nothing_else(pod: str) -> None:
    assert not re.fullmatch(replica_set_pods(["emotion-7d4b9c8f6", "emotion-5f6d7c8b9"]), pod)


@pytest.mark.parametrize("length", range(46, 57))
def test_scenario_45_long_names_that_begin_alike_have_regexes_of_their_own(length: int) -> None:
    short, long = "e" * length, "e" * length + "-b"
    for mine, others in (
        ((short, "5d8f7c9b44"), (long, "7c9b445d8f")),
        ((long, "7c9b445d8f"), (short, "5d8f7c9b44")),
    ):
        pattern = replica_set_pods(["-".join(mine)])
        assert re.fullmatch(pattern, generated_pod_name(*mine, "x2vbn"))
        assert not re.fullmatch(pattern, generated_pod_name(*others, "x2vbn"))


def test_replica_sets_are_asked_for_where_they_are_known() -> None:
    context = replace(CONTEXT, replica_sets={"emotion-2": ("emotion-2-7d4b9c8f6",), "emotion-1": ()})
    names = variables(context, "5m", {})
    assert names["candidatePods"] == "emotion-2-7d4b9c8f6-[a-z0-9]{5}"
    assert names["stablePods"] == pod_regex("emotion-1")
    assert variables(context.on_stable(), "5m", {})["candidatePods"] == pod_regex("emotion-1")


def test_the_regex_is_the_same_in_every_kind_of_string() -> None:
    assert "\\" not in pod_regex("a.b.c")
    assert quoted("a.b") == "a.b"
