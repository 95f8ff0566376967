"""The metrics contract: names, types, labels, and zeros before the first request."""

from __future__ import annotations

from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from inference_server.metrics import SHADOW_DROPS
from inference_server.predictors.base import FALLBACK_REASONS, Prediction
from inference_server.predictors.emotion.kind import KIND
from inference_server.predictors.emotion.label_sets import ROUTES
from inference_server.service import InferenceService
from inference_server.settings import Settings
from tests.support.inference import LABELS, load_fake, write_fake

CONTRACT = {
    "model_info": ("gauge", {"artifact_sha256", "encoder", "dimension", "config_sha256"}),
    "model_requests": ("counter", {"code"}),
    "model_predictions": ("counter", {"route", "label"}),
    "model_fallbacks": ("counter", {"reason"}),
    "model_dimension_mismatches": ("counter", {"route"}),
    "model_low_confidence": ("counter", set()),
    "model_rule_applications": ("counter", {"rule"}),
    "model_accepted": ("counter", {"accepted"}),
    "model_prediction_seconds": ("histogram", {"route"}),
    "model_confidence": ("histogram", set()),
    "model_shadow_comparisons": ("counter", {"agree"}),
    "model_shadow_dropped": ("counter", {"reason"}),
    "model_reloads": ("counter", {"outcome"}),
}
ZEROS = {
    ("model_predictions_total", "route", "label"): {(route, label) for route in ROUTES for label in LABELS},
    ("model_fallbacks_total", "reason"): {(reason,) for reason in FALLBACK_REASONS},
    ("model_dimension_mismatches_total", "route"): {(route,) for route in ROUTES},
    ("model_prediction_seconds_count", "route"): {(route,) for route in ROUTES},
    ("model_shadow_comparisons_total", "agree"): {("true",), ("false",), ("none",)},
    ("model_accepted_total", "accepted"): {("true",), ("false",)},
    ("model_reloads_total", "outcome"): {("success",), ("failure",), ("refused",)},
    ("model_shadow_dropped_total", "reason"): {(reason,) for reason in SHADOW_DROPS},
    ("model_rule_applications_total", "rule"): {("anger_frustration",)},
    ("model_low_confidence_total",): {()},
    ("model_confidence_count",): {()},
}


@pytest.fixture
async def service(tmp_path: Path) -> InferenceService:
    directory = write_fake(tmp_path / "emotion")
    service = InferenceService(Settings(artifacts=directory, models_root=tmp_path), KIND, load_fake)
    await service.start()
    return service


def families(service: InferenceService) -> dict[str, object]:
    return {family.name: family for family in text_string_to_metric_families(service.metrics.page().decode())}


async def test_every_family_of_the_contract_has_its_type_and_labels(service: InferenceService) -> None:
    seen = families(service)
    for name, (kind, labels) in CONTRACT.items():
        family = seen[name]
        assert family.type == kind, name
        assert family.samples, name
        for sample in family.samples:
            assert set(sample.labels) - {"le"} == labels | {"model", "version"}, name


async def test_every_series_carries_model_and_version(service: InferenceService) -> None:
    for family in families(service).values():
        for sample in family.samples:
            assert sample.labels["model"] == "emotion", sample
            assert sample.labels["version"] == "1", sample


async def test_counters_are_there_at_zero_before_the_first_request(service: InferenceService) -> None:
    samples = [sample for family in families(service).values() for sample in family.samples]
    for (name, *labels), expected in ZEROS.items():
        found = {tuple(s.labels[label] for label in labels): s.value for s in samples if s.name == name}
        assert set(found) == expected, name
        assert set(found.values()) == {0.0}, name
    codes = {s.labels["code"] for s in samples if s.name == "model_requests_total"}
    assert {"200", "400", "413", "422", "500", "503"} <= codes
    created = [s.name for s in samples if s.name.endswith("_created")]
    assert not created


async def test_a_prediction_is_counted_in_every_family_it_belongs_to(service: InferenceService) -> None:
    metrics = service.registry.current.metrics
    prediction = Prediction(
        label="anger", confidence=0.3, route="prototypes", scores={}, rule="anger_frustration",
        fallbacks=("dimension_mismatch",), dimension_mismatches=("linear_head",), low_confidence=True,
    )  # fmt: skip
    metrics.prediction(prediction, seconds=0.21)
    changed = {
        (s.name, *(v for k, v in sorted(s.labels.items()) if k not in {"model", "version", "le"})): s.value
        for family in families(service).values()
        for s in family.samples
        if s.value
        and not s.name.endswith("_bucket")
        and s.name.startswith("model_")
        and s.name != "model_info"
    }
    assert changed == {
        ("model_predictions_total", "anger", "prototypes"): 1,
        ("model_fallbacks_total", "dimension_mismatch"): 1,
        ("model_dimension_mismatches_total", "linear_head"): 1,
        ("model_low_confidence_total",): 1,
        ("model_rule_applications_total", "anger_frustration"): 1,
        ("model_accepted_total", "false"): 1,
        ("model_prediction_seconds_count", "prototypes"): 1,
        ("model_prediction_seconds_sum", "prototypes"): 0.21,
        ("model_confidence_count",): 1,
        ("model_confidence_sum",): 0.3,
    }


async def test_latency_limits_people_set_are_bucket_bounds(service: InferenceService) -> None:
    family = families(service)["model_prediction_seconds"]
    bounds = {float(s.labels["le"]) for s in family.samples if s.name.endswith("_bucket")}
    assert {0.05, 0.1, 0.2, 1.0} <= bounds
