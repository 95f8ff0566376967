"""Names that follow from what they stand for, so that asking twice finds the same thing."""

from __future__ import annotations

import hashlib
from datetime import datetime
from functools import lru_cache

from modelrollout.api.base import format_timestamp
from modelrollout.api.constants import SHADOW_SUFFIX
from modelrollout.api.status import ModelRolloutStatus, RunStatus
from modelrollout.api.workload import Candidate

_POD_SUFFIX = 17
"""A Deployment's pods are called `<name>-<hash of up to 10>-<5>`; a pod name has at most 63 characters."""


@lru_cache(maxsize=4096)
def fingerprint(candidate: Candidate) -> str:
    """Ten hexadecimal digits that change with what spec.candidate asks for and with nothing else."""
    return candidate.fingerprint()


def copy_version(candidate: Candidate, template: str) -> str:
    """Ten hexadecimal digits for a copy: what is copied (`template`, a hash) and what is changed in it."""
    return _digest(candidate.fingerprint(), template)[:10]


def copy_name(rollout: str, candidate: Candidate, template: str) -> str:
    """Name of the Deployment made from stable for the image form: `<rollout>-<8 of its version>`."""
    return _join(rollout, copy_version(candidate, template)[:8], limit=63 - _POD_SUFFIX)


def candidate_deployment(rollout: str, candidate: Candidate, status: ModelRolloutStatus) -> str:
    """Return the Deployment of spec.candidate: the one given, or the copy that the operator makes.

    A copy keeps its name for as long as the same is asked for: while it is rolled out, when it has become
    stable (or the version before), and after it was rolled back. Only a run that begins makes a name anew,
    from what stable is then.
    """
    if candidate.deployment:
        return candidate.deployment
    digest, run, rejected = fingerprint(candidate), status.run, status.rolled_back_from
    if run is not None and run.finished_at is None and run.fingerprint == digest:
        return run.candidate
    if rejected is not None and rejected.fingerprint == digest:
        return rejected.candidate
    made = {one.name for one in status.owned if one.fingerprint == digest}
    kept = next((name for name in (status.stable, status.previous_stable) if name in made), None)
    return kept or copy_name(rollout, candidate, status.stable_template or "")


def shadow_version(run: RunStatus) -> str:
    """Return what the copy outside the Service is a copy of: the candidate with its present pod template."""
    return run.fingerprint if run.template is None else _digest(run.fingerprint, run.template)[:10]


def shadow_name(rollout: str) -> str:
    """Name of the copy of the candidate outside the Service, and of the Service that reaches it."""
    return _join(rollout, SHADOW_SUFFIX.removeprefix("-"), limit=63 - _POD_SUFFIX)


def run_id(uid: str, fingerprint_: str, started_at: datetime) -> str:
    """Identify one run of one object: the same inputs give the same id, another start another one."""
    return _digest(uid, fingerprint_, format_timestamp(started_at))[:10]


def job_name(rollout: str, run: str, step: int, validation: str, attempt: int = 1) -> str:
    """Name of the Job of a validation before step `step` (from 0); it cannot exist twice in a namespace."""
    suffix = f"{step + 1}-{_digest(run, str(step), validation, str(attempt))[:8]}"
    return _join(f"{rollout[:24]}-{validation[:24]}", suffix, limit=63)


def _join(head: str, tail: str, *, limit: int) -> str:
    """`head-tail`, the head cut (and its digest put in) where the whole would be too long."""
    if len(head) + 1 + len(tail) <= limit:
        return f"{head}-{tail}"
    mark = _digest(head)[:5]
    kept = head[: limit - len(tail) - len(mark) - 2].rstrip("-.")
    return f"{kept}-{mark}-{tail}"


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()
