"""What is kept of stable while the candidate serves everything.

A pod behind the Service serves, so what is kept is parked: it runs, but outside the Service. Whether a pod is
parked stands on the pod itself; here it is only said which Deployments' pods must be and which must not.
"""

from __future__ import annotations

from modelrollout.api.spec import KeepStable
from modelrollout.decision.context import Draft, Stage


def hands_over(draft: Draft) -> bool:
    """Whether stable is to serve nothing any more but may still have to come back.

    From the moment that all of the candidate's pods are ready, so that stable's last pods are parked instead
    of ended. Once a pod is parked it stays so: a candidate that loses a pod does not call stable back.
    """
    step, run = draft.status.step, draft.status.run
    if run is None or run.skip_analysis:
        return False
    if draft.stage is Stage.OBSERVING:
        return True
    if draft.stage is not Stage.STEP or step is None or step.weight < 100:
        return False
    return draft.candidate.ready >= draft.total or bool(draft.stable.parked)


def wanted_pods(draft: Draft) -> int:
    """Pods of stable that spec.observation asks to keep, whether or not that is possible."""
    spec = draft.spec
    if spec is None or spec.observation is None:
        return 0
    match spec.observation.keep_stable:
        case KeepStable.FULL:
            return draft.total
        case KeepStable.SCALED:
            return min(draft.total, spec.observation.scaled.of(draft.total, round_up=True))
        case _:
            return 0


def kept_pods(draft: Draft) -> int:
    """Pods of stable to keep running outside the Service now."""
    if not hands_over(draft):
        return 0
    # What is parked already is not given up because no more can be.
    wanted = wanted_pods(draft)
    return wanted if draft.stable.can_park else min(wanted, draft.stable.parked)


def serving(draft: Draft) -> tuple[str, ...]:
    """Deployments whose pods all belong behind the Service: those that have to take traffic."""
    names = [] if hands_over(draft) or draft.status.stable is None else [draft.status.stable]
    run = draft.status.run
    if run is not None and run.finished_at is None and draft.stage is not Stage.REVERTING:
        names.append(run.candidate)
    return tuple(names)
