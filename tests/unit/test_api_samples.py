"""Every sample is valid, and the complete plans say what the systems they are for need."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from modelrollout.api.criteria import CompareTo, CriterionPhase, OnBreach
from modelrollout.api.manifest import manifest_problems
from modelrollout.api.spec import ModelRolloutSpec
from modelrollout.api.workload import Provider

SAMPLES = Path(__file__).parents[2] / "samples"
FILES = sorted(SAMPLES.glob("*.yaml"))


def _documents(file: Path) -> list[dict[str, Any]]:
    return [document for document in yaml.safe_load_all(file.read_text(encoding="utf-8")) if document]


def _spec(name: str) -> ModelRolloutSpec:
    (document,) = _documents(SAMPLES / name)
    return ModelRolloutSpec.model_validate(document["spec"])


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_sample_is_valid_and_explains_itself(file: Path) -> None:
    assert file.read_text(encoding="utf-8").startswith("# ")
    documents = [document for document in _documents(file) if document["kind"] == "ModelRollout"]
    assert documents
    for document in documents:
        assert manifest_problems(document) == []


def test_the_index_names_every_sample() -> None:
    index = (SAMPLES / "README.md").read_text(encoding="utf-8")
    assert [file.name for file in FILES if f"]({file.name})" not in index] == []


def test_the_emotion_plan_is_complete() -> None:
    spec = _spec("emotion-full.yaml")
    day = 86400
    assert [(step.weight, step.duration and step.duration.seconds) for step in spec.steps] == [
        (10, day), (20, day), (50, day / 2), (75, day / 2), (100, None),
    ]  # fmt: skip
    assert spec.observation is not None
    assert spec.observation.duration.seconds == 7 * day
    assert [validation.name for validation in spec.validations] == ["tiebreak", "pii", "smoke", "logs"]
    criteria = {criterion.name: criterion for criterion in spec.criteria}
    hard = {name for name, criterion in criteria.items() if criterion.on_breach is OnBreach.ROLLBACK}
    assert hard == {"regex-fallback", "dimension-mismatch", "latency-p95", "critical-errors"}
    assert criteria["regex-fallback"].max is not None
    assert (criteria["regex-fallback"].max.value, criteria["regex-fallback"].for_.seconds) == (0.02, 900)
    assert criteria["dimension-mismatch"].for_.seconds == 0
    assert criteria["critical-errors"].compare is not None
    assert criteria["critical-errors"].compare.to is CompareTo.BASELINE


def test_the_suggestion_plan_gates_the_shadow_by_agreement() -> None:
    spec = _spec("suggestion-shadow.yaml")
    assert spec.traffic.provider is Provider.HAPROXY
    assert spec.shadow is not None
    assert spec.shadow.duration.seconds == 48 * 3600
    assert [step.weight for step in spec.steps] == [10, 25, 50, 100]
    agreement = spec.criteria[0]
    assert agreement.phases == (CriterionPhase.SHADOW,)
    assert agreement.min is not None
    assert agreement.pause_below is not None
    assert (agreement.min.value, agreement.pause_below.value, agreement.for_.seconds) == (0.75, 0.85, 1800)
