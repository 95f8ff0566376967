"""Carries a decision out in the cluster. May be repeated: it does nothing where nothing is to do."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from modelrollout.api.conditions import Reason
from modelrollout.api.schedule import Transition as Announcement
from modelrollout.api.status import RunStatus, ValidationState
from modelrollout.api.workload import Candidate
from modelrollout.cluster.cache import ClusterCache
from modelrollout.cluster.clock import ServerClock
from modelrollout.cluster.fence import FencedApi
from modelrollout.cluster.ownership import NameTakenError, is_taken
from modelrollout.cluster.workloads.candidate import CopyError, CopyKeeper, CopyOrder
from modelrollout.cluster.workloads.shadow import Shadow, SideKeeper
from modelrollout.cluster.workloads.standby import Parking
from modelrollout.cluster.workloads.validation_jobs import JobKeeper, JobOrder
from modelrollout.decision.types import Decision, JobResult, Problem, Scale
from modelrollout.operator.metrics import OperatorMetrics
from modelrollout.operator.rollouts import RolloutState
from modelrollout.traffic.provider import TrafficProvider, TrafficTarget

TROUBLE_SECONDS: Final = 15.0
"""How long something that could not be made stays a problem before it is tried again."""
DEFAULT_TTL: Final = 86400.0
"""Seconds that the Job of a validation is kept which is not in the spec any more."""
OPEN: Final = frozenset({ValidationState.PENDING, ValidationState.RUNNING, ValidationState.IMAGE_PULL_FAILED})


@dataclass(frozen=True, kw_only=True)
class Executor:
    """Carries decisions out through the provider and the keepers of what the operator makes."""

    api: FencedApi
    provider: TrafficProvider
    copies: CopyKeeper
    side: SideKeeper
    jobs: JobKeeper
    parking: Parking
    cache: ClusterCache
    metrics: OperatorMetrics
    clock: ServerClock

    async def act(self, rollout: RolloutState, decision: Decision) -> bool:
        """Park pods and set replica counts first (a rollback waits for them), then make what is missing.

        Returns:
            Whether something was refused that another decision has to be made for, at once.
        """
        may_unpark = not self.parking.refusal(rollout.namespace)
        scales = await self._park(rollout, decision)
        if scales:
            await self.provider.set_weight(
                self._target(rollout),
                weight=decision.status.weight.desired if decision.status.weight else 0,
                scales=scales,
            )
            self._observe_reaction(decision, rollout)
        try:
            await self._make(rollout, decision)
        except CopyError as error:
            self._note(rollout, error)
        for name in decision.delete_jobs:
            await self.jobs.end(name, owner=rollout.ref)
        await self._let_jobs_go(rollout, decision)
        await self._release_copies(rollout, decision)
        for name in decision.delete_copies:
            await self.copies.delete(name, owner=rollout.ref)
        return may_unpark and bool(self.parking.refusal(rollout.namespace))

    async def _park(self, rollout: RolloutState, decision: Decision) -> Sequence[Scale]:
        """Move pods out of the Service or back into it; return the counts that may be set after that."""
        owner, service = rollout.ref, rollout.service_name
        may_unpark = not self.parking.refusal(rollout.namespace)
        left_out = await self.parking.unpark(decision.serving, owner=owner)
        # These counts were chosen for pods that come back. With the refusal known they are chosen anew.
        left_out = left_out if may_unpark else frozenset()
        name = decision.parked
        if name is not None and service is not None:
            parked = await self.parking.park(name, service=service, owner=owner)
            left_out = left_out if parked else left_out | {name}
        return tuple(scale for scale in decision.scales if scale.deployment not in left_out)

    async def try_again(self, rollout: RolloutState) -> None:
        """Try again, now and then, what could not be made; until it succeeds it stays a problem."""
        spec, run = rollout.spec, rollout.status.run
        if rollout.pending_problem is None or time.monotonic() < rollout.pending_problem[1]:
            return
        if rollout.taken and await is_taken(self.api, rollout.taken, rollout.ref):
            rollout.pending_problem = (rollout.pending_problem[0], time.monotonic() + TROUBLE_SECONDS)
            return
        stable = (run.stable if run else None) or rollout.status.stable
        try:
            if spec is not None and run is not None and stable is not None and spec.candidate.is_copy:
                await self.copies.create(_order(rollout, spec.candidate, run, stable))
        except CopyError as error:
            self._note(rollout, error)
        else:
            rollout.pending_problem, rollout.taken = None, ""

    @staticmethod
    def _note(rollout: RolloutState, error: CopyError) -> None:
        taken = isinstance(error, NameTakenError)
        problem = Problem(
            reason=Reason.NAME_TAKEN if taken else Reason.CANDIDATE_NOT_CREATED,
            message=str(error),
            candidate_only=True,
        )
        rollout.taken = error.path if isinstance(error, NameTakenError) else ""
        believed = rollout.pending_problem is not None and time.monotonic() < rollout.pending_problem[1]
        if rollout.pending_problem is None or rollout.pending_problem[0] != problem or not believed:
            rollout.pending_problem = (problem, time.monotonic() + TROUBLE_SECONDS)

    def open_jobs(self, rollout: RolloutState) -> tuple[str, ...]:
        """Return names of the Jobs whose result is not in status yet."""
        return tuple(entry.job for entry in rollout.status.validations if entry.state in OPEN)

    async def look_at_jobs(self, rollout: RolloutState) -> None:
        """Read what failed or waiting Jobs say; nothing is read where none is open."""
        names = self.open_jobs(rollout)
        if names:
            await self.jobs.look(rollout.namespace, names)

    def job_results(self, rollout: RolloutState) -> Mapping[str, JobResult]:
        """Return where the open Jobs stand, from memory."""
        return self.jobs.results(self.open_jobs(rollout), owner=rollout.ref)

    async def _let_jobs_go(self, rollout: RolloutState, decision: Decision) -> None:
        """Let Jobs go whose result is in status: they are not needed any more."""
        spec = rollout.spec
        kept = {validation.name: validation.ttl.seconds for validation in spec.validations} if spec else {}
        told = [entry for entry in decision.status.validations if entry.state not in OPEN]
        for entry in told:
            await self.jobs.expire(entry.job, after=kept.get(entry.name, DEFAULT_TTL), owner=rollout.ref)
        self.jobs.forget(rollout.namespace, [entry.job for entry in told])

    async def _make(self, rollout: RolloutState, decision: Decision) -> None:
        spec, run, owner = rollout.spec, rollout.status.run, rollout.ref
        if spec is None or run is None:
            return
        stable = run.stable or rollout.status.stable
        if decision.create_candidate and stable is not None:
            await self.copies.create(_order(rollout, spec.candidate, run, stable))
        if decision.shadow is None:
            await self.side.remove_shadow(owner)
        else:
            wanted = decision.shadow
            shadow = Shadow(
                deployment=wanted.deployment,
                source=wanted.source,
                replicas=wanted.replicas,
                version=wanted.version,
                template=wanted.template,
            )
            await self.side.ensure_shadow(shadow, service=spec.service, owner=owner)
        for request in decision.jobs:
            validation = next((v for v in spec.validations if v.name == request.validation), None)
            if validation is None:
                continue
            url = await self.side.candidate_url(
                candidate=run.candidate,
                shadowed=decision.shadow is not None,
                service=spec.service,
                owner=owner,
            )
            await self.jobs.start(
                JobOrder(name=request.name, run=run.id, validation=validation, candidate_url=url, owner=owner)
            )

    def _target(self, rollout: RolloutState) -> TrafficTarget:
        status = rollout.status
        return TrafficTarget(
            rollout=rollout.ref,
            service=rollout.service_name or "",
            stable=status.stable,
            candidate=status.run.candidate if status.run else None,
        )

    async def _release_copies(self, rollout: RolloutState, decision: Decision) -> None:
        """Remove the owner reference of copies that an older version of the operator made."""
        for copy in decision.status.owned:
            seen = self.cache.deployments.get(rollout.namespace, copy.name)
            if seen is not None and seen.owner == rollout.uid:
                await self.copies.release(rollout.namespace, seen.name, owner_uid=rollout.uid)

    def _observe_reaction(self, decision: Decision, rollout: RolloutState) -> None:
        for transition in decision.transitions:
            sample = rollout.samples.get(transition.criterion or "")
            if sample is not None and transition.announcement is Announcement.ROLLING_BACK:
                seconds = (self.clock.now() - sample.at).total_seconds()
                self.metrics.reaction_seconds.observe(max(0.0, seconds))
                return


def _order(rollout: RolloutState, candidate: Candidate, run: RunStatus, stable: str) -> CopyOrder:
    return CopyOrder(
        name=run.candidate,
        stable=stable,
        template=rollout.status.stable_template,
        candidate=candidate,
        owner=rollout.ref,
    )
