"""The allow-list of servers, the arguments of presets, and what is made of answers: no server needed."""

import math
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from modelrollout.api.criteria import Criterion
from modelrollout.api.presets import PRESETS, Preset
from modelrollout.decision.types import SampleState
from modelrollout.prometheus import (
    FailureKind,
    PrometheusError,
    PrometheusTarget,
    PrometheusTargets,
    QueryContext,
    TargetAuth,
    TemplateError,
    UnknownTargetError,
    build_rollout,
)
from modelrollout.prometheus.history import grid
from modelrollout.prometheus.presets import preset_query
from modelrollout.prometheus.queries import CriterionQuery
from modelrollout.prometheus.query_union import Answer
from modelrollout.prometheus.samples import sample_of, stale

NOW = datetime(2026, 1, 1, tzinfo=UTC)
CONTEXT = QueryContext(namespace="ml", rollout="emotion", candidate="emotion-2", stable="emotion-1")
EXAMPLE_ARGS = {Preset.ROUTE_SHARE: {"route": "linear_head"}, Preset.CONTRACT: {"dimension": "384"}}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"url": "prometheus:9090"}, "must be http(s)://host"),
        ({"url": "ftp://p"}, "must be http(s)://host"),
        ({"url": "http://u:p@h"}, "must not hold credentials"),
        ({"url": "http://h/?a=b"}, "no query"),
        ({}, "url is missing"),
        ({"url": "http://h", "tokenFile": "x"}, "unknown setting 'tokenFile'"),
        ({"url": "http://h", "username": "u"}, "both username and passwordFile"),
        ({"url": "http://h", "keyFile": "k"}, "keyFile needs certFile"),
        ({"url": "http://h", "bearerTokenFile": "t", "username": "u", "passwordFile": "p"}, "not both"),
        ({"url": "https://h", "caFile": "c", "insecureSkipVerify": True}, "not both"),
        (
            {"url": "http://h", "timeout": "soon"},
            "'default': timeout must be a number of seconds, not a text",
        ),
        ({"url": "http://h:port"}, "host or port cannot be read"),
        ({"url": "http://h", "headers": ["a"]}, "headers must map names to values, not be a list of 1"),
        ({"url": "http://h", "headers": {"a b": "c"}}, "no name of a header"),
        ({"url": "http://h", "headers": {"X-Org": "a\nb"}}, "header 'X-Org' must be one line of text"),
        ({"url": "http://h", "timeout": 0}, "from 0.1 to 300 s"),
    ],
)
def test_settings_that_make_no_sense_are_refused_with_the_field(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        PrometheusTargets.from_mapping({"default": settings})


def test_settings_are_read() -> None:
    targets = PrometheusTargets.from_mapping(
        {
            "eu": {
                "url": "https://p/prom/",
                "bearerTokenFile": "/t",
                "timeout": "2.5",
                "headers": {"X-Scope-OrgID": 7},
            }
        }
    )
    assert targets.get("eu") == PrometheusTarget(
        name="eu",
        url="https://p/prom",
        timeout=2.5,
        auth=TargetAuth(bearer_token_file=Path("/t")),
        headers={"X-Scope-OrgID": "7"},
    )


def test_a_name_that_is_not_in_the_settings_is_refused_with_those_that_are() -> None:
    with pytest.raises(
        UnknownTargetError, match=re.escape("'us' is not in the operator's settings (there: default)")
    ):
        PrometheusTargets.single("http://p").get("us")


@pytest.mark.parametrize("preset", list(Preset))
def test_every_preset_renders_without_a_name_left_over(preset: Preset) -> None:
    info = PRESETS[preset]
    query = preset_query(preset, EXAMPLE_ARGS.get(preset, {}))
    assert (query.count is not None) == info.has_samples
    criterion = _criterion(preset=preset, args=EXAMPLE_ARGS.get(preset, {}), max=1)
    built = build_rollout("uid", "default", [criterion], CONTEXT)
    assert not built.problems
    text = built.queries["c"].value
    assert "${" not in text
    assert 'namespace="ml"' in text
    assert "[5m]" in text or preset is Preset.CONTRACT


@pytest.mark.parametrize("preset", list(Preset))
def test_every_preset_takes_every_argument_it_says_it_takes(preset: Preset) -> None:
    for name in PRESETS[preset].args:
        args = EXAMPLE_ARGS.get(preset, {}) | {name: 'va"l'}
        assert 'va\\"l' in preset_query(preset, args).value


@pytest.mark.parametrize(
    ("preset", "args", "said"),
    [
        (Preset.ERROR_RATE, {"route": "x"}, "takes no argument 'route'; it takes code, model"),
        (Preset.ROUTE_SHARE, {}, "needs the argument 'route'"),
        (Preset.CONTRACT, {"model": "m"}, "at least one of artifactSha256"),
        (Preset.FALLBACK_RATE, {"route": "a", "reason": "b"}, "not both"),
    ],
)
def test_wrong_arguments_are_refused(preset: Preset, args: dict[str, str], said: str) -> None:
    with pytest.raises(TemplateError, match=re.escape(said)):
        preset_query(preset, args)


def test_an_argument_is_never_read_as_a_placeholder() -> None:
    criterion = _criterion(preset="routeShare", args={"route": "${namespace}"}, max=1)
    query = build_rollout("uid", "default", [criterion], CONTEXT).queries["c"]
    assert 'route="${namespace}"' in query.value


def test_one_broken_criterion_leaves_the_others() -> None:
    good = _criterion(preset="errorRate", max=1)
    broken = _criterion(preset="labelDrift", max=1).model_copy(update={"name": "drift"})
    context = QueryContext(namespace="ml", rollout="e", candidate="e-1")
    built = build_rollout("uid", "default", [good, broken], context)
    assert list(built.queries) == ["c"]
    assert "no stable version" in built.problems["drift"]


def test_comparing_with_stable_asks_the_same_of_stable() -> None:
    compare = {"to": "Stable", "maxIncrease": "50%"}
    criterion = _criterion(query='sum(x{pod=~"${candidatePods}"})', samplesQuery="sum(y)", compare=compare)
    query = build_rollout("uid", "default", [criterion], CONTEXT).queries["c"]
    assert query.stable_value == query.value.replace("emotion-2", "emotion-1")
    assert query.stable_count == "sum(y)"


def test_a_baseline_measures_stable_over_its_own_window() -> None:
    criterion = _criterion(preset="latencyP95", max=1)
    context = QueryContext(namespace="ml", rollout="e", candidate="emotion-1", stable="emotion-1")
    query = build_rollout("uid", "default", [criterion], context, window=86400).queries["c"]
    assert "[1d]" in query.value
    assert "emotion-1-" in query.value


QUERY = CriterionQuery(name="c", value="v", count="n", stable_value="r", stable_count="m")


@pytest.mark.parametrize(
    ("outcomes", "state", "said"),
    [
        ({"v": Answer(1, (0.5,)), "n": Answer(1, (9.0,)), "r": Answer(1, (0.1,))}, SampleState.VALUE, ""),
        ({"v": Answer(1, (0.5,))}, SampleState.VALUE, "stable yields no value"),
        ({"v": Answer(1, (math.nan,)), "n": Answer(1, (9.0,))}, SampleState.NO_DATA, "yields NaN"),
        (
            {"v": Answer(1, (math.nan,)), "n": Answer(1, (0.0,))},
            SampleState.NO_DATA,
            "do the pods get traffic",
        ),
        ({}, SampleState.NO_DATA, "no such series of these pods"),
        ({"v": Answer(1, (1.0, 2.0, 3.0))}, SampleState.ERROR, "yields 3 series, expected one"),
        (
            {"v": Answer(1, (1.0,)), "n": Answer(1, (1.0, 2.0))},
            SampleState.ERROR,
            "number of samples yields 2",
        ),
        (
            {"v": Answer(1, (1.0,)), "r": Answer(1, (1.0, 2.0))},
            SampleState.ERROR,
            "on the stable version yields 2",
        ),
        ({"v": Answer(1, None)}, SampleState.ERROR, "a range or a text"),
        (
            {"v": PrometheusError(FailureKind.BAD_QUERY, "x", detail="1:5: parse error")},
            SampleState.ERROR,
            "was refused: 1:5: parse error. Query: v",
        ),
        ({"v": PrometheusError(FailureKind.TIMEOUT, "it gave up")}, SampleState.ERROR, "it gave up"),
    ],
)
def test_what_is_made_of_answers(outcomes: dict[str, Any], state: SampleState, said: str) -> None:
    sample = sample_of(QUERY, outcomes, NOW)
    assert (sample.state, sample.value is not None) == (state, state is SampleState.VALUE)
    assert said in sample.message
    assert bool(said) == bool(sample.message)


def test_samples_that_were_counted_as_nothing_are_none_at_all() -> None:
    sample = sample_of(QUERY, {"v": Answer(1, (0.5,)), "r": Answer(1, (0.5,))}, NOW)
    assert (sample.count, sample.reference_count) == (0.0, 0.0)


def test_old_data_is_no_data() -> None:
    sample = sample_of(QUERY, {"v": Answer(1, (0.5,)), "n": Answer(1, (7.0,))}, NOW)
    aged = stale(sample, 95.0, 30.0)
    assert (aged.state, aged.value, aged.count) == (SampleState.NO_DATA, None, 7.0)
    assert "95 s old (at most 30 s were expected)" in aged.message


@pytest.mark.parametrize("length", [0.5, 1.0, 3.0, 60.0, 119.9, 120.0, 900.0, 86400.0])
def test_the_grid_of_a_confirmation_covers_the_whole_time(length: float) -> None:
    end = 1_800_000_000.123
    span = grid(end, length)
    points = round((span.end - span.start) / span.step) + 1
    assert span.end == end
    assert span.end - span.start >= length - 0.001
    assert 2 <= points <= 121
    assert span.start + (points - 1) * span.step == pytest.approx(end, abs=1e-4)
    assert span.end - span.start <= max(length, 1.0) * 1.01 + 0.2


def _criterion(**fields: Any) -> Criterion:
    return Criterion.model_validate({"name": "c", **fields})
