"""Objects as the operator makes them: with the ModelRollout as their owner."""

from __future__ import annotations

from typing import Any

from modelrollout.cluster.workloads.candidate import owner_reference
from modelrollout.cluster.writer import RolloutRef


def owned(obj: dict[str, Any], owner: RolloutRef | None) -> dict[str, Any]:
    """The manifest with an owner reference; without one for None."""
    if owner is not None:
        obj["metadata"]["ownerReferences"] = [owner_reference(owner)]
    return obj


def job(
    name: str,
    *,
    owner: RolloutRef | None,
    uid: str = "uid-job",
    succeeded: bool = False,
    ttl: int | None = None,
) -> dict[str, Any]:
    """A Job of a validation as the API server shows it."""
    conditions = [{"type": "Complete", "status": "True", "lastTransitionTime": "2026-01-01T00:01:00Z"}]
    return owned(
        {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {
                "namespace": "ns",
                "name": name,
                "uid": uid,
                "resourceVersion": "1",
                "creationTimestamp": "2026-01-01T00:00:00Z",
            },
            "spec": {} if ttl is None else {"ttlSecondsAfterFinished": ttl},
            "status": {"conditions": conditions if succeeded else []},
        },
        owner,
    )
