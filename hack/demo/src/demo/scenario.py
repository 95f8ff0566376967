"""The versions, the rollout and the three acts: everything that is particular to this demo."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

Json = dict[str, Any]

ROLLOUT: Final = "emotion"
FIRST: Final = "v1-0"
BETTER: Final = "v1-1"
MISFIT: Final = "v1-2"
UNSURE: Final = "v1-3"
FALLBACK_FOR_SECONDS: Final = 5.0

VERSIONS: Final[Json] = {
    FIRST: {"artifacts": "/models/emotion-1.0"},
    BETTER: {"artifacts": "/models/emotion-1.1"},
    MISFIT: {"artifacts": "/models/emotion-1.2"},
    UNSURE: {"artifacts": "/models/emotion-1.3"},
}

CRITERIA: Final[list[Json]] = [
    {"name": "dimension-mismatch", "preset": "dimensionMismatch", "max": 0, "window": "15s"},
    {
        "name": "regex-fallback",
        "preset": "fallbackRate",
        "args": {"route": "regex"},
        "max": "2%",
        "for": f"{FALLBACK_FOR_SECONDS:g}s",
        "window": "15s",
        "minSamples": 20,  # of five answers none may be a regular expression's by chance
    },
    {"name": "errors", "preset": "errorRate", "max": "1%", "for": "3s", "window": "15s", "minSamples": 5},
    {
        "name": "latency-p95",
        "preset": "latencyP95",
        "max": "2s",
        "for": "20s",
        "window": "15s",
        "minSamples": 5,
    },
]

SPEC: Final[Json] = {
    "capacity": {"maxSurge": 3, "maxUnavailable": 0},
    "steps": [
        *({"weight": weight, "duration": "5s"} for weight in (10, 20, 50, 75)),
        {"weight": 100},
    ],
    "criteria": CRITERIA,
    "evaluation": {"interval": "1s"},
    "progressDeadline": "3m",
}


@dataclass(frozen=True, kw_only=True)
class Act:
    """One rollout and how it has to end.

    Attributes:
        version: The candidate, a key of VERSIONS.
        phase: The phase that it has to end in.
        criterion: The criterion that must have taken it back; None for a rollout that succeeds.
        held_seconds: How long that criterion has to be bad before it acts (its `for`).
        seconds: The longest time that the act may take.
    """

    title: str
    story: str
    version: str
    phase: str
    criterion: str | None = None
    held_seconds: float = 0.0
    seconds: float = 180.0

    @property
    def deployment(self) -> str:
        """The candidate's Deployment."""
        return f"{ROLLOUT}-{self.version}"


ACTS: Final = (
    Act(
        title="1. A better model",
        story="1.1 has learned words and spelling beside the sentence embedding. Five seconds for each step.",
        version=BETTER,
        phase="Succeeded",
        seconds=300,
    ),
    Act(
        title="2. A model that does not fit its encoder",
        story="Version 1.2 has another encoder, but still the heads that were trained for the old one.",
        version=MISFIT,
        phase="RolledBack",
        criterion="dimension-mismatch",
    ),
    Act(
        title="3. A model that gives up too often",
        story="1.3 is unsure and leaves most texts to its regular expressions: more than 2 % for "
        f"{FALLBACK_FOR_SECONDS:g} s is too much.",
        version=UNSURE,
        phase="RolledBack",
        criterion="regex-fallback",
        held_seconds=FALLBACK_FOR_SECONDS,
    ),
)


def server_values(image: str, *, replicas: int) -> Json:
    """Return values of charts/inference-server: all versions, nothing to roll out yet."""
    repository, _, tag = image.rpartition(":")
    return {
        "image": {"repository": repository, "tag": tag},
        "versions": VERSIONS,
        "stable": FIRST,
        "replicas": replicas,
        # Patient, because a machine of two cores is slow while pods start: waiting loses nothing.
        "env": {
            "INFERENCE_WORKERS": "1",
            "INFERENCE_LOG_OUTPUTS": "none",
            "INFERENCE_DRAIN_SECONDS": "10",
            "INFERENCE_QUEUE_TIMEOUT_SECONDS": "20",
        },
        "resources": {"requests": {"cpu": "20m", "memory": "128Mi"}, "limits": {"memory": "768Mi"}},
        "podAnnotations": {"prometheus.io/scrape": "true"},
        "rollout": {"candidate": "", "spec": SPEC},
    }


def operator_values(image: str, *, prometheus: str) -> Json:
    """Return values of charts/modelrollout."""
    repository, _, tag = image.rpartition(":")
    return {
        "image": {"repository": repository, "tag": tag},
        "prometheus": {"default": {"url": prometheus}},
        "podAnnotations": {"prometheus.io/scrape": "true"},
        "log": {"format": "text"},
    }
