"""The models of the spec: defaults, exactness, and what identifies a candidate."""

import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from modelrollout.api.criteria import CompareTo, CriterionPhase, NoDataPolicy, OnBreach
from modelrollout.api.criterion_rules import QUERY_VARIABLES, unknown_variables
from modelrollout.api.presets import PRESETS, Preset, Unit
from modelrollout.api.spec import Approval, KeepStable, ModelRolloutSpec
from modelrollout.api.workload import Candidate, Provider

MINIMAL: dict[str, Any] = {"service": "emotion", "candidate": {"deployment": "emotion-2-4-2"}}
COMPLETE: dict[str, Any] = {
    "replicas": 10,
    "service": "emotion",
    "stable": {"deployment": "emotion-2-4-1"},
    "candidate": {"deployment": "emotion-2-4-2"},
    "capacity": {"maxSurge": "25%", "maxUnavailable": 0},
    "traffic": {"provider": "Replicas"},
    "baseline": {"window": "24h"},
    "shadow": {"duration": "48h"},
    "validations": [
        {"name": "smoke", "image": "smoke:1", "args": ["--url=$(CANDIDATE_URL)"], "timeout": "10m"}
    ],
    "steps": [
        {"weight": 10, "duration": "24h"},
        {"weight": 75, "duration": "12h", "approval": "Required"},
        {"weight": 100},
    ],
    "observation": {"duration": "7d"},
    "criteria": [
        {"name": "regex", "preset": "fallbackRate", "args": {"route": "regex"}, "max": 0.02, "for": "15m",
         "minSamples": 200},
        {"name": "mismatch", "preset": "dimensionMismatch", "max": 0},
        {"name": "p95", "preset": "latencyP95", "max": "200ms"},
        {"name": "slower", "preset": "latencyP95", "onBreach": "Warn",
         "compare": {"to": "Baseline", "maxIncrease": "20%"}},
        {"name": "errors", "query": 'sum(rate(x{pod=~"${candidatePods}"}[5m]))',
         "compare": {"to": "Stable", "maxIncrease": "50%"}},
        {"name": "agreement", "phases": ["Shadow"], "preset": "shadowAgreement", "min": 0.75,
         "pauseBelow": 0.85},
    ],
    "evaluation": {"interval": "10s"},
}  # fmt: skip


def test_the_minimal_spec_has_the_defaults_of_the_reference() -> None:
    spec = ModelRolloutSpec.model_validate(MINIMAL)
    assert [(step.weight, step.duration and step.duration.seconds) for step in spec.steps] == [
        (10, 600), (20, 600), (50, 600), (75, 600), (100, None),
    ]  # fmt: skip
    assert all(step.approval is Approval.NOT_REQUIRED for step in spec.steps)
    assert (spec.replicas, spec.stable, spec.criteria, spec.paused) == (1, None, (), False)
    assert (spec.capacity.max_surge.raw, spec.capacity.max_unavailable.raw) == ("25%", 0)
    assert (spec.rollback.min_capacity.raw, spec.rollback.immediate) == ("50%", False)
    assert spec.traffic.provider is Provider.REPLICAS
    assert spec.evaluation.interval.seconds == 10
    assert spec.progress_deadline.seconds == 600
    assert spec.prometheus.name == "default"
    assert (spec.shadow, spec.baseline, spec.observation, spec.schedule) == (None, None, None, None)


def test_the_complete_spec_means_what_it_says() -> None:
    spec = ModelRolloutSpec.model_validate(COMPLETE)
    regex, mismatch, p95, slower, errors, agreement = spec.criteria
    assert regex.for_.seconds == 900
    assert regex.max is not None
    assert (regex.max.value, regex.args, regex.min_samples) == (0.02, {"route": "regex"}, 200)
    assert (regex.on_breach, regex.no_data) == (OnBreach.ROLLBACK, NoDataPolicy.HOLD)
    assert regex.phases == (CriterionPhase.PROGRESSING, CriterionPhase.OBSERVING)
    assert mismatch.max is not None
    assert (mismatch.max.value, mismatch.has_samples) == (0.0, False)
    assert p95.max is not None
    assert p95.max.value == 0.2
    assert slower.compare is not None
    assert (slower.compare.to, slower.on_breach) == (CompareTo.BASELINE, OnBreach.WARN)
    assert slower.compare.max_increase is not None
    assert (slower.compare.max_increase.value, slower.compare.max_increase.is_percent) == (0.2, True)
    assert (errors.info, errors.has_samples) == (None, False)
    assert agreement.phases == (CriterionPhase.SHADOW,)
    assert spec.observation is not None
    assert spec.observation.keep_stable is KeepStable.FULL
    assert spec.steps[1].approval is Approval.REQUIRED


@pytest.mark.parametrize("document", [MINIMAL, COMPLETE])
def test_a_spec_through_json_is_the_same_spec(document: dict[str, Any]) -> None:
    spec = ModelRolloutSpec.model_validate(document)
    assert ModelRolloutSpec.model_validate(spec.to_json()) == spec


def test_a_spec_cannot_be_changed_in_place() -> None:
    spec = ModelRolloutSpec.model_validate(MINIMAL)
    with pytest.raises(ValidationError):
        spec.replicas = 3  # type: ignore[misc]


def test_the_fingerprint_changes_with_what_is_asked_for_and_nothing_else() -> None:
    asked = {"image": "a:1", "env": [{"name": "A", "value": "1"}]}
    fingerprint = Candidate.model_validate(asked).fingerprint()
    assert Candidate.model_validate(dict(reversed(asked.items()))).fingerprint() == fingerprint
    others = [
        {**asked, "image": "a:2"},
        {**asked, "env": [{"name": "A", "value": "2"}]},
        {**asked, "args": ["--fast"]},
        {"deployment": "a"},
        {"deployment": "b"},
    ]
    fingerprints = {Candidate.model_validate(other).fingerprint() for other in others}
    assert len(fingerprints | {fingerprint}) == len(others) + 1
    assert all(len(text) == 10 and int(text, 16) >= 0 for text in fingerprints)


def test_every_preset_is_described_and_takes_a_model() -> None:
    assert set(PRESETS) == set(Preset)
    for info in PRESETS.values():
        assert info.summary.endswith(".")
        assert "model" in info.args
        assert info.required | info.one_of <= info.args
        assert info.is_ratio == (info.unit is Unit.RATIO)
        assert info.suggested.startswith(("max: ", "min: "))


@pytest.mark.parametrize("preset", list(Preset))
def test_the_suggested_threshold_of_every_preset_is_accepted(preset: Preset) -> None:
    info = PRESETS[preset]
    limits = dict(part.split(": ") for part in info.suggested.split(", "))
    args = dict.fromkeys(info.required | info.one_of, "x")
    criterion = {"name": "c", "preset": preset, "args": args, **limits}
    spec = ModelRolloutSpec.model_validate({**MINIMAL, "criteria": [criterion]})
    assert spec.criteria[0].preset is preset


@given(
    st.lists(st.sampled_from([*("${" + name + "}" for name in QUERY_VARIABLES), "$${x}", "sum(", "$", "{a}"]))
)
def test_known_variables_and_escapes_are_no_unknown_ones(parts: list[str]) -> None:
    query = " ".join(parts)
    assert not unknown_variables(query)
    assert unknown_variables(query + " ${podsOfCandidate}")


def test_the_models_are_light_to_import() -> None:
    """The operator has a memory budget: what generates files must not come along with the models."""
    modules = ("spec", "status", "commands", "manifest", "features")
    unwanted = {"yaml", "jsonschema", "modelrollout.api.crd", "kubernetes", "kopf", "asyncio"}
    imports = ", ".join(f"modelrollout.api.{module}" for module in modules)
    code = f"import sys, {imports}; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": ":".join(sys.path)},
    )
    assert not unwanted & set(done.stdout.split())
