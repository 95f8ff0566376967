"""Short ways to build criteria and ask for them in a test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from modelrollout.api.criteria import Criterion
from modelrollout.prometheus import (
    Evaluator,
    EvaluatorOptions,
    PrometheusTargets,
    QueryContext,
    RolloutQueries,
    build_rollout,
)


def criterion(name: str = "c", **fields: Any) -> Criterion:
    """A criterion from its JSON fields; without a limit it gets `max: 1`."""
    if not fields.keys() & {"min", "max", "compare"}:
        fields["max"] = 1
    return Criterion.model_validate({"name": name, "window": "1m", **fields})


def rollout(
    namespace: str,
    *criteria: Criterion,
    key: str = "",
    candidate: str = "emotion-2",
    stable: str | None = "emotion-1",
) -> RolloutQueries:
    """The queries of a rollout in `namespace`; its key is the namespace unless given."""
    context = QueryContext(namespace=namespace, rollout="emotion", candidate=candidate, stable=stable)
    return build_rollout(key or namespace, "default", criteria, context)


@dataclass
class CountingHooks:
    """Counts requests as the operator's metrics would."""

    requests: list[Mapping[str, Any]] = field(default_factory=list)

    def request_done(self, *, target: str, kind: str, seconds: float, legs: int, error: str | None) -> None:
        """Note one request."""
        self.requests.append(
            {"target": target, "kind": kind, "seconds": seconds, "legs": legs, "error": error}
        )

    def count(self, **wanted: Any) -> int:
        """Requests so far whose fields are as wanted."""
        return sum(all(request[key] == value for key, value in wanted.items()) for request in self.requests)


@asynccontextmanager
async def evaluator(
    targets: PrometheusTargets | str,
    *,
    hooks: CountingHooks | None = None,
    options: EvaluatorOptions | None = None,
) -> AsyncIterator[Evaluator]:
    """An evaluator that is closed at the end; `targets` may be the address of the only server."""
    if isinstance(targets, str):
        targets = PrometheusTargets.single(targets)
    made = Evaluator(targets, hooks=hooks, options=options)
    try:
        yield made
    finally:
        await made.close()
