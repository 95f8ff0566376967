"""What the schema admits and this version of the operator does not do: refused in so many words.

A row leaves the table when the feature lands; nothing else has to change.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from modelrollout.api.spec import ModelRolloutSpec
from modelrollout.api.workload import Provider


@dataclass(frozen=True, kw_only=True)
class MissingFeature:
    """A feature that is not there: where in the spec, whether a spec uses it, and what to do instead."""

    field: str
    used: Callable[[ModelRolloutSpec], bool]
    instead: str


MISSING: Final = (
    MissingFeature(
        field="spec.traffic.provider: HAProxy",
        used=lambda spec: spec.traffic.provider is Provider.HAPROXY,
        instead="use provider Replicas",
    ),
    MissingFeature(
        field="spec.traffic.provider: GatewayAPI",
        used=lambda spec: spec.traffic.provider is Provider.GATEWAY_API,
        instead="use provider Replicas",
    ),
)


def unsupported(spec: ModelRolloutSpec, missing: tuple[MissingFeature, ...] = MISSING) -> list[str]:
    """Return a sentence for every feature that `spec` uses and this version lacks; empty if it lacks none."""
    return [
        f"{feature.field} is not supported by this version of the operator: {feature.instead}"
        for feature in missing
        if feature.used(spec)
    ]
