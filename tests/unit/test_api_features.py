"""What this version cannot do is said for every spec that asks for it, and for no other."""

from typing import Any

import pytest

from modelrollout.api.features import MISSING, MissingFeature, unsupported
from modelrollout.api.spec import ModelRolloutSpec

MINIMAL: dict[str, Any] = {"service": "emotion", "candidate": {"deployment": "emotion-2-4-2"}}
CRITERION: dict[str, Any] = {"name": "errors", "preset": "errorRate", "max": "1%"}
COMPARED: dict[str, Any] = {
    "name": "errors", "preset": "errorRate", "compare": {"to": "Baseline", "maxIncrease": "10%"},
}  # fmt: skip

# A spec that asks for the feature; a row stays when the feature lands and leaves MISSING.
ASKING: dict[str, dict[str, Any]] = {
    "spec.traffic.provider: HAProxy": {"traffic": {"provider": "HAProxy"}},
    "spec.traffic.provider: GatewayAPI": {
        "traffic": {"provider": "GatewayAPI", "gatewayAPI": {"httpRoute": "emotion"}},
    },
    "spec.shadow": {"shadow": {"duration": "1h"}},
    "spec.validations": {"validations": [{"name": "smoke", "image": "smoke:1"}]},
    "spec.baseline": {"baseline": {"window": "1h"}},
    "spec.criteria[].compare.to: Baseline": {"baseline": {"window": "1h"}, "criteria": [COMPARED]},
    "spec.criteria[].confidence": {"criteria": [{**CRITERION, "confidence": 0.95}]},
    "spec.observation.keepStable other than Full": {"observation": {"duration": "1h", "keepStable": "None"}},
    "spec.schedule": {"schedule": {"windows": [{"from": "09:00", "to": "17:00"}]}},
    "spec.notifications": {"notifications": [{"name": "chat", "url": "https://hooks.example.com/x"}]},
}


def test_what_every_version_can_do_is_supported() -> None:
    spec = ModelRolloutSpec.model_validate(
        {**MINIMAL, "criteria": [CRITERION], "observation": {"duration": "1h"}}
    )
    assert unsupported(spec) == []


@pytest.mark.parametrize("field", ASKING)
def test_asking_for_it_is_answered_with_the_field_and_a_way_out(field: str) -> None:
    said = unsupported(ModelRolloutSpec.model_validate({**MINIMAL, **ASKING[field]}))
    missing = {feature.field: feature for feature in MISSING}
    if field in missing:
        assert f"{field} is not supported by this version of the operator: {missing[field].instead}" in said
    else:
        assert not any(sentence.startswith(f"{field} ") for sentence in said)


def test_every_missing_feature_has_a_spec_that_asks_for_it() -> None:
    assert {feature.field for feature in MISSING} <= set(ASKING)


def test_the_table_can_be_any() -> None:
    always = MissingFeature(field="spec.replicas", used=lambda spec: spec.replicas > 1, instead="use one")
    spec = ModelRolloutSpec.model_validate({**MINIMAL, "replicas": 2})
    assert unsupported(spec, (always,)) == [
        "spec.replicas is not supported by this version of the operator: use one"
    ]
    assert unsupported(spec, ()) == []
