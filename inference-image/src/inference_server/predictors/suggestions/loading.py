"""From an artefact directory and the environment to a suggestion predictor."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from inference_server.artifacts import Manifest
from inference_server.predictors.base import ModelInfo
from inference_server.predictors.suggestions import thresholds
from inference_server.predictors.suggestions.model import LINEAR_FILE, Model
from inference_server.predictors.suggestions.predictor import Serving, SuggestionPredictor
from inference_server.predictors.suggestions.rulefile import RuleFile

logger = logging.getLogger(__name__)

RULES_VARIABLE: Final = "SUGGEST_RULES"
CANARY_VARIABLE: Final = "SUGGEST_CANARY"
SHADOW_VARIABLE: Final = "SUGGEST_SHADOW"
_SWITCHES: Final = {"1": True, "true": True, "0": False, "false": False, "": True}


@dataclass(frozen=True, kw_only=True, slots=True)
class SuggestionConfig:
    """How artefacts are served.

    Attributes:
        serving: see :class:`Serving`.
        rules: file of the rules; ``None`` for those that ship with the server.
    """

    serving: Serving
    rules: Path | None = None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> SuggestionConfig:
        """Read ``SUGGEST_CANARY`` and its siblings; what is not set keeps its default.

        Raises:
            ValueError: naming the variable, what was expected and what was seen.
        """
        values = os.environ if environment is None else environment
        shadow = values.get(SHADOW_VARIABLE, "").strip().lower()
        if shadow not in _SWITCHES:
            raise ValueError(
                f"{SHADOW_VARIABLE}: expected 1 or 0, but it is {shadow!r}. Correct it and start again."
            )
        rules = values.get(RULES_VARIABLE, "").strip()
        return cls(
            serving=Serving(
                canary=parse_share(values.get(CANARY_VARIABLE, "")),
                shadow=_SWITCHES[shadow],
                thresholds=thresholds.parse_thresholds(values.get(thresholds.VARIABLE)),
            ),
            rules=Path(rules) if rules else None,
        )


def parse_share(raw: str) -> float:
    """Return a share of users in per cent: ``0``, ``10%``, ``0.5%``, or ``1`` and ``100`` for everybody.

    Raises:
        ValueError: it is none of these.
    """
    text = raw.strip()
    if text in {"", "0"}:
        return 0.0
    if text in {"1", "100"}:
        return 100.0
    found = re.fullmatch(r"(\d{1,3}(?:\.\d{1,2})?)\s*%", text)
    if found is None or float(found[1]) > 100:
        raise ValueError(
            f"{CANARY_VARIABLE}: expected 0, a percentage such as 10%, or 100, but it is {text!r}. "
            "Correct it and start again."
        )
    return float(found[1])


def load_suggestions(
    artifacts: Path, manifest: Manifest, config: SuggestionConfig | None = None
) -> SuggestionPredictor:
    """Load verified artefacts; without a model among them the rules answer alone.

    Raises:
        ArtifactError: naming the file, what was expected and what was seen.
        ValueError: the environment or the file of rules cannot be used.
    """
    settings = config or SuggestionConfig.from_environment()
    rules = RuleFile(settings.rules)
    model = Model.read(artifacts, manifest.labels) if manifest.has(LINEAR_FILE) else None
    labels = tuple(dict.fromkeys([*(manifest.labels if model else ()), *sorted(rules.known)]))
    unknown = thresholds.unknown_labels(settings.serving.thresholds, labels)
    if unknown:
        logger.warning(
            "%s: expected labels of the artefacts or the rules (%s), but there is no %s. "
            "These thresholds have no effect; correct their labels.",
            *(thresholds.VARIABLE, ", ".join(labels), ", ".join(unknown)),
        )
    info = ModelInfo(
        artifact_sha256=manifest.sha256,
        config_sha256=manifest.config_sha256,
        encoder=manifest.encoder,
        dimension=manifest.dimension,
        labels=labels,
        details=_details(manifest, model, settings),
    )
    return SuggestionPredictor(
        name=manifest.name,
        version=manifest.version,
        info=info,
        rules=rules,
        model=model,
        serving=settings.serving,
    )


def _details(manifest: Manifest, model: Model | None, settings: SuggestionConfig) -> dict[str, Any]:
    metrics = manifest.metrics
    return {
        "model_available": model is not None,
        "run_id": manifest.version,
        "canary_percent": settings.serving.canary,
        "shadow": settings.serving.shadow,
        "rules": str(settings.rules or "shipped"),
        "val_f1_macro": metrics.get("val_f1_macro"),
        "val_f1_per_class": metrics.get("val_f1_per_class"),
        "passed_acceptance_gate": metrics.get("passed_acceptance_gate"),
        "calibration": metrics.get("calibration"),
    }
