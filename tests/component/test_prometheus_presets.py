"""Every preset against a real Prometheus that scrapes real series: with data, without, with stale and reset
counters."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Iterator
from typing import Any

import pytest

from modelrollout.api.presets import PRESETS, Preset
from modelrollout.decision.types import Sample, SampleState
from tests.support.exporter import LABELS, Exporter, Pod
from tests.support.past import write_blocks
from tests.support.prometheus import Prometheus
from tests.support.queries import criterion, evaluator, rollout

SCRAPE = 0.5
"""Seconds between two scrapes, and the most that one may take."""
_numbers = itertools.count()


@pytest.fixture(scope="module")
def exporter() -> Iterator[Exporter]:
    with Exporter.start() as running:
        yield running


@pytest.fixture(scope="module")
def prometheus(exporter: Exporter) -> Iterator[Prometheus]:
    with Prometheus.start(exporter=exporter, scrape_interval=SCRAPE) as running:
        yield running


@pytest.fixture
def namespace(exporter: Exporter) -> Iterator[str]:
    """A namespace of its own, whose pods go with the test."""
    with exporter.for_a_while():
        yield f"presets-{next(_numbers)}"


def scraped(prometheus: Prometheus, *pods: Pod, times: int = 2) -> None:
    """Wait until the present values of the pods have been scraped at least `times` more times."""
    counts = [f'count_over_time(up{{namespace="{p.namespace}",pod="{p.name}"}}[10m])' for p in pods]
    starts = [max((float(s["value"][1]) for s in prometheus.query(count)), default=0.0) for count in counts]
    for count, start in zip(counts, starts, strict=True):
        prometheus.wait_for(f"{count} >= {start + times + 1}", timeout=60)


def candidate(exporter: Exporter, namespace: str, number: int = 0) -> Pod:
    return exporter.pod(namespace, f"emotion-2-7d4b9c8f6-x2vb{number}", version="2")


def stable(exporter: Exporter, namespace: str, number: int = 0) -> Pod:
    return exporter.pod(namespace, f"emotion-1-5f6d7c8b9-k4mn{number}", version="1")


async def ask(prometheus: Prometheus, namespace: str, preset: Preset | str, **fields: Any) -> Sample:
    queries = rollout(namespace, criterion(preset=preset, **fields))
    async with evaluator(prometheus.url) as asking:
        answer = await asking.evaluate(queries, patience=0)
    assert answer.metrics_error is None
    return answer.samples["c"]


def traffic(pod: Pod) -> None:
    """100 requests: 4 errors, 90 by the linear head, 6 by prototype, 4 by regex, and so on."""
    with pod.exporter.together():
        pod.set("model_requests_total", 96, code="200")
        pod.set("model_requests_total", 3, code="500")
        pod.set("model_requests_total", 1, code="503")
        pod.set("model_predictions_total", 50, route="linear_head", label="joy")
        pod.set("model_predictions_total", 40, route="linear_head", label="anger")
        pod.set("model_predictions_total", 6, route="prototypes", label="joy")
        pod.set("model_predictions_total", 4, route="regex", label="neutral")
        pod.set("model_fallbacks_total", 6, reason="error")
        pod.set("model_fallbacks_total", 4, reason="dimension_mismatch")
        pod.set("model_dimension_mismatches_total", 1, route="prototypes")
        pod.set("model_low_confidence_total", 22)
        pod.set("model_rule_applications_total", 2, rule="tiebreak")
        pod.set("model_accepted_total", 45, accepted="true")
        pod.set("model_accepted_total", 55, accepted="false")
        pod.set("model_shadow_comparisons_total", 60, agree="true")
        pod.set("model_shadow_comparisons_total", 20, agree="false")
        pod.set("model_shadow_comparisons_total", 20, agree="none")
        pod.set("model_confidence_sum", 51.4)
        pod.set("model_confidence_count", 100)
        for bound in ("0.6", "0.7", "0.8", "0.9", "1.0", "+Inf"):
            pod.set("model_confidence_bucket", 80 if bound == "0.6" else 100, le=bound)
        pod.set("model_prediction_seconds_count", 100, route="linear_head")
        for bound in ("0.1", "0.2", "0.25", "0.5", "1.0", "2.5", "+Inf"):
            pod.set(
                "model_prediction_seconds_bucket",
                90 if bound == "0.1" else 100,
                route="linear_head",
                le=bound,
            )


def known_codes(pod: Pod) -> None:
    with pod.exporter.together():
        pod.set("model_requests_total", 0, code="500")
        pod.set("model_requests_total", 0, code="503")


WITH_DATA: list[tuple[Preset, dict[str, str], float]] = [
    (Preset.ERROR_RATE, {}, 0.04),
    (Preset.ERROR_RATE, {"code": "503"}, 0.01),
    (Preset.ERROR_RATE, {"code": "4.."}, 0.0),
    (Preset.AVAILABILITY, {}, 0.96),
    (Preset.ROUTE_SHARE, {"route": "linear_head"}, 0.90),
    (Preset.ROUTE_SHARE, {"route": "regex", "model": "emotion"}, 0.04),
    (Preset.FALLBACK_RATE, {}, 0.10),
    (Preset.FALLBACK_RATE, {"route": "regex"}, 0.04),
    (Preset.FALLBACK_RATE, {"reason": "error"}, 0.06),
    (Preset.LOW_CONFIDENCE_RATE, {}, 0.22),
    (Preset.RULE_RATE, {}, 0.02),
    (Preset.RULE_RATE, {"rule": "tiebreak"}, 0.02),
    (Preset.ACCEPTED_SHARE, {}, 0.45),
    (Preset.SHADOW_AGREEMENT, {}, 0.75),
    (Preset.MEAN_CONFIDENCE, {}, 0.514),
    (Preset.CONFIDENCE_P90, {}, 0.65),  # half way through the bucket from 0.6 to 0.7
    (Preset.LATENCY_P50, {}, 0.05 + 0.05 * 50 / 90),
    (Preset.LATENCY_P95, {"route": "linear_head"}, 0.15),  # half way through the bucket from 0.1 to 0.2
    (Preset.LATENCY_P99, {}, 0.19),
]


@pytest.fixture(scope="module")
def busy(exporter: Exporter, prometheus: Prometheus) -> str:
    """A namespace whose candidate has had exactly 100 requests, all between two scrapes."""
    pod = candidate(exporter, "busy")
    known_codes(pod)
    scraped(prometheus, pod, times=4)
    traffic(pod)
    scraped(prometheus, pod, times=4)
    return "busy"


@pytest.mark.parametrize(("preset", "args", "expected"), WITH_DATA, ids=str)
async def test_a_preset_measures(
    prometheus: Prometheus, busy: str, preset: Preset, args: dict[str, str], expected: float
) -> None:
    sample = await ask(prometheus, busy, preset, args=args)
    assert sample.state is SampleState.VALUE, sample.message
    assert sample.value == pytest.approx(expected, abs=1e-9)
    # increase() extrapolates to the window's ends, so the count is near the truth, not equal to it.
    counted = 80 if preset is Preset.SHADOW_AGREEMENT else 100
    assert sample.count is not None
    assert 0.9 * counted <= sample.count <= 1.5 * counted


def test_every_preset_is_measured_somewhere_here() -> None:
    elsewhere = {Preset.LABEL_DRIFT, Preset.DIMENSION_MISMATCH, Preset.CONTRACT}
    assert {preset for preset, _, _ in WITH_DATA} | elsewhere == set(Preset)


ARGS = {Preset.ROUTE_SHARE: {"route": "linear_head"}, Preset.CONTRACT: {"dimension": "384"}}
COUNTING_FROM_ZERO = {Preset.DIMENSION_MISMATCH: 0.0, Preset.CONTRACT: 0.0}


@pytest.mark.parametrize("preset", list(Preset))
async def test_without_any_series_there_is_no_data(
    prometheus: Prometheus, namespace: str, preset: Preset
) -> None:
    sample = await ask(prometheus, namespace, preset, args=ARGS.get(preset, {}))
    assert (sample.state, sample.value) == (SampleState.NO_DATA, None)
    if PRESETS[preset].has_samples:
        assert sample.count == 0.0
        assert "no such series of these pods" in sample.message


@pytest.fixture(scope="module")
def idle(exporter: Exporter, prometheus: Prometheus) -> str:
    """A namespace whose pods have all their series, at zero."""
    scraped(prometheus, candidate(exporter, "idle"), stable(exporter, "idle"), times=4)
    return "idle"


@pytest.mark.parametrize("preset", list(Preset))
async def test_without_traffic_a_ratio_is_no_data_and_never_zero(
    prometheus: Prometheus, idle: str, preset: Preset
) -> None:
    sample = await ask(prometheus, idle, preset, args=ARGS.get(preset, {}))
    if preset in COUNTING_FROM_ZERO:
        assert (sample.state, sample.value) == (SampleState.VALUE, COUNTING_FROM_ZERO[preset])
        return
    assert (sample.state, sample.value, sample.count) == (SampleState.NO_DATA, None, 0.0)
    assert "do the pods get traffic?" in sample.message


@pytest.mark.parametrize(
    ("preset", "args"),
    [
        (Preset.FALLBACK_RATE, {"route": "rgex"}),
        (Preset.FALLBACK_RATE, {"reason": "eror"}),
        (Preset.RULE_RATE, {"rule": "tie"}),
        (Preset.ERROR_RATE, {"model": "emotoin"}),
    ],
)
async def test_a_misspelt_argument_is_no_data_and_no_perfect_score(
    prometheus: Prometheus, busy: str, preset: Preset, args: dict[str, str]
) -> None:
    assert (await ask(prometheus, busy, preset, args=args)).state is SampleState.NO_DATA


async def test_error_codes_that_never_came_count_as_none(
    exporter: Exporter, prometheus: Prometheus, namespace: str
) -> None:
    pod = candidate(exporter, namespace)
    scraped(prometheus, pod)
    pod.set("model_requests_total", 10, code="200")
    scraped(prometheus, pod)
    assert (await ask(prometheus, namespace, "errorRate")).value == 0.0
    assert (await ask(prometheus, namespace, "availability")).value == 1.0


async def test_only_the_pods_of_the_candidate_count(
    exporter: Exporter, prometheus: Prometheus, namespace: str
) -> None:
    ours = candidate(exporter, namespace)
    others = (
        stable(exporter, namespace),
        exporter.pod(f"{namespace}-other", ours.name, version="2"),
        exporter.pod(namespace, "emotion-2-b-7d4b9c8f6-x2vbn", version="2"),
    )
    for pod in (ours, *others):
        known_codes(pod)
    scraped(prometheus, ours, *others)
    ours.set("model_requests_total", 10, code="200")
    for pod in others:
        pod.set("model_requests_total", 10, code="500")
    scraped(prometheus, ours, *others)
    assert (await ask(prometheus, namespace, "errorRate")).value == 0.0
    compared = await ask(prometheus, namespace, "errorRate", compare={"to": "Stable", "maxIncrease": "50%"})
    assert (compared.value, compared.reference) == (0.0, 1.0)
    assert compared.reference_count is not None
    assert compared.reference_count > 5


async def test_one_mismatch_is_enough(exporter: Exporter, prometheus: Prometheus, namespace: str) -> None:
    pod = candidate(exporter, namespace)
    scraped(prometheus, pod, times=3)
    assert (await ask(prometheus, namespace, "dimensionMismatch", max=0)).value == 0.0
    pod.inc("model_dimension_mismatches_total", route="prototypes")
    scraped(prometheus, pod, times=1)
    sample = await ask(prometheus, namespace, "dimensionMismatch", max=0)
    assert sample.value is not None
    assert sample.value > 0.0
    linear = await ask(prometheus, namespace, "dimensionMismatch", args={"route": "linear_head"}, max=0)
    assert linear.value == 0.0


async def test_a_mismatch_counter_that_is_born_at_one_is_noticed(
    exporter: Exporter, prometheus: Prometheus, namespace: str
) -> None:
    pod = candidate(exporter, namespace)
    for route in ("linear_head", "prototypes", "regex"):
        pod.drop("model_dimension_mismatches_total", route=route)
    scraped(prometheus, pod, times=2)
    assert (await ask(prometheus, namespace, "dimensionMismatch", max=0)).state is SampleState.NO_DATA
    pod.set("model_dimension_mismatches_total", 1, route="linear_head")
    scraped(prometheus, pod, times=1)
    sample = await ask(prometheus, namespace, "dimensionMismatch", max=0)
    assert (sample.state, sample.value) == (SampleState.VALUE, 1.0)


@pytest.mark.parametrize(
    ("before", "after", "counted"),
    [
        (3, 3, 0.0),  # old totals are not new
        (3, 4, 1.0),  # what came while nothing was scraped is
        (3, 1, 1.0),  # and so is all that a restarted server counts
        (0, 0, 0.0),
        (0, 1, 1.0),
        (None, 2, 2.0),  # never seen before
    ],
)
async def test_a_gap_in_scraping_makes_no_old_mismatch_new(
    before: int | None, after: int, counted: float
) -> None:
    """Scraped until an hour ago, then again for the last two minutes; the window is five minutes."""
    now = time.time()
    series = 'model_dimension_mismatches_total{namespace="gap",pod="emotion-2-7d4b9c8f6-x2vb0",route="regex"}'
    old = [(now - 7200 + 15 * n, before) for n in range(240) if before is not None]
    rows = [f"{series} {value} {at:.3f}" for at, value in old]
    rows += [f"{series} {after} {now - 120 + 15 * n:.3f}" for n in range(9)]
    with Prometheus.start() as running:
        write_blocks(running, ["# TYPE model_dimension_mismatches_total unknown", *rows, "# EOF", ""])
        sample = await ask(running, "gap", "dimensionMismatch", max=0, window="5m")
    assert (sample.state, sample.value) == (SampleState.VALUE, counted)


async def test_a_mismatch_leaves_the_window_again(
    exporter: Exporter, prometheus: Prometheus, namespace: str
) -> None:
    pod = candidate(exporter, namespace)
    pod.set("model_dimension_mismatches_total", 1, route="linear_head")
    series = f'model_dimension_mismatches_total{{namespace="{namespace}",route="linear_head"}}'
    prometheus.wait_for(f"{series} offset 5s", timeout=20)
    fields = {"max": 0, "window": "2s"}
    assert (await ask(prometheus, namespace, "dimensionMismatch", **fields)).value == 0.0


async def test_a_restarted_container_resets_its_counters_without_harm(
    exporter: Exporter, prometheus: Prometheus, namespace: str
) -> None:
    pod = candidate(exporter, namespace)
    known_codes(pod)
    scraped(prometheus, pod)
    with exporter.together():
        pod.set("model_requests_total", 90, code="200")
        pod.set("model_requests_total", 10, code="500")
    scraped(prometheus, pod)
    with exporter.together():
        pod.set("model_requests_total", 0, code="200")
        pod.set("model_requests_total", 0, code="500")
    scraped(prometheus, pod)
    sample = await ask(prometheus, namespace, "errorRate")
    assert sample.value == pytest.approx(0.1)
    pod.set("model_requests_total", 100, code="200")
    scraped(prometheus, pod)
    sample = await ask(prometheus, namespace, "errorRate")
    assert sample.value == pytest.approx(10 / 200)


async def test_a_reset_does_not_hide_a_mismatch(
    exporter: Exporter, prometheus: Prometheus, namespace: str
) -> None:
    pod = candidate(exporter, namespace)
    scraped(prometheus, pod)
    pod.set("model_dimension_mismatches_total", 2, route="linear_head")
    scraped(prometheus, pod)
    pod.set("model_dimension_mismatches_total", 0, route="linear_head")
    scraped(prometheus, pod)
    sample = await ask(prometheus, namespace, "dimensionMismatch", max=0)
    assert sample.value is not None
    assert sample.value >= 2.0


def psi(candidate_counts: dict[str, float], stable_counts: dict[str, float]) -> float:
    """The population stability index as textbooks write it, with the floor for labels one side never gave."""
    total, reference = sum(candidate_counts.values()), sum(stable_counts.values())
    index = 0.0
    for label in candidate_counts.keys() | stable_counts.keys():
        p = max(candidate_counts.get(label, 0.0) / total, 1e-4)
        q = max(stable_counts.get(label, 0.0) / reference, 1e-4)
        index += (p - q) * math.log(p / q)
    return index


@pytest.mark.parametrize("unknown_label", [False, True])
async def test_label_drift_is_the_population_stability_index(
    exporter: Exporter, prometheus: Prometheus, namespace: str, unknown_label: bool
) -> None:
    new, old = candidate(exporter, namespace), stable(exporter, namespace)
    if unknown_label:  # a label that only one of the two has as a series
        for route in ("linear_head", "prototypes", "regex"):
            old.drop("model_predictions_total", route=route, label="disgust")
    scraped(prometheus, new, old)
    new_counts = {"joy": 30.0, "anger": 50.0, "disgust": 20.0}
    old_counts = {"joy": 60.0, "anger": 30.0, "sadness": 110.0}
    with exporter.together():
        for pod, counts in ((new, new_counts), (old, old_counts)):
            for label, count in counts.items():
                pod.set("model_predictions_total", count, route="linear_head", label=label)
    scraped(prometheus, new, old)
    sample = await ask(prometheus, namespace, "labelDrift")
    everyone = dict.fromkeys(LABELS, 0.0)
    assert sample.value == pytest.approx(psi(everyone | new_counts, everyone | old_counts), rel=1e-6)
    assert sample.count == pytest.approx(100, rel=0.5)


async def test_no_drift_between_equals(exporter: Exporter, prometheus: Prometheus, namespace: str) -> None:
    pods = (candidate(exporter, namespace), stable(exporter, namespace))
    scraped(prometheus, *pods)
    with exporter.together():
        for factor, pod in zip((1, 7), pods, strict=True):
            for label in LABELS:
                pod.set("model_predictions_total", 10.0 * factor, route="linear_head", label=label)
    scraped(prometheus, *pods)
    sample = await ask(prometheus, namespace, "labelDrift")
    assert sample.value == pytest.approx(0.0, abs=1e-9)


async def test_the_contract_counts_the_pods_that_break_it(
    exporter: Exporter, prometheus: Prometheus, namespace: str
) -> None:
    pods = [candidate(exporter, namespace, number) for number in range(3)]
    info = {"artifact_sha256": "a" * 64, "encoder": "minilm", "config_sha256": "c" * 64}
    with exporter.together():
        pods[1].drop("model_info", dimension="384", **info)
        pods[1].set("model_info", 1, dimension="768", **info)
    scraped(prometheus, *pods)

    async def breaking(**args: str) -> float | None:
        return (await ask(prometheus, namespace, "contract", args=args, max=0)).value

    assert await breaking(dimension="384") == 1.0
    assert await breaking(encoder="minilm") == 0.0
    assert await breaking(artifactSha256="a" * 64, dimension="768") == 2.0
    assert await breaking(configSha256="d" * 64) == 3.0


async def test_the_contract_is_broken_by_a_pod_whose_model_was_exchanged_while_it_ran(
    exporter: Exporter, prometheus: Prometheus, namespace: str
) -> None:
    """By a reload, say: the pod and its version are the same, what it serves is not what was validated."""
    pods = [candidate(exporter, namespace, number) for number in range(2)]
    info = {"encoder": "minilm", "config_sha256": "c" * 64, "dimension": "384"}

    async def breaking() -> float | None:
        return (await ask(prometheus, namespace, "contract", args={"dimension": "384"}, max=0)).value

    scraped(prometheus, *pods)
    assert await breaking() == 0.0
    with exporter.together():
        pods[0].drop("model_info", artifact_sha256="a" * 64, **info)
        pods[0].set("model_info", 1, artifact_sha256="e" * 64, **info)
    scraped(prometheus, *pods)
    assert await breaking() == 1.0
    with exporter.together():  # and when it is exchanged back: another one served in between
        pods[0].drop("model_info", artifact_sha256="e" * 64, **info)
        pods[0].set("model_info", 1, artifact_sha256="a" * 64, **info)
    scraped(prometheus, *pods)
    assert await breaking() == 1.0
    pods[0].remove()
    prometheus.wait_for(f'absent(up{{namespace="{namespace}",pod="{pods[0].name}"}})', timeout=60)
    assert await breaking() == 0.0, "a pod that is gone breaks nothing"


async def test_values_that_are_not_a_number_are_no_data(
    exporter: Exporter, prometheus: Prometheus, namespace: str
) -> None:
    pod = candidate(exporter, namespace)
    pod.set("model_confidence_sum", math.nan)
    scraped(prometheus, pod)
    pod.set("model_confidence_count", 10)
    scraped(prometheus, pod)
    sample = await ask(prometheus, namespace, "meanConfidence")
    assert (sample.state, sample.value) == (SampleState.NO_DATA, None)
    assert "NaN" in sample.message
